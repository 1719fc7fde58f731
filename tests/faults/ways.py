"""The ways in which everything of a shape changes at once, and what has to hold in between.

A scene is a shape in a world. A way starts with all of it there or with nothing, as it says, and comes to rest after
each of its steps.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.documents import Document, Ref
from tests.faults.kernel import entered
from tests.faults.oracle import group
from tests.faults.process import Violation
from tests.faults.stillness import ours
from tests.faults.world import REST, World
from tests.support.shapes import moved, namespaces, readdressed, renamed, rotated, shape, swapped, with_mtu

PATIENCE_A_PAIR = 0.1
"""Seconds more that a rest may take for each pair."""
HUB = "hub"
"""The slot of the process that a hub is in."""
REFS = {0: ("pid", "pid"), 1: ("microservice", "microservice"), 2: ("named", "name"), 3: ("file", "filepath")}


def document(values: Mapping[str, Any]) -> Document:
    """A document of a shape as one of the campaign."""
    ref = Ref()
    if space := values.get("namespace"):
        kind, key = REFS[space["type"]]
        ref = Ref(kind, str(space[key]))
    return Document(
        values["name"],
        values["veth"]["peer_if_name"],
        ref,
        host=values.get("host_if_name", ""),
        mtu=values.get("mtu", 0),
        mac=values.get("phys_address", ""),
        addresses=tuple(values["ip_addresses"]),
        enabled=values.get("enabled", False),
    )


Documents = Sequence[dict[str, Any]]


@dataclass
class Scene:
    """A shape of one label, and what is done to it."""

    world: World
    label: str
    name: str
    pairs: int
    hosts: str = ""
    head: str = ""
    still: bool = True
    """Whether nothing may happen at rest; otherwise two looks have to find it all as it should be."""
    changes: int = 0
    """Documents written and deleted."""
    documents: Documents = field(default_factory=list)
    """All of it, whether it is there or not."""

    def __post_init__(self) -> None:
        if self.name == "star-process":
            self.world.start_process(HUB)
        self.draw()

    def close(self) -> None:
        """Nothing is left of its surroundings."""
        self.world.remove_all_named(namespaces(self.documents))
        if HUB in self.world.processes:
            self.world.end_process(HUB)
            del self.world.processes[HUB]

    def draw(self) -> None:
        """The documents as they are at first."""
        process = self.world.processes.get(HUB)
        pid = process.pid if process else 0
        self.documents = shape(self.name, self.pairs, pid=pid, hosts=self.hosts, head=self.head).documents

    # What is written

    def put(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """All in one transaction."""
        self.write({values["name"]: document(values) for values in documents})

    def put_singly(self, documents: Iterable[Mapping[str, Any]]) -> None:
        for values in documents:
            self.put([values])

    def delete(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self.write({values["name"]: None for values in documents})

    def delete_singly(self, documents: Iterable[Mapping[str, Any]]) -> None:
        for values in documents:
            self.delete([values])

    def write(self, changes: Mapping[str, Document | None]) -> None:
        self.changes += len(changes)
        self.world.write(self.label, changes)

    def change(self, documents: Documents, how: Callable[[Documents], None]) -> None:
        """They are the documents from now on, written like this."""
        self.documents = documents
        how(documents)

    def command(self, *arguments: str) -> None:
        """`vppctl` has to do it; it waits until it is done, where nobody kills the agent meanwhile."""
        if arguments[0] in ("put", "del") and self.still:
            arguments = (*arguments, "--wait", "--timeout", "60s")
        result = self.world.agents[self.label].run(*arguments)
        if result.returncode:
            raise Violation(f"vppctl {' '.join(arguments)[:200]} ended with {result.returncode}: {result.stderr}")

    @contextmanager
    def folder(self, documents: Documents, *, together: bool) -> Iterator[Path]:
        """These documents as files, one each, or all in one."""
        path = self.world.folder / "files"
        path.mkdir()
        parts = {"all": {"interface": documents}} if together else {values["name"]: values for values in documents}
        for name, content in parts.items():
            (path / f"{name}.json").write_text(json.dumps(content))
        try:
            yield path
        finally:
            for file in path.iterdir():
                file.unlink()
            path.rmdir()

    def written(self, documents: Documents) -> None:
        """The command line has made the store hold these, of all that is ours."""
        self.changes += len(documents)
        self.world.reads_store(self.label, {values["name"]: document(values) for values in documents}, self.head)

    # What has to hold

    def rest(self, why: str) -> None:
        timeout = REST + PATIENCE_A_PAIR * self.pairs
        self.world.rest(f"{self.name}, {self.pairs} pairs: {why}", timeout=timeout, still=self.still)

    @contextmanager
    def the_same_links(self, why: str) -> Iterator[None]:
        """What happens meanwhile leaves each link the one that it was, unless the agent dies."""
        before, lives = self.indexes(), self.world.deaths.total()
        yield
        self.rest(why)
        if (after := self.indexes()) != before and self.world.deaths.total() == lives:
            lost, new = before.keys() - after.keys(), after.keys() - before.keys()
            raise Violation(f"after {why}: links were made anew: {sorted(lost)[:10]} became {sorted(new)[:10]}")

    def indexes(self) -> dict[tuple[int, int], str]:
        return {key: link.alias for key, link in ours(self.label, self.world.last).items()}

    def sent(self) -> int:
        """Messages that change something, so far."""
        return self.world.agents[self.label].control.count("write")

    # Where it is

    def busiest(self, count: int) -> list[str]:
        """The named namespaces that have most ends."""
        found = Counter(values["namespace"]["name"] for values in self.documents if _is_named(values))
        return [name for name, _ in found.most_common(count)]

    def sides(self) -> tuple[Documents, Documents]:
        return self.documents[::2], self.documents[1::2]


def _is_named(values: Mapping[str, Any]) -> bool:
    return bool((values.get("namespace") or {}).get("type") == 2)


@dataclass(frozen=True)
class Way:
    """A way of change: from all or nothing to all or nothing."""

    name: str
    starts: bool
    """With all of it there."""
    ends: bool
    run: Callable[[Scene], None]
    alone: bool
    """Whether the label has to have no other documents: it starts the agent again, or is about all that there is."""


WAYS: dict[str, Way] = {}


def _way(
    name: str, *, starts: bool = True, ends: bool = True, alone: bool = False
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    def add(run: Callable[[Scene], None]) -> Callable[[Scene], None]:
        WAYS[name] = Way(name, starts, ends, run, alone)
        return run

    return add


# They are in an order in which one ends as the next one starts.


@_way("create", starts=False)
def _create(scene: Scene) -> None:
    scene.put(scene.documents)
    scene.rest("both sides in one transaction")


@_way("identical")
def _identical(scene: Scene) -> None:
    before, lives = scene.sent(), scene.world.deaths.total()
    with scene.the_same_links("identical values in one transaction"):
        scene.put(scene.documents)
    with scene.the_same_links("identical values one by one"):
        scene.put_singly(scene.documents)
    if (more := scene.sent() - before) and scene.world.deaths.total() == lives:
        raise Violation(f"identical values had {more} messages sent that change something")


@_way("MTU")
def _mtu(scene: Scene) -> None:
    with scene.the_same_links("all MTUs in one transaction"):
        scene.change(with_mtu(scene.documents, 1400), scene.put)
    with scene.the_same_links("all MTUs one by one"):
        scene.change(with_mtu(scene.documents, 9000), scene.put_singly)
    with scene.the_same_links("no MTUs"):
        scene.change(with_mtu(scene.documents, 0), scene.put)


@_way("addresses")
def _addresses(scene: Scene) -> None:
    first = scene.documents
    with scene.the_same_links("all addresses in one transaction"):
        scene.change(readdressed(first), scene.put)
    with scene.the_same_links("all addresses back, one by one"):
        scene.change(first, scene.put_singly)


@_way("down and up")
def _down(scene: Scene) -> None:
    first = scene.documents
    with scene.the_same_links("all down"):
        scene.change([{**values, "enabled": False} for values in first], scene.put)
    with scene.the_same_links("all up"):
        scene.change(first, scene.put)


@_way("rename")
def _rename(scene: Scene) -> None:
    first = scene.documents
    scene.change(renamed(first), scene.put)
    scene.rest("all renamed in one transaction")
    scene.change(rotated(scene.documents), scene.put)
    scene.rest("each has the name of the next one, in one transaction")
    scene.change(first, scene.put_singly)
    scene.rest("all renamed one by one")


@_way("move")
def _move(scene: Scene) -> None:
    first = scene.documents
    scene.change(moved(first), scene.put)
    scene.rest("all moved in one transaction")
    behind = namespaces(scene.documents)
    scene.change(first, scene.put_singly)
    scene.rest("all moved back one by one")
    scene.world.remove_all_named(behind)


@_way("swap")
def _swap(scene: Scene) -> None:
    first = scene.documents
    scene.change(swapped(first), scene.put)
    scene.rest("peers swapped in one transaction")
    scene.change(first, scene.put_singly)
    scene.rest("peers swapped back one by one")


@_way("hurry")
def _hurry(scene: Scene) -> None:
    """One change of all after the other, while the agent is still at work on those before."""
    first = scene.documents
    one, other = scene.sides()
    for documents in (with_mtu(first, 1400), moved(first), swapped(first), renamed(first)):
        scene.put(documents)
    scene.delete(one)
    scene.put(rotated(first))
    scene.delete(other)
    scene.delete_singly(one[: len(one) // 2])
    scene.put(first)
    scene.rest("many changes of all, and at last as it was")
    scene.world.remove_all_named(namespaces(moved(first)))


@_way("one side")
def _one_side(scene: Scene) -> None:
    one, other = scene.sides()
    scene.delete(one)
    scene.rest("one side deleted in one transaction")
    scene.put(one)
    scene.rest("that side in one transaction")
    scene.delete_singly(other)
    scene.rest("the other side deleted one by one")
    scene.put_singly(other)
    scene.rest("that side one by one")


@_way("drift", alone=True)
def _drift(scene: Scene) -> None:
    """Somebody changes all links, and deletes all."""
    everywhere = sorted(scene.world.spaces().values())
    for path in everywhere:
        with entered(path):
            _ip("link", "set", "group", str(group(scene.label)), "mtu", "1300")
    with scene.the_same_links("somebody set all MTUs"):
        pass
    for path in everywhere:
        with entered(path):
            _ip("link", "del", "group", str(group(scene.label)))
    scene.rest("somebody deleted all links")


def _ip(*arguments: str) -> None:
    # It fails where there is none.
    subprocess.run(["ip", *arguments], capture_output=True, check=False)


@_way("namespace")
def _namespace(scene: Scene) -> None:
    """The busiest namespaces go, then all of them; the agent makes them again."""
    for name in scene.busiest(3):
        scene.world.remove_named(name)
    scene.rest("namespaces removed")
    scene.world.remove_all_named(namespaces(scene.documents))
    scene.rest("all namespaces removed")


@_way("namespace awaited", alone=True)
def _awaited(scene: Scene) -> None:
    """The busiest namespaces go, and come when somebody makes them."""
    agent = scene.world.agents[scene.label]
    agent.stop()
    scene.world.start(scene.label, "--resync", "adopt", "--no-create-namespaces")
    with scene.the_same_links("the restart without creating namespaces"):
        pass
    gone = scene.busiest(3)
    for name in gone:
        scene.world.remove_named(name)
    scene.rest("namespaces removed that the agent does not make")
    for name in gone:
        scene.world.add_named(name)
    scene.rest("these namespaces are back")
    agent.stop()
    scene.world.start(scene.label, "--resync", "adopt")
    with scene.the_same_links("the restart"):
        pass


@_way("process")
def _process(scene: Scene) -> None:
    """The first namespace is that of a process, which ends, and which another one replaces."""
    first, world = scene.documents, scene.world
    place = first[0].get("namespace")

    def inside() -> list[dict[str, Any]]:
        where = {"type": 0, "pid": world.processes[HUB].pid}
        return [{**values, "namespace": where} if values.get("namespace") == place else values for values in first]

    if scene.name != "star-process":
        world.start_process(HUB)
        scene.change(inside(), scene.put)
        scene.rest("moved to a process")
    world.end_process(HUB)
    scene.rest("the process ended")
    world.start_process(HUB)
    scene.change(inside(), scene.put)
    scene.rest("another process")
    if scene.name != "star-process":
        scene.change(first, scene.put)
        scene.rest("moved away from the process")


@_way("restart", alone=True)
def _restart(scene: Scene) -> None:
    """The agent is stopped, is killed, adopts, makes everything again."""
    world = scene.world
    world.agents[scene.label].stop()
    world.start(scene.label, "--resync", "adopt")
    with scene.the_same_links("a restart with --resync adopt"):
        pass
    world.agents[scene.label].kill()
    world.start(scene.label, "--resync", "adopt")
    with scene.the_same_links("SIGKILL, and a restart with --resync adopt"):
        pass
    world.agents[scene.label].kill()
    world.start(scene.label)
    scene.rest("SIGKILL, and a restart from scratch")


@_way("killed", alone=True)
def _killed(scene: Scene) -> None:
    """The agent dies in the middle of deleting all, and in the middle of making all."""
    control, half = scene.world.agents[scene.label].control, max(1, scene.pairs // 2)
    for work, what in ((scene.delete, "deletes"), (scene.put, "makes")):
        control.arm("write", half, after=True)
        work(scene.documents)
        scene.rest(f"SIGKILL while the agent {what} all")
        control.disarm()
        if not scene.world.deaths:
            raise Violation(f"the agent {what} all without {half} messages that change something")
        scene.world.deaths.clear()


@_way("unheard", alone=True)
def _unheard(scene: Scene) -> None:
    """All goes and comes again while the agent is held."""
    agent = scene.world.agents[scene.label]
    agent.signal(signal.SIGSTOP)
    scene.delete(scene.documents)
    scene.put(scene.documents)
    agent.signal(signal.SIGCONT)
    scene.rest("all deleted and put again while the agent was held")


@_way("delete", ends=False)
def _delete(scene: Scene) -> None:
    scene.delete(scene.documents)
    scene.rest("both sides deleted in one transaction")


@_way("create one by one", starts=False)
def _create_singly(scene: Scene) -> None:
    one, other = scene.sides()
    scene.put_singly([*one, *other])
    scene.rest("one side, then the other, one by one")


@_way("delete one by one", ends=False)
def _delete_singly(scene: Scene) -> None:
    scene.delete_singly(scene.documents)
    scene.rest("both sides deleted, one by one")


@_way("put a file", starts=False)
def _put_file(scene: Scene) -> None:
    with scene.folder(scene.documents, together=True) as folder:
        scene.command("put", str(folder / "all.json"))
    scene.written(scene.documents)
    scene.rest("vppctl put of a file")


@_way("delete by prefix", ends=False)
def _delete_prefix(scene: Scene) -> None:
    prefix = f"/vnf-agent/{scene.label}/linux/config/v1/interface/{scene.head}"
    scene.world.etcd.ctl("del", "--prefix", prefix)
    scene.written([])
    scene.rest("etcdctl del --prefix")


@_way("put files", starts=False)
def _put_files(scene: Scene) -> None:
    with scene.folder(scene.documents, together=False) as folder:
        scene.command("put", *sorted(str(file) for file in folder.iterdir()))
    scene.written(scene.documents)
    scene.rest("vppctl put of files")


@_way("delete by name", ends=False)
def _delete_names(scene: Scene) -> None:
    scene.command("del", *(values["name"] for values in scene.documents))
    scene.written([])
    scene.rest("vppctl del of all names")


@_way("apply a folder", starts=False)
def _apply(scene: Scene) -> None:
    with scene.folder(scene.documents, together=False) as folder:
        scene.command("apply", "-f", str(folder))
    scene.written(scene.documents)
    scene.rest("vppctl apply of a folder")


@_way("prune", ends=False, alone=True)
def _prune(scene: Scene) -> None:
    """Half of the pairs go, then all but one."""
    for left in (-(-scene.pairs // 2), 1):
        kept = scene.documents[: 2 * left]
        with scene.folder(kept, together=False) as folder:
            scene.command("apply", "-f", str(folder), "--prune")
        scene.written(kept)
        scene.rest(f"vppctl apply --prune, {left} pairs are left")
    scene.delete(kept)
    scene.rest("the last pair deleted")
