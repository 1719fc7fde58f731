"""Draws cost against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw(path: Path, sizes: Sequence[int], costs: Mapping[str, Sequence[float]]) -> None:
    """One line a maker, milliseconds over pairs, both logarithmic. Needs matplotlib (extra `bench`)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, values in costs.items():
        axes.plot(sizes[: len(values)], values, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="pairs", ylabel="ms", title="Making pairs with two addresses an end")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
