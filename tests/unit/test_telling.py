"""What is told about an interface over time: its history, and the errors that outlive it."""

from __future__ import annotations

from vppctl.agent.telling import ERRORS, HISTORY, Teller
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Condition, Reason, State


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
