"""The kinds of rounds of a campaign: what is written, what breaks meanwhile, and what has to hold in between."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.faults.containers import Containers
from tests.faults.documents import Ref
from tests.faults.faults import Behind, Surroundings
from tests.faults.kernel import Key
from tests.faults.oracle import owner
from tests.faults.process import Violation
from tests.faults.shapes import drawn
from tests.faults.stream import MICROSERVICES, NAMED, Stream
from tests.faults.world import World
from tests.support.docker import Engine
from tests.support.netns import wait_until
from vppctl.linux.monitor import OVERRUN_LAST

NAMES = tuple(f"n{n:02}" for n in range(20))


@dataclass(slots=True)
class Tally:
    """What was done, and how often."""

    changes: int = 0
    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    shaped: int = 0
    """Changes of documents of shapes, beside the others."""
    shapes: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def killed(self) -> int:
        return sum(self.kills.values())


class Rounds:
    """What can happen in a round, with its weight; every label of the world has a stream of its own."""

    def __init__(self, world: World, seed: int, engine: Engine | None = None) -> None:
        self.world, self.seed = world, seed
        self.tally = Tally()
        self.rng = random.Random(f"{seed}/start")
        self.surroundings = Surroundings(world)
        self.behind = Behind(world)
        self.containers = Containers(engine, world) if engine else None
        self.streams = {label: Stream(NAMES, self._refs) for label in world.agents}
        self.kinds: dict[str, tuple[int, Callable[[str], None]]] = {
            "plain": (10, self._plain),
            "SIGTERM while it works": (4, self._sigterm),
            "restart with --resync adopt": (4, self._adopt),
            "etcd SIGKILL": (4, lambda label: self._store_away(label, signal.SIGKILL)),
            "etcd SIGTERM": (2, lambda label: self._store_away(label, signal.SIGTERM)),
            "etcd SIGSTOP for longer than the timeout": (1, self._store_hangs),
            "etcd compacted": (3, self._compacted),
            "etcd compacted beyond the watch": (2, self._compacted_beyond),
            "etcd wiped, configuration restored": (1, self._wiped),
            "links tampered with": (16, self._tampered),
            "namespaces and processes end and come": (12, self._namespaces),
            "strangers' links in the way": (5, self._strangers),
            "documents with errors": (6, self._broken),
            "monitor socket overrun": (4, self._overrun),
            "dumps interrupted": (4, self._interrupted),
            "a shape comes, changes and goes": (8, self._shape),
        }
        if engine:
            self.kinds["containers start, stop, restart, are killed"] = (12, self._containers)

    def rest(self, why: str, *, still: bool = False) -> None:
        self.world.rest(why, still=still)
        self.tally.kills += self.world.deaths
        self.world.deaths.clear()

    def _options(self, rng: random.Random) -> list[str]:
        options = ["--resync", "adopt" if rng.random() < 0.3 else "recreate"]
        return [*options, "--no-create-namespaces"] if rng.random() < 0.1 else options

    def _burst(self, label: str, size: int | None = None) -> Iterator[None]:
        """Write a burst, transaction by transaction."""
        rng = self.rng
        size = size or rng.choice((1, 1, 2, 5, 10, 20, 40, 60))
        documents = self.world.documents[label]
        for change in self.streams[label].burst(rng, documents, size):
            self.world.write(label, change)
            self.tally.changes += len(change)
            yield

    def _write(self, label: str, size: int | None = None) -> None:
        for _ in self._burst(label, size):
            pass

    def _refs(self) -> dict[Ref, float]:
        """The references that documents may have at present."""
        refs: dict[Ref, float] = {Ref(): 20}
        refs |= {Ref("named", name): 12 for name in NAMED}
        refs |= {Ref("file", f"/run/netns/{name}"): 2 for name in NAMED}
        for slot in ("p0", "p1"):
            if slot in self.world.processes:
                refs[Ref("pid", str(self.world.processes[slot].pid))] = 8
                refs[Ref("file", f"/proc/{self.world.processes[slot].pid}/ns/net")] = 2
        refs |= {Ref("named", "plain"): 1, Ref("file", "/run/netns/plain"): 1, Ref("pid", "4000000"): 1}
        if self.containers:
            refs |= {Ref("microservice", label): 20 for label in MICROSERVICES}
        return refs

    # Kinds of rounds

    def _plain(self, label: str) -> None:
        self._write(label)

    def _sigterm(self, label: str) -> None:
        agent = self.world.agents[label]
        self._write(label, self.rng.randint(20, 60))
        agent.stop()
        if not agent.control.story:
            self._whole(label)
        if agent.control.story:
            self.world.deaths[agent.control.story] += 1
        agent.control.disarm()
        if self.rng.random() < 0.5:
            self._write(label)
        self.world.start(label, *self._options(self.rng))

    def _whole(self, label: str) -> None:
        """No pair is left half-made."""
        ours = [link for link in self.world.look().values() if owner(label, link) is not None]
        if half := [link for link in ours if not link.alias or link.peer is None]:
            raise Violation(f"left half-made by SIGTERM: {half}")

    def _adopt(self, label: str) -> None:
        """What matches stays, by its index."""
        agent = self.world.agents[label]
        agent.control.disarm()
        self.rest("before the restart")
        before = self._ours(label)
        if self.rng.random() < 0.5:
            agent.kill()
        else:
            agent.stop()
        self.world.start(label, "--resync", "adopt", *([] if agent.creates else ["--no-create-namespaces"]))
        self.rest("the restart")
        if self._ours(label) != before:
            raise Violation(f"adopting made links anew: {before} became {self._ours(label)}")

    def _ours(self, label: str) -> dict[Key, str]:
        return {link.key: link.name for link in self.world.last.values() if owner(label, link) is not None}

    def _store_away(self, label: str, number: signal.Signals) -> None:
        self._write(label)
        self.world.stop_store(number)
        if self.rng.random() < 0.5:
            self.behind.tamper(self.rng, label, self.rng.randint(1, 4))
        if self.rng.random() < 0.3:
            self.surroundings.change(self.rng)
        self.world.etcd.start()
        self._write(label)

    def _store_hangs(self, label: str) -> None:
        for number, _ in enumerate(self._burst(label)):
            if number == 0:
                self.world.etcd.signal(signal.SIGSTOP)
                self.behind.tamper(self.rng, label, 2)
                # Longer than the agent's --command-timeout of 1 s: its calls fail.
                time.sleep(self.rng.choice((1.2, 2.5)))
                self.world.etcd.signal(signal.SIGCONT)

    def _compacted(self, label: str) -> None:
        gateway = self.world.gateway
        for _ in self._burst(label):
            gateway.compact(gateway.revision())

    def _compacted_beyond(self, label: str) -> None:
        """The agent is held while its watch breaks, and while what it has missed is forgotten."""
        world, agent = self.world, self.world.agents[label]
        agent.signal(signal.SIGSTOP)
        world.stop_store(signal.SIGKILL)
        world.etcd.start()
        self._write(label)
        world.retried(lambda: world.gateway.write({"/padding": "1"}))
        world.gateway.compact(world.gateway.revision())
        agent.signal(signal.SIGCONT)

    def _wiped(self, label: str) -> None:
        """Everything is written again, in another order, and in part with other values."""
        self._wipe(padded=False)
        self._write(label)
        self.rest("the first restoration")
        self._wipe(padded=True)
        self._write(label)

    def _wipe(self, *, padded: bool) -> None:
        world, rng = self.world, self.rng
        before = world.retried(world.gateway.revision)
        world.wipe_store()
        for label, stream in self.streams.items():
            documents = dict(world.documents[label])
            world.documents[label].clear()
            world.revisions[label].clear()
            names = sorted(documents)
            rng.shuffle(names)
            together = rng.choice((1, 10))
            for start in range(0, len(names), together):
                # An agent that saw the store empty has let go of what was frozen: no errors are restored.
                part = [documents[name].mended() for name in names[start : start + together]]
                change = {d.name: stream.altered(rng, d) if rng.random() < 0.3 else d for d in part}
                world.write(label, change)
                self.tally.changes += len(change)
        if padded:
            # Beyond the revision that the agent knows, so that nothing but the contents tells.
            for _ in range(before - world.gateway.revision() + 2):
                world.gateway.write({"/padding": "1"})

    def _tampered(self, label: str) -> None:
        if self.rng.random() < 0.4:
            self._write(label)
        self.behind.tamper(self.rng, label, self.rng.randint(1, 8))
        if self.rng.random() < 0.3:
            self._write(label)

    def _namespaces(self, label: str) -> None:
        if self.rng.random() < 0.4:
            self._write(label)
        for _ in range(self.rng.randint(1, 4)):
            self.surroundings.change(self.rng)
        if self.rng.random() < 0.4:
            self._write(label)

    def _containers(self, label: str) -> None:
        assert self.containers is not None
        if self.rng.random() < 0.6:
            self._write(label)
        for _ in range(self.rng.randint(1, 3)):
            self.containers.change(self.rng)

    def _shape(self, label: str) -> None:
        scene, ways = drawn(self.rng, self.world, label)
        for way in ways:
            way.run(scene)
            self.tally.shapes.update((f"shape {scene.name}", f"way {way.name}"))
        scene.close()
        self.tally.shaped += scene.changes

    def _strangers(self, label: str) -> None:
        self._write(label)
        for _ in range(self.rng.randint(1, 3)):
            self.surroundings.stranger(self.rng)

    def _broken(self, label: str) -> None:
        """Documents get errors, alone, so that what they freeze is known exactly; then others change around them."""
        stream, rng = self.streams[label], self.rng
        change = stream.breakage(rng, self.world.documents[label])
        if change:
            self.world.write(label, change)
            self.tally.changes += len(change)
            self.rest("documents with errors")
        self.behind.tamper(rng, label, 2)
        self._write(label)
        self.rest("changes around documents with errors")
        if mending := stream.mending(rng, self.world.documents[label]):
            self.world.write(label, mending)
            self.tally.changes += len(mending)

    def _overrun(self, label: str) -> None:
        """The agent gets a receive buffer that holds next to nothing, and a storm of strangers' events."""
        agent = self.world.agents[label]
        agent.control.disarm()
        agent.stop()
        agent.control.buffer = 2048
        self.world.start(label, *self._options(self.rng))
        self.rest("the restart with a small buffer")
        agent.control.buffer = 0
        before = agent.control.overruns
        for _ in range(3):
            self._write(label, 5)
            agent.signal(signal.SIGSTOP)
            self.surroundings.storm()
            self.behind.tamper(self.rng, label, 4)
            agent.signal(signal.SIGCONT)
            self.rest("lost events")
        # Of many in a row the later ones are told ever more seldom, OVERRUN_LAST seconds apart at last.
        wait_until(lambda: agent.control.overruns != before, "the monitor's socket to have overrun", 2 * OVERRUN_LAST)
        self.tally.faults["ENOBUFS"] += agent.control.overruns - before

    def _interrupted(self, label: str) -> None:
        """Dumps are told to be interrupted, and links come and go while there are real ones."""
        control = self.world.agents[label].control
        wanted = self.rng.randint(1, 9)
        control.interrupts = wanted
        with self.surroundings.churn():
            self._write(label, 20)
            self.behind.tamper(self.rng, label, 2)
            self.world.rest("interrupted dumps")
        self.tally.faults["NLM_F_DUMP_INTR"] += wanted - control.interrupts
        control.interrupts = 0
