"""How often what another program changes again and again is set right. Pure: `now` is any monotonic time in seconds.

Drift is repaired at once, and events say where to look: together they would set right what a udev rule or a script
undoes each time, twenty times a second for ever. So each object has a few repairs that are made at once. Then pauses
follow, in which events do not count, until a repair has held for a while.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vppctl.reconcile.drift import ELSEWHERE, Drift

K = TypeVar("K", bound=Hashable)

BURST = 5.0
"""Repairs of one and the same change that are made at once ..."""
BURST_ALL = 20.0
"""... and of all changes together: whoever changes something else each time undoes nothing again and again ..."""
REGAIN = 10.0
"""... and the seconds after which there is one more."""
PAUSE_FIRST, PAUSE_LAST = 1.0, 10.0
"""Seconds between repairs from then on: doubled from the first to the last."""
HOLD = 5.0
"""Seconds that a repair is to hold, or as long as the pause behind it if that is shorter, to end the pause."""
QUIET = 60.0
"""Seconds without a repair after which all is forgotten."""
NAMED = 3
"""Changes that are named in one message."""


@dataclass(slots=True)
class Contest:
    """What is known of one object that is changed again and again."""

    since: float
    at: float
    """When it was repaired last."""
    level: float = 0.0
    """Repairs that are not regained yet."""
    levels: dict[str, float] = field(default_factory=dict)
    """The same for each change, in words."""
    times: int = 0
    """All repairs."""
    pause: float = 0.0
    until: float = 0.0
    """The end of the pause; 0: there is none."""
    hold: float = 0.0
    """When it is looked at in the pause."""
    changes: str = ""
    """What was changed, in words."""

    def count(self, now: float, changes: str) -> float:
        """One more repair; how many of these changes are not regained yet."""
        regained = (now - self.at) / REGAIN
        self.level = max(0.0, self.level - regained) + 1.0
        self.levels = {change: left for change, level in self.levels.items() if (left := level - regained) > 0.0}
        self.levels[changes] = self.levels.get(changes, 0.0) + 1.0
        return self.levels[changes]

    def next_look(self, now: float) -> float:
        """When it is looked at next: whether the repair has held, and then to repair it again."""
        return self.hold if now < self.hold else self.until

    def __str__(self) -> str:
        """For people."""
        seconds = max(1, round(self.at - self.since))
        counted = f"repaired {self.times} times in {seconds} s, next in {round(self.pause)} s"
        return f"something else keeps changing it: {self.changes}; {counted}"


@dataclass(slots=True)
class Contention(Generic[K]):
    """The objects that were repaired lately."""

    _contests: dict[K, Contest] = field(default_factory=dict)

    def repaired(self, key: K, now: float, changes: str, *, unsettled: bool = False) -> None:
        """Count a repair of this one; `unsettled`: it did not even stay as configured for as long as that took."""
        contest = self._contests.get(key)
        if contest is None or now - contest.at > QUIET:
            contest = self._contests[key] = Contest(now, now)
        same = contest.count(now, changes)
        contest.at, contest.times, contest.changes = now, contest.times + 1, changes
        if contest.until or same > BURST or contest.level > BURST_ALL or unsettled:
            contest.levels[changes] = max(same, BURST)
            contest.pause = min(PAUSE_LAST, max(PAUSE_FIRST, contest.pause * 2.0))
            contest.until, contest.hold = now + contest.pause, now + min(contest.pause, HOLD)

    def held(self, key: K, now: float) -> None:
        """Note that this one is as configured: a repair that has held long enough ends the pause."""
        contest = self._contests.get(key)
        if contest is None:
            return
        if now >= contest.hold:
            contest.until = 0.0
        if now - contest.at > QUIET:
            del self._contests[key]

    def seen(self, key: K, changes: str) -> None:
        """Note what this one, which is not repaired at present, is like."""
        if (contest := self._contests.get(key)) and changes:
            contest.changes = changes

    def forget(self, key: K) -> None:
        """Something else is asked for now, or nothing any more."""
        self._contests.pop(key, None)

    def contest(self, key: K) -> Contest | None:
        """What there is to say about one that is in a pause."""
        contest = self._contests.get(key)
        return contest if contest and contest.until else None


def in_words(drifts: Iterable[Drift]) -> str:
    """What somebody else has done, from the differences that it makes."""
    words = list(dict.fromkeys(_in_words(drift) for drift in drifts))
    more = [f"and {len(words) - NAMED} more changes"] if len(words) > NAMED else []
    return ", ".join([*words[:NAMED], *more])


def _in_words(drift: Drift) -> str:
    name, configured, found = drift.name, drift.configured, drift.found
    match drift.attribute:
        case "link" if found.endswith(ELSEWHERE):
            return f"link {configured!r} is moved to another namespace"
        case "link" if found:
            return f"link {configured!r} is renamed to {found!r}"
        case "link":
            return f"link {configured!r} is deleted"
        case "interface":
            return f"interface {name!r} is {'deleted' if configured else 'added'}"
        case "namespace":
            return f"namespace {configured!r} is deleted"
        case "ip_addresses" if configured and found:
            return f"address {configured} of {name!r} is replaced by '{found}'"
        case "ip_addresses":
            return f"address {configured or found} of {name!r} is {'removed' if configured else 'added'}"
        case "up":
            return f"{name!r} is set {'up' if found == 'True' else 'down'}"
    return f"{drift.attribute} of {name!r} is set to {found or 'nothing'} instead of {configured}"
