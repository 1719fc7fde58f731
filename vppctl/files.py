"""Files that an operator names, opened without waiting for what is no file.

A name may lead to a FIFO, which is waited for until somebody writes, to a device, or to a file without an end.
"""

from __future__ import annotations

import errno
import os
import re
import stat

SMALL = 1 << 20
"""Bytes of a certificate, a key, a password or a file of Docker's, at most."""
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PART = 64 << 10
"""Bytes that are read at first."""
_MEMORY = 1
"""Major number of /dev/null, /dev/zero and the like, which answer at once (Linux, devices.txt)."""
_PIPE = re.compile(r"/proc/[0-9]+/fd/pipe:\[[0-9]+\]")
"""What a link to a pipe of a process stands for: there is no such path (proc(5))."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def read_start(path: str, size: int) -> bytes:
    """The first `size` bytes of a file. Raises OSError, also for what would be waited for.

    A pipe without a name is what a shell opens for `<(command)`; it is read as standard input is.
    """
    try:
        # A device may do something when it is opened.
        pipe = _refuse(os.stat(path), path)
        with open(os.open(path, _OPEN), "rb") as file:
            # What was looked at may have been replaced since.
            pipe = _refuse(os.fstat(file.fileno()), path) and pipe
            os.set_blocking(file.fileno(), pipe)
            # Most files are short, and room for a long one is not free.
            start = file.read(min(size, _PART))
            return start + file.read(size - len(start)) if len(start) == _PART else start
    except ValueError:
        raise OSError(errno.EINVAL, "its name has a zero byte") from None


def read_whole(path: str, limit: int = SMALL) -> bytes:
    """A file of at most `limit` bytes. Raises OSError."""
    content = read_start(path, limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit} bytes", path)
    return content


def first_line(path: str) -> str:
    """The first line of a text file, such as one with a password. Raises OSError."""
    try:
        return re.split(rb"\r\n|[\r\n]", read_start(path, SMALL), maxsplit=1)[0].decode()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is no UTF-8", path) from None


def _refuse(info: os.stat_result, path: str) -> bool:
    """Whether it is a pipe that was handed to this very process. Raises OSError for what is no file."""
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG or (kind == stat.S_IFCHR and os.major(info.st_rdev) == _MEMORY):
        return False
    if kind == stat.S_IFIFO and _PIPE.fullmatch(os.path.realpath(path)):
        return True
    raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}", path)
