"""What one namespace answers, and how much happens there, concerns that namespace alone."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.agent import veth
from tests.support.neighbour import UNPRIVILEGED, group
from tests.support.netns import addresses, ip, links, wait_until
from tests.support.passes import at_rest, between, new_reconciler, put, star, states
from vppctl.agent import search as searching
from vppctl.agent.counters import Counted, CounterReader
from vppctl.agent.lock import AgentLock
from vppctl.agent.runtime import Agent
from vppctl.agent.settings import AgentSettings
from vppctl.linux import addresses as reading
from vppctl.linux import counters, marked, monitor, observe, watcher, wire
from vppctl.linux.monitor import KernelEvent, LinkMonitor, LinksChanged, NamespaceGone, Overrun
from vppctl.linux.namespaces import Netns, is_of_own_users, open_own
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import of_process
from vppctl.linux.resolve import resolve
from vppctl.linux.rtnl import AnswersTooLargeError, Rtnl
from vppctl.linux.watcher import NamespacesChanged, NamespaceWatcher
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.keys import Kind
from vppctl.reconcile.state import NetnsId, Reason, State
from vppctl.store.settings import parse_store_url

pytestmark = pytest.mark.kernel


def batch(space: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", space, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def named(name: str) -> NamespaceRef:
    return NamespaceRef(NamespaceType.NAMED_NS, name=name)


def opened(name: str) -> Netns:
    found = resolve(named(name), create=False)
    assert isinstance(found, Netns)
    return found


@contextmanager
def unprivileged(*lines: str) -> Iterator[int]:
    """A process of another user in user and network namespaces of its own, with these links there; its PID."""
    command = [*UNPRIVILEGED, "bash", "-c", "ip -batch - && echo done && exec sleep 60"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n".join(lines).encode())
        process.stdin.close()
        assert process.stdout.readline() == b"done\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


# How large an answer is


def test_a_socket_reads_no_more_than_is_allowed_and_goes_on() -> None:
    ip("netns", "add", "x")
    batch("x", *(f"link add d{n} type bridge" for n in range(100)))
    with opened("x") as space, Rtnl(space) as rtnl:
        rtnl.allow(40 << 10)
        with pytest.raises(AnswersTooLargeError) as error:
            rtnl.dump(wire.dump_links())
        assert 0 < len(error.value.bodies) < 100
        rtnl.allow(1 << 20)
        assert len(rtnl.dump(wire.dump_links())) == 101
        assert wire.link_name(rtnl.ask([wire.get_link("d7")])[0].bodies[0][1]) == "d7"


def test_a_dump_full_of_others_links_and_addresses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "MANY", 0)
    monkeypatch.setattr(reading, "MANY", 0)
    for module in (observe, reading):
        monkeypatch.setattr(module, "LIMIT_OF_DUMP", 32 << 10)
    ip("netns", "add", "ns1")
    batch("ns1", *(f"link add d{n} type bridge" for n in range(200)))
    batch("ns1", *(f"addr add 10.200.{n // 200}.{n % 200}/32 dev d1" for n in range(1000)))
    read = Counter[str]()
    receive = Rtnl._receive

    def counted(self: Rtnl) -> bytes:
        data = receive(self)
        read[self._netns.description if self._netns else ""] += len(data)
        return data

    reconciler = new_reconciler()
    put(reconciler, between(3))
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    monkeypatch.setattr(Rtnl, "_receive", counted)
    at_rest(reconciler, 1.0)
    # Their links and addresses are as much as ten times as many.
    assert read["ns1"] < 200 << 10


def test_one_namespace_whose_answers_are_too_large(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pairs are FAILED with backoff and one line of the log; events do not bring about more of the same."""
    reconciler = new_reconciler()
    put(reconciler, [*between(2), *star(2)])
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    for n in range(2):
        batch("ns1", *(f"link property add dev a{n} altname {f'a{n}{m:04}':x<110}" for m in range(400)))
    # As many as an ordinary link has.
    monkeypatch.setattr(observe, "LIMIT", 16 << 10)
    monkeypatch.setattr(observe, "LIMIT_A_LINK", 1 << 10)
    ip("-n", "s1", "link", "set", "m1", "mtu", "1400")
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(1.0)
    failed = {name for name, found in news.items() if found and found.state is State.FAILED}
    assert failed == {"a0", "b0", "a1", "b1"}
    found = news["b0"]
    assert found
    assert found.reason is Reason.KERNEL_ERROR
    assert "namespace ns1 cannot be asked: the kernel's answers are larger than 18 KiB" in found.message
    assert links("s1")["m1"]["mtu"] == 1500
    looks, now = 0, 1.0
    while now < 30.0:
        reconciler.enqueue(["a0"], now, 0.02)
        now += 0.1
        looks += "a0" in reconciler.run(now)
    assert looks <= 9, "after 0.5, 1, 2, 4 and then at most every 5 s"
    assert caplog.text.count("namespace ns1 cannot be asked") == 1
    monkeypatch.undo()
    assert states(reconciler.run(100.0)) == {State.APPLIED}


