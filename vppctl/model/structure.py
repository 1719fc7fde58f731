"""From JSON values to the values of the fields, as proto JSON reads them.

Accepted: snake_case and camelCase names, enumerations by name and by number, null for absent, integers as strings
or as floats without a fraction. What comes out has snake_case names, integers and defaults left out.
"""

from __future__ import annotations

import re
from typing import Any

from vppctl.model.fields import Enum, FieldType, Message, camel
from vppctl.model.problem import Problem
from vppctl.model.text import shown

UINT32 = 2**32 - 1
MAX_MEMBERS = 1024
"""Of a list of strings."""
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
_WANTED = {
    "string": "a string",
    "bool": "true or false",
    "uint32": "a whole number",
    "strings": "a list of strings",
}


class Reader:
    """Collects the problems and warnings of one document."""

    def __init__(self, *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def complain(self, path: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, text))

    def message(self, message: Message, value: object, path: str = "") -> dict[str, Any]:
        """The fields of a message; those with problems are left out."""
        if not isinstance(value, dict):
            where = "" if path else "the document "
            self.complain(path, f"{where}is {_kind(value)}; write an object: {{...}}")
            return {}
        names = _spellings(message)
        found: dict[str, Any] = {}
        for key, member in value.items():
            name, plain = names.get(key, _UNKNOWN)
            if type(member) is plain and name not in found:
                found[name] = member
                continue
            inner = f"{path}.{key}" if path else key
            if not name:
                self._unknown(message, key, inner)
            elif name in found:
                self.complain(inner, f"is given twice, as {name!r} and as {camel(name)!r}; keep one of them")
            elif member is not None:
                read = self._field(message.fields[name], member, inner)
                if read is not None:
                    found[name] = read
        return found

    def _unknown(self, message: Message, key: str, path: str) -> None:
        if self.tolerant:
            self.warnings.append(f"unknown field {shown(path)} is ignored")
            return
        import difflib

        near = difflib.get_close_matches(key, message.fields, 1)
        mend = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(message.fields)}"
        self.complain(shown(path)[1:-1], f"unknown field; {mend}")

    def _field(self, kind: FieldType, value: object, path: str) -> Any:
        match kind:
            case Message():
                return self.message(kind, value, path)
            case Enum():
                return self._enum(kind, value, path)
            case "uint32":
                return self._number(value, path)
            case "strings":
                return self._strings(value, path)
            case "string" if isinstance(value, str):
                return value
            case "bool" if isinstance(value, bool):
                return value
        what = "the secret" if path.endswith("secret") else shown(value)
        self.complain(path, f"{what} is {_kind(value)}; write {_WANTED[kind]}")
        return None

    def _strings(self, value: object, path: str) -> list[str] | None:
        if not isinstance(value, list):
            self.complain(path, f"{shown(value)} is {_kind(value)}; write a list of strings")
            return None
        if len(value) > MAX_MEMBERS:
            self.complain(path, f"has {len(value)} members; write at most {MAX_MEMBERS}")
            return None
        for number, member in enumerate(value):
            if not isinstance(member, str):
                self.complain(f"{path}[{number}]", f"{shown(member)} is {_kind(member)}; write a string")
        # Places are kept, so that later messages count as the document does.
        return [member if isinstance(member, str) else "" for member in value]

    def _number(self, value: object, path: str) -> int | None:
        number = whole(value)
        if number is None:
            self.complain(path, f"{shown(value)} is not a whole number; write digits")
        elif not 0 <= number <= UINT32:
            self.complain(path, f"{shown(value)} is out of range; write a number from 0 to {UINT32}")
        else:
            return number
        return None

    def _enum(self, kind: Enum, value: object, path: str) -> int | None:
        number = kind.values.get(value, whole(value)) if isinstance(value, str) else whole(value)
        if isinstance(value, str) and value.isdigit() and value != str(number):
            # "02": the schema takes numbers as they are written.
            number = None
        if number is None or number not in kind.values.values():
            known = ", ".join(f"{n} ({name})" for name, n in kind.values.items())
            self.complain(path, f"{shown(value)} is not known; write one of {known}")
            return None
        return number


def whole(value: object) -> int | None:
    """The integer that proto JSON reads here: a number without a fraction, or a string of digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value, re.ASCII):
        return int(value)
    return None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


Spelling = tuple[str, type | None]
"""The name of a field, and the type of values that need no further look."""
_UNKNOWN: Spelling = "", None
_PLAIN: dict[str, type] = {"string": str, "bool": bool}
_CACHE: dict[int, dict[str, Spelling]] = {}


def _spellings(message: Message) -> dict[str, Spelling]:
    """Both spellings of each field name."""
    found = _CACHE.get(id(message))
    if found is None:
        found = {
            spelling: (name, _PLAIN.get(kind) if isinstance(kind, str) else None)
            for name, kind in message.fields.items()
            for spelling in (name, camel(name))
        }
        _CACHE[id(message)] = found
    return found
