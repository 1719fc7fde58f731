"""The world of a campaign: etcd, agents, namespaces, processes, strangers' links; and the look at all of it at rest."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from tests.faults import oracle
from tests.faults.documents import Document, Ref
from tests.faults.kernel import Key, Link, Snapshot, Space, identity, look, run_in
from tests.faults.runner import Control
from tests.faults.store import Gateway
from tests.faults.stream import MICROSERVICES
from tests.support.etcd import Etcd

NETNS = Path("/run/netns")
OWN = "/proc/self/ns/net"
ETCD_OPTIONS = ("--heartbeat-interval=20", "--election-timeout=100", "--snapshot-count=2000")
"""An election takes a tenth of a second instead of one."""
REST = 45.0
"""Seconds until what should be has to be: beyond the store's backoff and a lease's renewal, below the agent's audit."""
HANGUP = 3.0
"""Seconds until an agent is told to compare all, where nothing else tells it."""
SETTLED = 0.05
"""Seconds for which it has to stay so: more than the agent waits for kernel events to end."""


class Violation(AssertionError):
    """Something is not as it should be, and does not become so."""


class Growth(NamedTuple):
    """What an agent holds: descriptors, threads, and KiB of memory."""

    fds: int
    threads: int
    rss: int


class AgentProcess:
    """`vppctl agent run` with fail points."""

    def __init__(self, folder: Path, label: str, port: int, *options: str) -> None:
        self.label, self.options = label, options
        self.log = folder / f"{label}.log"
        self.control = Control(folder / f"{label}.control")
        self.environment = {**os.environ, "ETCDCTL_ENDPOINTS": f"127.0.0.1:{port}", "MICROSERVICE_LABEL": label}
        self.process: subprocess.Popen[bytes] | None = None
        self.life: tuple[str, ...] = ()
        self.lease = self.past = 0
        """The lease of the newest life sign in the store, and the one of the life before."""

    def start(self, *options: str) -> None:
        self.life, self.past = options, self.lease
        self.control.begin()
        command = [sys.executable, "-m", "tests.faults.runner", str(self.control_path), "--command-timeout", "1s"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "agent", "run", *self.options, *options], env=self.environment, stderr=log
            )

    @property
    def control_path(self) -> Path:
        return self.log.with_suffix(".control")

    @property
    def creates(self) -> bool:
        return "--no-create-namespaces" not in self.life

    def died(self) -> str | None:
        """How it ended, when it has."""
        if self.process is None or self.process.poll() is None:
            return None
        code, self.process = self.process.returncode, None
        if code == -signal.SIGKILL and self.control.story:
            return self.control.story
        raise Violation(f"agent {self.label} ended with {code}:\n{self.tail()}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM, which has to be a good end; a countdown may come first."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(REST)
        except subprocess.TimeoutExpired:
            raise Violation(f"agent {self.label} does not stop:\n{self.tail()}\n{self.waits()}") from None
        if code and not (code == -signal.SIGKILL and self.control.story):
            raise Violation(f"agent {self.label} ended with {code}:\n{self.tail()}")
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def waits(self) -> str:
        """What each of its threads is doing in the kernel."""
        found = [f"agent {self.label}, {self.process.pid if self.process else 'not running'}"]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir() if self.process else ():
            with contextlib.suppress(OSError):
                stack = " < ".join(line.split()[-1] for line in (task / "stack").read_text().splitlines()[:4])
                found.append(f"  {(task / 'comm').read_text().strip()}: {stack}")
        return "\n".join(found)

    def complaint(self) -> str:
        """A traceback or a dead thread in its log."""
        text = self.log.read_text(errors="replace")
        return self.tail() if "Traceback" in text or "has died" in text else ""

    def growth(self) -> Growth | None:
        if self.process is None:
            return None
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/{self.process.pid}")
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            fds = len(os.listdir(folder / "fd"))
            # One that has just died has no memory.
            return Growth(fds, int(status["Threads"]), int(status.get("VmRSS", "0").split()[0]))
        return None


class World:
    """Everything there is; `with` starts it and takes it down."""

    def __init__(self, folder: Path, labels: Sequence[str] = ("vpp1",), *options: str) -> None:
        self.folder = folder
        self.etcd = Etcd(folder, *ETCD_OPTIONS)
        self.gateway = Gateway(self.etcd.port)
        self.agents = {label: AgentProcess(folder, label, self.etcd.port, *options) for label in labels}
        self.documents: dict[str, dict[str, Document]] = {label: {} for label in labels}
        self.revisions: dict[str, dict[str, int]] = {label: {} for label in labels}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._holders = count()
        self.strangers: dict[Key, Link] = {}
        self.last: Snapshot = {}
        self.macs: dict[tuple[str, str], str] = {}
        """The MAC that an agent has chosen for an interface; it stays for ever."""
        self.containers: Callable[[str], list[int]] = lambda _label: []
        """The PIDs of the running containers of a microservice."""
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
        for process in self.processes.values():
            process.kill()
            process.wait()
        for path in NETNS.iterdir():
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)
            path.unlink(missing_ok=True)
        for link in self.strangers.values():
            if link.space == identity(OWN):
                subprocess.run(["ip", "link", "del", "dev", link.name], capture_output=True, check=False)
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

    # Namespaces and processes

    def start_process(self, slot: str) -> None:
        """A process in a network namespace of its own."""
        self.end_process(slot)
        self.processes[slot] = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        deadline = time.monotonic() + 5
        while identity(f"/proc/{self.processes[slot].pid}/ns/net") == identity(OWN):
            assert time.monotonic() < deadline, "unshare does not come to it"
            time.sleep(0.002)

    def end_process(self, slot: str) -> None:
        process = self.processes.get(slot)
        if process and process.poll() is None:
            self.forget_process(process.pid)
            process.kill()
            process.wait()

    def add_named(self, name: str) -> None:
        """As an operator would, who removes the file that an agent leaves when it is killed before it has mounted."""
        path = NETNS / name
        patience = time.monotonic() + 1
        while not self.is_namespace(path):
            result = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            assert result.returncode == 0 or path.exists(), result.stderr
            if time.monotonic() > patience:
                # Busy, when the agent has mounted on it meanwhile.
                with contextlib.suppress(OSError):
                    path.unlink()

    def remove_named(self, name: str) -> None:
        if self.is_namespace(NETNS / name):
            self.forget(identity(str(NETNS / name)))
            self._unname(name)

    def unmount_named(self, name: str) -> None:
        """The name goes, the namespace stays, because a process is in it."""
        if self.is_namespace(NETNS / name):
            slot = f"holder{next(self._holders)}"
            command = ["nsenter", f"--net={NETNS / name}", "sleep", "infinity"]
            self.processes[slot] = subprocess.Popen(command)
            space = identity(str(NETNS / name))
            deadline = time.monotonic() + 5
            while identity(f"/proc/{self.processes[slot].pid}/ns/net") != space:
                assert time.monotonic() < deadline, "nsenter does not come to it"
                time.sleep(0.002)
            self._unname(name)

    def _unname(self, name: str) -> None:
        """`ip netns del`; an agent that makes the namespace again between its two steps keeps the file busy."""
        result = subprocess.run(["ip", "netns", "del", name], capture_output=True, text=True, check=False)
        assert result.returncode == 0 or "busy" in result.stderr, result.stderr

    def forget_process(self, pid: int) -> None:
        """A process is about to end, and its namespace with it."""
        self.forget(identity(f"/proc/{pid}/ns/net"))

    def forget(self, space: Space) -> None:
        """A namespace is about to end: what was there is not expected any more."""
        gone = {link.key for link in self.last.values() if link.space == space}
        self.last = {p: x for p, x in self.last.items() if x.space != space and x.peer not in gone}
        self.strangers = {k: x for k, x in self.strangers.items() if x.space != space and x.peer not in gone}

    def is_namespace(self, path: Path) -> bool:
        return path.exists() and path.stat().st_dev == os.stat(OWN).st_dev

    def spaces(self) -> dict[Space, str]:
        """All namespaces, with a path to each."""
        paths = [OWN, *(str(path) for path in sorted(NETNS.iterdir()) if self.is_namespace(path))]
        paths += [f"/proc/{p.pid}/ns/net" for p in self.processes.values() if p.poll() is None]
        paths += [f"/proc/{pid}/ns/net" for label in MICROSERVICES for pid in self.containers(label)]
        return {identity(path): path for path in reversed(paths)}

    def stays_as_it_is(self, link: Link) -> None:
        """A frozen link was changed by the test: from now on it has to stay like this."""
        now = {x.key: x for x in self.look().values()}
        self.last = {p: now.get(x.key, x) if x.key == link.key else x for p, x in self.last.items()}

    def look(self) -> Snapshot:
        """The kernel as it is now."""
        return look(self.spaces())

    def resolve(self, ref: Ref, *, creates: bool) -> oracle.Resolution:
        """Where a reference leads to at present."""
        match ref.kind:
            case "default":
                return identity(OWN)
            case "microservice":
                pids = self.containers(ref.value)
                if len(pids) == 1:
                    return identity(f"/proc/{pids[0]}/ns/net")
                return oracle.Missing("MicroserviceAmbiguous" if pids else "MicroserviceNotRunning")
            case "pid":
                return self._of_process(int(ref.value))
            case "file" if ref.value.startswith("/proc/"):
                return self._of_process(int(ref.value.split("/")[2]))
        path = NETNS / ref.value.removeprefix(f"{NETNS}/")
        if self.is_namespace(path):
            return identity(str(path))
        if path.exists() and path.stat().st_size:
            return oracle.Missing("NamespaceForbidden")
        return oracle.Creatable(ref.value) if ref.kind == "named" and creates else oracle.Missing("NamespaceNotFound")

    def _of_process(self, pid: int) -> oracle.Resolution:
        alive = any(p.pid == pid and p.poll() is None for p in self.processes.values())
        return identity(f"/proc/{pid}/ns/net") if alive else oracle.Missing("ProcessNotRunning")

    # Strangers

    def add_stranger(self, path: str, *command: str) -> bool:
        """Make a link that is nobody's of ours; False when its name is taken."""
        before = look(self.spaces()).keys()
        if not run_in(path, "ip", "link", "add", *command):
            return False
        after = look(self.spaces())
        fresh = [after[place] for place in after.keys() - before]
        self.strangers |= {link.key: link for link in fresh if self._is_strange(link)}
        return True

    def remove_stranger(self, link: Link) -> None:
        path = self.spaces().get(link.space)
        if path and run_in(path, "ip", "link", "del", "dev", link.name):
            self.strangers.pop(link.key, None)
            if link.peer:
                self.strangers.pop(link.peer, None)

    def _is_strange(self, link: Link) -> bool:
        return all(oracle.owner(label, link) is None for label in self.agents)

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
            expected = oracle.expect(label, documents, resolve, snapshot)
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
            elif (link := snapshot.get(places[name]) if name in places else None) is not None:
                seen = report["if_index"], report["phys_address"], report["mtu"], frozenset(report["ip_addresses"])
                if seen != (link.index, link.mac, link.mtu, link.addresses):
                    yield f"{name}: published {seen}, the kernel has {link}"
        for key, value in values.items():
            if key.startswith(head) and key.removeprefix(head) not in expected.states and value.lease == life.lease:
                yield f"{key.removeprefix(head)}: published, but not configured"

    def rest(self, why: str, *, published: bool = True, timeout: float = REST) -> None:
        """Wait until all is as it should be; agents that die by their countdown meanwhile are started again."""
        deadline = time.monotonic() + timeout
        settled = 0.0
        while True:
            for label, agent in self.agents.items():
                if (story := agent.died()) is not None:
                    self.deaths[story] += 1
                    self.revive(label)
                    deadline = time.monotonic() + timeout
            found = self.differences(published=published)
            now = time.monotonic()
            if found:
                settled = 0.0
                if now > deadline - timeout + HANGUP:
                    while self.unannounced:
                        self.agents[self.unannounced.pop()].signal(signal.SIGHUP)
            elif not settled:
                settled = now
            elif now - settled >= SETTLED:
                self.unannounced.clear()
                return
            if now > deadline:
                agents = [text for agent in self.agents.values() for text in (agent.tail(), agent.waits())]
                raise Violation(
                    "\n".join([f"after {why}:", *found, "the agents' logs, and what they wait in:", *agents])
                )
            time.sleep(0.01)

    def growth(self) -> dict[str, Growth | None]:
        return {label: agent.growth() for label, agent in self.agents.items()}
