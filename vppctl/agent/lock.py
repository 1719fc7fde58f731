"""One agent of a label on a host: a lock file, whose time of change is the agent's pulse.

The lock is the kernel's (fcntl(2), F_SETLK), so it ends with the process, however that ends. The file stays:
removing it would be a race with whoever has just opened it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import time
from pathlib import Path
from typing import Self

from vppctl.errors import VppctlError

PULSE = 5.0
"""Seconds between two beats of an agent with nothing to do."""
STALE = 60.0
"""Seconds without a beat after which the deciding thread counts as hung."""
_LINE = 1 << 16
_FLOCK = struct.Struct("@hhqqi")
"""struct flock on 64 bits (asm-generic/fcntl.h): type, whence, start, length, PID."""


class AgentLock:
    """Held by the agent for as long as it runs."""

    def __init__(self, label: str) -> None:
        """Take the lock. Raises VppctlError, which names the agent that has it, or why there can be none."""
        path = lock_path(label)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise VppctlError(f"{path}: cannot be made: {error.strerror}; run the agent as root") from None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._fd)
            os.close(self._fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise VppctlError(f"{path}: cannot be locked: {error.strerror}") from None
            text = f"an agent of label {label} is already running on this host, as PID {holder}"
            raise VppctlError(f"{text}; stop it, or give this one another --label") from None
        # What an earlier agent has left is overwritten.
        self._written: str | None = None
        self.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def beat(self, troubles: str = "") -> None:
        """Still deciding; `troubles` is one line about what does not work."""
        # One that cannot be written ends nobody: whoever looks at it sees that it is old.
        with contextlib.suppress(OSError):
            os.utime(self._fd)
            if troubles != self._written:
                content = troubles.encode(errors="replace")
                os.pwrite(self._fd, content + b"\n", 0)
                os.ftruncate(self._fd, len(content) + 1)
                self._written = troubles


def pulse(label: str) -> str | None:
    """How the agent of this label is on this host: empty when alive, else what is wrong; None when nothing is known."""
    try:
        fd = os.open(lock_path(label), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        holder = _holder(fd)
        age = time.time() - os.fstat(fd).st_mtime
    finally:
        os.close(fd)
    if not holder:
        return f"no agent of label {label} is running on this host"
    return f"the agent of label {label}, PID {holder}, has decided nothing for {age:.0f} s" if age > STALE else ""


def troubles(label: str) -> str:
    """What does not work for the agent of this label on this host, on one line; empty when all does."""
    try:
        with lock_path(label).open(encoding="utf-8", errors="replace") as file:
            return file.readline(_LINE).strip()
    except OSError:
        return ""


def lock_path(label: str) -> Path:
    """Where the lock of this label is: /run/vppctl for root; a label too long for a file name is a digest."""
    folder = Path("/run/vppctl")
    if os.geteuid():
        folder = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/vppctl-{os.geteuid()}") / "vppctl"  # noqa: S108
    name = label if len(label.encode()) < 200 else hashlib.blake2s(label.encode()).hexdigest()
    return folder / f"agent-{name}.lock"


def _holder(fd: int) -> int:
    """The process that holds the lock; 0 for none. Asking takes nothing."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, question)[: _FLOCK.size])
    return 0 if kind == fcntl.F_UNLCK else int(pid)
