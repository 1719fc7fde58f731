"""A kernel whose answers are lost, cut, doubled, swapped or of bytes that nobody has sent.

Whatever it answers, there is no other exception than OSError, and nothing is done to a link that is not ours. The short
form is a part of every run. The long one: see README.md in this folder.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import lies
from tests.support.fake_kernel import FakeKernel, FakeLink
from tests.support.fake_sockets import FakeSocket, World, reference
from tests.support.passes import states
from vppctl.agent import reconciler as reconcilers
from vppctl.agent.reconciler import Reconciler
from vppctl.linux import addresses, nsids, observe, wire
from vppctl.linux.counters import read_counters
from vppctl.linux.hosts import Host, find_hosts, set_mac
from vppctl.linux.marked import observe_marked
from vppctl.linux.monitor import LinkMonitor, LinksChanged, NamespaceGone, Overrun
from vppctl.linux.nsids import NsidTable
from vppctl.linux.rtnl import Rtnl
from vppctl.model.interface import Interface
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.state import Condition, Configured, Reason, State

TOTAL = int(os.environ.get("VPPCTL_TEST_FUZZ", "200"))
"""Examples of each test."""
SEED = int(os.environ.get("VPPCTL_TEST_SEED", "6"))
LONG = TOTAL > 1_000
SIDES = (("a", "b", 0, 1), ("b", "a", 1, 0), ("c", "d", 1, 2), ("d", "c", 2, 1), ("e", "f", 2, 2), ("f", "e", 2, 2))
"""Name, peer, namespace and the peer's."""
counts: Counter[str] = Counter()

