"""A hostile neighbour beside a campaign, and how long others wait for a link meanwhile.

The neighbour has no privileges: uid 65534, root of user and network namespaces of its own. There it creates and deletes
links with and without the marks of the campaign's interfaces, gives them addresses and alternative names, all the time.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.latency import IFF_RUNNING, Links
from tests.bench.timing import quantile
from tests.faults.documents import Document, Ref
from tests.faults.rounds import NAMES
from tests.faults.world import World
from tests.support.neighbour import Neighbour, everything, group
from vppctl.linux import wire

TIMES = 40
LEFT = Document("hostile-a", "hostile-b", Ref("named", "hostile-1"), host="quiet-a")
RIGHT = Document("hostile-b", "hostile-a", Ref("named", "hostile-2"), host="quiet-b")


class Latency(NamedTuple):
    """Milliseconds from a put to the link that is up."""

    p50: float
    p90: float
    longest: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p90 {self.p90:.1f} ms, longest {self.longest:.1f} ms"


class Hostile:
    """The neighbour is at work from `begin` to `end`; what others wait is measured before, at the end, and after it."""

    def __init__(self, folder: Path, world: World, label: str) -> None:
        self.world, self.label = world, label
        marks = tuple(f"vppctl:{label}:{name}" for name in NAMES[:5])
        self.neighbour = Neighbour(folder, everything(group(label), marks))
        self.before = self.meanwhile = self.after = Latency(0.0, 0.0, 0.0)

    def begin(self) -> None:
        self.before = self.latency()
        self.neighbour.start()

    def end(self) -> None:
        self.meanwhile = self.latency()
        turns = self.neighbour.turns
        self.neighbour.stop()
        # With all that the campaign has configured by now, as beside the neighbour.
        self.after = self.latency()
        print(f"put to link up, before there was a neighbour: {self.before}", flush=True)
        print(f"put to link up, beside the neighbour:         {self.meanwhile}", flush=True)
        print(f"put to link up, after it has gone:            {self.after}", flush=True)
        print(f"the neighbour has done its work {turns} times; p50 is {self.factor:.1f} times as long", flush=True)

    @property
    def factor(self) -> float:
        return self.meanwhile.p50 / self.after.p50

    def latency(self, times: int = TIMES) -> Latency:
        """Put one side of a pair, wait for its link, and delete it, so often."""
        world, label, found = self.world, self.label, []
        agent = world.agents[label]
        for name in (LEFT.ref.value, RIGHT.ref.value):
            world.add_named(name)
        with agent.control.held(), ExitStack() as stack:
            if agent.died() is not None:
                world.revive(label)
            world.write(label, {LEFT.name: LEFT})
            world.rest("the neighbour is measured")
            events = stack.enter_context(Links(RIGHT.ref.value))
            for _ in range(times):
                start = time.perf_counter()
                world.write(label, {RIGHT.name: RIGHT})
                events.until("quiet-b", lambda kind, flags, _: kind == wire.RTM_NEWLINK and bool(flags & IFF_RUNNING))
                found.append((time.perf_counter() - start) * 1e3)
                world.write(label, {RIGHT.name: None})
                events.until("quiet-b", lambda kind, _, __: kind == wire.RTM_DELLINK)
                # The kernel takes its time with the rest of the deletion.
                time.sleep(0.03)
            world.write(label, {LEFT.name: None})
            world.rest("the neighbour was measured")
        return Latency(quantile(found, 0.5), quantile(found, 0.9), max(found))
