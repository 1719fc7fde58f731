"""The mirror, the backlog and the audit, by cases: clocks and stores are numbers here."""

from __future__ import annotations

import itertools

import pytest

from vppctl.reconcile import mirror as mirror_module
from vppctl.reconcile.backlog import AUDIT, AUDIT_RATE, BACKOFF_FIRST, BACKOFF_LAST, SLICE, Audit, Backlog
from vppctl.reconcile.mirror import (
    Alive,
    Batch,
    Broken,
    Changed,
    Compacted,
    Entry,
    Listed,
    ListRequest,
    Mirror,
    Progress,
    WatchRequest,
)
from vppctl.reconcile.state import PairId


def entry(key: str, revision: int, value: bytes | None = b"x") -> Entry:
    return Entry(key, value, revision)


def test_the_mirror_lists_then_watches_and_hides_repeats() -> None:
    mirror = Mirror()
    assert mirror.request() == ListRequest()
    batch = mirror.feed(Listed(7, (entry("a", 3), entry("b", 5))))
    assert batch == Batch(7, (entry("a", 3), entry("b", 5)), full=True)
    assert mirror.request() == WatchRequest(8)
    assert mirror.feed(Changed(8, (entry("a", 8, None), entry("c", 8)))) == Batch(
        8, (entry("a", 8, None), entry("c", 8))
    )
    assert mirror.feed(Changed(8, (entry("c", 8),))) is None
    assert mirror.known == {"b": 5, "c": 8}
    assert mirror.feed(Progress(20)) is None
    assert mirror.request() == WatchRequest(21)


def test_after_a_break_and_after_a_compaction_the_mirror_lists() -> None:
    mirror = Mirror()
    mirror.feed(Listed(7, (entry("a", 3), entry("b", 5))))
    mirror.feed(Broken("away"))
    assert (mirror.ready, mirror.error) == (False, "away")
    assert mirror.request() == ListRequest(0.1)
    mirror.feed(Broken("away"))
    assert mirror.request() == ListRequest(0.2)
    refilled = entry("b", 5, b"other")
    assert mirror.feed(Listed(8, (entry("a", 3), refilled))) == Batch(8, (refilled,), full=True)
    mirror.feed(Alive())
    mirror.feed(Compacted())
    assert mirror.request() == ListRequest()
    assert mirror.feed(Listed(9, (refilled, entry("c", 9)))) == Batch(
        9, (entry("a", 9, None), entry("c", 9)), full=True
    )
    assert (mirror.ready, mirror.request()) == (True, WatchRequest(10))


@pytest.mark.parametrize("ending", [Broken("no inotify"), Compacted()], ids=["broken", "compacted"])
def test_a_watch_that_ends_at_once_is_tried_later_and_later(ending: Broken | Compacted) -> None:
    """Once, each list that succeeded began the backoff anew: ten rounds a second, or 700 after compactions."""
    mirror, pauses = Mirror(), []
    for _ in range(12):
        request = mirror.request()
        assert isinstance(request, ListRequest)
        pauses.append(request.delay)
        mirror.feed(Listed(7, ()))
        assert mirror.request() == WatchRequest(8)
        mirror.feed(ending)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.0, mirror_module.BACKOFF_LAST)
    mirror.feed(Listed(7, ()))
    assert mirror.error == getattr(ending, "message", "")
    mirror.feed(Alive())
    assert (mirror.ready, mirror.error) == (True, "")
    mirror.feed(ending)
    request = mirror.request()
    assert isinstance(request, ListRequest)
    assert request.delay <= mirror_module.BACKOFF_FIRST


def test_a_store_that_counts_anew_is_listed_whole() -> None:
    mirror = Mirror()
    mirror.feed(Listed(90, (entry("a", 3), entry("b", 5))))
    mirror.feed(Progress(2))
    assert isinstance(mirror.request(), ListRequest)
    assert mirror.feed(Listed(4, (entry("a", 3),))) == Batch(4, (entry("b", 4, None), entry("a", 3)), full=True)


def test_what_is_looked_at_again_delays_what_was_put_by_a_slice_at_most() -> None:
    backlog, put = Backlog(), PairId("x", "y")
    events = [PairId(f"a{n:03}", f"b{n:03}") for n in range(2 * SLICE + 1)]
    backlog.soon(events, 0.0, 0.0)
    backlog.add([put])
    first = backlog.due(1.0)
    assert put in first
    assert len(first) == SLICE + 1
    assert backlog.wait(1.0) == 0.0
    assert first | backlog.due(1.0) | backlog.due(1.0) == {*events, put}
    assert backlog.wait(1.0) is None


@pytest.mark.parametrize(("count", "seconds"), [(1, AUDIT), (10, AUDIT), (1000, AUDIT), (5000, 5000 / AUDIT_RATE)])
def test_an_audit_takes_its_time_and_leaves_nobody_out(count: int, seconds: float) -> None:
    pairs = {PairId(f"a{n}", f"b{n}") for n in range(count)}
    audit, now = Audit(0.0), 0.0
    seen: list[PairId] = []
    began: list[float] = []
    while len(began) < 3:
        now = max(now, audit.due)
        if audit.begins(now):
            began.append(now)
            audit.start(pairs)
        seen += audit.take(now)
        assert audit.take(now) == []
    assert sorted(seen[: 2 * count]) == sorted([*pairs, *pairs])
    assert began[0] == AUDIT
    for before, after in itertools.pairwise(began):
        assert seconds <= after - before < seconds + SLICE / AUDIT_RATE


def test_the_backlog_forgets_duplicates_and_comes_back_later_and_later() -> None:
    backlog, pair, other = Backlog(), PairId("a", "b"), PairId("c", "d")
    backlog.add([pair, pair, other])
    assert backlog.wait(0.0) == 0.0
    assert backlog.due(0.0) == {pair, other}
    assert (backlog.due(0.0), backlog.wait(0.0)) == (set(), None)
    now, pauses = 0.0, []
    for _ in range(12):
        backlog.failed(pair, now)
        wait = backlog.wait(now)
        assert wait is not None
        assert backlog.due(now + wait - 0.01) == set()
        now += wait
        assert backlog.due(now) == {pair}
        pauses.append(wait)
    assert pauses[0] == BACKOFF_FIRST
    assert pauses[-1] == BACKOFF_LAST
    assert sorted(pauses) == pauses
    assert backlog.retries(pair) == 12
    backlog.succeeded(pair)
    assert (backlog.retries(pair), backlog.wait(now)) == (0, None)
    backlog.failed(other, now)
    backlog.soon([other], now, 0.0)
    backlog.looked_at([other])
    assert backlog.due(now) == set(), "looked at, and its pause goes on"
    assert backlog.due(now + BACKOFF_FIRST) == {other}
    backlog.succeeded(other)
    backlog.soon([pair], now, 0.5)
    backlog.soon([pair], now, 0.1)
    assert backlog.wait(now) == pytest.approx(0.1)
