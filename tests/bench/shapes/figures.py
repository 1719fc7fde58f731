"""What was measured of shapes and ways, kept in a file from run to run, and the tables of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.shapes.ways import WAYS
from tests.bench.timing import Result
from tests.support.shapes import SHAPES

RATIO = 3.0
"""What a change may cost at most, in times of what the best way by hand does."""
GROWTH = 1.5
"""By how much the cost a pair may grow from the smallest to the largest size, where that by hand does not."""
ONE_BY_ONE = 0.06
"""What the deletion of both sides may cost at most, in times of `ip -batch` link by link."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One way of change of one shape; times are medians in milliseconds."""

    shape: str
    way: str
    pairs: int
    ours: float
    until: str
    """What was waited for: `kernel` or `reports`."""
    reported: float
    """Until the agent has reported it of each interface; 0 where that cannot be known."""
    peer: str
    """The best way by hand."""
    theirs: float
    others: dict[str, float] = field(default_factory=dict)
    """The other ways by hand that were tried."""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def one_by_one(self) -> float:
        """The ratio to a deletion link by link; 0 where that was not measured."""
        theirs = self.others.get("`ip -batch`, one by one", 0.0)
        return self.ours / theirs if theirs else 0.0


class Figures:
    """All figures of a file; without a path they are in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._all: dict[tuple[str, str, int], Figure] = {}
        if path and path.exists():
            self.add(Figure(**entry) for entry in json.loads(path.read_text()))

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return key in self._all

    def get(self, shape: str, way: str, pairs: int) -> Figure | None:
        return self._all.get((shape, way, pairs))

    def add(self, figures: Iterable[Figure]) -> None:
        self._all |= {(figure.shape, figure.way, figure.pairs): figure for figure in figures}

    def save(self) -> None:
        if self._path:
            self._path.write_text(json.dumps([asdict(figure) for figure in self.sorted()], indent=1) + "\n")

    def sorted(self) -> list[Figure]:
        """In the order of the tables."""
        ways = [way.name for way in WAYS]
        return sorted(self._all.values(), key=lambda f: (SHAPES.index(f.shape), f.pairs, ways.index(f.way)))

    def sizes(self) -> list[int]:
        return sorted({pairs for _, _, pairs in self._all})

    def growth(self, shape: str, way: str) -> tuple[float, float] | None:
        """By how much the cost a pair grows from the smallest to the largest size: ours, and that by hand."""
        found = sorted((f for f in self._all.values() if (f.shape, f.way) == (shape, way)), key=lambda f: f.pairs)
        if len(found) < 2:
            return None
        few, many = found[0], found[-1]
        scale = few.pairs / many.pairs
        return many.ours / few.ours * scale, many.theirs / few.theirs * scale

    def missed(self) -> list[str]:
        """The targets that were missed, at the largest size of each, in words."""
        found = []
        for figure in self.sorted():
            where = f"{figure.shape}, {figure.way}, {figure.pairs} pairs"
            if figure.ratio > RATIO:
                found.append(f"{where}: {figure.ratio:.2f} x {figure.peer}, not {RATIO:g}")
            if figure.one_by_one > ONE_BY_ONE:
                found.append(f"{where}: {figure.one_by_one:.3f} x `ip -batch` one by one, not {ONE_BY_ONE:g}")
        for shape in SHAPES:
            for way in WAYS:
                growth = self.growth(shape, way.name)
                if growth and growth[0] > GROWTH >= growth[1]:
                    found.append(f"{shape}, {way.name}: cost a pair grows by {growth[0]:.2f}, by hand {growth[1]:.2f}")
        return found


HEADER = "| shape | pairs | way | by hand | ours | until | reported | ratio | target |\n" + "|---" * 9 + "|"


def row(figure: Figure) -> str:
    """A row of the long table, which the run prints as it goes."""
    verdict = f"{RATIO:g} {'met' if figure.ratio <= RATIO else 'missed'}"
    if figure.one_by_one:
        met = "met" if figure.one_by_one <= ONE_BY_ONE else "missed"
        verdict += f"; {figure.one_by_one:.3f} x one by one, {ONE_BY_ONE:g} {met}"
    cells = (
        figure.shape,
        str(figure.pairs),
        figure.way,
        f"{figure.peer} {figure.theirs:.0f} ms",
        f"{figure.ours:.0f} ms",
        figure.until,
        f"{figure.reported:.0f} ms" if figure.reported else "",
        f"{figure.ratio:.2f}",
        verdict,
    )
    return f"| {' | '.join(cells)} |"


def growth_rows(figures: Figures, shape: str) -> list[str]:
    """How the cost a pair of a shape grows, one line a way."""
    found = []
    for way in WAYS:
        if growth := figures.growth(shape, way.name):
            verdict = "met" if growth[0] <= GROWTH else "as by hand" if growth[1] > GROWTH else "missed"
            found.append(f"{shape}, {way.name}: cost a pair x {growth[0]:.2f}, by hand x {growth[1]:.2f}: {verdict}")
    return found


def markdown(figures: Figures) -> str:
    """The tables of README: a row a way, a column a shape."""
    sizes = figures.sizes()
    if not sizes:
        return "nothing was measured"
    shapes = [shape for shape in SHAPES if any(figures.get(shape, way.name, sizes[-1]) for way in WAYS)]
    lines = [f"Ours against the best way by hand, {sizes[-1]} pairs; at most {RATIO:g}:", "", *_head(shapes)]
    for way in WAYS:
        cells = [_ratio(figures.get(shape, way.name, sizes[-1])) for shape in shapes]
        if any(cells):
            lines.append(f"| {way.work} | {' | '.join(cells)} |")
    if len(sizes) > 1:
        lines += ["", f"Growth of the cost a pair from {sizes[0]} to {sizes[-1]} pairs, ours / by hand:", ""]
        lines += _head(shapes)
        for way in WAYS:
            cells = [_growth(figures.growth(shape, way.name)) for shape in shapes]
            if any(cells):
                lines.append(f"| {way.work} | {' | '.join(cells)} |")
    for figure in figures.sorted():
        if figure.one_by_one:
            theirs = figure.others["`ip -batch`, one by one"]
            work = f"{figure.pairs} pairs, both sides of all deleted"
            lines += ["", Result(work, "`ip -batch`", figure.ours, theirs, "ms", ONE_BY_ONE).row()]
    return "\n".join(lines)


def _head(shapes: Sequence[str]) -> list[str]:
    return [f"| | {' | '.join(shapes)} |", f"|---{'|---' * len(shapes)}|"]


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.ratio:.2f}" if figure.ratio <= RATIO else f"**{figure.ratio:.2f}**"


def _growth(growth: tuple[float, float] | None) -> str:
    if growth is None:
        return ""
    text = f"{growth[0]:.1f} / {growth[1]:.1f}"
    return text if growth[0] <= GROWTH or growth[1] > GROWTH else f"**{text}**"
