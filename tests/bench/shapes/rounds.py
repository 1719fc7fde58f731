"""Takes one shape through the ways of change, by the agent and by hand in turn."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.bench.pairs import wipe
from tests.bench.shapes import by_hand, look
from tests.bench.shapes.by_agent import ByAgent, absent, applied, pending, running
from tests.bench.shapes.by_hand import Files, Script
from tests.bench.shapes.figures import Figure, Figures
from tests.bench.shapes.look import Space, Wanted, spaces_of
from tests.bench.shapes.ways import WAYS, Event, Start, Until, Way
from tests.support.etcd import Etcd
from tests.support.netns import wait_until
from tests.support.shapes import Document, namespaces, shape

Documents = Sequence[Document]
Kernel = dict[Space, dict[str, Wanted]]
CLEARLY = 1.3
"""Of two scripts one that takes so many times as long at one size is not tried at the next."""
ONE_BY_ONE = 1000
"""With so many pairs a deletion link by link is measured, too: it takes 20 s for them."""


class Party(Protocol):
    """Who carries out changes."""

    def take(self, way: Way, before: Documents, after: Documents, kernel: Kernel) -> None:
        """Carry out a change, and note how long it takes until the kernel is like this."""

    def build(self, documents: Documents) -> None:
        """Make these, with their namespaces there already."""

    def clear(self, documents: Documents) -> None:
        """Remove these, of which some may have gone; their namespaces are left to the caller."""


class AgentParty:
    """The agent."""

    def __init__(self, agent: ByAgent, files: Files, taken: dict[str, list[tuple[float, float]]]) -> None:
        """`taken` gets milliseconds until what is waited for, and until it is reported, by way."""
        self._agent, self._files, self._taken = agent, files, taken

    def take(self, way: Way, before: Documents, after: Documents, kernel: Kernel) -> None:
        survive = [space for space in kernel if way.event is not Event.NAMESPACES_REMOVED or not space.name]
        old = {space: look.seen(space) for space in survive} if way.renews else {}
        documents = {document["name"]: document for document in before}
        changed = [d["name"] for d in after if way.again or way.event or documents.get(d["name"]) != d]
        self._agent.wait_idle()
        start = time.perf_counter()
        revision = self._happen(way, before, after)
        kernel_has_it = reported = 0.0
        if way.until is Until.KERNEL:
            look.wait_for(kernel, old, changed)
            kernel_has_it = (time.perf_counter() - start) * 1e3
        if way.event is not Event.NAMESPACES_REMOVED:
            self._wait_reported(way, before, after, revision, changed)
            reported = (time.perf_counter() - start) * 1e3
        look.wait_for(kernel, old, changed)
        if way.event is Event.PROCESS_KILLED:
            reported = (time.perf_counter() - start) * 1e3
        if way.event is Event.NAMESPACES_REMOVED:
            self._agent.wait_idle()
            self._agent.wait_reported([d["name"] for d in after], applied(0))
        self._taken.setdefault(way.name, []).append((kernel_has_it or reported, reported))

    def _happen(self, way: Way, before: Documents, after: Documents) -> int:
        match way.event:
            case Event.NAMESPACES_REMOVED:
                script = Script("", by_hand.forget_namespaces(self._files, before))
                by_hand.run(script, self._files.folder)
            case Event.PROCESS_KILLED:
                os.kill(next(space.pid for space in spaces_of(before) if space.pid), signal.SIGKILL)
            case Event.NONE:
                return self._agent.write(before, after, again=way.again)
        return 0

    def _wait_reported(
        self, way: Way, before: Documents, after: Documents, revision: int, changed: Sequence[str]
    ) -> None:
        left = {document["name"] for document in look.whole(after)}
        gone = {document["name"] for document in before} - {document["name"] for document in after}
        if way.event is Event.PROCESS_KILLED:
            self._agent.wait_reported(sorted(left), pending)
            return
        self._agent.wait_reported(sorted(gone), absent)
        self._agent.wait_reported([name for name in changed if name in left], applied(revision))
        self._agent.wait_reported([d["name"] for d in after if d["name"] not in left], pending)

    def build(self, documents: Documents) -> None:
        revision = self._agent.write((), documents)
        self._agent.wait_reported([document["name"] for document in documents], applied(revision))

    def clear(self, documents: Documents) -> None:
        if documents:
            self._agent.write(documents, ())
        self._agent.wait_reported([document["name"] for document in documents], absent)


class HandParty:
    """An operator. Which of several scripts is taken follows from the number of the round."""

    def __init__(self, files: Files, slower: dict[str, set[str]]) -> None:
        self._files = files
        self._slower = slower
        """Titles of scripts that are not worth a try, by way."""
        self.number = 0
        self.taken: dict[str, dict[str, list[float]]] = {}
        """Milliseconds by way and title."""
        self.rounds = 1
        """How many it takes until each script was tried."""

    def take(self, way: Way, before: Documents, after: Documents, kernel: Kernel) -> None:
        scripts = [s for s in way.hand(self._files, before, after) if s.title not in self._slower.get(way.name, ())]
        self.rounds = max(self.rounds, len(scripts))
        script = scripts[self.number % len(scripts)]
        start = time.perf_counter()
        by_hand.run(script, self._files.folder)
        if way.event is Event.PROCESS_KILLED:
            look.wait_for(kernel)
        taken = (time.perf_counter() - start) * 1e3
        look.wait_for(kernel)
        self.taken.setdefault(way.name, {}).setdefault(script.title, []).append(taken)

    def one_by_one(self, documents: Documents) -> None:
        """The deletion that waits for the kernel each time."""
        script = by_hand.remove_one_by_one(self._files, documents)
        taken = by_hand.run(script, self._files.folder)
        self.taken.setdefault("delete-both", {}).setdefault(script.title, []).append(taken)

    def build(self, documents: Documents) -> None:
        by_hand.run(by_hand.make(self._files, documents, namespaces(documents))[-1], self._files.folder)

    def clear(self, documents: Documents) -> None:
        unnamed = [space for space in spaces_of(documents) if not space.name and look.seen(space)]
        by_hand.run(Script("", by_hand.remove_in(unnamed)), self._files.folder)


def measure(
    name: str, pairs: int, ways: Sequence[Way], rounds: int, etcd: Etcd, folder: Path, known: Figures
) -> list[Figure]:
    """The figures of one shape at one size, medians of so many rounds."""
    files = Files(folder)
    agent: dict[str, list[tuple[float, float]]] = {}
    hand = HandParty(files, slower(known, name, pairs))
    while hand.number < max(rounds, hand.rounds):
        if hand.number < rounds:
            with hub(name) as pid, running(etcd) as running_agent:
                party = AgentParty(running_agent, files, agent)
                warm_up(party)
                one_round(party, shape(name, pairs, pid=pid).documents, ways)
        with hub(name) as pid:
            documents = shape(name, pairs, pid=pid).documents
            one_round(hand, documents, ways)
            if name == "pairs" and pairs == ONE_BY_ONE and hand.number == 0 and "delete-both" in hand.taken:
                prepare(documents)
                hand.build(documents)
                hand.one_by_one(documents)
                wipe()
        files.clear()
        hand.number += 1
    return [figure(name, pairs, way, agent[way.name], hand.taken[way.name]) for way in ways if way.name in agent]


def slower(known: Figures, name: str, pairs: int) -> dict[str, set[str]]:
    """The scripts that were clearly not the best at the next smaller size, by way."""
    found: dict[str, set[str]] = {}
    sizes = [size for size in known.sizes() if size < pairs]
    for way in WAYS:
        if sizes and (before := known.get(name, way.name, sizes[-1])):
            found[way.name] = {title for title, taken in before.others.items() if taken > CLEARLY * before.theirs}
    return found


def figure(
    name: str, pairs: int, way: Way, ours: Sequence[tuple[float, float]], theirs: dict[str, list[float]]
) -> Figure:
    taken, reported = (statistics.median(column) for column in zip(*ours, strict=True))
    medians = sorted((statistics.median(values), title) for title, values in theirs.items())
    (best, title), *others = medians
    return Figure(name, way.name, pairs, taken, way.until, reported, title, best, {t: value for value, t in others})


def one_round(party: Party, documents: Documents, ways: Sequence[Way]) -> None:
    """Take the shape through these ways, as far as they suit it."""
    now: Documents = ()
    wipe()
    for number, way in enumerate(ways):
        if not way.suits(documents):
            continue
        if not now or way.start is Start.NOTHING or (way.start is Start.SHAPE and now != documents):
            party.clear(now)
            wipe()
            now = ()
            if way.start is not Start.NOTHING:
                prepare(documents)
                party.build(documents)
                now = documents
        after = way.change(now or documents)
        spaces = dict.fromkeys([*spaces_of(now), *spaces_of(after)])
        kernel = look.wanted(after, spaces)
        if way.event is Event.PROCESS_KILLED:
            kernel = {space: {} for space in spaces if not space.pid}
        party.take(way, now, after, kernel)
        look.verify(kernel)
        now = after
        if number + 1 < len(ways) and (way.start is Start.NOTHING or way.event is Event.NAMESPACES_REMOVED):
            look.wait_for_detection(spaces)
            look.without_detection(spaces)
    party.clear(now)
    wipe()


def warm_up(party: Party) -> None:
    """What is loaded at the first use is loaded now."""
    documents = shape("own", 3, head="w").documents
    party.build(documents)
    party.clear(documents)


def prepare(documents: Documents) -> None:
    """Make the namespaces."""
    names = namespaces(documents)
    subprocess.run(["ip", "-batch", "-"], input="".join(f"netns add {n}\n" for n in names), text=True, check=True)
    look.without_detection([Space(name) for name in names])


@contextmanager
def hub(name: str) -> Iterator[int]:
    """The PID of a process with a network namespace of its own, for the shape that needs one."""
    if name != "star-process":
        yield 0
        return
    process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
    try:
        own = os.stat(Space().path).st_ino
        wait_until(lambda: os.stat(Space(pid=process.pid).path).st_ino != own, "unshare to be in its namespace")
        look.without_detection([Space(pid=process.pid)])
        yield process.pid
    finally:
        process.kill()
        process.wait()
