"""Sources that fail: reported in log, metric, health and heartbeat, started again, and nobody else is ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.support.netns import wait_until
from vppctl.agent import supervisor as module
from vppctl.agent.supervisor import Supervisor
from vppctl.errors import StoreError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_FIRST", 0.01)
    monkeypatch.setattr(module, "BACKOFF_LAST", 0.05)
    monkeypatch.setattr(module, "SETTLED", 0.1)


class Failing:
    """A source that fails some times, and then runs."""

    def __init__(self, error: Exception | None, times: int) -> None:
        self.error, self.times, self.begun = error, times, 0
        self.end = threading.Event()

    def run(self) -> None:
        self.begun += 1
        if self.begun <= self.times:
            if self.error:
                raise self.error
            return
        self.end.wait()


def tended(supervisor: Supervisor, condition: Callable[[], object]) -> Callable[[], object]:
    """The condition, asked after the supervisor was tended as the main loop does."""

    def ask() -> object:
        supervisor.tend(time.monotonic())
        return condition()

    return ask


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyError("hunter2"), "KeyError"),
        (MemoryError(), "Cannot allocate memory"),
        (RuntimeError("can't start new thread"), "there are no more threads; raise TasksMax="),
        (OSError(24, "Too many open files"), "Too many open files; raise LimitNOFILE="),
        (BlockingIOError(11, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
        (StoreError("ca.pem: cannot be read"), "ca.pem: cannot be read"),
        (None, "it has ended"),
    ],
    ids=["bug", "memory", "threads", "descriptors", "blocking", "store", "end"],
)
def test_one_that_fails_is_started_again_and_others_go_on(
    error: Exception | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, any of these ended the agent."""
    news: list[bool] = []
    supervisor = Supervisor(lambda: news.append(True))
    bad, good = Failing(error, 3), Failing(None, 0)
    supervisor.start("good", good.run)
    supervisor.start("bad", bad.run)
    wait_until(tended(supervisor, lambda: bad.begun == 4), "it to run at last")
    trouble = supervisor.troubles()["bad"]
    assert trouble.why.startswith(f"has failed: {why}")
    assert trouble.since <= time.time()
    assert "hunter2" not in trouble.why
    assert (supervisor.up(), supervisor.failures["bad"]) == ({"bad": False, "good": True}, 3)
    assert "source bad has failed" in caplog.text
    wait_until(tended(supervisor, lambda: not supervisor.troubles()), "it to count as well again")
    assert (good.begun, len(news)) == (1, 4)
    for source in (good, bad):
        source.end.set()
    supervisor.stop(5)


def test_a_thread_that_cannot_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, source = Supervisor(lambda: None), Failing(None, 0)
    with monkeypatch.context() as patch:

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        supervisor.start("source", source.run)
        assert "there are no more threads" in supervisor.troubles()["source"].why
        assert supervisor.wait(time.monotonic()) <= module.BACKOFF_FIRST
    wait_until(tended(supervisor, lambda: source.begun), "it to be started")
    source.end.set()


def test_the_pause_grows_and_begins_anew_after_a_time_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, source = Supervisor(lambda: None), Failing(KeyError(), 1000)
    monkeypatch.setattr(module, "BACKOFF_LAST", 60.0)
    supervisor.start("source", source.run)
    pauses = []
    for number in range(1, 6):
        wait_until(lambda: supervisor.failures["source"] == number, "it to fail")  # noqa: B023
        pauses.append(supervisor._sources["source"].pause)
        supervisor._sources["source"].due = 0.0
        supervisor.tend(time.monotonic())
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16]
    wait_until(lambda: supervisor.failures["source"] == 6, "it to fail")
    source.times = source.begun
    supervisor._sources["source"].due = 0.0
    supervisor.tend(time.monotonic())
    wait_until(lambda: source.begun == 7, "it to run")
    supervisor._sources["source"].began -= module.SOUND
    source.end.set()
    wait_until(lambda: supervisor.failures["source"] == 7, "it to end")
    assert supervisor._sources["source"].pause == 0.01


def test_a_peer_that_is_away_is_reported_once_and_since_when() -> None:
    news: list[bool] = []
    supervisor = Supervisor(lambda: news.append(True))
    supervisor.note("store", "")
    assert news == []
    supervisor.note("store", "refused")
    since = supervisor.troubles()["store"].since
    supervisor.note("store", "refused")
    supervisor.note("store", "timed out")
    assert supervisor.troubles()["store"] == ("timed out", since, False)
    assert (len(news), supervisor.failures["store"], supervisor.up()) == (2, 1, {"store": False})
    supervisor.note("store", "")
    assert (supervisor.troubles(), supervisor.up()) == ({}, {"store": True})
