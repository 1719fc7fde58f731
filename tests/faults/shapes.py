"""Every shape through every way of change, `python -m tests.faults --shapes`; and one that a campaign draws.

The shapes are those of `tests.support.shapes`, the ways those of `ways`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.faults.process import Violation
from tests.faults.ways import WAYS, Scene, Way
from tests.faults.world import World
from tests.support.shapes import HOSTS, SHAPES

LABEL = "vpp1"


SIZES = {(1, 5): 50, (6, 40): 35, (41, 150): 12, (151, 1000): 3}
"""How many pairs a campaign draws, by weight: a large shape takes as long as twenty small ones."""


def drawn(rng: random.Random, world: World, label: str) -> tuple[Scene, list[Way]]:
    """A shape beside everything else that a label has, and how it comes, changes and goes."""
    least, most = rng.choices(list(SIZES), list(SIZES.values()))[0]
    pairs, name, hosts = rng.randint(least, most), rng.choice(SHAPES), rng.choice(HOSTS)
    ways = [way for way in WAYS.values() if not way.alone]
    comes = [way for way in ways if not way.starts]
    changes = [way for way in ways if way.starts and way.ends]
    goes = [way for way in ways if not way.ends]
    chosen = [rng.choice(comes), *rng.sample(changes, rng.randrange(3)), rng.choice(goes)]
    return Scene(world, label, name, pairs, hosts=hosts, head="t", still=False), chosen


class Gone(NamedTuple):
    """A shape has gone through a way of change without a violation."""

    shape: str
    way: str
    seconds: float
    changes: int
    messages: int
    """That change something in the kernel."""


@contextmanager
def at_work(folder: Path) -> Iterator[World]:
    """A world with an agent, which has to stop at the end."""
    with World(folder, (LABEL,)) as world:
        world.start(LABEL)
        yield world
        world.agents[LABEL].stop()


def through(
    world: World, shape: str, pairs: int, ways: Iterable[str], *, hosts: str = "", still: bool = True
) -> Iterator[Gone]:
    """A shape through these ways, one after the other; nothing of it is left. Raises Violation.

    With `still` nothing may happen at rest after each step; otherwise after the last one.
    """
    scene = Scene(world, LABEL, shape, pairs, hosts=hosts, still=still)
    agent, there = world.agents[LABEL], False
    for way in map(WAYS.__getitem__, ways):
        if way.starts != there:
            (scene.put if way.starts else scene.delete)(scene.documents)
            world.rest("getting ready")
        began, changes, messages = time.monotonic(), scene.changes, scene.sent()
        try:
            way.run(scene)
        except Violation as violation:
            raise Violation(f"{way.name}: {violation}") from None
        if complaint := agent.complaint():
            raise Violation(f"{way.name}: agent {LABEL} complains: {complaint}")
        there = way.ends
        seconds = time.monotonic() - began
        yield Gone(shape, way.name, seconds, scene.changes - changes, scene.sent() - messages)
    scene.still = True
    scene.rest("all of it")
    if there:
        scene.delete(scene.documents)
        world.rest("the end")
    scene.close()