def test_thousands_of_addresses_that_others_give_to_a_link_of_ours() -> None:
    """They are removed, some in each look; once, all of them in the pass that others wait for."""
    reconciler = new_reconciler()
    put(reconciler, between(1))
    reconciler.run(0.0)
    expected = addresses("ns1", "a0")
    batch("ns1", *(f"addr add 10.{200 + n // 62500}.{n // 250 % 250}.{n % 250}/32 dev a0" for n in range(4000)))
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(1.0)
    assert news["a0"]
    left = len(addresses("ns1", "a0"))
    assert len(expected) < left < 4000, "some are removed, and not all"
    assert news["a0"].state is State.FAILED
    now = 1.0
    while addresses("ns1", "a0") != expected:
        now += 10.0
        assert now < 200.0
        reconciler.run(now)
    reconciler.run(now + 100.0)
    at_rest(reconciler, now + 200.0)


def test_counters_of_one_namespace_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, the others' were not read either."""
    reconciler = new_reconciler()
    put(reconciler, star(3))
    reconciler.run(0.0)
    read = Rtnl

    def refusing(netns: Netns) -> Rtnl:
        if netns.description == "s1":
            raise OSError(105, "No buffer space available")
        return read(netns)

    monkeypatch.setattr(counters, "Rtnl", refusing)
    heard: queue.SimpleQueue[Counted] = queue.SimpleQueue()
    reader = CounterReader(reconciler.resolver, 1.0, heard.put)
    reader.begin(reconciler.desired.references(), reconciler.memory.links())
    assert heard.get(timeout=10).counters.keys() == {"h0", "h1", "h2", "m0", "m2"}
    wait_until(lambda: "counters of namespace s1 cannot be read" in caplog.text, "the log to name it")


