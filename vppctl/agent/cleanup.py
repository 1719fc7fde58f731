"""Removes what the agent of a label made on this host, for when the agent is not to come back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from vppctl.agent.lock import AgentLock
from vppctl.agent.strays import remove
from vppctl.errors import VppctlError, cause
from vppctl.linux.executor import Executor
from vppctl.linux.marked import observe_marked
from vppctl.linux.named import discover
from vppctl.linux.namespaces import raise_file_limit
from vppctl.linux.nsids import NsidTable
from vppctl.linux.privileges import TO_CHANGE, require
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.state import Link, LinkKey
from vppctl.reconcile.vpp import DeleteInVpp, VppMarks, plan_vpp
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError

log = logging.getLogger("vppctl.agent.cleanup")

ROUNDS = 8
"""Searches for links, in case more of them come meanwhile: somebody may create some with our marks without end."""


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
    # Without documents: what only they would show to be ours stays.
    desired, nsids = DesiredState(Marks(label)), NsidTable()
    removed: set[tuple[object, ...]] = set()
    left: set[LinkKey] = set()
    problems: list[str] = []
    for _ in range(ROUNDS):
        marked = observe_marked(discover(), desired.marks, nsids)
        ours = owned(desired, marked.links) - left
        found = [link for link in marked.links if link.key in ours and _key(link) not in removed]
        if not dry_run:
            for netns, _, failure in remove(found, marked.places, Executor(nsids)):
                if failure:
                    left |= {link.key for link in found if link.netns == netns and link.index in failure.links}
                    problems.append(failure.message)
        for link in found:
            if link.key not in left:
                yield f"{link.name} in namespace {marked.places[link.netns].description}"
        removed.update(map(_key, found))
        if dry_run or not found:
            break
    for description, error in marked.unseen.items():
        log.warning("namespace %s cannot be searched for links: %s", description, cause(error))
    if problems:
        # All others are gone by now.
        raise VppctlError("; ".join(problems))


def _key(link: Link) -> tuple[object, ...]:
    """One that was renamed or marked anew meanwhile is tried again, since it was left alone."""
    return link.netns, link.index, link.name, link.group, link.alias


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
