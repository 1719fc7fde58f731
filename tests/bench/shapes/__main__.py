"""Shapes and ways of change against the best way by hand: `.venv/bin/python -m tests.bench shapes`, as root.

Each shape (pairs between two namespaces, stars, chain, mesh, all in one namespace, each end in its own) goes through
each way of change: by a running agent, in one transaction of etcd, and by scripts around `ip`. The agent's time ends
when the kernel has all of the change, seen from outside; for deletions, and where nothing changes in the kernel, when
the agent has reported every interface. What is in the file of --save already is not measured again, so that a run can
be stopped and continued, or done shape by shape.
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
from tests.bench.shapes.ways import WAYS, ways_of
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
    failures = [] if options.markdown else run(options, figures)
    print("", markdown(figures), sep="\n")
    if not options.markdown:
        print("", *(f"missed: {line}" for line in figures.missed()), *failures, sep="\n")
    sys.exit(1 if failures else 0)


def run(options: argparse.Namespace, figures: Figures) -> list[str]:
    """Measure what is asked for and not known yet, and print it; what did not come to its end is returned."""
    failures = []
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
                for pairs in sorted(int(size) for size in options.sizes.split(",")):
                    left = [w for w in ways_of(shape) if not options.way or w.name in options.way]
                    left = [way for way in left if (shape, way.name, pairs) not in figures]
                    if not left:
                        continue
                    rounds = options.runs if pairs <= SMALL else 1
                    try:
                        found = measure(shape, pairs, left, rounds, etcd, folder / "files", figures)
                    except AssertionError as error:
                        failures.append(f"failed: {shape}, {pairs} pairs: {error}")
                        print(failures[-1], file=sys.stderr, flush=True)
                        continue
                    figures.add(found)
                    figures.save()
                    print(*(row(figure) for figure in found), sep="\n", flush=True)
                print(*growth_rows(figures, shape), sep="\n", file=sys.stderr)
                print(f"{shape}: {time.monotonic() - start:.0f} s so far", file=sys.stderr, flush=True)
    return failures


if __name__ == "__main__":
    main(sys.argv[1:])
