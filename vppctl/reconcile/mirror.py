"""The store's mirror: list and watch as a state machine, without I/O.

In go the messages that a store gives (Listed, Changed, Progress, Compacted) or its failure (Broken); out come
batches of changes for the reconciler and the next request to make of the store. The rules are etcd's: list at
revision R, watch from R+1; after a compaction list again, for the events in between are gone. After a break list again,
too: a store that was wiped and filled anew meanwhile may have come to the same revisions, with other values behind
them. Nothing counts as deleted before a full list has said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Entry(NamedTuple):
    """One key at one moment; `value` is None in a Changed message when the key was deleted."""

    key: str
    value: bytes | None
    mod_revision: int


class Listed(NamedTuple):
    """A full snapshot at `revision`."""

    revision: int
    entries: tuple[Entry, ...]


class Changed(NamedTuple):
    """What whole transactions up to and including `revision` changed, in order."""

    revision: int
    entries: tuple[Entry, ...]


class Progress(NamedTuple):
    """Nothing that this watch missed has happened up to and including `revision`."""

    revision: int


class Compacted(NamedTuple):
    """The revision asked for is gone; the oldest one left is `revision` (0: unknown)."""

    revision: int = 0


class Broken(NamedTuple):
    """The stream or the request failed."""

    message: str


class Alive(NamedTuple):
    """The watch has lasted for a while: from now on its next break is the first one."""


Message = Listed | Changed | Progress | Compacted | Broken | Alive


class ListRequest(NamedTuple):
    """List everything; before that wait `delay` seconds."""

    delay: float = 0.0


class WatchRequest(NamedTuple):
    """Watch from `revision` on."""

    revision: int


class Batch(NamedTuple):
    """Changes to hand to the reconciler: per key the newest entry (value None: deleted).

    `full` says that this batch comes from a full list. The mirror has added a deletion for each key that was
    known and is not listed, so that applying the entries is right in either case.
    """

    revision: int
    entries: tuple[Entry, ...]
    full: bool = False


BACKOFF_FIRST = 0.1
BACKOFF_LAST = 5.0
"""Seconds between attempts to reach a store that is away: doubled from the first to the last."""


@dataclass(slots=True)
class Mirror:
    """Follows one prefix of one store. Not thread-safe: one owner feeds it."""

    revision: int = 0
    """All changes up to this revision are known."""
    ready: bool = False
    """True between a full list and the next break: what is absent here is absent there."""
    error: str = ""
    """Why the store cannot be followed at present; empty while it can. A list alone does not clear it: a store that
    answers lists and refuses to be watched is not followed."""
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of every key its modification revision and the hash of its value."""
    _failures: int = 0
    """Breaks, and other ends of a watch but for the first, since one has lasted."""
    _ended: bool = False
    _relist: bool = True

    def feed(self, message: Message) -> Batch | None:
        """Take one message; returns what it changed, or None when nothing did."""
        match message:
            case Listed(revision, entries):
                return self._listed(revision, entries)
            case Changed(revision, entries):
                return self._changed(revision, entries)
            case Progress(revision) if revision >= self.revision:
                self._healthy()
                self.revision = revision
            case Alive():
                self._healthy()
                self._failures, self._ended = 0, False
            case Progress() | Compacted():
                # Of the first: the store was wiped and started again, or restored from a backup. Once this may be, and
                # the next list follows at once; a store that always says so is not asked without a pause.
                self.ready, self._relist = False, True
                self._failures += self._ended
                self._ended = True
            case Broken(text):
                self.ready, self._relist, self.error = False, True, text
                self._failures += 1
        return None

    def request(self) -> ListRequest | WatchRequest:
        """What to ask of the store next, once the current request has ended."""
        if not self._relist:
            return WatchRequest(self.revision + 1)
        delay = BACKOFF_FIRST * 2.0 ** min(self._failures - 1, 16) if self._failures else 0.0
        return ListRequest(min(BACKOFF_LAST, delay))

    def start_again(self) -> None:
        """Another connection is used from now on: list, whatever the last one was about to do."""
        self.ready, self._relist = False, True

    def _healthy(self) -> None:
        self.ready, self.error = True, ""

    def _listed(self, revision: int, entries: tuple[Entry, ...]) -> Batch:
        self.ready, self._relist = True, False
        listed = {entry.key: _version(entry) for entry in entries}
        gone = tuple(Entry(key, None, revision) for key in self._known if key not in listed)
        # A store that was wiped and started again counts from 1 again: only equality says "unchanged".
        changed = tuple(entry for entry in entries if self._known.get(entry.key) != listed[entry.key])
        if revision < self.revision:
            changed = entries
        self._known = listed
        self.revision = revision
        return Batch(revision, gone + changed, full=True)

    def _changed(self, revision: int, entries: tuple[Entry, ...]) -> Batch | None:
        self._healthy()
        newest: dict[str, Entry] = {}
        for entry in entries:
            # A resumed watch may repeat what we have seen.
            if entry.mod_revision > self.revision:
                newest[entry.key] = entry
        self.revision = max(self.revision, revision)
        for entry in newest.values():
            if entry.value is None:
                self._known.pop(entry.key, None)
            else:
                self._known[entry.key] = _version(entry)
        return Batch(self.revision, tuple(newest.values())) if newest else None

    @property
    def count(self) -> int:
        """How many keys exist, as far as is known."""
        return len(self._known)

    @property
    def known(self) -> Mapping[str, int]:
        """The modification revision of every key that exists, as far as is known."""
        return {key: revision for key, (revision, _) in self._known.items()}


def _version(entry: Entry) -> tuple[int, int]:
    return entry.mod_revision, hash(entry.value)