def test_counters_where_others_have_very_many_links(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("link", "add", "mine", "type", "bridge")
    lines = "\n".join(f"link add d{n} type bridge" for n in range(200))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    ip("link", "add", "last", "type", "bridge")
    monkeypatch.setattr(counters, "LIMIT", 4 << 10)
    found = [links()[name]["ifindex"] for name in ("mine", "last")]
    with open_own() as own:
        assert counters.read_counters(own, found).keys() == set(found)


# The search for marks


def stray(space: str, name: str, label: str = "vpp1") -> list[str]:
    return [
        f"link add {name} group {group(label)} type veth peer name {name}p group {group(label)}",
        f"link set {name} alias vppctl:{label}:{name}",
    ]


def test_a_search_goes_on_between_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, all passes waited for it, however many namespaces and processes the host has."""
    monkeypatch.setattr(searching, "PART", 0.0)
    for name in ("x", "y"):
        ip("netns", "add", name)
        batch(name, *stray(name, f"old{name}"))
    reconciler = new_reconciler()
    put(reconciler, between(1))
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    assert set(links("x")) == {"oldx", "oldxp"}, "the pair did not wait for the search"
    now, passes = 0.0, 0
    while links("x") or links("y"):
        wait = reconciler.wait(now)
        assert wait is not None, "the search is not at its end"
        now += wait
        reconciler.run(now)
        passes += 1
        assert passes < 500
    assert passes > 5
    while (wait := reconciler.wait(now)) is not None and passes < 1000:
        now += wait
        reconciler.run(now)
        passes += 1
    assert reconciler.wait(now) is None, "it ends"


def test_a_namespace_that_cannot_be_searched_is_left_out_ever_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ip("netns", "add", "large")
    ip("netns", "add", "small")
    batch("large", *(f"link add d{n} type veth peer name e{n}" for n in range(40)))
    monkeypatch.setattr(marked, "LIMIT", 48 << 10)
    searched: list[str] = []
    marked_in = marked._marked_in

    def noted(space: Netns, *more: Any) -> Any:
        searched.append(space.description)
        return marked_in(space, *more)

    monkeypatch.setattr(marked, "_marked_in", noted)
    reconciler = new_reconciler()
    put(reconciler, between(1))
    for n in range(40):
        reconciler.sweep()
        assert states(reconciler.run(n * 100.0)) <= {State.APPLIED}
    # One that takes more processor time than a part may goes on in the next pass.
    assert 35 <= searched.count("small") <= 40
    assert 5 <= searched.count("large") <= 7, "the 1st, 2nd, 4th, 8th, 16th and 32nd time"
    assert caplog.text.count("namespace large cannot be searched for links") == 1
    # It is well again, and so is what is said of it.
    monkeypatch.setattr(marked, "LIMIT", 1 << 20)
    batch("large", *stray("large", "old"))
    for n in range(40, 80):
        reconciler.sweep()
        reconciler.run(n * 100.0)
    assert "old" not in links("large")


def test_marks_that_any_user_can_set_get_no_id_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the namespace of a user without privileges got an id, and each event there was read from then on."""
    monkeypatch.setattr(marked, "STRAYS", 3)
    lines = [line for n in range(8) for line in stray("", f"st{n}")]
    reconciler = new_reconciler()
    put(reconciler, between(1))
    with unprivileged(*lines) as pid:
        space = of_process(pid, "other")
        assert isinstance(space, Netns)
        with space:
            assert not is_of_own_users(space)
            assert states(reconciler.run(0.0)) == {State.APPLIED}
            assert reconciler.nsids.nsid(space.id) is None
            reconciler.sweep()
            reconciler.run(100.0)
            assert reconciler.nsids.nsid(space.id) is None
    with open_own() as own:
        assert is_of_own_users(own)


def test_a_stray_of_any_user_whose_other_end_is_elsewhere_is_deleted() -> None:
    """Where its other end is cannot be found out, since its namespace has no id, and is of no interest."""
    reconciler = new_reconciler()
    put(reconciler, between(1))
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    ip("netns", "add", "x")
    batch("x", *stray("x", "st"), "link set stp group 0")
    with unprivileged() as pid:
        ip("-n", "x", "link", "set", "st", "netns", str(pid))
        reconciler.sweep()
        reconciler.run(100.0)
        assert "stp" not in links("x")


def test_a_configured_namespace_of_another_user_is_listened_to() -> None:
    reconciler = new_reconciler()
    with unprivileged("link set lo up") as pid:
        put(reconciler, [veth("a", "b", {"type": 0, "pid": pid}), veth("b", "a", "x")])
        assert states(reconciler.run(0.0)) == {State.APPLIED}
        space = of_process(pid, "other")
        assert isinstance(space, Netns)
        with space:
            assert reconciler.nsids.nsid(space.id) is not None


# Events


def heard_by(listening: LinkMonitor, events: queue.SimpleQueue[KernelEvent]) -> list[KernelEvent]:
    while not listening.flush():
        pass
    found = []
    while not events.empty():
        found.append(events.get())
    return found


def test_many_changes_of_one_link_are_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("netns", "add", "x")
    batch("x", "link add d0 up type bridge", "link add d1 up type bridge")
    nsids = NsidTable()
    with opened("x") as space:
        nsids.assign_many([space])
    events: queue.SimpleQueue[KernelEvent] = queue.SimpleQueue()
    listening = LinkMonitor(nsids, events.put)
    understood: list[int] = []
    understand = LinkMonitor._understand

    def noted(self: LinkMonitor, *rest: Any) -> None:
        understood.append(1)
        understand(self, *rest)

    monkeypatch.setattr(LinkMonitor, "_understand", noted)
    batch("x", *(f"addr add 10.200.0.{n}/32 dev d0" for n in range(250)), "link set d1 mtu 1400", "link set d1 name z1")
    found = heard_by(listening, events)
    indexes = {name: links("x")[name]["ifindex"] for name in ("d0", "z1")}
    (event,) = found
    assert isinstance(event, LinksChanged)
    assert {(link.index, link.name) for link in event.links} == {
        (indexes["d0"], ""),
        (indexes["z1"], "d1"),
        (indexes["z1"], "z1"),
    }
    assert len(understood) <= 3


def test_each_namespace_that_dies_is_heard_of() -> None:
    nsids = NsidTable()
    events: queue.SimpleQueue[KernelEvent] = queue.SimpleQueue()
    listening = LinkMonitor(nsids, events.put)
    ids = set()
    for n in range(5):
        ip("netns", "add", f"x{n}")
        with opened(f"x{n}") as space:
            nsids.assign_many([space])
            ids.add(space.id)
    for n in range(5):
        ip("netns", "del", f"x{n}")
    gone: set[NetnsId] = set()

    def all_gone() -> bool:
        gone.update(event.netns for event in heard_by(listening, events) if isinstance(event, NamespaceGone))
        return gone == ids

    wait_until(all_gone, "the end of each to be heard")


def test_events_that_are_lost_again_and_again_have_all_looked_at_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor, "RECEIVE_BUFFER", 2048)
    events: queue.SimpleQueue[KernelEvent] = queue.SimpleQueue()
    listening = LinkMonitor(NsidTable(), events.put)
    now = [100.0]
    monkeypatch.setattr("vppctl.linux.monitor.time.monotonic", lambda: now[0])
    ip("link", "add", "name", "noise", "type", "bridge")
    overruns: list[float] = []
    lines = "\n".join(f"link set dev noise mtu {mtu}" for mtu in range(1000, 1100))
    for _ in range(80):
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
        overruns += [now[0] for event in heard_by(listening, events) if isinstance(event, Overrun)]
        now[0] += 0.25
    assert overruns[0] == 100.0, "the first one acts at once"
    assert len(overruns) == 6, "after 0.5, 1, 2, 4, 8 s"
    now[0] += 30.0
    # What was lost before is looked at when its time has come, without another event.
    assert [type(event) for event in heard_by(listening, events)] == [Overrun]
    now[0] += 30.0
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    assert Overrun() in heard_by(listening, events), "after a quiet time the next one acts at once"


