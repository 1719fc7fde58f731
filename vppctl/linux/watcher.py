"""Notices that namespaces may have come, gone or moved: mounts, the end of processes, and processes that move."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vppctl.linux.processes import start_of
from vppctl.model.interface import NamespaceRef
from vppctl.model.rules import process_of

AWAITED_MS = 100
"""How often to look for a process that is not there yet, or that has no pidfd: nothing announces it."""
STOP_MS = 500
"""How long a stop may go unnoticed."""
SHARE = 4
"""One of so many descriptors may be a process's; what is left is for namespaces and the store."""


class NamespacesChanged(NamedTuple):
    """Some reference may lead elsewhere now."""


class NamespaceWatcher:
    """Follows the references it was last given. `follow` may be called from any thread."""

    def __init__(self) -> None:
        self._wake = -1
        self._waking = threading.Lock()
        self._began = False
        self._pids: frozenset[int] = frozenset()
        self._followed: frozenset[int] = frozenset()
        self._pidfds: dict[int, int] = {}
        self._identities: dict[int, str] = {}

    def follow(self, references: Iterable[NamespaceRef]) -> None:
        """From now on these references are of interest."""
        pids = frozenset(pid for reference in references if (pid := process_of(reference)))
        if pids != self._pids:
            self._pids = pids
            with self._waking, contextlib.suppress(BlockingIOError):
                if self._wake >= 0:
                    os.eventfd_write(self._wake, 1)

    def run(self, stop: threading.Event, deliver: Callable[[NamespacesChanged], None]) -> None:
        """Deliver until `stop` is set; the body of a thread, which may begin again after an error."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._follow(stop, deliver)
        finally:
            for pidfd in self._pidfds.values():
                os.close(pidfd)
            self._pidfds.clear()
            with self._waking:
                os.close(self._wake)
                self._wake = -1

    def _follow(self, stop: threading.Event, deliver: Callable[[NamespacesChanged], None]) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        with open("/proc/thread-self/mountinfo", "rb") as mounts:
            # proc(5): a change of the mount table is reported as POLLERR and POLLPRI.
            poll.register(mounts, select.POLLPRI | select.POLLERR)
            # After an error nobody knows what has happened meanwhile.
            changed, self._began = self._began, True
            while not stop.is_set():
                if self._look(poll) or changed:
                    deliver(NamespacesChanged())
                changed = self._wait(poll, mounts.fileno())

    def _wait(self, poll: select.poll, mounts: int) -> bool:
        """Wait for what announces itself; returns whether anything did."""
        awaited = bool(self._followed - self._pidfds.keys())
        timeout = AWAITED_MS if awaited else STOP_MS
        changed = False
        for fd, _ in poll.poll(timeout):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd == mounts:
                changed = True
            else:
                pid = next(p for p, pidfd in self._pidfds.items() if pidfd == fd)
                self._drop(poll, pid)
                changed = True
        return changed

    def _look(self, poll: select.poll) -> bool:
        """Take up processes that have appeared, let go of those that nobody asks for; True when any moved."""
        pids = self._followed = self._pids
        for pid in self._pidfds.keys() - pids:
            self._drop(poll, pid)
        for pid in self._identities.keys() - pids:
            del self._identities[pid]
        changed = False
        for pid in pids:
            if pid not in self._pidfds:
                identity = self._take_up(poll, pid)
            if pid in self._pidfds:
                identity = _link(pid)
            changed = changed or identity != self._identities.get(pid, "")
            self._identities[pid] = identity
        return changed

    def _take_up(self, poll: select.poll, pid: int) -> str:
        """Be woken by the end of a process; where that is refused, what tells it from the next one of its PID."""
        if len(self._pidfds) >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE:
            return _started(pid)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return ""
        except (OSError, AttributeError):
            # Refused by a seccomp filter or an old kernel, or the id of a thread: it is looked at again and again.
            return _started(pid)
        once = select.poll()
        once.register(pidfd, select.POLLIN)
        if once.poll(0):
            # It has ended: a zombie would wake us again and again.
            os.close(pidfd)
            return ""
        self._pidfds[pid] = pidfd
        poll.register(pidfd, select.POLLIN)
        return ""

    def _drop(self, poll: select.poll, pid: int) -> None:
        pidfd = self._pidfds.pop(pid)
        self._identities.pop(pid, None)
        poll.unregister(pidfd)
        os.close(pidfd)


def _link(pid: int) -> str:
    """The namespace of a process, as the kernel names it; empty when there is none."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """The same with the start of the process."""
    try:
        start = start_of(pid)
    except OSError:
        return ""
    return "" if start is None else f"{start} {_link(pid)}"
