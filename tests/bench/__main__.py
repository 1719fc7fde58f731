"""Ratios of speed against peers in the same run: `.venv/bin/python -m tests.bench [NAME...]`, as root.

Works inside namespaces of its own, with an etcd of its own; prints a row a target: medians of ours and of the peer, and
their ratio. Ratios are to be quoted, milliseconds are not. With `shapes` as first argument: other shapes of pairs, and
all ways of changing them (tests/bench/shapes).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import fleet, latency, microservices, programs, scale
from tests.bench.pairs import agent
from tests.bench.timing import HEADER, VPPCTL, Result, prepare, quiet
from tests.support.etcd import Etcd
from tests.support.netns import isolate

Measure = Callable[[argparse.Namespace, Path, Etcd], Iterable[Result]]


MEASURES: dict[str, Measure] = {
    "cold": lambda o, folder, _: [scale.cold(o.pairs, o.runs, folder)],
    "warm": lambda o, folder, _: [scale.warm(o.pairs, o.runs, folder)],
    "hub": lambda o, folder, _: [scale.remove_hub(o.pairs, o.runs, folder)],
    "spread": lambda o, folder, _: [scale.remove_spread(o.pairs, o.runs, folder)],
    "adopt": lambda o, folder, _: [scale.adopt(o.many, o.runs, folder)],
    "put": lambda o, folder, etcd: latency.one_put(o.pairs, o.runs * 40, folder, etcd),
    "change": lambda o, folder, etcd: [latency.one_change(10, o.many, o.runs * 20, folder, etcd)],
    "commands": lambda o, folder, _: programs.commands(o.runs, folder),
    "rest": lambda o, folder, _: scale.rest(o.many, o.runs, folder),
    "containers": lambda o, folder, _: microservices.bench(
        o.cycles, folder, lambda file: quiet(VPPCTL, "put", str(file)), agent
    ),
    "fleet": lambda o, folder, etcd: fleet.bench(o.agents, folder, etcd),
}


def main() -> None:
    if sys.argv[1:2] == ["shapes"]:
        from tests.bench.shapes.__main__ import main as shapes

        shapes(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all but fleet: {', '.join(MEASURES)}")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--many", type=int, default=5000, help="pairs where it is about many")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=100, help="starts of a container")
    parser.add_argument("--agents", type=int, default=200, help="in the fleet")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the figures as JSON, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw cost against size, too (needs matplotlib)")
    parser.add_argument("--sizes", default="10,100,1000,5000", help="for --plot")
    options = parser.parse_args()
    names = options.names or [name for name in MEASURES if name != "fleet"]
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"{', '.join(unknown)}: not known; there are {', '.join(MEASURES)}")
    prepare()
    isolate()
    with tempfile.TemporaryDirectory() as name, Etcd(Path(name), "--quota-backend-bytes=2147483648") as etcd:
        folder = Path(name)
        os.environ.update(ETCDCTL_ENDPOINTS=etcd.endpoint, ETCDCTL_API="3")
        found: list[Result] = []
        print(HEADER, flush=True)
        for name in names:
            for result in MEASURES[name](options, folder, etcd):
                print(result.row(), flush=True)
                found.append(result)
        if options.save:
            options.save.write_text(json.dumps([result.as_json() for result in found], indent=2) + "\n")
        if options.plot:
            from tests.bench.plot import draw

            sizes = [int(size) for size in options.sizes.split(",")]
            draw(options.plot, sizes, scale.by_size(sizes, options.runs, folder))


if __name__ == "__main__":
    main()