def test_a_pair_with_events_without_end_is_looked_at_once_a_second() -> None:
    reconciler = new_reconciler()
    put(reconciler, between(1))
    reconciler.run(0.0)
    looks, now = 0, 1.0
    while now < 101.0:
        reconciler.enqueue(["a0"], now, 0.0)
        looks += "a0" in reconciler.run(now)
        now += 0.05
    assert 100 <= looks <= 125, "20 at once, then one a second"


# Mounts and processes


class Following:
    """A watcher at work, and what it has delivered."""

    def __init__(self, *references: NamespaceRef) -> None:
        self.watcher, self.events, self._stop = (
            NamespaceWatcher(),
            queue.SimpleQueue[NamespacesChanged](),
            threading.Event(),
        )
        self.watcher.follow(references)
        self._thread = threading.Thread(target=self.watcher.run, args=(self._stop, self.events.put))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.watcher._looks_from, "the first look")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def until(self, fits: Callable[[NamespacesChanged], bool], what: str) -> list[NamespacesChanged]:
        """All events up to the first one that fits."""
        found: list[NamespacesChanged] = []

        def come() -> bool:
            while not self.events.empty():
                found.append(self.events.get())
                if fits(found[-1]):
                    return True
            return False

        wait_until(come, what)
        return found


def test_of_mounts_only_those_of_namespaces_count(tmp_path: Path) -> None:
    """Once, each mount on the host had all references looked at, 12 to 49 ms with 600 namespaces."""
    ip("netns", "add", "before")
    with Following() as following:
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
        ip("netns", "add", "one two")
        ip("netns", "add", "later")
        ip("netns", "del", "before")
        subprocess.run(["umount", tmp_path], check=True)
        names: set[str] = set()
        for event in following.until(lambda event: "before" in (event.files or ()), "the last change of a namespace"):
            assert event.files is not None
            names |= event.files
        # Where both come within one look, there is nothing to report.
        assert names == {"one two", "later", "before"}
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
        try:
            following.until(lambda event: event.files is None, "a mount that hides the namespaces")
        finally:
            subprocess.run(["umount", "/run/netns"], check=True)
        following.until(lambda event: event.files is None, "that mount to go")