examples = settings(
    max_examples=TOTAL,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Any:
    """What was tried, for the record."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if LONG and capture:
        with capture.global_and_fixture_disabled():
            print(f"\nfuzz: seed {SEED}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")


@pytest.fixture
def world() -> Iterator[World]:
    logging.disable()
    with pytest.MonkeyPatch.context() as patch:
        # An exception in a pass is the test's, and not one pair's.
        patch.setattr(reconcilers, "by_halves", lambda scope, attempt: attempt(scope))
        yield World(patch)
    logging.disable(logging.NOTSET)


def side(name: str, peer: str, space: int, **more: Any) -> Configured:
    number = ord(name)
    ips = (f"10.0.{number}.1/24", f"2001:db8::{number}/64")
    interface = Interface(name, peer, enabled=True, namespace=reference(space), ip_addresses=ips)
    return Configured(name, interface._replace(**more), 1)


def strangers(kernel: FakeKernel) -> None:
    """Links of others, one of which has the index that the first link of ours has elsewhere."""
    for number, space in enumerate(kernel.spaces):
        kernel.add(space, FakeLink(1, "lo", "", flags=wire.IFF_UP))
        kernel.add(space, FakeLink(20 + number, f"eth{number + 1}", "veth"))


def liar(chosen: list[lies.Lie], often: float, random: Random) -> Callable[[list[bytes]], list[bytes]]:
    def lie(answers: list[bytes]) -> list[bytes]:
        if answers and random.random() < often:
            counts["answers spoiled"] += 1
            for spoil in random.choices(chosen, k=random.choice((1, 1, 2))):
                answers = spoil(answers, random) or [b""]
        return answers

    return lie


# The parsers


def _observe(kernel: FakeKernel, table: NsidTable) -> None:
    handles = [space.handle for space in kernel.spaces]
    wanted = {handle.id: dict.fromkeys("abcdef", ("10.0.97.1/24",)) for handle in handles}
    observe.observe({handle.id: handle for handle in handles[:2]}, wanted, table)


def _marked(kernel: FakeKernel, table: NsidTable) -> None:
    marks = Marks("vpp1")
    observe_marked(((reference(n), s.handle) for n, s in enumerate(kernel.spaces)), marks, table)


def _counters(kernel: FakeKernel, _: NsidTable) -> None:
    read_counters(kernel.spaces[1].handle, [1, 2, 3, 99])


def _hosts(_: FakeKernel, __: NsidTable) -> None:
    for name, host in find_hosts(["a", "lo", "nobody"]).items():
        set_mac(name, host)


def _mac(_: FakeKernel, __: NsidTable) -> None:
    set_mac("a", Host(1, "02:00:00:00:00:09"))


def _ids(kernel: FakeKernel, table: NsidTable) -> None:
    NsidTable().assign_many([space.handle for space in kernel.spaces])
    with Rtnl() as own:
        known = [space.handle.id for space in kernel.spaces]
        table.seen_from(known[1], [0, 1, 2, 3], own, known)


READERS = [_observe, _marked, _counters, _hosts, _mac, _ids]


@pytest.mark.timeout(14400 if LONG else 300)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_any_answer_is_read_or_an_error(world: World, reader: Callable[[FakeKernel, NsidTable], None]) -> None:
    """Once, struct.error, KeyError and ValueError came out of each, and a lost answer was waited for without end."""

    kernel = world.new(3)
    strangers(kernel)
    reconciler = world.reconciler()
    for name, peer, space, _ in SIDES:
        reconciler.backlog.add(reconciler.desired.put(side(name, peer, space)))
    reconciler.run(0.0)

    @seed(SEED)
    @examples
    @given(st.integers(0, 2**32), st.booleans())
    def holds(number: int, by_dumps: bool) -> None:
        counts["answers to a parser"] += 1
        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((observe, "MANY"), (addresses, "MANY"), (nsids, "FEW")):
                patch.setattr(module, name, 0 if by_dumps else 100)
            kernel.lie = liar(lies.ALL, 0.4, Random(number))
            try:
                reader(kernel, reconciler.nsids)
            except OSError:
                counts["answers refused"] += 1

    holds()


@pytest.mark.timeout(14400 if LONG else 300)
def test_any_event_is_heard_or_counts_as_lost(world: World) -> None:
    @seed(SEED)
    @examples
    @given(st.integers(0, 2**32))
    def holds(number: int) -> None:
        counts["events"] += 1
        random, kernel = Random(number), world.new(2)
        heard: list[Any] = []
        monitor = LinkMonitor(NsidTable(), heard.append)
        body = wire.IFINFO.pack(0, 1, 7, 0, 0) + wire.text(wire.IFLA_IFNAME, "v7")
        messages = [
            wire.message(random.choice((wire.RTM_NEWLINK, wire.RTM_DELLINK)), 0, body),
            wire.address(random.choice((wire.RTM_NEWADDR, wire.RTM_DELADDR)), 7, "10.0.0.1/24"),
            wire.message(wire.RTM_DELNSID, 0, bytes(4) + wire.i32(wire.NETNSA_NSID, random.choice((-1, 0, 1)))),
        ]
        connection: Any = monitor._socket
        assert isinstance(connection, FakeSocket)
        connection.queue += liar(lies.ALL, 0.9, random)(messages)
        monitor.flush()
        assert not connection.queue
        assert all(isinstance(event, LinksChanged | NamespaceGone | Overrun) for event in heard)
        connection.queue += [messages[0]]
        heard.clear()
        monitor.flush()
        # The end of its own namespace's id may be among what was said.
        if kernel.spaces[0].handle.id in monitor._nsids.known().values():
            changed = {link.index for event in heard if isinstance(event, LinksChanged) for link in event.links}
            assert changed == {7}

    holds()


# The reconciler


def another(reconciler: Reconciler, kernel: FakeKernel, random: Random) -> None:
    """Something else is asked for, or somebody changes something."""
    name, peer, space, _ = random.choice(SIDES)
    match random.randrange(7):
        case 0:
            reconciler.backlog.add(reconciler.desired.delete(name))
        case 1:
            mtu = random.choice((1400, 1500))
            reconciler.backlog.add(reconciler.desired.put(side(name, peer, space, mtu=mtu)))
        case 2:
            ips = (f"10.1.{random.randrange(9)}.1/24",)
            reconciler.backlog.add(reconciler.desired.put(side(name, peer, space, ip_addresses=ips)))
        case 3:
            reconciler.backlog.add(reconciler.desired.put(side(name, peer, random.randrange(3))))
        case 4:
            reconciler.sweep()
        case 5:
            closed: set[int] = reconciler.resolver.closed  # type: ignore[attr-defined]
            closed ^= {random.choice((1, 2))}
        case _:
            for link in (k for s in kernel.spaces for k in s.links.values() if k.ours and random.random() < 0.5):
                link.mtu, link.alias = random.choice(((1300, link.alias), (1500, b""), (1500, link.alias)))
                link.addresses.clear()


@pytest.mark.timeout(14400 if LONG else 300)
def test_nothing_is_done_to_the_links_of_others(world: World) -> None:
    """Once, a link was deleted that had taken the index of one of ours between the look and the deletion."""

    @seed(SEED)
    @examples
    @given(st.integers(0, 2**32), st.integers(1, 5))
    def holds(number: int, moves: int) -> None:
        counts["reconcilers"] += 1
        random, kernel = Random(number), world.new(3)
        strangers(kernel)
        reconciler = world.reconciler()
        for name, peer, space, _ in SIDES:
            reconciler.backlog.add(reconciler.desired.put(side(name, peer, space)))
        if random.random() < 0.8:
            assert states(reconciler.run(0.0)) == {State.APPLIED}
        often, stirred = random.choice((0.0, 0.05, 0.3)), random.choice((0.0, 0.05, 0.2))

        def stir() -> None:
            if random.random() < stirred:
                random.choice((lies.swap, lies.swap, lies.reuse_id))(kernel, random)

        for turn in range(moves):
            another(reconciler, kernel, random)
            kernel.lie, kernel.stir = liar(lies.HONEST, often, random), stir
            reconciler.backlog.add(reconciler.all_pairs())
            reconciler.run(turn + 1.0)
            while kernel.unheard:
                reconciler.nsids.forget(kernel.unheard.pop())
            assert kernel.touched == []
        counts["links that changed hands too late to be seen"] += kernel.missed
        at_last(reconciler, kernel)

    holds()


def at_last(reconciler: Reconciler, kernel: FakeKernel) -> None:
    """Once the kernel answers well again, all is as configured, and nothing is left."""
    kernel.lie, kernel.stir = list, lambda: None
    reconciler.resolver.closed.clear()  # type: ignore[attr-defined]
    said: dict[str, Condition | None] = {}
    for turn in range(1, 4):
        reconciler.refresh_namespaces()
        reconciler.backlog.add(reconciler.all_pairs())
        reconciler.sweep()
        said |= reconciler.run(turn * 1000.0)
    assert kernel.touched == []
    marks, desired = reconciler.desired.marks, reconciler.desired
    for name in desired.configured:
        condition, pair = said[name], desired.pair_of(name)
        assert condition is not None
        if {pair.first, pair.second} <= desired.configured.keys():
            taken = condition.reason is Reason.NAME_TAKEN
            assert taken or condition.state is State.APPLIED, condition
    marked = {link.name for space in kernel.spaces for link in space.links.values() if link.group == marks.group}
    assert marked <= desired.configured.keys()
