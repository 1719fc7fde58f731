"""Notices that namespaces may have come, gone or moved: mounts, the end of processes, and processes that move."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vppctl.linux.mountinfo import MountTable
from vppctl.linux.processes import start_of
from vppctl.model.interface import NamespaceRef
from vppctl.model.rules import NAMESPACE_DIRS, process_of

AWAITED = 0.1
"""Seconds between looks for processes that are not there yet, or that have no pidfd: nothing announces them."""
FOLLOWED = 0.5
"""Seconds between looks at where the others are, and for which a stop may go unnoticed."""
PART_OF_PROCESSES, PART_OF_MOUNTS = 50.0, 10.0
"""Looks at them take one of so many seconds of the processor, however many there are; up to LAST seconds apart."""
LAST = 2.0
SHARE = 4
"""One of so many descriptors may be a process's; what is left is for namespaces and the store."""


class NamespacesChanged(NamedTuple):
    """Some references may lead elsewhere now."""

    files: frozenset[str] | None = None
    """Those to a file of such a name, and ..."""
    pids: frozenset[int] = frozenset()
    """... those to these processes. None for `files`: all."""

    def concerns(self, reference: NamespaceRef) -> bool:
        """Whether it may lead elsewhere."""
        if self.files is None or process_of(reference) in self.pids:
            return True
        return (reference.name or os.path.basename(reference.filepath)) in self.files


EVERYTHING = NamespacesChanged()


class NamespaceWatcher:
    """Follows the references it was last given. `follow` may be called from any thread."""

    def __init__(self, folders: Iterable[str] = ()) -> None:
        """`folders` are those in which files of namespaces are, beside the usual ones."""
        self._folders = (*NAMESPACE_DIRS, *folders)
        self._wake = -1
        self._waking = threading.Lock()
        self._began = False
        self._pids: frozenset[int] = frozenset()
        self._followed: frozenset[int] = frozenset()
        self._pidfds: dict[int, int] = {}
        self._identities: dict[int, str] = {}
        self._ended: set[int] = set()
        self._look_at = self._looks_from = self._mounts_from = 0.0
        """When processes are looked at next, and from when on they and mounts may be (time.monotonic)."""
        self._mounted = False
        """Whether something was mounted or unmounted since the last look."""

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
        self._look_at = self._looks_from = self._mounts_from = 0.0
        with open("/proc/thread-self/mountinfo", "rb", buffering=0) as file:
            # proc(5): a change of the mount table is reported as POLLERR and POLLPRI.
            poll.register(file, select.POLLPRI | select.POLLERR)
            mounts = MountTable(file, self._folders)
            # After an error nobody knows what has happened meanwhile.
            if self._began:
                deliver(EVERYTHING)
            self._began = True
            while not stop.is_set():
                pids, files = self._moved(poll), self._remounted(mounts)
                if pids or files is None or files:
                    deliver(NamespacesChanged(files, pids))
                self._wait(poll, file.fileno())

    def _moved(self, poll: select.poll) -> frozenset[int]:
        """The processes that have ended, begun or moved since the last time."""
        pids, self._ended = self._ended, set()
        if time.monotonic() >= self._due():
            before = time.thread_time()
            pids |= self._look(poll)
            now = time.monotonic()
            self._looks_from = now + min(LAST, (time.thread_time() - before) * PART_OF_PROCESSES)
            awaited = bool(self._followed - self._pidfds.keys())
            self._look_at = max(self._looks_from, now + (AWAITED if awaited else FOLLOWED))
        return frozenset(pids)

    def _due(self) -> float:
        """When processes are looked at next: others are of interest now, or it is time."""
        return self._look_at if self._pids == self._followed else self._looks_from

    def _remounted(self, mounts: MountTable) -> frozenset[str] | None:
        """The files on which namespaces were mounted or unmounted since the last time; None: any file."""
        if not self._mounted or time.monotonic() < self._mounts_from:
            return frozenset()
        self._mounted, before = False, time.thread_time()
        found = mounts.changed()
        self._mounts_from = time.monotonic() + min(LAST, (time.thread_time() - before) * PART_OF_MOUNTS)
        return found

    def _wait(self, poll: select.poll, mounts: int) -> None:
        """Wait for what announces itself, or for what is due."""
        due = min(self._due(), self._mounts_from) if self._mounted else self._due()
        timeout = min(FOLLOWED, max(0.0, due - time.monotonic()))
        for fd, _ in poll.poll(timeout * 1e3 + 1.0):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd == mounts:
                self._mounted = True
            else:
                pid = next(p for p, pidfd in self._pidfds.items() if pidfd == fd)
                self._drop(poll, pid)
                self._ended.add(pid)
                # The next one of its number is awaited.
                self._look_at = min(self._look_at, max(self._looks_from, time.monotonic() + AWAITED))

    def _look(self, poll: select.poll) -> set[int]:
        """Take up processes that have appeared, let go of those that nobody asks for; returns those that moved."""
        pids = self._followed = self._pids
        for pid in self._pidfds.keys() - pids:
            self._drop(poll, pid)
        for pid in self._identities.keys() - pids:
            del self._identities[pid]
        moved: set[int] = set()
        for pid in pids:
            if pid not in self._pidfds:
                identity = self._take_up(poll, pid)
            if pid in self._pidfds:
                identity = _link(pid)
            if identity != self._identities.get(pid, ""):
                moved.add(pid)
            self._identities[pid] = identity
        return moved

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
