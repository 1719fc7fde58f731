"""Limits of the kernel for one process: a control group of its own, so that nobody else runs short."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import wait_until

ROOT = Path("/sys/fs/cgroup")


class Tasks:
    """How many threads and processes there may be in a control group (pids.max)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, number: int | str) -> None:
        """At most so many from now on; `max`: as many as one likes."""
        (self.folder / "pids.max").write_text(str(number))

    @property
    def number(self) -> int:
        return int((self.folder / "pids.current").read_text())

    def take(self, pid: int) -> None:
        """Move a process in, with all its threads."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def command(self, *command: str) -> list[str]:
        """The command, in the group from its first instruction on."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs; exec "$@"', "sh", *command]


@contextlib.contextmanager
def tasks() -> Iterator[Tasks]:
    """A group for processes whose number is limited; they must have ended at the end."""
    for root in (ROOT / "pids", ROOT):
        folder = root / f"vppctl-test-{os.urandom(4).hex()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / "pids.max").exists():
                break
            folder.rmdir()
    else:
        pytest.skip("needs a control group with the pids controller")
    group = Tasks(folder)
    try:
        yield group
    finally:
        wait_until(lambda: group.number == 0, "the group to be empty")
        folder.rmdir()
