"""What sources have put into the inbox, one event after the other, as the main loop takes it."""

from __future__ import annotations

import queue
from collections import deque
from typing import Generic, TypeVar

E = TypeVar("E")


class Inbox(Generic[E]):
    """Each event stays the first one until it is done: what an error interrupts is taken again, in its order."""

    def __init__(self, events: queue.SimpleQueue[E]) -> None:
        self._events = events
        self._taken: deque[E] = deque()

    def first(self, patience: float) -> E | None:
        """The first event that is not done, waited for as long as `patience` seconds; None: there is none."""
        if not self._taken:
            try:
                self._taken.append(self._events.get(timeout=patience) if patience else self._events.get_nowait())
            except queue.Empty:
                return None
        return self._taken[0]

    def done(self) -> None:
        """The first event is done."""
        self._taken.popleft()

    def holds(self, kind: type[E]) -> bool:
        """Whether an event of this kind waits, wherever it stands."""
        while not self._events.empty():
            self._taken.append(self._events.get_nowait())
        return any(isinstance(event, kind) for event in self._taken)
