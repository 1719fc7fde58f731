"""Errors, one class per exit code of the command line.

Each class says whose move it is: the user's (mend the input), the world's (start the store, try again) or
ours (a bug). The text of an error is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

SHORTAGES: Mapping[int, str] = {
    errno.EAGAIN: "raise TasksMax= of its unit (pids.max) or ulimit -u",
    errno.EMFILE: "raise LimitNOFILE= of its unit (ulimit -n)",
    errno.ENFILE: "raise sysctl fs.file-max",
    errno.ENOMEM: "give the host, or MemoryMax= of its unit, more memory",
    errno.ENOBUFS: "raise sysctl net.core.rmem_max, or give the host more memory",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "raise the quota of its user",
    errno.EUSERS: "raise the limits of sysctl user.max_*",
}
"""What may run out, by the error number that says so (errno(3)), and what to do about it."""


class VppctlError(Exception):
    """Something failed for a reason that we understand; exit code 1."""

    exit_code = 1


class UsageError(VppctlError):
    """The command line is wrong; the user's move. Exit code 2."""

    exit_code = 2


class NotFoundError(VppctlError):
    """What was asked for is not there; the user's move. Exit code 3."""

    exit_code = 3


class InvalidInputError(VppctlError):
    """The input has errors, one line each in `lines`; the user's move. Exit code 4."""

    exit_code = 4

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class StoreError(VppctlError):
    """The store is unreachable or refused the request; the world's move. Exit code 5."""

    exit_code = 5


class TooLargeError(StoreError):
    """The store takes no transaction with so many operations or bytes; nothing was written. Exit code 5."""


class UnknownOutcomeError(StoreError):
    """A write was sent and its answer was lost; whether it was carried out could not be found out. Exit code 5."""


class TimedOutError(VppctlError):
    """A condition did not come true before its deadline; the world's move. Exit code 6."""

    exit_code = 6


class ConflictError(VppctlError):
    """Somebody else changed the store meanwhile; nothing was written. Exit code 1."""


def shortage(error: BaseException) -> int:
    """The error number when something has run out: memory, threads, descriptors, disk; 0 for any other error."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return errno.EAGAIN
    return error.errno if isinstance(error, OSError) and error.errno and error.errno in SHORTAGES else 0


def cause(error: BaseException) -> str:
    """What went wrong on one line, with the fix where something has run out.

    Only the text of errors whose text is known is repeated: that of another one may hold a secret.
    """
    if isinstance(error, VppctlError):
        return str(error)
    number = shortage(error)
    if not isinstance(error, OSError):
        text = "there are no more threads" if number == errno.EAGAIN else os.strerror(number)
        return f"{text}; {SHORTAGES[number]}" if number else type(error).__name__
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    text = f"{where}{error.strerror or type(error).__name__}"
    # Whoever raised it may know better which limit it was.
    return f"{text}; {SHORTAGES[number]}" if number and ";" not in text else text
