"""One agent of a label on a host: a lock file, whose time of change is the agent's pulse, and a name beside it.

The lock is the kernel's (fcntl(2), F_SETLK), so it ends with the process, however that ends. The file stays:
removing it would be a race with whoever has just opened it. The name, an abstract socket, is there for agents that
share the network namespace and not the file, as in two containers. One that shares neither is found by its lock, as
long as its process is seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple, Self

from vppctl.agent.run_folder import ForeignFileError, digest, file_of, open_own, run_path
from vppctl.errors import VppctlError, cause

log = logging.getLogger("vppctl.agent")

PULSE = 5.0
"""Seconds between two beats of an agent with nothing to do."""
STALE = 60.0
"""Seconds without a beat after which the deciding thread counts as hung."""
_LINE = 1 << 16
_FLOCK = struct.Struct("@hhqqi")
"""struct flock on 64 bits (asm-generic/fcntl.h): type, whence, start, length, PID."""


_CREDENTIALS = struct.Struct("@iII")
"""struct ucred (unix(7)): PID, UID, GID; a PID that this PID namespace does not have is 0."""
_TIMEVAL = struct.Struct("@ll")
"""struct timeval: seconds and microseconds."""
PENDING = 128
"""Connections to the name that may wait until the next beat."""
STARTING = 0.05
"""Seconds that an agent may take between binding its name and listening there."""


class AgentLock:
    """Held by the agent for as long as it runs."""

    def __init__(self, label: str) -> None:
        """Take the lock. Raises VppctlError, which names the agent that has it, or why there can be none."""
        path = lock_path(label)
        try:
            self._fd = open_own(path.name, os.O_RDWR | os.O_CREAT, create=True)
        except ForeignFileError as error:
            raise VppctlError(f"{path}: cannot be made: {error.strerror}") from None
        except OSError as error:
            raise VppctlError(f"{path}: cannot be made: {_fix(error)}") from None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._name = _take_name(label)
            try:
                _refuse_another(label)
            except VppctlError:
                if self._name:
                    self._name.close()
                raise
        except OSError as error:
            holder = _holder(self._fd)
            os.close(self._fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise VppctlError(f"{path}: cannot be locked: {error.strerror}") from None
            raise _running(label, f"as PID {holder}") from None
        except VppctlError:
            os.close(self._fd)
            raise
        # What an earlier agent has left is overwritten.
        self._written: str | None = None
        self.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._name:
            self._name.close()
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
        if self._name:
            # Whoever has asked who has the name knows by now. BlockingIOError: nobody waits any more.
            with contextlib.suppress(OSError):
                for _ in range(PENDING):
                    self._name.accept()[0].close()


def _take_name(label: str) -> socket.socket | None:
    """Bind the label's name in this network namespace: there an agent is found that has a /run of its own.

    Raises VppctlError when an agent has it. Anybody may bind such a name; another user's process that has it stops
    nobody (None), and the lock file alone counts.
    """
    deadline = time.monotonic() + STARTING
    while True:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            name.bind(_address(label))
            name.listen(PENDING)
        except OSError as error:
            name.close()
            if error.errno != errno.EADDRINUSE:
                log.warning("an agent with a /run of its own is not noticed: %s", error.strerror)
                return None
        else:
            return name
        owner = _owner(label)
        if owner and owner.uid in (0, os.geteuid()):
            who = f"as PID {owner.pid}" if owner.pid else "in another PID namespace"
            raise _running(label, f"{who}, with a /run of its own")
        if owner or time.monotonic() > deadline:
            whose = f"process {owner.pid} of user {owner.uid}" if owner else "another process"
            log.warning(
                "%s has the name @%s; an agent with a /run of its own is not noticed", whose, _address(label)[1:]
            )
            return None
        time.sleep(STARTING / 10)


class _Owner(NamedTuple):
    """The process that listens at a label's name."""

    pid: int
    uid: int


def _owner(label: str) -> _Owner | None:
    """Who has the label's name in this network namespace, as the kernel knows it; None when nobody can be seen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        # Others may have asked so often that only the next beat makes room.
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(PULSE) + 1, 0))
        try:
            asking.connect(_address(label))
            found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return _Owner(pid, uid)


def _address(label: str) -> str:
    """An abstract address (unix(7)): of a network namespace, and gone with the process."""
    # At most 107 bytes.
    return f"\0vppctl-agent-{label if len(label.encode()) < 90 else digest(label)}"


def _refuse_another(label: str) -> None:
    """Raise VppctlError for an agent whose /run and network namespace are other ones, but which is seen as a process.

    One that has just been refused may take a moment to end.
    """
    deadline = time.monotonic() + STARTING
    while pid := _elsewhere(label):
        if time.monotonic() > deadline:
            raise _running(label, f"as PID {pid}, with a /run of its own")
        time.sleep(STARTING / 10)


def _elsewhere(label: str) -> int:
    """The process that holds this label's lock in a /run of its own, as far as processes are seen here; 0: none.

    /proc/locks (proc(5)) has all locks of these processes, and their roots have the file.
    """
    path = lock_path(label)
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for fields in map(str.split, lines):
        # Number, POSIX, ADVISORY, WRITE, PID, MAJOR:MINOR:INODE, start and end.
        if fields[1:4:2] != ["POSIX", "WRITE"]:
            continue
        pid, file = fields[4:6]
        try:
            theirs = os.stat(f"/proc/{pid}/root{path}")
            owners = theirs.st_uid, os.stat(f"/proc/{pid}").st_uid
            is_ours = path.exists() and os.path.samestat(theirs, path.stat())
        except OSError:
            continue
        if owners == (0, 0) and not is_ours and file.rpartition(":")[2] == str(theirs.st_ino):
            return int(pid)
    return 0


def _running(label: str, who: str) -> VppctlError:
    text = f"an agent of label {label} is already running on this host, {who}"
    return VppctlError(f"{text}; stop it, or give this one another --label")


def pulse(label: str) -> str | None:
    """How the agent of this label is on this host: empty when alive, else what is wrong; None when nothing is known."""
    try:
        fd = open_own(lock_path(label).name, os.O_RDWR)
    except OSError:
        return None
    try:
        holder = _holder(fd)
        age = time.time() - os.fstat(fd).st_mtime
    finally:
        os.close(fd)
    if not holder:
        if has_own_run(label):
            # Its beats are there.
            return None
        return f"no agent of label {label} is running on this host"
    return f"the agent of label {label}, PID {holder}, has decided nothing for {age:.0f} s" if age > STALE else ""


def has_own_run(label: str) -> bool:
    """Whether an agent of this label is on this host and has a /run of its own."""
    owner = _owner(label)
    return (owner is not None and owner.uid in (0, os.geteuid())) or _elsewhere(label) != 0


def troubles(label: str) -> str:
    """What does not work for the agent of this label on this host, on one line; empty when all does."""
    try:
        fd = open_own(lock_path(label).name, os.O_RDONLY)
        with open(fd, encoding="utf-8", errors="replace") as file:
            return file.readline(_LINE).strip()
    except OSError:
        return ""


def lock_path(label: str) -> Path:
    """Where the lock of this label is."""
    return run_path(file_of(label, "agent", ".lock"))


def _fix(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{error.strerror}; run the agent as root"
    return cause(OSError(error.errno, error.strerror))


def _holder(fd: int) -> int:
    """The process that holds the lock; 0 for none. Asking takes nothing."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, question)[: _FLOCK.size])
    return 0 if kind == fcntl.F_UNLCK else int(pid)
