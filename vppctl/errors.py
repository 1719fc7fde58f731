"""Errors, one class per exit code of the command line.

Each class says whose move it is: the user's (mend the input), the world's (start the store, try again) or
ours (a bug). The text of an error is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


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


class TimedOutError(VppctlError):
    """A condition did not come true before its deadline; the world's move. Exit code 6."""

    exit_code = 6


class ConflictError(VppctlError):
    """Somebody else changed the store meanwhile; nothing was written. Exit code 1."""
