"""The systematic form: one scenario, and the agent dies at its first call, its second, and so on, until it lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from tests.faults.documents import Document, Ref
from tests.faults.kernel import Link, Snapshot
from tests.faults.oracle import owner
from tests.faults.process import Violation
from tests.faults.world import World

LABEL = "vpp1"
SPACES = ("w0", "w1", "w2")


def scenario() -> Iterator[dict[str, Document | None]]:
    """A pair is made, with its namespaces; changed in place; made again elsewhere; taken away."""
    addresses = ("10.0.0.1/24", "2001:db8::1/64")
    a = Document("a", "b", Ref("named", "w0"), addresses=addresses, mac="06:00:00:00:00:01")
    b = Document("b", "a", Ref("named", "w1"), addresses=("10.0.0.2/24",), mtu=1400)
    yield {"a": a, "b": b}
    a = replace(a, mtu=9000, mac="06:00:00:00:00:02")
    yield {"a": a, "b": replace(b, addresses=("10.0.1.2/24",), enabled=False)}
    yield {"a": replace(a, ref=Ref("named", "w2")), "b": replace(b, host="x0")}
    yield {"a": None}


def walk(world: World, point: str, *, after: bool, steps: int = 4) -> Iterator[str]:
    """Where the agent died, N by N; returns when it has lived through these steps. Raises Violation."""
    control = world.agents[LABEL].control
    number = 0
    while True:
        number += 1
        world.start(LABEL)
        world.rest("the start")
        control.arm(point, number, after=after)
        world.deaths.clear()
        try:
            for step in islice(scenario(), steps):
                world.write(LABEL, step)
                world.rest(f"writing {', '.join(step)}")
        except Violation as violation:
            where = "after" if after else "before"
            raise Violation(f"killed {where} call {number} of {point} ({control.story}): {violation}") from None
        died = list(world.deaths)
        control.disarm()
        world.write(LABEL, dict.fromkeys(world.documents[LABEL]))
        world.rest("the end")
        world.agents[LABEL].kill()
        for name in SPACES:
            world.remove_named(name)
        if left := ours(world.look()):
            raise Violation(f"left over after call {number} of {point}: {left}")
        if not died:
            return
        yield from died


def ours(snapshot: Snapshot) -> list[Link]:
    return [link for link in snapshot.values() if owner(LABEL, link) is not None]
