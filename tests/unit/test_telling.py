"""What is told about an interface over time: its history, and the errors that outlive it."""

from __future__ import annotations

import pytest

from vppctl.agent.telling import COUNTERS_A_SECOND, ERRORS, HISTORY, Teller
from vppctl.model.keys import Kind, status_key
from vppctl.reconcile.state import Condition, Link, NetnsId, Reason, State, Statistics


def told(teller: Teller) -> list[tuple[str, int]]:
    (report,) = teller.all(Kind.LINUX)
    return [(error["error"], error["times"]) for error in report["errors"]]


def say(teller: Teller, message: str = "", operations: tuple[str, ...] = ("try",)) -> None:
    """The kernel said this; nothing: it was applied."""
    condition = Condition("a", State.APPLIED)
    if message:
        condition = Condition("a", State.FAILED, Reason.KERNEL_ERROR, message)
    teller.linux(condition, None, 0, {}, operations, 0.001)


def test_errors_outlive_the_history() -> None:
    teller = Teller("x")
    say(teller, "no")
    for _ in range(HISTORY):
        say(teller)
    (report,) = teller.all(Kind.LINUX)
    assert {entry["result"] for entry in report["history"]} == {"APPLIED"}
    assert told(teller) == [("KernelError: no", 1)]


def test_an_error_that_comes_again_is_counted_and_others_are_few() -> None:
    teller = Teller("x")
    for message in ("one", "one", "", "one", "two"):
        say(teller, message)
    assert told(teller) == [("KernelError: one", 3), ("KernelError: two", 1)]
    for number in range(ERRORS):
        say(teller, str(number))
    assert told(teller) == [(f"KernelError: {number}", 1) for number in range(ERRORS)]


def test_looking_again_without_doing_anything_is_no_new_error() -> None:
    teller = Teller("x")
    say(teller, "no")
    say(teller, "no", operations=())
    assert told(teller) == [("KernelError: no", 1)]


def test_a_name_that_is_configured_again_begins_anew() -> None:
    teller = Teller("x")
    say(teller, "no")
    teller.gone(Kind.LINUX, "a")
    say(teller)
    assert told(teller) == []


class Store:
    """Stands in for the publisher's thread: notes what it is offered."""

    def __init__(self) -> None:
        self.offered: list[str] = []

    def offer(self, key: str, content: object) -> None:
        self.offered.append(key)


def test_counters_are_published_a_few_at_a_time_and_nobody_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("vppctl.agent.telling.time.monotonic", lambda: now)
    teller, store = Teller("x"), Store()
    names = [f"a{number}" for number in range(50)]
    for name in names:
        link = Link(NetnsId(1, 2), 3, name)
        teller.linux(Condition(name, State.APPLIED, link=link), None, 0, {}, (), 0.0)
    teller.publisher = store  # type: ignore[assignment]
    for round_ in range(1, 7):
        now += 1.0
        teller.count({name: Statistics(in_packets=round_) for name in names})
        assert len(store.offered) == COUNTERS_A_SECOND * round_
    assert {report["statistics"]["in_packets"] for report in teller.all(Kind.LINUX)} == {6}, "all are known at once"
    assert set(store.offered) == {status_key("x", name) for name in names}, "each in its turn"
    now += 10.0
    store.offered.clear()
    teller.count({name: Statistics(in_packets=6) for name in names})
    teller.count({name: Statistics(in_packets=6) for name in names})
    assert len(store.offered) <= len(names), "what stays the same is not published again"
