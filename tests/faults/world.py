"""The world of a campaign: etcd, agents, and the host with its namespaces; and the look at all of it at rest."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Self

from tests.faults import oracle
from tests.faults.documents import Document
from tests.faults.kernel import Link, Snapshot, look
from tests.faults.places import Places
from tests.faults.process import AgentProcess, Growth, Violation
from tests.faults.stillness import stay
from tests.faults.store import Gateway
from tests.support.etcd import Etcd

ETCD_OPTIONS = ("--snapshot-count=2000", "--max-txn-ops=4096")
"""A transaction takes both sides of two thousand pairs."""
REST = 45.0
"""Seconds until what should be has to be: beyond the store's backoff and a lease's renewal, below the agent's audit."""
HANGUP = 3.0
"""Seconds until an agent is told to compare all, where nothing else tells it."""
PAUSE = 2.0
"""Seconds for which a look waits while agents are at work."""
SHOWN = 20
"""Differences that a violation names."""
SETTLED = 0.05
"""Seconds for which it has to stay so: more than the agent waits for kernel events to end."""


class World(Places):
    """Everything there is; `with` starts it and takes it down."""

    def __init__(self, folder: Path, labels: Sequence[str] = ("vpp1",), *options: str) -> None:
        super().__init__(labels)
        self.folder = folder
        self.etcd = Etcd(folder, *ETCD_OPTIONS)
        self.gateway = Gateway(self.etcd.port)
        self.agents = {label: AgentProcess(folder, label, self.etcd.port, *options) for label in labels}
        self.documents: dict[str, dict[str, Document]] = {label: {} for label in labels}
        self.revisions: dict[str, dict[str, int]] = {label: {} for label in labels}
        self.macs: dict[tuple[str, str], str] = {}
        """The MAC that an agent has chosen for an interface; it stays for ever."""
        self.expected = {label: oracle.Expected() for label in labels}
        """What should be, by label, as of the last look."""
        self.unannounced: set[str] = set()
        """Labels of which a link that is down got other marks: the kernel tells nobody (netdev_state_change,
        net/core/dev.c), so that it is for the agent's audit, or for SIGHUP, to find out."""
        self.deaths: Counter[str] = Counter()
        self.revive: Callable[[str], None] = self.start
        """What to do about an agent that has died by its countdown."""

    def __enter__(self) -> Self:
        self.etcd.start()
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents.values():
            agent.kill()
        self.clear()
        self.etcd.kill()

    # The store

    def write(self, label: str, changes: Mapping[str, Document | None]) -> None:
        """Put and delete these documents in one transaction."""
        prefix = f"/vnf-agent/{label}/linux/config/v1/interface/"
        puts = {prefix + name: document.text() for name, document in changes.items() if document}
        deletes = [prefix + name for name, document in changes.items() if not document]
        revision = self.retried(lambda: self.gateway.write(puts, deletes))
        for name, document in changes.items():
            if document:
                self.documents[label][name] = document
                self.revisions[label][name] = revision
            else:
                self.documents[label].pop(name, None)
                self.revisions[label].pop(name, None)

    def reads_store(self, label: str, documents: Mapping[str, Document], head: str) -> None:
        """Another client has written: of what begins with `head`, these documents. Their revisions are the store's."""
        prefix = f"/vnf-agent/{label}/linux/config/v1/interface/"
        for name in [name for name in self.documents[label] if name.startswith(head)]:
            del self.documents[label][name], self.revisions[label][name]
        values = self.gateway.read(prefix + head)
        if (found := {key.removeprefix(prefix) for key in values}) != documents.keys():
            raise Violation(f"the store has {sorted(found ^ documents.keys())[:SHOWN]} too many or too few")
        self.documents[label] |= documents
        self.revisions[label] |= {name: values[prefix + name].revision for name in documents}

    def start(self, label: str, *options: str) -> None:
        """Start an agent; what is published by the one before does not count any more."""
        self.note_leases()
        self.agents[label].start(*options)

    def note_leases(self) -> None:
        """To be called while there still is a store to ask."""
        with contextlib.suppress(OSError):
            for label, agent in self.agents.items():
                for value in self.gateway.read(f"/vnf-agent/{label}/check/status/v1/agent").values():
                    agent.lease = value.lease

    def stop_store(self, number: signal.Signals) -> None:
        """SIGTERM or SIGKILL, until `etcd.start()`."""
        self.note_leases()
        self.etcd.signal(number)
        assert self.etcd.process is not None
        self.etcd.process.wait(20)
        self.etcd.kill()

    def retried(self, call: Callable[[], int]) -> int:
        """A call of a store that has just been started may have to be made again."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return call()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def wipe_store(self) -> None:
        """The store with an empty data directory; what the documents are is forgotten there, not here."""
        self.note_leases()
        self.etcd.kill()
        shutil.rmtree(self.folder / "etcd")
        self.etcd.start()

    # Rest

    def differences(self, *, published: bool = True) -> list[str]:
        """All that is not as it should be, now; remembers the kernel when nothing is."""
        try:
            snapshot = look(self.spaces())
        except (OSError, subprocess.CalledProcessError) as error:
            return [f"a namespace went while it was looked at: {error}"]
        found = [f"stranger changed: {old} is now {new}" for old, new in self._changed_strangers(snapshot)]
        seen: dict[tuple[str, str], str] = {}
        for label, agent in self.agents.items():
            documents = self.documents[label]
            # Each reference is asked once: a namespace may come in between.
            resolve = cache(partial(self.resolve, creates=agent.creates))
            expected = self.expected[label] = oracle.expect(label, documents, resolve, snapshot, self.revisions[label])
            still = oracle.frozen(label, documents, self.last)
            macs = {place: self.macs.get((label, d.name), "") for place, d in expected.links.items()}
            found += [f"{label}: {text}" for text in oracle.differences(label, expected, snapshot, still, macs)]
            seen |= {(label, d.name): snapshot[p].mac for p, d in expected.links.items() if p in snapshot and not d.mac}
            if published:
                found += [f"{label}: {text}" for text in self._published(label, expected, snapshot)]
        if not found:
            self.last = snapshot
            self.macs |= seen
        return found

    def _changed_strangers(self, snapshot: Snapshot) -> Iterator[tuple[Link, Link | None]]:
        by_key = {link.key: link for link in snapshot.values()}
        for key, link in self.strangers.items():
            if by_key.get(key) != link:
                yield link, by_key.get(key)

    def _published(self, label: str, expected: oracle.Expected, snapshot: Snapshot) -> Iterator[str]:
        """How the states that the agent publishes differ from the expected ones, and from the kernel."""
        try:
            values = self.gateway.read(f"/vnf-agent/{label}/")
        except OSError as error:
            yield f"the store does not answer: {error}"
            return
        head = f"/vnf-agent/{label}/linux/status/v1/interface/"
        life = values.get(f"/vnf-agent/{label}/check/status/v1/agent")
        if life is None or life.lease == self.agents[label].past:
            yield "no sign of life"
            return
        self.agents[label].lease = life.lease
        places = {document.name: place for place, document in expected.links.items()}
        own = {owner: link for link in snapshot.values() if (owner := oracle.owner(label, link)) is not None}
        for name, state in expected.states.items():
            value = values.get(head + name)
            if value is None or value.lease != life.lease:
                yield f"{name}: no state is published, it should be {state}"
                continue
            report = json.loads(value.value)
            said = report["state"], report["reason"], report["config_revision"]
            wanted = (*state, self.revisions[label][name])
            if said != wanted:
                yield f"{name}: published {said}, should be {wanted}: {report['message']}"
                continue
            link = snapshot.get(places[name]) if name in places else None
            yield from oracle.untrue(report, self.documents[label][name], link, own.get(name))
        for key, value in values.items():
            if key.startswith(head) and key.removeprefix(head) not in expected.states and value.lease == life.lease:
                yield f"{key.removeprefix(head)}: published, but not configured"

    def rest(self, why: str, *, published: bool = True, timeout: float = REST, still: bool = False) -> None:
        """Wait until all is as it should be; agents that die by their countdown meanwhile are started again.

        With `still`, nothing may happen then.
        """
        deadline = time.monotonic() + timeout
        settled = 0.0
        while True:
            for label, agent in self.agents.items():
                if (story := agent.died()) is not None:
                    self.deaths[story] += 1
                    self.revive(label)
                    deadline = time.monotonic() + timeout
            self._wait_for_a_pause(deadline)
            found = self.differences(published=published)
            now = time.monotonic()
            if found:
                settled = 0.0
                if now > deadline - timeout + HANGUP:
                    while self.unannounced:
                        self.agents[self.unannounced.pop()].signal(signal.SIGHUP)
            elif still and all(agent.process and agent.process.poll() is None for agent in self.agents.values()):
                self._stay(why)
                self.unannounced.clear()
                return
            elif not settled:
                settled = now
            elif now - settled >= SETTLED:
                self.unannounced.clear()
                return
            if now > deadline:
                agents = [text for agent in self.agents.values() for text in (agent.tail(), agent.waits())]
                raise Violation(
                    "\n".join([f"after {why}:", *found[:SHOWN], "the agents' logs, and what they wait in:", *agents])
                )
            time.sleep(0.01)

    def _wait_for_a_pause(self, deadline: float) -> None:
        """Until agents send nothing for a moment, for it is no use to look at all links while they do; not for long."""
        end = min(time.monotonic() + PAUSE, deadline)
        before: list[int] = []
        while (sent := [agent.control.messages for agent in self.agents.values()]) != before and time.monotonic() < end:
            before = sent
            time.sleep(SETTLED / 2)

    def _stay(self, why: str) -> None:
        def look() -> Snapshot:
            if found := self.differences():
                raise Violation("\n".join(found[:SHOWN]))
            return self.last

        with contextlib.ExitStack() as stack:
            for agent in self.agents.values():
                stack.enter_context(agent.control.held())
            try:
                stay(self.agents, self.expected, self.last, look)
            except Violation as violation:
                raise Violation(f"at rest after {why}: {violation}") from None

    def growth(self) -> dict[str, Growth | None]:
        return {label: agent.growth() for label, agent in self.agents.items()}