def test_only_references_that_may_lead_elsewhere_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AgentLock("cost") as lock:
        agent = Agent(AgentSettings(parse_store_url(f"sqlite:{tmp_path}/store.db"), "cost", "1"), lock)
        reconciler = agent.reconciler
        put(reconciler, [*star(5), veth("p", "q", {"type": 0, "pid": os.getpid()}), veth("q", "p")])
        reconciler.run(0.0)
        asked: list[str] = []
        resolve_one = reconciler.resolver.open

        def noted(reference: NamespaceRef) -> Any:
            asked.append(str(reference))
            return resolve_one(reference)

        monkeypatch.setattr(reconciler.resolver, "open", noted)
        agent.intake.listed.add(Kind.LINUX)
        inbox = agent.sources.inbox
        gone = reconciler.desired.resolutions[named("s4")]
        assert isinstance(gone, NetnsId)
        for events, looked_at in (
            ([NamespacesChanged(frozenset({"s1"}))], {"s1"}),
            ([NamespacesChanged(frozenset({"s1", "s2"})), NamespacesChanged(frozenset({"other"}))], {"s1", "s2"}),
            ([NamespacesChanged(frozenset(), frozenset({os.getpid()}))], {f"pid:{os.getpid()}"}),
            ([NamespacesChanged(frozenset({"other"}))], set()),
            ([NamespaceGone(gone)], {"s4"}),
            ([NamespacesChanged()], {*map(str, reconciler.desired.references())}),
            ([Overrun()], {*map(str, reconciler.desired.references())}),
        ):
            for event in events:
                inbox.put(event)
            agent._drain(0.0)
            assert set(asked) == looked_at, events
            asked.clear()


def test_thousands_of_processes_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, they were looked for ten times a second: 22 % of a core for 20,000."""
    absent = [NamespaceRef(pid=pid) for pid in range(3_000_000, 3_020_000)]
    taken: list[float] = []
    look = NamespaceWatcher._look

    def timed(self: NamespaceWatcher, poll: Any) -> set[int]:
        before = time.thread_time()
        moved = look(self, poll)
        taken.append(time.thread_time() - before)
        return moved

    monkeypatch.setattr(NamespaceWatcher, "_look", timed)
    with Following(*absent) as following:
        began, looks = time.monotonic(), len(taken)
        wait_until(lambda: len(taken) >= looks + 3, "some looks", 30)
        assert time.monotonic() - began > 10 * sum(taken[looks : looks + 2]), "less than a tenth of a core"
        process = subprocess.Popen(["sleep", "60"])
        try:
            following.watcher.follow([*absent, NamespaceRef(pid=process.pid)])
            following.until(lambda event: process.pid in event.pids, "the process to be found")
        finally:
            process.kill()
            process.wait()
        following.until(lambda event: process.pid in event.pids, "the end of the process")


def test_a_process_that_is_awaited_is_found_soon() -> None:
    assert watcher.AWAITED <= 0.1
    with Following(NamespaceRef(pid=3_000_000)) as following:
        process = subprocess.Popen(["sleep", "60"])
        try:
            following.watcher.follow([NamespaceRef(pid=3_000_000), NamespaceRef(pid=process.pid)])
            following.until(lambda event: event.pids == {process.pid}, "the process to be found")
        finally:
            process.kill()
            process.wait()
        following.until(lambda event: event.pids == {process.pid}, "the end of the process")
