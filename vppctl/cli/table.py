"""Rows that fit a terminal: nothing is cut, and no word is broken while there is another way. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from unicodedata import combining, east_asian_width

GAP = "  "
LEAST = 24
"""Columns that a text needs to be read in a column of a table."""
_LISTS, _TEXTS = ("ADDRESSES",), ("MESSAGE", "CONFIGURED", "FOUND", "OPERATIONS", "DESCRIPTION", "DETAIL")
Paint = Callable[[str, str], str]
"""A cell, and the value that decides its colour."""
Row = Sequence[str]


def table(header: Row, rows: Sequence[Row], width: int, paint: Paint) -> Iterator[str]:
    """The lines of a table that is at most `width` columns wide.

    What is too wide gets first its lists one below the other, then loses columns with nothing in them, then has its
    texts wrapped or its lists below each row; where all that does not do, each row becomes a paragraph.
    """
    cells = [[[cell] for cell in row] for row in rows]
    if _total(header, cells) > width:
        cells = [[_items(header[i], cell) for i, cell in enumerate(row)] for row in rows]
    if _total(header, cells) > width:
        used = [i for i in range(len(header)) if any(row[i] for row in rows)]
        header, cells = [header[i] for i in used], [[row[i] for i in used] for row in cells]
        texts = [i for i, name in enumerate(header) if name in _TEXTS]
        room = width - _total([n for n in header if n not in _TEXTS], [_without(row, texts) for row in cells])
        each = room // max(1, len(texts)) - len(GAP)
        below = [i for i, name in enumerate(header) if name in _LISTS and not texts]
        if below and _total([n for n in header if n not in _LISTS], [_without(row, below) for row in cells]) <= width:
            yield from _lists_below(header, cells, below, width, paint)
            return
        narrow = [[wrapped(c[0], max(LEAST, each)) if i in texts else c for i, c in enumerate(row)] for row in cells]
        if _total(header, narrow) > width:
            yield from _paragraphs(header, cells, width, paint)
            return
        cells = narrow
    yield from _columns(header, cells, paint)


def wrapped(text: str, width: int, hang: str = "") -> list[str]:
    """Lines of at most `width` columns, all but the first after `hang`; a word that is longer stays whole."""
    return textwrap.wrap(text, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False) or [""]


def columns(text: str) -> int:
    """The columns that a terminal needs for it (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _items(name: str, cell: str) -> list[str]:
    return cell.split(", ") if name in _LISTS else [cell]


def _without(row: list[list[str]], left_out: Sequence[int]) -> list[list[str]]:
    return [cell for i, cell in enumerate(row) if i not in left_out]


def _widths(header: Row, cells: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    return [max([columns(name), *(columns(line) for row in cells for line in row[i])]) for i, name in enumerate(header)]


def _total(header: Row, cells: Sequence[Sequence[Sequence[str]]]) -> int:
    return sum(_widths(header, cells)) + len(GAP) * (len(header) - 1)


def _columns(header: Row, cells: Sequence[Sequence[Sequence[str]]], paint: Paint) -> Iterator[str]:
    widths = _widths(header, cells)
    yield GAP.join(paint(_padded(name, width), "HEADER") for name, width in zip(header, widths, strict=True))
    yield "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    for row in cells:
        for number in range(max(len(cell) for cell in row)):
            lines = [cell[number] if number < len(cell) else "" for cell in row]
            padded = [_padded(line, width) for line, width in zip(lines, widths, strict=True)]
            yield GAP.join(
                paint(text, line) if line else text for text, line in zip(padded, lines, strict=True)
            ).rstrip()


def _lists_below(
    header: Row, cells: Sequence[list[list[str]]], below: Sequence[int], width: int, paint: Paint
) -> Iterator[str]:
    """The lists of each row on lines of their own below it."""
    names = [name for i, name in enumerate(header) if i not in below]
    lines = _columns(names, [_without(row, below) for row in cells], paint)
    yield next(lines)
    yield from (GAP + paint(header[i], "HEADER") for i in below)
    yield next(lines)
    for row, line in zip(cells, lines, strict=True):
        yield line
        yield from (GAP + part for i in below for part in wrapped(", ".join(row[i]), width - len(GAP)) if part)


def _paragraphs(header: Row, cells: Sequence[Sequence[Sequence[str]]], width: int, paint: Paint) -> Iterator[str]:
    """The first cell above, the others below it, each after its title."""
    margin = max(len(name) for name in header)
    hang = " " * (margin + 2 * len(GAP))
    for number, row in enumerate(cells):
        if number:
            yield ""
        yield paint(row[0][0], "HEADER")
        for name, cell in zip(header[1:], row[1:], strict=True):
            if text := ", ".join(cell):
                head = f"{GAP}{name:<{margin}}{GAP}"
                lines = wrapped(text, max(LEAST, width - len(hang)))
                yield head + paint(lines[0], lines[0])
                yield from (hang + line for line in lines[1:])


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
