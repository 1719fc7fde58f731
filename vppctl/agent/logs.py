"""The agent's log on standard error: text for people, JSON lines for collectors."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname.lower():7} {_printable(_message(record))}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        message = _message(record)
        return json.dumps({**fields, "message": message}, ensure_ascii=not message.isprintable())


def _message(record: logging.LogRecord) -> str:
    """With an exception where it comes from, and not what it says, for that may repeat a secret."""
    text = record.getMessage()
    kind, error, _ = record.exc_info or (None, None, None)
    if kind is None or error is None:
        return text
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[:-4:-1])
    return f"{text}: {kind.__name__} at {places}"


def set_up_logging(form: str, level: str) -> None:
    """Log as `text` or `json`, from `level` (debug, info, warning, error) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logger = logging.getLogger("vppctl")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    # Of a library's thread: where it ended, and not what the error says.
    threading.excepthook = _on_thread_end


def _on_thread_end(end: threading.ExceptHookArgs) -> None:
    if end.exc_value is not None:
        name = end.thread.name if end.thread else "without a name"
        error = (end.exc_type, end.exc_value, end.exc_traceback)
        logging.getLogger("vppctl").error("thread %s has ended", name, exc_info=error)


def change_level(step: int) -> str:
    """One level more (-1) or less (1) detailed, within debug to error; the level from now on."""
    logger = logging.getLogger("vppctl")
    level = min(logging.ERROR, max(logging.DEBUG, logger.level + 10 * step))
    logger.setLevel(level)
    return logging.getLevelName(level).lower()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """Names come from the store: nothing in them may steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
