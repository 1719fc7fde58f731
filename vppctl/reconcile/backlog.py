"""The work queue: which pairs to look at, and when. Forgets duplicates; failures come back with backoff. No clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from vppctl.reconcile.state import PairId

BACKOFF_FIRST = 0.5
BACKOFF_LAST = 60.0
"""Seconds until a failed pair is tried again: doubled from the first to the last."""
SLICE = 64
"""Pairs that are looked at again in one pass: what was put waits for them, and for no more."""
AUDIT = 60.0
"""Seconds in which all pairs are looked at once, in case an event was missed ..."""
AUDIT_RATE = 25.0
"""... but no more than so many a second, so that many pairs take longer and no more of the processor."""


@dataclass(slots=True)
class Backlog:
    """Pairs that are due now or later. `now` is any monotonic time in seconds."""

    _now: set[PairId] = field(default_factory=set)
    _later: dict[PairId, float] = field(default_factory=dict)
    _again: dict[PairId, float] = field(default_factory=dict)
    """Those that have failed, and when they are tried again."""
    _failures: dict[PairId, int] = field(default_factory=dict)

    def add(self, pairs: Iterable[PairId]) -> None:
        """Look at these as soon as possible."""
        self._now.update(pairs)

    def soon(self, pairs: Iterable[PairId], now: float, delay: float) -> None:
        """Look at these within `delay` seconds, so that a burst of reasons makes one pass."""
        when = now + delay
        for pair in pairs:
            self._later[pair] = min(self._later.get(pair, when), when)

    def due(self, now: float) -> set[PairId]:
        """Take out what is due: all that was added, and of the rest a slice."""
        pairs, self._now = self._now, set()
        for waiting in (self._again, self._later):
            ripe = list(islice((pair for pair, when in waiting.items() if when <= now), SLICE))
            for pair in ripe:
                del waiting[pair]
            pairs.update(ripe)
        return pairs

    def looked_at(self, pairs: Iterable[PairId]) -> None:
        """These are being looked at now: the reasons to do so are answered."""
        for pair in pairs:
            self._later.pop(pair, None)

    def failed(self, pair: PairId, now: float) -> None:
        """Try this one again after a pause that doubles with each failure."""
        count = self._failures.get(pair, 0)
        self._failures[pair] = count + 1
        self._again[pair] = now + min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(count, 16))

    def succeeded(self, pair: PairId) -> None:
        """Nothing is wrong with this one any more."""
        self._failures.pop(pair, None)
        self._again.pop(pair, None)

    def retries(self, pair: PairId) -> int:
        """How often in a row the pair has failed."""
        return self._failures.get(pair, 0)

    def wait(self, now: float) -> float | None:
        """Seconds until something is due; None when nothing is."""
        if self._now:
            return 0.0
        firsts = [min(waiting.values()) for waiting in (self._again, self._later) if waiting]
        return max(0.0, min(firsts) - now) if firsts else None


class Audit:
    """Goes round all pairs for ever, a slice at a time."""

    def __init__(self, now: float) -> None:
        self.due = now + AUDIT
        """When the next slice is to be taken."""
        self._left: list[PairId] = []
        self._pause = AUDIT

    def begins(self, now: float) -> bool:
        """Whether it is time for a new round, which `start` begins."""
        return now >= self.due and not self._left

    def start(self, pairs: Iterable[PairId]) -> None:
        """Begin a round with these."""
        self._left = sorted(pairs, reverse=True)
        slices = max(1, -(-len(self._left) // SLICE))
        self._pause = max(AUDIT / slices, min(len(self._left), SLICE) / AUDIT_RATE)

    def take(self, now: float) -> list[PairId]:
        """The slice that is due at `now`; none before."""
        if now < self.due:
            return []
        self.due = now + self._pause
        taken, self._left = self._left[-SLICE:], self._left[:-SLICE]
        return taken
