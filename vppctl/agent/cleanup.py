"""Removes what the agent of a label made on this host, for when the agent is not to come back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack

from vppctl.agent.lock import AgentLock
from vppctl.errors import VppctlError
from vppctl.linux.executor import Executor
from vppctl.linux.named import discover
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe_marked
from vppctl.linux.privileges import TO_CHANGE, require
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import DeleteLinks, Doomed, Operation
from vppctl.reconcile.state import Link, NetnsId
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
    marks, nsids = Marks(label), NsidTable()
    with ExitStack() as stack:
        spaces = {netns.id: stack.enter_context(netns) for netns in discover()}
        found = [link for link in observe_marked(spaces, marks.group, marks.prefix, nsids) if marks.owns(link)]
        doomed: dict[NetnsId, list[Link]] = {}
        for link in found:
            doomed.setdefault(link.netns, []).append(link)
        if not dry_run:
            # The second end of a pair is gone with the first, which counts as removed.
            operations: list[Operation] = [
                DeleteLinks(netns, tuple(Doomed(link.index, link.name) for link in links))
                for netns, links in doomed.items()
            ]
            for outcome in Executor(nsids).execute(operations, spaces):
                if outcome.failure:
                    raise VppctlError(outcome.failure.message)
        for link in found:
            yield f"{link.name} in namespace {spaces[link.netns].description}"


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
