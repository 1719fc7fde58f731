"""Wakes up when a file of a folder changes (inotify(7)), for one kind of watcher: the embedded store's."""

from __future__ import annotations

import ctypes
import os
import select
import threading

IN_MODIFY, IN_CREATE, IN_DELETE, IN_MOVED_TO = 0x2, 0x100, 0x200, 0x80
"""sys/inotify.h"""
_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Waits for changes below one folder, or for `wake` from another thread. Raises OSError when it is not there."""

    def __init__(self, folder: str) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            number = ctypes.get_errno()
            if self._fd >= 0:
                os.close(self._fd)
            raise OSError(number, os.strerror(number), folder)
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._event, select.POLLIN)
        self._lock = threading.Lock()

    def wait(self, timeout: float) -> None:
        """Return after a change, a wake-up, or `timeout` seconds."""
        for fd, _ in self._poll.poll(timeout * 1000):
            if fd == self._fd:
                os.read(self._fd, 1 << 16)

    def wake(self) -> None:
        """Make the waiting thread return, now and from now on."""
        with self._lock:
            if self._event >= 0:
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Let go of the descriptors; the waiting thread must be gone."""
        with self._lock:
            if self._event >= 0:
                os.close(self._fd)
                os.close(self._event)
                self._event = -1
