"""The embedded store's watch: looks at the history after each event of the file, and when a lease ends."""

from __future__ import annotations

import time
from typing import Protocol

from vppctl.errors import StoreError
from vppctl.store.base import Bounds, Changed, Compacted, Progress
from vppctl.store.inotify import FolderWatch

SAFETY = 5.0
"""Seconds after which a watcher looks even without an event."""
SOON, SOON_LAST = 0.002, 1.0
"""Seconds after an event until the next look, doubled each time. The event comes when a transaction is written, and
others see it only once it is on the disk (fdatasync(2)), of which there is no event."""


class History(Protocol):
    """What a watch needs of the store."""

    path: str
    description: str

    def changes(self, prefix: str, revision: int, bounds: Bounds) -> Changed | Compacted | Progress:
        """What happened from `revision` on; Progress when nothing did."""

    def end_leases(self) -> tuple[frozenset[int], float]:
        """End those that are over; what could not be ended, and the seconds until the next one is over."""


class SqliteWatch:
    """Looks at the history after each event of the file, and when a lease ends."""

    def __init__(self, store: History, prefix: str, revision: int, over: frozenset[int], bounds: Bounds) -> None:
        """`over`: leases whose keys the list before did not have, although nobody could write that they are gone."""
        self._store, self._prefix, self._revision, self._over, self._bounds = store, prefix, revision, over, bounds
        self._closed = False
        self._soon = float("inf")
        """Seconds until the next look without an event."""
        try:
            # Before the first look, so that nothing falls in between.
            self._events = FolderWatch(store.path)
        except OSError as error:
            raise StoreError(f"{store.description}: {error.strerror}") from None

    def next(self, timeout: float) -> Changed | Progress | Compacted | None:
        deadline = time.monotonic() + timeout
        while not self._closed:
            over, next_end = self._store.end_leases()
            if over - self._over:
                # They cannot be deleted from a store that cannot be written; a list leaves them out.
                return Compacted()
            message = self._store.changes(self._prefix, self._revision, self._bounds)
            if isinstance(message, Changed | Compacted):
                if isinstance(message, Changed):
                    self._revision = message.revision + 1
                return message
            if message.revision < self._revision - 1:
                # What we know is from another history: a backup was restored into the file.
                return message
            # The history may have been compacted up to here by the time of the next look.
            self._revision = max(self._revision, message.revision + 1)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if self._events.wait(max(0.0, min(left, SAFETY, next_end + 0.001, self._soon))):
                self._soon = SOON
            else:
                self._soon = 2 * self._soon if self._soon < SOON_LAST else float("inf")
        return None

    def close(self) -> None:
        self._closed = True
        self._events.close()
