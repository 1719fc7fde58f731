"""Answers of the kernel that cannot be read. One is an OSError, as all is that the kernel refuses."""

from __future__ import annotations

import errno
import struct
from types import TracebackType


class UnreadableError(OSError):
    """An answer that is not laid out as its headers say: nothing is known of what it was about."""

    def __init__(self) -> None:
        super().__init__(errno.EBADMSG, "the kernel's answer cannot be read")


class Reading:
    """A block that reads messages: what is missing from them, or has another size, raises UnreadableError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if isinstance(error, (struct.error, LookupError, ValueError, OverflowError)):
            raise UnreadableError from error
