"""Processes and their network namespaces. PIDs are used again; a pidfd stays what it is."""

from __future__ import annotations

import os
import select

from vppctl.linux.namespaces import OPEN_FLAGS, Netns, is_netns, pass_on_shortage
from vppctl.reconcile.state import Reason, Unavailable


def of_process(pid: int, description: str, file: str = "ns/net", start: int | None = None) -> Netns | Unavailable:
    """The namespace of a process, which must have been started at `start` (see `start_of`) when that is given.

    `file` is below /proc/PID. The pidfd is opened first; as long as that process lives its PID is not used again, so a
    folder that was opened before a look that finds it alive is its own, and stays so. Raises OSError when descriptors
    run out, which tells nothing about the process.
    """
    gone = Unavailable(Reason.PROCESS_NOT_RUNNING, f"no process has PID {pid}")
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        pass_on_shortage(error)
        return gone
    try:
        folder = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        os.close(pidfd)
        pass_on_shortage(error)
        return gone
    try:
        if not alive(pidfd) or start not in (None, _start(folder)):
            return gone
        found = _open(folder, pid, file, description)
        if alive(pidfd):
            return found
        if isinstance(found, Netns):
            found.close()
        return gone
    finally:
        os.close(folder)
        os.close(pidfd)


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
    """When a process was started, in clock ticks since boot (field 22 of proc(5)'s stat); None when there is none.

    Raises OSError when descriptors run out.
    """
    try:
        folder = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        pass_on_shortage(error)
        return None
    try:
        return _start(folder)
    finally:
        os.close(folder)


def _start(folder: int) -> int | None:
    try:
        fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        pass_on_shortage(error)
        return None
    with open(fd, "rb") as file:
        try:
            # The name of the program, in parentheses, may hold anything; what follows it does not.
            return int(file.read().rpartition(b")")[2].split()[19])
        except (OSError, IndexError):
            return None


def alive(pidfd: int) -> bool:
    """Whether the process has not ended; a zombie has (pidfd_open(2): readable on termination)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)
