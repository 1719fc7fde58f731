"""Standard error that never waits for its reader: an agent that cannot log goes on.

A pipe whose reader has stopped, a terminal after Ctrl-S, a journal that hangs, a disk that is full: what cannot be
written is kept up to a limit, and dropped and counted beyond. No thread is needed for it: whoever writes next, and the
main loop now and then, tries again.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections import deque

from vppctl.errors import cause

LIMIT = 256 << 10
"""Bytes that wait to be written, at most."""
CHUNK = 4096
"""Bytes that a pipe with room takes without waiting (PIPE_BUF, pipe(7))."""
PATIENCE = 0.5
"""Seconds that the end of the process waits for the reader."""


class Stderr(io.TextIOBase):
    """A text stream on a descriptor. From any thread."""

    def __init__(self, fd: int, encoding: str = "utf-8") -> None:
        self._fd, self._encoding = fd, encoding
        self._lock = threading.Lock()
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._dropped, self._why = 0, ""
        self._socket = socket.socket(fileno=os.dup(fd)) if stat.S_ISSOCK(os.fstat(fd).st_mode) else None
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._stop_waiting()

    def write(self, text: str) -> int:
        """Write now what can be written, and keep the rest; raises TypeError for anything but text."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._lock:
            self._pending.append(data)
            self._size += len(data)
            self._go_on()
            while self._size > LIMIT:
                # The newest: what led to this is worth more than what came of it.
                self._drop(self._pending.pop())
        return len(text)

    def flush(self) -> None:
        """Try again to write what is left."""
        with self._lock:
            self._go_on()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How text is written; what it does not have is escaped."""
        return self._encoding

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """It is."""
        return True

    def pending(self) -> bool:
        """Try again to write what is left; whether any is."""
        self.flush()
        return bool(self._pending)

    def dropped(self) -> str:
        """How many lines were lost and why, once the stream can be written to again; empty when there are none."""
        with self._lock:
            self._go_on()
            if not self._dropped or self._pending:
                return ""
            text = f"{self._dropped} lines of the log were dropped: {self._why}"
            self._dropped = 0
            return text

    def finish(self) -> None:
        """The process ends: give the reader a moment for what is left."""
        deadline = time.monotonic() + PATIENCE
        while self._size and (left := deadline - time.monotonic()) > 0 and self._poll.poll(left * 1000):
            before = self._size
            self.flush()
            if self._size == before:
                return

    def _stop_waiting(self) -> None:
        """Have this process not wait, C libraries included.

        The flag of an open file is shared with other processes, so the file is opened anew where that is possible.
        """
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(self._fd):
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                own = os.open(f"/proc/self/fd/{self._fd}", flags)
                os.dup2(own, self._fd)
                os.close(own)

    def _go_on(self) -> None:
        while self._pending:
            data = self._pending.popleft()
            self._size -= len(data)
            try:
                written = self._send(data)
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                    self._why = "its reader has gone"
                    self._drop(data, taken=True)
                    continue
                self._why = "its reader did not read" if isinstance(error, BlockingIOError) else cause(error)
                written = 0
            if written < len(data):
                self._pending.appendleft(data[written:])
                self._size += len(data) - written
                if not written:
                    return

    def _send(self, data: bytes) -> int:
        if self._socket:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if not self._poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, "")
        return os.write(self._fd, data[:CHUNK])

    def _drop(self, data: bytes, *, taken: bool = False) -> None:
        self._size -= 0 if taken else len(data)
        self._dropped += data.count(b"\n")


def never_wait() -> Stderr | None:
    """Make standard error one that never waits, for all that this process writes; None when there is none."""
    try:
        found = Stderr(2, sys.stderr.encoding if sys.stderr else "utf-8")
    except OSError:
        return None
    sys.stderr = found
    return found
