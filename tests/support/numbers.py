"""Processes that get a number of one's choice, as whoever forks often enough does; within the tests' own numbers."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.netns import wait_until

NEXT = Path("/proc/sys/kernel/ns_last_pid")
OTHER = 65534
"""A user without privileges."""
SLEEP = ("sleep", "600")


def as_other(*command: str) -> list[str]:
    """The same command, run by a user without privileges."""
    return ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", *command]


def users(pid: int) -> set[int]:
    """The user IDs of a process, as proc(5) has them."""
    line = Path(f"/proc/{pid}/status").read_text().partition("\nUid:")[2].partition("\n")[0]
    return set(map(int, line.split()))


@contextlib.contextmanager
def numbered(pid: int = 0, command: Sequence[str] = SLEEP) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace of its own that has this number (0: any), while it runs `command`."""
    found: list[subprocess.Popen[bytes]] = []

    def start() -> bool:
        if pid:
            NEXT.write_text(str(pid - 1))
        process = subprocess.Popen(["unshare", "-n", *command], stdin=subprocess.PIPE)
        if pid in (0, process.pid):
            found.append(process)
            return True
        # Another process was started meanwhile.
        _end(process)
        return False

    wait_until(start, f"a process of number {pid}")
    process = found[0]
    try:
        name = Path(command[-2] if command[-1] == SLEEP[-1] else command[0]).name
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == f"{name}\n", f"{name} to run")
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()
