"""An error of ours, and memory that has run out: who they concern, and that all others get their links."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.kernel.test_executor import configure, pairs, reconciler_of
from tests.support.netns import links
from vppctl.agent import reconciler as module
from vppctl.linux.nsids import NsidTable
from vppctl.linux.side_by_side import side_by_side
from vppctl.reconcile.state import PairId, Reason, State

pytestmark = pytest.mark.kernel


def break_plan(monkeypatch: pytest.MonkeyPatch, error: Exception, culprit: PairId | None = None) -> None:
    """Planning for this pair (None: for any) ends with `error`."""
    plan = module.plan  # type: ignore[attr-defined]

    def broken(desired: Any, observed: Any, scope: set[PairId], *more: Any) -> Any:
        if culprit in scope or (culprit is None and scope):
            raise error
        return plan(desired, observed, scope, *more)

    monkeypatch.setattr(module, "plan", broken)


def test_an_error_of_ours_concerns_one_pair(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Once, it ended the agent, again after each start."""
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *pairs(9))
    culprit = PairId("a4", "b4")
    with monkeypatch.context() as patch:
        break_plan(patch, KeyError("hunter2"), culprit)
        news = reconciler.run(0.0)
    states = {name: (c.state, c.reason) for name, c in news.items() if c}
    assert states.pop("a4") == states.pop("b4") == (State.FAILED, Reason.KERNEL_ERROR)
    assert news["a4"] is not None
    assert news["a4"].message == "internal error: KeyError; the log has where"
    assert "hunter2" not in news["a4"].message
    assert set(states.values()) == {(State.APPLIED, Reason.NONE)}
    assert set(links("one")) == {f"a{n}" for n in range(9) if n != 4}
    assert "internal error" in caplog.text
    news = reconciler.run(100.0)
    assert news["a4"] is not None
    assert news["a4"].state is State.APPLIED, "it is tried again"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")], ids=["memory", "threads"])
def test_what_has_run_out_is_named_and_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *pairs(2))
    with monkeypatch.context() as patch:
        break_plan(patch, error)
        news = reconciler.run(0.0)
    assert {(c.state, c.reason) for c in news.values() if c} == {(State.FAILED, Reason.RESOURCE_EXHAUSTED)}
    news = reconciler.run(100.0)
    assert {c.state for c in news.values() if c} == {State.APPLIED}
    assert set(links("one")) == {"a0", "a1"}


@pytest.mark.parametrize("room", [0, 3, 100])
def test_work_goes_on_in_as_many_threads_as_there_are(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) >= room:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    done: list[int] = []
    side_by_side(done.append, range(50))
    assert sorted(done) == list(range(50))
    assert len(started) == min(room, 31)
    assert not any(thread.is_alive() for thread in started)

    def fail(number: int) -> None:
        if number == 40:
            raise KeyError(number)

    with pytest.raises(KeyError):
        side_by_side(fail, range(50))
