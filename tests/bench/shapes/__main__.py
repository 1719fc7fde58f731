"""Shapes and ways of change against the best way by hand: `.venv/bin/python -m tests.bench shapes`, as root.

Each shape (pairs between two namespaces, stars, chain, mesh, all in one namespace, each end in its own) goes through
each way of change: by a running agent, in one transaction of etcd, and by scripts around `ip`. The agent's time ends
when the kernel has all of the change, seen from outside; for deletions, and where nothing changes in the kernel, when
the agent has reported every interface. What is in the file of --save already is not measured again, so that a run can
be stopped and continued, or made shape by shape.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.shapes import look
from tests.bench.shapes.by_agent import ETCD_OPTIONS
from tests.bench.shapes.figures import HEADER, Figures, growth_rows, markdown, row
from tests.bench.shapes.look import Space
from tests.bench.shapes.rounds import measure
from tests.bench.shapes.ways import WAYS
from tests.bench.timing import prepare
from tests.support.etcd import Etcd
from tests.support.netns import isolate
from tests.support.shapes import SHAPES

SMALL = 100
"""Sizes up to this are measured in several rounds, larger ones in one."""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench shapes", description=(__doc__ or "").splitlines()[0])
    names = [way.name for way in WAYS]
    parser.add_argument("--shape", action="append", choices=SHAPES, help="which ones; by default all")
    parser.add_argument("--way", action="append", choices=names, help="which ways of change; by default all")
    parser.add_argument("--sizes", default="100,1000", help="pairs, up to 5000 (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help=f"rounds up to {SMALL} pairs (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the figures in this file, and add to it")
    parser.add_argument("--markdown", action="store_true", help="only print README's tables of the figures in --save")
    options = parser.parse_args(arguments)
    figures = Figures(options.save)
    if options.markdown:
        print(markdown(figures))
        return
    sizes = sorted(int(size) for size in options.sizes.split(","))
    ways = [way for way in WAYS if not options.way or way.name in options.way]
    start = time.monotonic()
    prepare()
    isolate()
    look.without_detection([Space()])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        with Etcd(folder, *ETCD_OPTIONS) as etcd:
            print(HEADER, flush=True)
            for shape in options.shape or SHAPES:
                for pairs in sizes:
                    left = [way for way in ways if (shape, way.name, pairs) not in figures]
                    runs = options.runs if pairs <= SMALL else 1
                    if left:
                        found = measure(shape, pairs, left, runs, etcd, folder / "files", figures)
                        figures.add(found)
                        figures.save()
                        print(*(row(figure) for figure in found), sep="\n", flush=True)
                for line in growth_rows(figures, shape):
                    print(line, file=sys.stderr)
                print(f"{shape}: {time.monotonic() - start:.0f} s so far", file=sys.stderr, flush=True)
    print("", markdown(figures), "", *(f"missed: {line}" for line in figures.missed()), sep="\n")
