"""The work queue: which pairs to look at, and when. Forgets duplicates; failures come back with backoff. No clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vppctl.reconcile.state import PairId

BACKOFF_FIRST = 0.5
BACKOFF_LAST = 60.0
"""Seconds until a failed pair is tried again: doubled from the first to the last."""


@dataclass(slots=True)
class Backlog:
    """Pairs that are due now or later. `now` is any monotonic time in seconds."""

    _now: set[PairId] = field(default_factory=set)
    _later: dict[PairId, float] = field(default_factory=dict)
    _failures: dict[PairId, int] = field(default_factory=dict)

    def add(self, pairs: Iterable[PairId]) -> None:
        """Look at these as soon as possible."""
        self._now.update(pairs)

    def soon(self, pairs: Iterable[PairId], now: float, delay: float) -> None:
        """Look at these within `delay` seconds, so that a burst of reasons makes one pass."""
        for pair in pairs:
            self._later[pair] = min(self._later.get(pair, now + delay), now + delay)

    def due(self, now: float) -> set[PairId]:
        """Take out all that is due."""
        ripe = {pair for pair, when in self._later.items() if when <= now}
        for pair in ripe:
            del self._later[pair]
        pairs, self._now = self._now | ripe, set()
        return pairs

    def failed(self, pair: PairId, now: float) -> None:
        """Try this one again after a pause that doubles with each failure."""
        count = self._failures.get(pair, 0)
        self._failures[pair] = count + 1
        self._later[pair] = now + min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(count, 16))

    def succeeded(self, pair: PairId) -> None:
        """Nothing is wrong with this one any more."""
        self._failures.pop(pair, None)
        self._later.pop(pair, None)

    def retries(self, pair: PairId) -> int:
        """How often in a row the pair has failed."""
        return self._failures.get(pair, 0)

    def wait(self, now: float) -> float | None:
        """Seconds until something is due; None when nothing is."""
        if self._now:
            return 0.0
        return max(0.0, min(self._later.values()) - now) if self._later else None
