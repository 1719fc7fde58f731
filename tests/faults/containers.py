"""Containers for a campaign: microservices that start, stop, restart and get killed on a real Docker engine."""

from __future__ import annotations

import random
from typing import Any

from tests.faults.stream import MICROSERVICES
from tests.faults.world import World
from tests.support.docker import Engine, pid


class Containers:
    """At most two containers of each label, which is one too many."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine, self.world = engine, world
        self.running: dict[str, Any] = {}
        self.done: dict[str, int] = {}
        world.containers = self.pids

    def pids(self, label: str) -> list[int]:
        """The PIDs of the running containers of a label."""
        return [pid(container) for name, container in self.running.items() if name.startswith(label)]

    def change(self, rng: random.Random) -> None:
        """Something happens to one container."""
        name = f"{rng.choice(MICROSERVICES)}-{rng.choice((0, 0, 0, 1))}"
        container: Any = self.running.get(name)
        kind = rng.choice(("restart", "kill", "stop")) if container else "start"
        if container:
            self._forget(container)
        match kind:
            case "start":
                self.running[name] = self.engine.run(name, name.partition("-")[0])
            case "restart":
                container.restart(timeout=0)
            case _:
                getattr(container, kind)(**({"timeout": 0} if kind == "stop" else {}))
                container.remove(force=True)
                del self.running[name]
        self.done[f"container {kind}"] = self.done.get(f"container {kind}", 0) + 1

    def _forget(self, container: Any) -> None:
        self.world.forget_process(pid(container))
