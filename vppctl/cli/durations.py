"""Times as people write them. Pure."""

from __future__ import annotations

import re

from vppctl.errors import UsageError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 1e6
"""Seconds, and no time that anybody waits for."""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")


def duration(value: object, where: str) -> float:
    """Seconds of `5s`, `500ms`, `1m30s` or a plain number of seconds. Raises UsageError."""
    if isinstance(value, float):
        return value
    found = seconds(value)
    if found is None:
        raise UsageError(f"{where} {str(value).strip()!r} is no time; write one such as 5s or 500ms")
    return found


def seconds(value: object) -> float | None:
    """Seconds of a text, None when it is no time that can be waited for."""
    text = str(value).strip()
    found = 0.0
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        found = float(text)
    elif re.fullmatch(f"({_DURATION.pattern})+", text):
        found = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    return found if 0 < found < LONGEST else None
