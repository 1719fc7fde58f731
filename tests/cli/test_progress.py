"""Progress on a terminal: only there, only after a second, and nothing of it stays."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db", "TERM": "xterm", "COLUMNS": "80"}, tmp_path)


def on_terminal(vppctl: Vppctl, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, and what a terminal at standard error was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        vppctl.command("vppctl", arguments), env=vppctl.environment, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # EIO: the other side is closed.
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read().decode()
    return process.wait(20), output, shown.decode()


def test_a_wait_of_more_than_a_second_shows_how_far_it_is(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"), veth("b", "a"))
    code, output, shown = on_terminal(vppctl, "wait", "a", "b", "--for", "applied", "--timeout", "2s")
    assert (code, output) == (6, "")
    assert "waiting for the agent" in shown
    assert "0/2" in shown
    # The last thing is the error, on a line that was cleared (ECMA-48 EL).
    assert "\x1b[2K" in shown
    assert shown.rpartition("\x1b[2K")[2].lstrip("\r").startswith("timed out after 2 s\r\n")


def test_what_is_quick_shows_nothing(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"), veth("b", "a"))
    code, _, shown = on_terminal(vppctl, "wait", "a", "--for", "applied", "--timeout", "300ms")
    assert code == 6
    assert shown.startswith("timed out after 0.3 s\r\n")
    assert "\x1b" not in shown


def test_a_pipe_is_shown_nothing(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"), veth("b", "a"))
    result = vppctl.run("wait", "a", "--for", "applied", "--timeout", "1500ms")
    assert result.stderr.startswith("timed out after 1.5 s\n")
    assert "\x1b" not in result.stderr
