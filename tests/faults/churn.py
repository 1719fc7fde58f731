"""Scale in time: one agent, pairs that are created and deleted again and again, and what the agent holds meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.documents import Document, Ref
from tests.faults.process import Growth, Violation
from tests.faults.world import World

PAIRS = 20
"""Pairs that come and go together, over two namespaces: created and deleted they are that many cycles."""
SAMPLES = 20
SLACK_FDS, SLACK_THREADS = 3, 2
"""How many a sample may have more than another: what gRPC opens and closes by itself."""
SLACK_RSS = 0.10
"""By what part memory may grow between the first half and the end: an allocator's pools, not a leak."""


class Sample(NamedTuple):
    """What the agent held after so many cycles."""

    seconds: float
    cycles: int
    growth: Growth


def cycles(folder: Path, seed: int, count: int, seconds: float) -> Iterator[Sample]:
    """Create and delete pairs `count` times or for so many seconds, whichever is longer; samples as they are taken."""
    rng = random.Random(seed)
    with World(folder) as world:
        world.start("vpp1")
        began = time.monotonic()
        done = sampled = 0
        step_count, step_seconds = count / SAMPLES, seconds / SAMPLES
        while done < count or time.monotonic() - began < seconds:
            _cycle(world, rng)
            done += PAIRS
            now = time.monotonic() - began
            if done >= sampled * step_count and now >= sampled * step_seconds:
                sampled += 1
                growth = world.growth()["vpp1"]
                if growth is None:
                    raise Violation(world.agents["vpp1"].tail())
                yield Sample(now, done, growth)
        world.agents["vpp1"].stop()


def _cycle(world: World, rng: random.Random) -> None:
    made: dict[str, Document | None] = {}
    for number in range(PAIRS):
        # New names now and then: what is remembered about old ones has to be forgotten.
        name = f"{number}-{rng.randrange(10_000)}"
        one, two = f"a{name}", f"b{name}"
        address = f"10.{number}.{rng.randrange(256)}.1/24"
        made[one] = Document(one, two, Ref("named", "m0"), addresses=(address,), mtu=rng.choice((0, 1400)))
        made[two] = Document(two, one, Ref("named", "m1"))
    world.write("vpp1", made)
    world.rest("creating")
    world.write("vpp1", dict.fromkeys(made))
    world.rest("deleting")


def report(samples: Iterator[Sample]) -> None:
    """Print the samples as they come. Raises Violation when they grow."""
    found: list[Sample] = []
    for sample in samples:
        found.append(sample)
        growth = sample.growth
        text = f"{growth.fds:4} fds {growth.threads:4} threads {growth.rss / 1024:7.1f} MiB"
        print(f"{sample.seconds:8.1f} s {sample.cycles:8} cycles {text}", flush=True)
    if grown := growth_of(found):
        raise Violation(grown)


def growth_of(samples: Sequence[Sample]) -> str:
    """What has grown from the second sample on; empty when nothing has."""
    later = samples[1:] or samples
    half = later[len(later) // 2 :]
    for what, slack in (("fds", SLACK_FDS), ("threads", SLACK_THREADS)):
        values = [getattr(sample.growth, what) for sample in later]
        if min(values[-3:]) > values[0] + slack:
            return f"{what} grow: {values}"
    values = [sample.growth.rss for sample in half]
    return f"memory grows: {values} KiB" if min(values[-2:]) > values[0] * (1 + SLACK_RSS) else ""
