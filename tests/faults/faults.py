"""What happens behind the agent's back: to its links, to namespaces and processes, and to strangers' links."""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
from collections.abc import Iterator

from tests.faults.kernel import Link, entered, look, run_in
from tests.faults.oracle import frozen, owner
from tests.faults.places import NETNS, OWN
from tests.faults.stream import KERNEL_NAMES, NAMED, SLOTS
from tests.faults.world import World


class Behind:
    """Tampers with the agent's links."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: dict[str, int] = {}

    def tamper(self, rng: random.Random, label: str, count: int) -> None:
        """Do something to `count` links of those that this label had at the last rest."""
        for _ in range(count):
            name = rng.choice(sorted(self.world.documents[label]) or ["none"])
            kind = rng.choice(self.kinds)
            found = [link for link in self.world.last.values() if owner(label, link) == name]
            if found:
                self._do(rng, label, kind, found[0])

    kinds = (
        "delete",
        "rename",
        "move",
        "down",
        "up",
        "mtu",
        "mac",
        "add address",
        "flush addresses",
        "clear alias",
        "other alias",
        "group",
    )

    @staticmethod
    def command(kind: str, name: str, elsewhere: str, number: int) -> list[str]:
        """What `ip` is to do; `elsewhere` is a namespace, `number` makes a value."""
        target = ["dev", name]
        return {
            "delete": ["link", "del", *target],
            "rename": ["link", "set", *target, "name", f"r{number}"],
            "move": ["link", "set", *target, "netns", elsewhere],
            "down": ["link", "set", *target, "down"],
            "up": ["link", "set", *target, "up"],
            "mtu": ["link", "set", *target, "mtu", str(1300 + number)],
            "mac": ["link", "set", *target, "address", f"06:11:00:00:00:{number:02x}"],
            "add address": ["addr", "add", f"10.99.{number}.1/24", *target],
            "flush addresses": ["addr", "flush", *target, "scope", "global"],
            "clear alias": ["link", "set", *target, "alias", ""],
            "other alias": ["link", "set", *target, "alias", f"vppctl:vpp1:other{number}"],
            "group": ["link", "set", *target, "group", "7"],
        }[kind]

    def _do(self, rng: random.Random, label: str, kind: str, link: Link) -> None:
        held = link.key in frozen(label, self.world.documents[label], self.world.last)
        command = self.command(kind, link.name, rng.choice(("lost", *NAMED)), rng.randrange(256))
        if kind == "other alias":
            # Not that of one whose document has errors: with its name the link would be frozen.
            other = self.world.documents[label].get(f"n{rng.randrange(20):02}")
            command[-1] = f"vppctl:{label}:{other.name if other and not other.broken else 'nobody'}"
        path = self.world.spaces().get(link.space)
        if path is None or (held and kind not in ("mtu", "mac", "add address", "flush addresses", "down", "up")):
            return
        there = look({link.space: path}).get((link.space, link.name))
        if run_in(path, "ip", *command):
            if kind in ("clear alias", "other alias", "group") and there and not there.up:
                self.world.unannounced.add(label)
            self.done[kind] = self.done.get(kind, 0) + 1
        if held:
            self.world.stays_as_it_is(link)


class Surroundings:
    """Namespaces, processes and strangers' links."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: dict[str, int] = {}

    def build(self) -> None:
        """What is there before the first agent starts."""
        (NETNS / "plain").write_text("no namespace\n")
        for name in ("m0", "m1", "lost"):
            self.world.add_named(name)
        for slot in SLOTS:
            self.world.start_process(slot)
        for path in (OWN, str(NETNS / "m0"), str(NETNS / "m1")):
            for command in (
                ("name", "stranger0", "type", "veth", "peer", "name", "stranger1"),
                ("name", "stranger2", "mtu", "1400", "type", "bridge"),
            ):
                assert self.world.add_stranger(path, *command), command

    def change(self, rng: random.Random) -> None:
        """Something ends or comes."""
        kind = rng.choice(("remove", "remake", "add", "unmount", "unmount and remake", "kill", "start", "replace"))
        name, slot = rng.choice(NAMED), rng.choice(SLOTS)
        match kind:
            case "remove":
                self.world.remove_named(name)
            case "remake":
                self.world.remove_named(name)
                self.world.add_named(name)
            case "add":
                self.world.add_named(name)
            case "unmount" | "unmount and remake":
                if self._unmount(name) and kind != "unmount":
                    self.world.add_named(name)
            case "kill":
                self.world.end_process(slot)
            case "start" | "replace":
                if kind == "replace" or self.world.processes[slot].poll() is not None:
                    self.world.start_process(slot)
        self.done[kind] = self.done.get(kind, 0) + 1

    def _unmount(self, name: str) -> bool:
        """The name goes while a process keeps the namespace, unless something frozen is there, which would stay."""
        held = {x.space for label in self.world.agents for x in self._frozen(label)}
        path = NETNS / name
        if not self.world.is_namespace(path) or path.stat().st_ino in held:
            return False
        holders = [slot for slot in self.world.processes if slot.startswith("holder")]
        if len(holders) >= 2:
            self.world.end_process(holders[0])
            del self.world.processes[holders[0]]
        self.world.unmount_named(name)
        return True

    def _frozen(self, label: str) -> list[Link]:
        return list(frozen(label, self.world.documents[label], self.world.last).values())

    def stranger(self, rng: random.Random) -> None:
        """A stranger's link with a name that interfaces ask for comes, or one goes."""
        world = self.world
        mine = sorted((x for x in world.strangers.values() if not x.name.startswith("stranger")), key=lambda x: x.key)
        if mine and rng.random() < 0.5:
            world.remove_stranger(rng.choice(mine))
            return
        name = rng.choice((*KERNEL_NAMES, "n00", "n03", "n06"))
        where = rng.choice((OWN, *(f"{NETNS}/{n}" for n in NAMED)))
        if where == OWN or world.is_namespace(NETNS / where.rpartition("/")[2]):
            world.add_stranger(where, "name", name, "type", "bridge")

    def storm(self) -> None:
        """Events of a stranger's link, more than a small buffer holds."""
        lines = [f"link set dev stranger2 mtu {mtu}" for mtu in (*range(1000, 1100), 1400)]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)

    @contextlib.contextmanager
    def churn(self) -> Iterator[None]:
        """Strangers' links come and go in a loop."""
        end = threading.Event()
        lines = [
            f"link {what} dev churn{n} {kind}" for n in range(20) for what, kind in (("add", "type dummy"), ("del", ""))
        ]

        def work() -> None:
            with entered(OWN):
                while not end.is_set():
                    subprocess.run(
                        ["ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False
                    )

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
