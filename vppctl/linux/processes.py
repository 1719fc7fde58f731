"""Processes and their network namespaces. PIDs are used again; an open folder of /proc stays that of its process.

Such a folder is bound to the process and not to the number (proc_pid_make_inode, fs/proc/base.c): what is opened below
it belongs to that process, or fails when it has ended. Unlike a pidfd it needs no system call that a seccomp filter or
an old kernel may refuse.
"""

from __future__ import annotations

import os
import time

from vppctl.linux.namespaces import OPEN_FLAGS, Netns, is_netns, pass_on_shortage
from vppctl.reconcile.state import NetnsId, Process, Reason, Unavailable

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ENDED = ("Z", "X", "x")
"""States of a process that has ended and that its parent has not waited for yet (proc(5), stat)."""
_INITIAL = 0xEFFFFFFC
"""The inode of the first PID namespace (PROC_PID_INIT_INO, linux/proc_fs.h)."""


def of_process(pid: int, description: str, file: str = "ns/net", start: int | None = None) -> Netns | Unavailable:
    """The namespace of a process, which must have been started at `start` (see `start_of`) when that is given.

    `file` is below /proc/PID. Raises OSError when descriptors run out, which tells nothing about the process.
    """
    try:
        folder = os.open(f"/proc/{pid}", _FOLDER)
    except OSError as error:
        pass_on_shortage(error)
        if not isinstance(error, FileNotFoundError | NotADirectoryError | ProcessLookupError):
            return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"/proc/{pid} cannot be opened: {error.strerror}")
        return _gone(pid)
    try:
        if start is not None and (now := _start(folder)) != start:
            return _gone(pid) if now is None else _another(pid)
        found = _open(folder, pid, file, description)
        if _start(folder) is not None:
            return found
        if isinstance(found, Netns):
            found.close()
        return _gone(pid)
    finally:
        os.close(folder)


def _gone(pid: int) -> Unavailable:
    text = f"no process has PID {pid}"
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL:
        text += "; the agent sees only the processes of its own PID namespace (in a container: --pid host)"
    return Unavailable(Reason.PROCESS_NOT_RUNNING, text)


def _another(pid: int) -> Unavailable:
    text = f"PID {pid} is that of another process now, because the one that was meant has ended"
    return Unavailable(Reason.FOREIGN_PID, f"{text}; put the document again to mean the one that has it now")


def _open(folder: int, pid: int, file: str, description: str) -> Netns | Unavailable:
    try:
        fd = os.open(file, OPEN_FLAGS, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return Unavailable(Reason.PROCESS_NOT_RUNNING, f"/proc/{pid}/{file} does not exist")
    except OSError as error:
        pass_on_shortage(error)
        return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"/proc/{pid}/{file} cannot be opened: {error.strerror}")
    if is_netns(fd):
        return Netns(fd, description)
    os.close(fd)
    return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"/proc/{pid}/{file} is not a network namespace")


def start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot (field 22 of proc(5)'s stat); None when none is running.

    Raises OSError when descriptors run out.
    """
    process = look_at(pid)
    return process.start if process else None


def look_at(pid: int) -> Process | None:
    """A process; None when none of this PID is running. Raises OSError when descriptors run out."""
    try:
        folder = os.open(f"/proc/{pid}", _FOLDER)
    except OSError as error:
        pass_on_shortage(error)
        return None
    try:
        start = _start(folder)
        return None if start is None else _look(folder, start)
    finally:
        os.close(folder)


def _look(folder: int, start: int) -> Process:
    return Process(start, epoch(start), _read(folder, "cgroup"), _netns(folder), _users(folder))


def _users(folder: int) -> frozenset[int]:
    """The user IDs of a process: real, effective, saved and of the file system (proc(5), status)."""
    line = _read(folder, "status").partition("\nUid:")[2].partition("\n")[0]
    return frozenset(map(int, line.split()))


def epoch(ticks: int) -> float:
    """Clock ticks since boot in seconds of the epoch. A clock that was set since then gives another answer."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _netns(folder: int) -> NetnsId | None:
    try:
        info = os.stat("ns/net", dir_fd=folder)
    except OSError:
        return None
    return NetnsId(info.st_dev, info.st_ino)


def _start(folder: int) -> int | None:
    # The name of the program, in parentheses, may hold anything; what follows it does not.
    fields = _read(folder, "stat").rpartition(")")[2].split()
    # Other threads may go on when the first has ended.
    return None if not fields or (fields[0] in _ENDED and int(fields[17]) <= 1) else int(fields[19])


def _read(folder: int, name: str) -> str:
    """A file of a process; empty when that has ended, or when it may not be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        pass_on_shortage(error)
        return ""
    with open(fd, "rb", buffering=0) as file:
        try:
            return file.readall().decode(errors="replace")
        except OSError:
            return ""
