"""Strict JSON: nothing that two readers could understand differently, and nothing without bounds."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from vppctl.model.problem import Problem

MAX_DOCUMENT = 64 * 1024
"""Octets of one interface's document."""
MAX_FILE = 64 * 1024 * 1024
"""Octets of a file with many."""
MAX_DEPTH = 32
MAX_SHOWN = 60
"""Characters of a value that a message repeats."""


class InvalidDocument(ValueError):
    """The bytes cannot be read as JSON that we accept; `problems` says why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Withheld(bytes):
    """What stands for a value that is too long to be read: nothing, with the reason and its fix."""

    why: str

    @classmethod
    def because(cls, why: str) -> Withheld:
        """Of the value that this is wrong with."""
        found = cls()
        found.why = why
        return found


def shown(value: object) -> str:
    """A value as a message repeats it: quoted, on one line, cut."""
    text = repr(value) if isinstance(value, str) else json.dumps(without_secrets(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...{text[-1]}"


def without_secrets(value: Any) -> Any:
    """A document for those who have not asked for the document itself; a secret in the wrong place is one, too."""
    if isinstance(value, dict):
        return {k: "********" if k == "secret" and v else without_secrets(v) for k, v in value.items()}
    return [without_secrets(member) for member in value] if isinstance(value, list) else value


def parse(data: bytes, limit: int = MAX_FILE) -> Any:
    """The value of a JSON text. Raises InvalidDocument, and nothing else, whatever the bytes are."""
    if isinstance(data, Withheld):
        raise _invalid(data.why)
    if len(data) > limit:
        raise _invalid(f"is {len(data)} bytes long; write at most {limit}")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _invalid("starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _invalid(f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    if not text.strip():
        raise _invalid("is empty; write one JSON object")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid(_syntax(text, error)) from None
    except RecursionError:
        raise _too_deep() from None
    except InvalidDocument:
        raise
    except ValueError:
        # int() refuses numbers of more than 4300 digits.
        raise _invalid("has a number that is too large; write one of at most 10 digits") from None
    # Only an escape makes a surrogate, and only brackets make depth: most documents need no walk.
    if "\\u" in text or text.count("{") + text.count("[") > MAX_DEPTH:
        _bounded(value, "", 0)
    return value


def _invalid(text: str, path: str = "") -> InvalidDocument:
    return InvalidDocument(Problem(path, text))


def _too_deep() -> InvalidDocument:
    return _invalid(f"is nested deeper than {MAX_DEPTH} levels; write one JSON object without so many brackets")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        raise InvalidDocument(*(Problem(shown(key)[1:-1], "is given twice; keep one of them") for key in twice))
    return found


def _constant(text: str) -> NoReturn:
    raise _invalid(f"{text} is not JSON; write a number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _invalid(f"{text[:MAX_SHOWN]} is too large; write a smaller number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _bounded(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for key, member in value.items():
            _scalar(key, path)
            name = shown(key)[1:-1]
            _bounded(member, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            _bounded(member, f"{path}[{number}]", depth + 1)
    else:
        _scalar(value, path)


def _scalar(value: object, path: str) -> None:
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise _invalid("has half of a surrogate pair; write whole characters", path)


def _syntax(text: str, error: json.JSONDecodeError) -> str:
    """The parser's complaint with its place, and the mend where the mistake is a common one."""
    before, here = text[: error.pos].rstrip(), text[error.pos : error.pos + 1]
    # Python 3.13 and later point at the comma, earlier ones behind it.
    if error.msg.startswith("Illegal trailing comma"):
        return f"line {error.lineno} column {error.colno}: a comma before the closing bracket; remove it"
    if before.endswith(",") and here in ("}", "]"):
        comma = len(before) - 1
        line, column = before.count("\n") + 1, comma - before.rfind("\n")
        return f"line {line} column {column}: a comma before the closing bracket; remove it"
    mend = ""
    if "',' delimiter" in error.msg:
        mend = "; a comma is missing before it"
    elif here == "'":
        mend = '; write double quotes: "'
    elif here in ("/", "#"):
        mend = "; JSON has no comments"
    elif "Extra data" in error.msg:
        mend = '; write several interfaces as {"interface": [...]}'
    return f"line {error.lineno} column {error.colno}: {error.msg}{mend}"
