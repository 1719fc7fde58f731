"""When a pair is looked at again: after a refusal, after others have changed it, and while an address is a duplicate.

Keeps what has to be known of earlier passes for that; the times themselves are the backlog's. Pure: `now` is any
monotonic time in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vppctl.reconcile.backlog import Backlog
from vppctl.reconcile.contention import Contention, Contest, in_words
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.drift import Drift
from vppctl.reconcile.state import Condition, PairId, Reason, State

RETRY_FIRST, RETRY_LAST = 1.0, 8.0
"""Seconds until the kernel looks again for others with an address that was a duplicate: doubled from the first to the
last."""


class Looked(NamedTuple):
    """What a pass has found about one pair."""

    conditions: Sequence[Condition]
    drift: Sequence[Drift] = ()
    """What others have changed."""
    failed: bool = False
    """The kernel has refused something."""
    unsettled: bool = False
    """It did not stay as configured for as long as the pass took."""
    waiting: bool = False
    """It is not as configured, and is not repaired for the pause that it is in."""
    retried: bool = False
    """Addresses that were duplicates were removed and added."""
    blind: bool = False
    """It could not be looked at."""


class _Asked(NamedTuple):
    """What was asked of a pair when it was looked at last: the revisions of its documents, and its namespaces."""

    revisions: tuple[int, ...]
    places: tuple[object, ...]


class _Retry(NamedTuple):
    """When duplicates are tried again, and the pause before that."""

    when: float
    pause: float


@dataclass(slots=True)
class Pacing:
    """Decides over the backlog's times for all pairs."""

    desired: DesiredState
    backlog: Backlog
    _contention: Contention[PairId] = field(default_factory=Contention)
    _asked: dict[PairId, _Asked] = field(default_factory=dict)
    _duplicates: dict[PairId, _Retry] = field(default_factory=dict)

    def doubtful(self) -> frozenset[PairId]:
        """Those that had an address that is a duplicate when they were looked at last."""
        return frozenset(self._duplicates)

    def retried(self, scope: Iterable[PairId], now: float) -> frozenset[PairId]:
        """Those whose duplicates are to be tried again now; also when the pair has changed, which may be the reason."""
        if not self._duplicates:
            return frozenset()
        waiting = {pair: retry for pair in scope if (retry := self._duplicates.get(pair))}
        return frozenset(p for p, retry in waiting.items() if now >= retry.when or self._asked.get(p) != self._asks(p))

    def paused(self, scope: Iterable[PairId], now: float) -> set[PairId]:
        """Those of which others keep changing what is configured, and that are not to be repaired yet."""
        return {
            pair for pair in scope if (c := self._contention.contest(pair)) and now < c.until and self.is_known(pair)
        }

    def is_known(self, pair: PairId) -> bool:
        """Whether the same documents were looked at before, so that what differs was changed by others."""
        before = self._asked.get(pair)
        return before is not None and before.revisions == self._asks(pair).revisions

    def conclude(self, pair: PairId, found: Looked, now: float) -> str:
        """Take account of a look at this pair; what there is to say of others that keep changing it."""
        before, asked = self._asked.get(pair), self._asks(pair)
        contest = self._contest(pair, found, before, asked, now)
        self.backlog.limit(pair, contest.until if contest else 0.0)
        wrong = [condition for condition in found.conditions if condition.state is State.FAILED]
        duplicate = any(condition.reason is Reason.DUPLICATE_ADDRESS for condition in wrong)
        if not duplicate:
            self._duplicates.pop(pair, None)
        if found.failed and not found.unsettled:
            self.backlog.failed(pair, now, blind=found.blind)
        elif contest:
            self.backlog.retry(pair, contest.next_look(now), failed=contest.at == now)
        elif duplicate:
            self._retry(pair, now, tried=found.retried, changed=before != asked)
        elif wrong:
            self.backlog.failed(pair, now)
        else:
            self.backlog.succeeded(pair)
        return str(contest) if contest else ""

    def _contest(self, pair: PairId, found: Looked, before: _Asked | None, asked: _Asked, now: float) -> Contest | None:
        if asked.revisions:
            self._asked[pair] = asked
        else:
            self._asked.pop(pair, None)
        # A namespace that the agent has created again is none that the configuration has moved to.
        moved = before is not None and before.places != asked.places
        moved = moved and not any(drift.attribute == "namespace" for drift in found.drift)
        if before is None or before.revisions != asked.revisions or moved:
            self._contention.forget(pair)
            if not found.unsettled:
                return None
        if found.waiting:
            self._contention.seen(pair, in_words(found.drift))
        elif found.drift or found.unsettled:
            self._contention.repaired(pair, now, in_words(found.drift), unsettled=found.unsettled)
        elif not found.failed:
            self._contention.held(pair, now)
        return self._contention.contest(pair)

    def _retry(self, pair: PairId, now: float, *, tried: bool, changed: bool) -> None:
        retry = self._duplicates.get(pair)
        if retry is None or tried or changed:
            pause = min(RETRY_LAST, retry.pause * 2.0) if retry and not changed else RETRY_FIRST
            self._duplicates[pair] = _Retry(now + pause, pause)
            self.backlog.retry(pair, now + pause)

    def _asks(self, pair: PairId) -> _Asked:
        desired, revisions, places = self.desired, [], []
        for name in desired.members(pair):
            revisions.append(desired.configured[name].revision)
            if interface := desired.interface(name):
                places.append(desired.place(interface))
        return _Asked(tuple(revisions), tuple(places))
