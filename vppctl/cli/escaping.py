"""Texts of others on the way to an output: they steer no terminal, and look like nothing else than what they are. Pure.

Whoever may write to the store chooses names and values. A blank in a name would be a column of its own to what reads
plain columns, and a line end in a value another entry.
"""

from __future__ import annotations

import re

_BLANK = "\\x20"


def clean(value: object, keep: str = "") -> str:
    """A value on one line, without what could steer a terminal."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def word(value: object) -> str:
    """A name as one word: blanks are escaped, and so is the escape itself."""
    text = str(value)
    return clean(text.replace("\\", "\\\\")).replace(" ", _BLANK)


def spaced(value: object) -> str:
    """A text in a column: single blanks stay, for columns are at least two apart."""
    return re.sub("^ +| +$| {2,}", lambda found: _BLANK * len(found[0]), clean(value))


def one_line(value: bytes) -> str:
    """A stored value on one line: of JSON the line ends between its parts are blanks, all else is escaped."""
    from vppctl.model.text import InvalidDocument, parse

    text = value.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    try:
        parse(value)
    except InvalidDocument:
        return clean(text)
    # In a string of JSON they do not stand as they are (RFC 8259, section 7).
    return clean(re.sub("[ \t\r\n]*[\t\r\n][ \t\r\n]*", " ", text.strip()))
