"""Removes what the agent of a label made on this host, for when the agent is not to come back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from vppctl.agent.lock import AgentLock
from vppctl.errors import VppctlError, cause
from vppctl.linux.executor import Executor
from vppctl.linux.marked import Marked, observe_marked
from vppctl.linux.named import discover
from vppctl.linux.namespaces import Netns, raise_file_limit, spaces_at_once
from vppctl.linux.nsids import NsidTable
from vppctl.linux.privileges import TO_CHANGE, require
from vppctl.linux.resolve import resolve
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import DeleteLinks, Doomed, Operation
from vppctl.reconcile.state import Link, NetnsId, ObservedState
from vppctl.reconcile.vpp import DeleteInVpp, VppMarks, plan_vpp
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError

log = logging.getLogger("vppctl.agent.cleanup")


def cleanup(label: str, vpp_socket: str | None, *, dry_run: bool) -> Iterator[str]:
    """Remove it, and tell each thing as `NAME in namespace NAMESPACE`.

    Raises VppctlError when it may not, when an agent of this label is running, or when something cannot be removed.
    """
    require(TO_CHANGE)
    with AgentLock(label):
        yield from _vpp(label, vpp_socket, dry_run=dry_run)
        yield from _links(label, dry_run=dry_run)


def _links(label: str, *, dry_run: bool) -> Iterator[str]:
    raise_file_limit()
    marks, nsids = Marks(label), NsidTable()
    removed: set[tuple[object, ...]] = set()
    while True:
        marked = observe_marked(discover(), marks.group, marks.prefix, nsids)
        found = [k for k in marked.links if marks.owns(k) and _key(k) not in removed]
        if not dry_run:
            _remove(found, marked, Executor(nsids))
        for link in found:
            yield f"{link.name} in namespace {marked.places[link.netns].description}"
        removed.update(map(_key, found))
        if dry_run or not found:
            break
    for description, error in marked.unseen.items():
        log.warning("namespace %s cannot be searched for links: %s", description, cause(error))


def _key(link: Link) -> tuple[object, ...]:
    """One that was renamed or marked anew meanwhile is tried again, since it was left alone."""
    return link.netns, link.index, link.name, link.group, link.alias


def _remove(links: Sequence[Link], marked: Marked, executor: Executor) -> None:
    """Remove these links; the second end of a pair is gone with the first, which counts as removed."""
    doomed: dict[NetnsId, list[Doomed]] = {}
    for link in links:
        doomed.setdefault(link.netns, []).append(Doomed(link.index, link.name))
    operations: list[Operation] = [DeleteLinks(netns, tuple(there)) for netns, there in doomed.items()]
    room = spaces_at_once()
    for start in range(0, len(operations), room):
        part = operations[start : start + room]
        with ExitStack() as stack:
            spaces: dict[NetnsId, Netns] = {}
            for netns in list(doomed)[start : start + room]:
                space = resolve(marked.places[netns].reference, create=False)
                if isinstance(space, Netns) and stack.enter_context(space).id == netns:
                    spaces[netns] = space
            for outcome in executor.execute(part, spaces, ObservedState.of(list(links))):
                if outcome.failure:
                    raise VppctlError(outcome.failure.message)


def _vpp(label: str, path: str | None, *, dry_run: bool) -> Iterator[str]:
    if path is None and not os.path.exists(DEFAULT_SOCKET):
        return
    try:
        vpp = Vpp(path or DEFAULT_SOCKET, lambda: None)
        try:
            for operation in plan_vpp(VppMarks(label), {}, vpp.observe(), {}).operations:
                assert isinstance(operation, DeleteInVpp), "nothing is desired"
                if not dry_run and (problem := vpp.execute(operation)):
                    raise VppctlError(problem)
                yield f"{operation.name} in VPP"
        finally:
            vpp.close()
    except VppAwayError as error:
        if path is not None:
            raise VppctlError(str(error)) from None
        # What a VPP that has ended leaves is its socket alone.
        log.warning("%s; if it runs, its interfaces stay", error)
