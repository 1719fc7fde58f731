"""Standard input, output and error: always open, and never the reason why work stops half-way.

What cannot be written is lost, and that is remembered: a command goes on to its end, and then the exit code tells.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_GONE = 141
"""Exit code when nobody reads our output any more: that of a program that SIGPIPE ends."""


class _Lossy(io.FileIO):
    """An open descriptor. What it does not take is lost; of data also what follows, which would have a hole."""

    lost: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write, or lose all of it."""
        # An agent's log goes on when there is room on the disk again.
        if self.lost is None or self.fileno() == 2:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return len(memoryview(data))


def take_over() -> None:
    """Open what is closed, before a store's file becomes one of these, and see to it that no error escapes."""
    # An output that is closed can be opened, but not written: what has something to say fails, the rest does not.
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # As any standard descriptor: an editor inherits it.
            os.set_inheritable(os.open(os.devnull, flags), True)  # noqa: FBT003 - takes no names
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout, sys.stderr = _text(1, sys.stdout), _text(2, sys.stderr)


def _text(number: int, before: TextIO | None) -> io.TextIOWrapper:
    """A text stream that writes any text: what its encoding does not have is escaped."""
    raw = _Lossy(number, "w", closefd=False)
    encoding = (before and before.encoding) or "utf-8"
    buffered = number == 1 and not raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", "\n", line_buffering=not buffered)


def lost() -> OSError | None:
    """Why standard output could not be written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Lossy) else None


def stop_when_lost() -> None:
    """End a command that would print for ever. Raises click's Exit."""
    if lost():
        raise click.exceptions.Exit(0)


def settle(code: int) -> int:
    """The exit code, now that all is written or lost: the command's own comes first."""
    sys.stdout.flush()
    error = lost()
    if error is None:
        return code
    if isinstance(error, BrokenPipeError):
        return code or READER_GONE
    click.echo(f"standard output: cannot be written: {error.strerror}", err=True)
    return code or 1
