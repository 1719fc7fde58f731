"""Finds the links that carry our marks, in all namespaces of a host.

Most of these namespaces are other people's, who decide how many links are there and how large each is. So a namespace
is read as it comes, in steps between which others can be served, and only what is marked is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns, is_of_own_users
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import Peers, Raw, complete, each_link, read_link
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import DUMP_TRIES, Rtnl
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.marks import Marks, is_deletion_group
from vppctl.reconcile.state import Link, NetnsId

log = logging.getLogger("vppctl.linux")

LIMIT = 256 << 20
"""Bytes that are read of one namespace: 150,000 ordinary links have as many."""
STRAYS = 64
"""Marked links that are taken from one namespace of another user namespace, where anybody can mark links ..."""
STRAYS_IN_ALL = 256
"""... and from all of these in one search. The next searches find the others."""


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
    refused: dict[NetnsId, str]
    """The names of these."""


def observe_marked(spaces: Iterable[tuple[NamespaceRef, Netns] | None], marks: Marks, nsids: NsidTable) -> Marked:
    """The VETHs that have any of these marks, in those of these namespaces that let us in.

    Whether they are this label's is another question (`reconcile/ownership.py`). Raises OSError.
    """
    steps = search(spaces, marks, nsids)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Marked = end.value
            return found


def search(
    spaces: Iterable[tuple[NamespaceRef, Netns] | None], marks: Marks, nsids: NsidTable
) -> Generator[None, None, Marked]:
    """The same in short steps. A namespace is done with before the next one is taken: they are opened one at a time."""
    marked: dict[NetnsId, list[Raw]] = {}
    places: dict[NetnsId, Found] = {}
    unseen: dict[str, OSError] = {}
    refused: dict[NetnsId, str] = {}
    strays = 0
    for item in spaces:
        yield
        if item is None:
            continue
        reference, space = item
        try:
            found = yield from _marked_in(space, marks)
            if found and is_of_own_users(space):
                nsids.assign_many([space])
            elif found:
                # Without an id: what happens there is nothing to be told of.
                nsids.do_without([space.id])
                found = found[: min(STRAYS, STRAYS_IN_ALL - strays)]
                strays += len(found)
        except PermissionError as error:
            # Of another user namespace than an agent that is root in its own: nothing there can be ours.
            log.debug("namespace %s cannot be entered: %s", space.description, error.strerror)
        except OSError as error:
            unseen[space.description], refused[space.id] = error, space.description
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
                name = places.pop(netns).description
                unseen[name], refused[netns] = error, name
    return Marked(links, places, unseen, refused)


def _is_marked(raw: Raw, marks: Marks) -> bool:
    group = raw.number(wire.IFLA_GROUP)
    return group in marks.groups or is_deletion_group(group) or raw.alias.startswith(marks.prefixes)


def _marked_in(space: Netns, marks: Marks) -> Generator[None, None, list[Raw]]:
    """The marked VETHs of a namespace; where the dump cannot be had in one piece, each that was seen is asked for."""
    with Rtnl(space) as rtnl:
        rtnl.allow(LIMIT)
        ever = set[int]()
        for _ in range(DUMP_TRIES):
            found: dict[int, Raw] = {}
            interrupted = False
            for part, changed in rtnl.parts(wire.dump_links(kind="veth")):
                found.update((raw.index, raw) for raw in _fitting(space, (body for _, body in part), marks))
                interrupted = interrupted or changed
                yield
            if not interrupted:
                return list(found.values())
            ever.update(found)
            rtnl.allow(LIMIT)
        return _fitting(space, each_link(rtnl, sorted(ever), None), marks)


def _fitting(space: Netns, bodies: Iterable[bytes], marks: Marks) -> list[Raw]:
    """Those of these links that are marked. Raises UnreadableError."""
    with Reading():
        return [raw for body in bodies if _is_marked(raw := read_link(space.id, body), marks)]
