"""Searches the host for links with our marks, and deletes strays: those in places where nothing is configured.

Any user of the host can create such links, in a namespace of his own, again and again. So they take no part in the
passes, count against no pair's state, and are deleted once in a while: ever more seldom in a namespace in which there
are new ones each time. What the kernel refuses to delete is logged once and stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from vppctl.agent.places import Places, Search
from vppctl.agent.search import HostSearch
from vppctl.errors import cause
from vppctl.linux.executor import Executor
from vppctl.linux.marked import Found
from vppctl.linux.namespaces import Netns, spaces_at_once
from vppctl.linux.resolve import resolve
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.operations import DeleteLinks, Failure, LinkToDelete, Operation
from vppctl.reconcile.ownership import is_frozen, owned
from vppctl.reconcile.state import Link, LinkKey, NetnsId, ObservedState, PairId

log = logging.getLogger("vppctl.agent")

PAUSE_FIRST, PAUSE_LAST = 60.0, 960.0
"""Seconds until strays of a namespace in which some were deleted are deleted again: doubled from the first to the
last."""
AT_ONCE = 256
"""Strays that are deleted in one search; the others are found by the next one. What a deletion takes grows with the
square of their number."""


class _Pause(NamedTuple):
    until: float
    seconds: float


class Strays:
    """What is known of strays: where they are not deleted for now, and which cannot be."""

    def __init__(self, desired: DesiredState, places: Places, executor: Executor, search: HostSearch) -> None:
        self._desired, self._places, self._executor, self._search = desired, places, executor, search
        self._pauses: dict[NetnsId, _Pause] = {}
        self._refused: set[LinkKey] = set()
        """Those that the kernel has refused to delete, which was logged."""

    def search(self, now: float, *, started: bool) -> set[PairId]:
        """Search the host for our marks for a while, when that is due; returns the pairs of links that were not known.

        Strays that are found are deleted. As long as the agent starts there are none: all is looked at with its pair.
        """
        if (marked := self._search.part(now)) is None:
            return set()
        found = self._places.sort(marked, started=started)
        if found.strays:
            self._delete(found, now)
        return found.pairs

    def _delete(self, found: Search, now: float) -> None:
        """Delete those strays whose time has come."""
        desired, places = self._desired, found.marked.places
        by_key = {link.key: link for link in found.marked.links}
        ours = owned(desired, found.marked.links)
        self._refused &= by_key.keys()
        to_delete = [
            link
            for link in found.strays
            if link.key not in self._refused
            and now >= self._pause(link.netns).until
            and not is_frozen(desired, link, ours, by_key)
        ][:AT_ONCE]
        for netns in {link.netns for link in to_delete}:
            seconds = min(PAUSE_LAST, max(PAUSE_FIRST, 2.0 * self._pause(netns).seconds))
            self._pauses[netns] = _Pause(now + seconds, seconds)
        # One in which the pause has been over for as long again is as any other.
        self._pauses = {netns: pause for netns, pause in self._pauses.items() if now < pause.until + pause.seconds}
        try:
            self._remove(to_delete, places)
        except OSError as error:
            log.warning("links where nothing is configured cannot be deleted: %s", cause(error))

    def note_refused(self, operation: Operation, failure: Failure) -> set[NetnsId]:
        """A pass could not do this, which was logged; returns the namespaces in which to try to delete links again."""
        if not isinstance(operation, DeleteLinks):
            return set()
        if failure.retriable:
            return {operation.netns}
        self._refused.update((operation.netns, index) for index in failure.links)
        return set()

    def _remove(self, to_delete: Sequence[Link], places: Mapping[NetnsId, Found]) -> None:
        for netns, links, failure in remove(to_delete, places, self._executor):
            names = ", ".join(sorted(repr(link.name) for link in links)[:3]) + (" ..." if len(links) > 3 else "")
            what = f"{names} in namespace {places[netns].description}"
            if failure is None:
                log.info("deleted %s: the marks of this label, and nothing is configured there", what)
                continue
            log.warning("%s: the marks of this label, and nothing is configured there; %s", what, failure.message)
            if not failure.retriable:
                self._refused.update((netns, index) for index in failure.links)

    def _pause(self, netns: NetnsId) -> _Pause:
        return self._pauses.get(netns, _Pause(0.0, 0.0))


def remove(
    links: Sequence[Link], places: Mapping[NetnsId, Found], executor: Executor
) -> Iterator[tuple[NetnsId, list[Link], Failure | None]]:
    """Delete these links, by namespace; the second end of a pair is gone with the first, which counts as deleted."""
    there: dict[NetnsId, list[Link]] = {}
    for link in links:
        there.setdefault(link.netns, []).append(link)
    seen = ObservedState.of(list(links))
    spaces_left, room = list(there), spaces_at_once()
    for start in range(0, len(spaces_left), room):
        part = spaces_left[start : start + room]
        operations: list[Operation] = [
            DeleteLinks(netns, tuple(LinkToDelete(link.index, link.name) for link in there[netns])) for netns in part
        ]
        with ExitStack() as stack:
            spaces: dict[NetnsId, Netns] = {}
            for netns in part:
                space = resolve(places[netns].reference, create=False)
                if isinstance(space, Netns) and stack.enter_context(space).id == netns:
                    spaces[netns] = space
            for netns, outcome in zip(part, executor.execute(operations, spaces, seen), strict=True):
                yield netns, there[netns], outcome.failure
