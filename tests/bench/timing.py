"""What a measurement gives, and how two programs are measured in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
VPPCTL = str(BIN / "vppctl")


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table: a ratio of medians, or a figure that stands alone."""

    work: str
    peer: str
    """What it is compared with; empty for a figure that stands alone."""
    ours: float
    theirs: float
    """Median of the peer in the same run; 0 without a peer."""
    unit: str
    target: float
    """Of the ratio, or of the figure; 0 for none."""

    @property
    def value(self) -> float:
        """What the target is about."""
        return self.ours / self.theirs if self.theirs else self.ours

    @property
    def verdict(self) -> str:
        """Whether the target was met."""
        return "" if not self.target else "met" if self.value <= self.target else "missed"

    def row(self) -> str:
        """A row of a Markdown table."""
        ratio = f"{self.value:.2f}" if self.theirs else ""
        peer = f"{self.peer} {_shown(self.theirs)} {self.unit}" if self.peer else ""
        target = f"{self.target:g}{'' if self.theirs else f' {self.unit}'} {self.verdict}" if self.target else ""
        return f"| {self.work} | {peer} | {_shown(self.ours)} {self.unit} | {ratio} | {target} |"

    def as_json(self) -> dict[str, object]:
        """For --save."""
        return {**asdict(self), "value": round(self.value, 4), "verdict": self.verdict}


HEADER = "| work | peer | ours | ratio | target |\n|---|---|---|---|---|"


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def quiet(*command: str) -> None:
    """Run to success, silently."""
    result = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, f"{' '.join(command)[:200]}: {result.stderr[-500:]}"


def prepare() -> None:
    """As installed: with compiled files, which this variable may have kept from being written."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    quiet(sys.executable, "-m", "compileall", "-q", "vppctl")


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def in_turn(runs: int, *works: Callable[[], float]) -> list[float]:
    """All of them in turn, so many times, so that the machine's moods meet each alike; the median of each."""
    rounds = [[work() for work in works] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
