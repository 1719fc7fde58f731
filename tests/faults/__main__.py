"""The long form: `.venv/bin/python -m tests.faults --changes 10000 --kills 500 --seed 1`, as root; see `--help`.

Works inside namespaces of its own, with an etcd of its own. Exits with 1 at the first violation, and says how to
repeat it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.churn import cycles, report
from tests.faults.hostile import Hostile
from tests.faults.process import Violation
from tests.faults.runner import POINTS
from tests.faults.shapes import at_work, through
from tests.faults.walk import walk
from tests.faults.ways import WAYS
from tests.faults.world import World
from tests.support.docker import Engine
from tests.support.netns import fresh, isolate
from tests.support.shapes import HOSTS, SHAPES


@contextmanager
def folder() -> Iterator[Path]:
    """In memory, so that etcd's fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vppctl-faults-") as path:
        yield Path(path)


def campaign(options: argparse.Namespace) -> None:
    labels = ("vpp1", "red")[: options.agents]
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        engine = stack.enter_context(Engine(place)) if options.docker else None
        world = stack.enter_context(World(place, labels, *(["--docker-host", engine.host] if engine else [])))
        run = Campaign(world, options.seed, kills=options.kills > 0, engine=engine)
        run.only = frozenset(options.only)
        hostile = Hostile(place, world, "vpp1") if options.hostile else None
        if hostile:
            # What the agent finds of the neighbour's is looked at, at rest as well.
            run.still = 0.0
            stack.callback(hostile.neighbour.stop)
        began = told = time.monotonic()
        try:
            with run:
                if hostile:
                    hostile.begin()
                while run.tally.changes < options.changes or run.tally.killed < options.kills:
                    kind = run.round()
                    now = time.monotonic()
                    if options.verbose or now - told > 10:
                        told = now
                        tally = run.tally
                        text = f"{tally.changes} changes, {tally.killed} kills, {tally.rounds} rounds"
                        print(f"{now - began:7.1f} s  {text}; last: {kind}", flush=True)
                if hostile:
                    hostile.end()
        finally:
            table(run, time.monotonic() - began)


def walks() -> None:
    """The systematic form at its full length: every call of every kind, before it and after it."""
    for point in POINTS:
        for after in (False, True):
            with folder() as place, World(place) as world:
                died = Counter(walk(world, point, after=after))
                text = ", ".join(f"{count} {story}" for story, count in sorted(died.items()))
                print(f"{point}: {sum(died.values())} kills: {text}", flush=True)


def shapes(options: argparse.Namespace) -> None:
    """Each shape through each way of change."""
    rows: dict[str, list[str]] = {}
    names = options.shape or SHAPES
    for name in names:
        ways = options.way or list(WAYS)
        options.repeat = f"--shapes --shape {name} --pairs {options.pairs}"
        options.repeat += f" --hosts {options.hosts}" if options.hosts else ""
        options.repeat += "".join(f" --way {way!r}" for way in options.way or ())
        with folder() as place, at_work(place) as world:
            for gone in through(world, name, options.pairs, ways, hosts=options.hosts):
                rows.setdefault(gone.way, []).append(f"{gone.seconds:.1f}")
                work = f"{gone.changes} changes, {gone.messages} messages to the kernel"
                print(f"{gone.shape:14} {gone.way:20} {gone.seconds:7.1f} s  {work}", flush=True)
    print(f"\nseconds, {options.pairs} pairs\n{'':20}" + "".join(f"{name:>14}" for name in names))
    for way, seconds in rows.items():
        print(f"{way:20}" + "".join(f"{text:>14}" for text in seconds))


def table(run: Campaign, seconds: float) -> None:
    tally = run.tally
    print(f"\nseed {run.seed}: {tally.changes} changes, {tally.killed} kills, {tally.rounds} rounds, {seconds:.0f} s")
    for title, counts in (
        ("rounds", tally.faults),
        ("tampering", run.behind.done),
        ("surroundings", run.surroundings.done | (run.containers.done if run.containers else {})),
        ("kills", tally.kills),
        ("shapes", Counter({"changes of their documents": tally.shaped}) + tally.shapes),
    ):
        for name, count in sorted(counts.items()):
            print(f"{title:14} {name:50} {count:6}")
    for label, growth in run.world.growth().items():
        print(f"agent {label}: {growth}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--changes", type=int, default=1000, help="changes of documents, at least  [1000]")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs at a call, at least  [0]")
    parser.add_argument("--seed", type=int, default=1, help="of the stream  [1]")
    parser.add_argument("--agents", type=int, choices=(1, 2), default=1, help="labels in the same namespaces  [1]")
    parser.add_argument("--docker", action="store_true", help="with containers of a Docker engine of its own")
    parser.add_argument("--hostile", action="store_true", help="beside a neighbour without privileges that churns")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="only rounds of this kind")
    parser.add_argument("--cycles", type=int, default=0, help="create and delete so often, and report growth")
    parser.add_argument("--minutes", type=float, default=0.0, help="churn for so long, and report growth")
    parser.add_argument("--shapes", action="store_true", help="each shape through each way of change")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="of --shapes only this one")
    parser.add_argument("--way", action="append", choices=WAYS, help="of --shapes only this way of change")
    parser.add_argument("--pairs", type=int, default=300, help="of each shape  [300]")
    parser.add_argument("--hosts", choices=HOSTS, default="", help="kernel names of --shapes  [those of interfaces]")
    parser.add_argument("--walk", action="store_true", help="kill at each call of one scenario in turn")
    parser.add_argument("--verbose", action="store_true", help="a line for every round")
    options = parser.parse_args()
    options.repeat = ""
    print(f"seed {options.seed}", flush=True)
    isolate()
    try:
        with fresh():
            if options.cycles or options.minutes:
                with folder() as place:
                    report(cycles(place, options.seed, options.cycles, options.minutes * 60))
            elif options.shapes:
                shapes(options)
            elif options.walk:
                walks()
            else:
                campaign(options)
    except Violation as violation:
        repeat = options.repeat or " ".join(sys.argv[1:])
        print(f"\nVIOLATION: {violation}\n\nto repeat: python -m tests.faults {repeat}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
