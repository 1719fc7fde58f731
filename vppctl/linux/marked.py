"""Finds the links that carry our marks, in all namespaces of a host."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import Peers, Raw, complete, each_link, read_link
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import DumpInterruptedError, Rtnl
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.marks import Marks, is_doomed
from vppctl.reconcile.state import Link, NetnsId

log = logging.getLogger("vppctl.linux")


class Found(NamedTuple):
    """A namespace with marked links, which is not held open: how to reach it again, and its name in messages."""

    reference: NamespaceRef
    description: str


class Marked(NamedTuple):
    """What a search for marks has found."""

    links: list[Link]
    """Without their addresses."""
    places: dict[NetnsId, Found]
    unseen: dict[str, OSError]
    """Namespaces that could not be searched, by their names in messages."""


def observe_marked(spaces: Iterable[tuple[NamespaceRef, Netns]], marks: Marks, nsids: NsidTable) -> Marked:
    """The VETHs that have any of these marks, in those of these namespaces that let us in.

    Whether they are this label's is another question (`reconcile/ownership.py`). A namespace is done with before the
    next one is taken, so that they may be opened one at a time. Raises OSError.
    """
    marked: dict[NetnsId, list[Raw]] = {}
    places: dict[NetnsId, Found] = {}
    unseen: dict[str, OSError] = {}
    for reference, space in spaces:
        try:
            veths = _veths(space)
            with Reading():
                found = [raw for raw in veths if _is_marked(raw, marks)]
            if found:
                nsids.assign_many([space])
        except PermissionError as error:
            # Of another user namespace than an agent that is root in its own: nothing there can be ours.
            log.debug("namespace %s cannot be entered: %s", space.description, error.strerror)
        except OSError as error:
            unseen[space.description] = error
        else:
            if found:
                marked[space.id], places[space.id] = found, Found(reference, space.description)
    links: list[Link] = []
    with Rtnl() as own:
        peers = Peers(nsids, own, {*marked, nsids.own})
        for netns, raw in marked.items():
            try:
                known = peers.of(netns, raw)
                with Reading():
                    links += [complete(r, (), known) for r in raw]
            except OSError as error:
                unseen[places.pop(netns).description] = error
    return Marked(links, places, unseen)


def _is_marked(raw: Raw, marks: Marks) -> bool:
    group = raw.number(wire.IFLA_GROUP)
    return group in marks.groups or is_doomed(group) or raw.alias.startswith(marks.prefixes)


def _veths(space: Netns) -> list[Raw]:
    """All VETHs of a namespace; where the dump cannot be had in one piece, each that was seen is asked for."""
    with Rtnl(space) as rtnl:
        try:
            bodies = [body for _, body in rtnl.dump(wire.dump_links(kind="veth"))]
        except DumpInterruptedError as error:
            seen = {read_link(space.id, body).index for _, body in error.bodies}
            bodies = each_link(rtnl, sorted(seen), None)
    return [read_link(space.id, body) for body in bodies]
