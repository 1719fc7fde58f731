"""Wakes up when a file of a folder changes (inotify(7)), for one kind of watcher: the embedded store's."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
import time

IN_MODIFY, IN_CREATE, IN_DELETE, IN_MOVED_TO, IN_Q_OVERFLOW = 0x2, 0x100, 0x200, 0x80, 0x4000
"""sys/inotify.h"""
_EVENT = struct.Struct("=iIII")
_libc = ctypes.CDLL(None, use_errno=True)


POLL = 1.0
"""Seconds between two looks while the kernel gives no inotify instance or watch."""
_GONE = (errno.ENOENT, errno.ENOTDIR)
"""What says that there is no such folder."""
_USED_UP = {
    errno.EMFILE: "fs.inotify.max_user_instances, or the limit of open files",
    errno.ENFILE: "fs.file-max",
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.ENOMEM: "the memory",
}
_warned: set[int] = set()
"""What has been logged, so that it is logged once."""


class FolderWatch:
    """Waits for changes of the files that start with `path`, or for `wake` from another thread.

    Where no inotify instance or watch can be had, each second counts as a change until there is one again. Raises
    OSError when the folder is not there.
    """

    def __init__(self, path: str) -> None:
        folder, name = os.path.split(path)
        self._folder, self._name = folder, os.fsencode(name)
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._event, select.POLLIN)
        self._lock = threading.Lock()
        self._waiting = threading.Lock()
        try:
            self._fd = self._begin()
        except OSError:
            os.close(self._event)
            raise

    def _begin(self) -> int:
        """Ask the kernel for events; -1 when it does not give them. Raises OSError."""
        fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO
        if fd >= 0 and _libc.inotify_add_watch(fd, os.fsencode(self._folder), mask) >= 0:
            self._poll.register(fd, select.POLLIN)
            _warned.clear()
            return int(fd)
        number = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        if number in _GONE:
            raise OSError(number, os.strerror(number), self._folder)
        if number not in _warned:
            import logging

            _warned.add(number)
            logging.getLogger("vppctl.store").warning(
                "%s: changes are looked for every %g s, since inotify %s: %s (see %s)",
                self._folder,
                POLL,
                "has no room" if number in _USED_UP else "cannot be used",
                os.strerror(number),
                _USED_UP.get(number, "the permissions of the folder, or the seccomp profile"),
            )
        return -1

    def wait(self, timeout: float) -> bool:
        """Return after a change, a wake-up, or `timeout` seconds; True for the first two."""
        deadline = time.monotonic() + (timeout if self._fd >= 0 else min(timeout, POLL))
        with self._waiting:
            while self._event >= 0 and (left := deadline - time.monotonic()) > 0:
                ready = [fd for fd, _ in self._poll.poll(left * 1000)]
                if self._event in ready or (self._fd in ready and self._concerned(os.read(self._fd, 1 << 16))):
                    return True
            if self._fd < 0 and self._event >= 0:
                self._fd = self._begin()
        return False

    def _concerned(self, events: bytes) -> bool:
        """Whether any of these struct inotify_event is about our files; others live in the same folder."""
        at = 0
        while at < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, at)
            if mask & IN_Q_OVERFLOW or events[at + _EVENT.size :].startswith(self._name):
                return True
            at += _EVENT.size + length
        return False

    def wake(self) -> None:
        """Make the waiting thread return, now and from now on."""
        with self._lock:
            if self._event >= 0:
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Let go of the descriptors, once nobody waits for them any more."""
        self.wake()
        with self._waiting, self._lock:
            if self._event >= 0:
                if self._fd >= 0:
                    os.close(self._fd)
                os.close(self._event)
                self._event = -1
