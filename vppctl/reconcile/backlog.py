"""The work queue: which pairs to look at, and when. Forgets duplicates; failures come back with backoff. No clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from vppctl.reconcile.state import PairId

BACKOFF_FIRST = 0.5
BACKOFF_LAST = 60.0
"""Seconds until a failed pair is tried again: doubled from the first to the last."""
BLIND = 5.0
"""Seconds for which events bring about no look at a pair that cannot be looked at, unless it is tried again before."""
SLICE = 64
"""Pairs that are looked at again in one pass: what was put waits for them, and for no more."""
LOOKS = 20.0
"""Looks at one pair that events bring about at once ..."""
LOOKS_REGAIN = 1.0
"""... and the seconds after which there is one more: what is changed without end is looked at once a second."""
LOOKS_KEPT = 1000
"""Pairs whose looks are counted, beyond which those are forgotten that have regained all of them."""
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
    _limits: dict[PairId, float] = field(default_factory=dict)
    """Those that no event brings about a look at before this time."""
    _looks: dict[PairId, tuple[float, float]] = field(default_factory=dict)
    """How many looks events have brought about that are not regained yet, and when the last one was."""

    def add(self, pairs: Iterable[PairId]) -> None:
        """Look at these as soon as possible."""
        self._now.update(pairs)

    def again(self, pairs: Iterable[PairId]) -> None:
        """Look at these as soon as their limits allow."""
        for pair in pairs:
            if pair in self._limits:
                self._later[pair] = self._limits[pair]
            else:
                self._now.add(pair)

    def soon(self, pairs: Iterable[PairId], now: float, delay: float) -> None:
        """Look at these within `delay` seconds, so that a burst of reasons makes one pass, or later as limits have it.

        For events, which may come without end.
        """
        for pair in pairs:
            when = max(now + delay, self._limits.get(pair, 0.0))
            if pair in self._looks and (excess := self._level(pair, now) + 1.0 - LOOKS) > 0.0:
                when = max(when, now + excess * LOOKS_REGAIN)
            self._later[pair] = min(self._later.get(pair, when), when)

    def due(self, now: float) -> set[PairId]:
        """Take out what is due: all that was added, and of the rest a slice."""
        pairs, self._now = self._now, set()
        for waiting in (self._again, self._later):
            ripe = list(islice((pair for pair, when in waiting.items() if when <= now), SLICE))
            for pair in ripe:
                del waiting[pair]
                if waiting is self._later:
                    self._looks[pair] = (self._level(pair, now) + 1.0, now)
            pairs.update(ripe)
        if len(self._looks) > LOOKS_KEPT:
            self._looks = {pair: look for pair, look in self._looks.items() if self._level(pair, now) > 0.0}
        return pairs

    def _level(self, pair: PairId, now: float) -> float:
        level, at = self._looks.get(pair, (0.0, now))
        return max(0.0, level - (now - at) / LOOKS_REGAIN)

    def looked_at(self, pairs: Iterable[PairId]) -> None:
        """These are being looked at now: the reasons to do so are answered."""
        for pair in pairs:
            self._later.pop(pair, None)

    def failed(self, pair: PairId, now: float, *, blind: bool = False) -> None:
        """Try this one again after a pause that doubles with each failure.

        `blind`: it could not even be looked at, and the attempt may have been a large one.
        """
        count = self._failures.get(pair, 0)
        self._failures[pair] = count + 1
        pause = min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(count, 16))
        self._again[pair] = now + pause
        if blind:
            self.limit(pair, now + min(BLIND, pause))

    def retry(self, pair: PairId, when: float, *, failed: bool = True) -> None:
        """Try this one again at this time, and not by the pauses of `failed`; whether that is one more failure."""
        self._failures[pair] = self._failures.get(pair, 0) + failed
        self._again[pair] = when

    def limit(self, pair: PairId, until: float) -> None:
        """No event brings about a look at this one before that time; 0: there is no limit any more."""
        if until:
            self._limits[pair] = until
        else:
            self._limits.pop(pair, None)

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
