"""The graph as a picture that stands alone: namespaces as boxes, pairs as curves coloured by their state. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from vppctl.cli.render import clean

ROW, HEAD, GAP, MARGIN = 22, 30, 70, 16
"""Pixels: height of an interface, of a box's title, between boxes, around all."""
LETTER = 7.3
"""Pixels that a letter takes at most, in 12 pixel monospace."""
_STYLE = (
    "text{font:12px monospace;fill:#222}.t{font-weight:bold}.b{fill:#f6f8fa;stroke:#8c959f}"
    ".n{fill:#fff;stroke:#d0d7de}path{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.b{fill:#161b22}.n{fill:#0d1117;stroke:#30363d}}"
)


class _Node(NamedTuple):
    """Where an interface is drawn: its column, both its sides, and the middle of its height."""

    column: int
    left: float
    right: float
    middle: float


def svg(
    boxes: Mapping[str, Sequence[str]], edges: Sequence[tuple[str, str, str]], colors: Mapping[str, str]
) -> Iterator[str]:
    """The lines of the picture; `edges` are two interfaces and their state."""
    nodes: dict[str, _Node] = {}
    shapes, width, height = _boxes(boxes, nodes)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">'
    )
    yield f"<style>{_STYLE}</style>"
    yield from shapes
    for first, second, state in edges:
        color = colors.get(state, "gray")
        title = f"{first} - {second}: {state}"
        yield f'<path d="{_curve(nodes[first], nodes[second])}" stroke="{color}"><title>{_text(title)}</title></path>'
    yield "</svg>"


def _boxes(boxes: Mapping[str, Sequence[str]], nodes: dict[str, _Node]) -> tuple[list[str], float, float]:
    """Boxes from top to bottom, in so many columns that the picture is about as wide as high."""
    shapes: list[str] = []
    names = list(boxes) + [node for members in boxes.values() for node in members]
    box = max([len(name) for name in names] or [0]) * LETTER + 40
    whole = sum(_height(members) for members in boxes.values())
    columns = max(1, min(len(boxes), max(2, round((whole / (box + GAP)) ** 0.5))))
    bottoms = [float(MARGIN)] * columns
    for space, members in sorted(boxes.items()):
        column = bottoms.index(min(bottoms))
        x, y = MARGIN + column * (box + GAP), bottoms[column]
        height = _height(members) - MARGIN
        shapes.append(f'<rect class="b" x="{x:.0f}" y="{y:.0f}" width="{box:.0f}" height="{height}" rx="6"/>')
        shapes.append(f'<text class="t" x="{x + 10:.0f}" y="{y + 20:.0f}">{_text(space)}</text>')
        for number, node in enumerate(sorted(members)):
            top = y + HEAD + number * ROW
            shapes.append(
                f'<rect class="n" x="{x + 10:.0f}" y="{top:.0f}" width="{box - 20:.0f}" height="{ROW - 4}" rx="4"/>'
            )
            shapes.append(f'<text x="{x + 16:.0f}" y="{top + 13:.0f}">{_text(node)}</text>')
            nodes[node] = _Node(column, x + 10, x + box - 10, top + (ROW - 4) / 2)
        bottoms[column] += height + MARGIN
    return shapes, MARGIN * 2 + columns * box + (columns - 1) * GAP + GAP / 2, max(bottoms)


def _height(members: Sequence[str]) -> int:
    return HEAD + len(members) * ROW + 8 + MARGIN


def _curve(first: _Node, second: _Node) -> str:
    """From the side that faces the other; within a column around its right side."""
    if first.column > second.column:
        first, second = second, first
    start, end = first.right, second.right if first.column == second.column else second.left
    bend = GAP / 2
    towards = end + bend if first.column == second.column else end - bend
    return (
        f"M{start:.0f},{first.middle:.0f} "
        f"C{start + bend:.0f},{first.middle:.0f} {towards:.0f},{second.middle:.0f} {end:.0f},{second.middle:.0f}"
    )


def _text(text: str) -> str:
    """Nothing from the store is markup."""
    return escape(clean(text))
