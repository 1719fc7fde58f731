"""The planner, case by case, against a simulated kernel: what it asks for, what it says, what it leaves alone."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.support.simkernel import SimulatedKernel, netns
from vppctl.model.interface import DEFAULT_NAMESPACE, Interface, NamespaceRef, NamespaceType
from vppctl.model.problem import Problem
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import CreateVeth, DeleteLinks, SetLink
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Configured, Creatable, Invalid, Link, PairId, Reason, Resolution, State, Unavailable

NS1, NS2 = (NamespaceRef(NamespaceType.NAMED_NS, name=name) for name in ("ns1", "ns2"))
PAIR = PairId("a", "b")
A = Interface("a", "b", enabled=True, mtu=1500, ip_addresses=("192.168.22.1/24", "2001:db8::1/64"), namespace=NS1)
B = Interface("b", "a", enabled=True, namespace=NS2)
BROKEN = Invalid((Problem("mtu", "too small"),))


class Setup:
    """A desired state over a simulated kernel, with the two usual namespaces present."""

    def __init__(self, label: str = "vpp1") -> None:
        self.desired = DesiredState(Marks(label))
        self.kernel = SimulatedKernel()
        self.revision = 0
        self.spaces: dict[NamespaceRef, Resolution] = {NS1: netns(1), NS2: netns(2)}

    def put(self, *contents: Interface) -> None:
        for content in contents:
            self.revision += 1
            self.desired.put(Configured(content.name, content, self.revision))
        self.resolve()

    def spoil(self, name: str) -> None:
        self.revision += 1
        self.desired.put(Configured(name, BROKEN, self.revision))

    def resolve(self) -> None:
        for reference in self.desired.references():
            missing = Unavailable(Reason.NAMESPACE_NOT_FOUND, f"namespace {reference} does not exist")
            self.desired.resolve(reference, self.spaces.get(reference, missing))

    def plan(self, policy: Policy | None = None) -> Plan:
        extra = {self.desired.pair_of(self.desired.owner(k)) for k in self.kernel.links.values() if self.ours(k)}
        return plan(self.desired, self.kernel.observe(), self.desired.all_pairs() | extra, policy)

    def ours(self, link: Link) -> bool:
        return self.desired.marks.owns(link)

    def settle(self, policy: Policy | None = None, rounds: int = 4) -> Plan:
        result = self.plan(policy)
        for _ in range(rounds):
            if not result:
                break
            self.kernel.apply(result)
            result = self.plan()
        assert not result, "the planner does not come to rest"
        return result

    def link(self, name: str) -> Link:
        interface = self.desired.interface(name)
        assert interface
        claim = self.desired.claim(interface)
        assert claim
        link = self.kernel.at(*claim)
        assert link
        return link


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_one_side_alone_creates_nothing(setup: Setup) -> None:
    setup.put(A)
    result = setup.plan()
    assert not result
    assert result.conditions["a"].reason is Reason.PEER_NOT_CONFIGURED


def test_both_sides_make_a_pair_and_then_there_is_nothing_to_do(setup: Setup) -> None:
    setup.put(A, B)
    first = setup.plan()
    assert [type(o) for o in first.creates] == [CreateVeth]
    assert not first.deletes
    result = setup.settle()
    assert {c.state for c in result.conditions.values()} == {State.APPLIED}
    assert setup.link("a").addresses == A.ip_addresses
    assert setup.link("b").mac.startswith("02:"), "a stable address where none is configured"


def test_either_side_deleted_removes_both_and_remembers_the_other(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.desired.delete("b")
    result = setup.settle()
    assert not setup.kernel.links
    assert result.conditions["a"].reason is Reason.PEER_NOT_CONFIGURED
    setup.put(B)
    assert {c.state for c in setup.settle().conditions.values()} == {State.APPLIED}


def test_peers_must_be_mutual(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.put(B._replace(peer="c"))
    result = setup.settle()
    assert not setup.kernel.links
    assert result.conditions["a"].reason is Reason.PEER_MISMATCH
    assert result.conditions["b"].reason is Reason.PEER_NOT_CONFIGURED


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"mtu": 9000}, id="mtu"),
        pytest.param({"phys_address": "d2:74:8c:12:67:d2"}, id="mac"),
        pytest.param({"ip_addresses": ("10.0.0.1/8",)}, id="addresses"),
        pytest.param({"enabled": False}, id="down, which costs the IPv6 addresses"),
    ],
)
def test_changed_in_place(setup: Setup, change: dict[str, object]) -> None:
    setup.put(A, B)
    setup.settle()
    index = setup.link("a").index
    setup.put(A._replace(**change))  # type: ignore[arg-type]
    result = setup.plan()
    assert result.settings
    assert not result.deletes
    assert not result.creates
    setup.settle()
    assert setup.link("a").index == index
    assert set(setup.link("a").addresses) == set(setup.desired.interface("a").ip_addresses)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [pytest.param({"host_if_name": "eth7"}, id="host name"), pytest.param({"namespace": NS2}, id="namespace")],
)
def test_changed_by_creating_it_again(setup: Setup, change: dict[str, object]) -> None:
    setup.put(A, B)
    setup.settle()
    index = setup.link("b").index
    setup.put(A._replace(**change))  # type: ignore[arg-type]
    setup.settle()
    assert len(setup.kernel.links) == 2
    assert setup.link("b").index != index


def test_a_namespace_that_may_be_created_is_created_first(setup: Setup) -> None:
    setup.spaces[NS2] = Creatable("ns2")
    setup.put(A, B)
    result = setup.plan()
    assert [n.name for n in result.namespaces] == ["ns2"]
    assert not result.creates


def test_nothing_is_created_for_half_a_pair(setup: Setup) -> None:
    setup.spaces[NS1] = Creatable("ns1")
    setup.put(A)
    assert not setup.plan()


def test_a_missing_namespace_is_told_to_both_sides(setup: Setup) -> None:
    del setup.spaces[NS2]
    setup.put(A, B)
    conditions = setup.plan().conditions
    assert {c.reason for c in conditions.values()} == {Reason.NAMESPACE_NOT_FOUND}
    assert conditions["a"].message.startswith("peer 'b': ")


@pytest.mark.parametrize("policy", [Policy(), Policy(start=True)], ids=["running", "start"])
def test_a_foreign_interface_in_the_way_is_left_alone(setup: Setup, policy: Policy) -> None:
    taken = setup.kernel.add_foreign(netns(1), "a")
    setup.put(A, B)
    result = setup.plan(policy)
    assert not result
    assert {(c.state, c.reason) for c in result.conditions.values()} == {(State.FAILED, Reason.NAME_TAKEN)}
    assert list(setup.kernel.links.values()) == [taken]


def test_a_foreign_veth_in_the_way_is_replaced_at_start_only(setup: Setup) -> None:
    setup.kernel.add_foreign(netns(1), "a", "veth")
    setup.put(A, B)
    assert setup.plan().conditions["a"].reason is Reason.NAME_TAKEN
    setup.settle(Policy(start=True))
    assert setup.link("a").alias == "vppctl:vpp1:a"


def test_another_label_is_foreign_even_at_start(setup: Setup) -> None:
    other = Setup("other")
    other.kernel = setup.kernel
    other.put(A, B)
    other.settle()
    before = dict(setup.kernel.links)
    setup.put(A, B)
    result = setup.plan(Policy(start=True))
    assert not result
    assert result.conditions["a"].reason is Reason.NAME_TAKEN
    assert setup.kernel.links == before


def test_start_creates_from_scratch_and_adopt_does_not(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    index = setup.link("a").index
    assert not setup.plan(Policy(start=True, adopt=True))
    setup.settle(Policy(start=True))
    assert setup.link("a").index != index


def test_adopt_marks_a_matching_pair_that_somebody_else_made(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    for link in list(setup.kernel.links.values()):
        setup.kernel.change(link, alias="", group=0)
    index = setup.link("a").index
    setup.settle(Policy(start=True, adopt=True))
    assert (setup.link("a").index, setup.link("a").alias) == (index, "vppctl:vpp1:a")


@pytest.mark.parametrize("policy", [Policy(), Policy(start=True)], ids=["running", "start"])
def test_orphans_go(setup: Setup, policy: Policy) -> None:
    setup.put(A, B)
    setup.settle()
    setup.desired.delete("a")
    setup.desired.delete("b")
    setup.settle(policy)
    assert not setup.kernel.links


def test_a_crash_before_the_alias_leaves_no_orphan(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    for link in list(setup.kernel.links.values()):
        setup.kernel.change(link, alias="")
    setup.desired.delete("a")
    setup.settle(Policy(start=True))
    assert not setup.kernel.links


@pytest.mark.parametrize("policy", [Policy(), Policy(start=True)], ids=["running", "start"])
def test_an_invalid_document_freezes_its_pair(setup: Setup, policy: Policy) -> None:
    setup.put(A, B)
    setup.settle()
    before = dict(setup.kernel.links)
    setup.spoil("a")
    setup.put(B._replace(mtu=9000))
    result = setup.plan(policy)
    assert not result
    assert setup.kernel.links == before
    assert (result.conditions["a"].state, result.conditions["a"].message) == (State.INVALID, "mtu: too small")
    assert result.conditions["b"].reason is Reason.PEER_INVALID
    setup.desired.delete("b")
    assert not setup.plan(policy), "frozen until the document is valid again or deleted"
    setup.desired.delete("a")
    setup.settle(policy)
    assert not setup.kernel.links


def test_a_frozen_pair_thaws_in_place(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    index = setup.link("a").index
    setup.spoil("a")
    setup.put(A._replace(mtu=9000))
    setup.settle()
    assert (setup.link("a").index, setup.link("a").mtu) == (index, 9000)


def test_two_interfaces_want_one_name(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.put(Interface("0", "1", host_if_name="a", namespace=NS1), Interface("1", "0", namespace=NS2))
    result = setup.settle()
    assert result.conditions["a"].state is State.APPLIED, "who has the name keeps it"
    assert result.conditions["0"].reason is Reason.NAME_CONFLICT
    setup.desired.delete("a")
    assert setup.settle().conditions["0"].state is State.APPLIED


def test_names_are_swapped(setup: Setup) -> None:
    setup.put(A, B, A._replace(name="c", peer="d"), B._replace(name="d", peer="c"))
    setup.settle()
    setup.put(A._replace(host_if_name="c"), A._replace(name="c", peer="d", host_if_name="a"))
    result = setup.settle()
    assert {c.state for c in result.conditions.values()} == {State.APPLIED}


def test_both_ends_of_one_pair_want_one_name(setup: Setup) -> None:
    setup.put(A._replace(host_if_name="x"), B._replace(host_if_name="x", namespace=NS1))
    assert {c.reason for c in setup.plan().conditions.values()} == {Reason.NAME_CONFLICT}


def test_drift_is_repaired_in_place(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    link = setup.link("a")
    setup.kernel.change(link, mtu=1400, addresses=("10.9.9.9/8",), up=False, alias="somebody", group=7)
    # The alias still tells nothing, the group is gone: this end is not recognisably ours any more.
    assert setup.plan()
    setup.kernel.change(link, mtu=1400, addresses=("10.9.9.9/8",), up=False, group=7)
    result = setup.plan()
    assert isinstance(result.settings[0], SetLink)
    setup.settle()
    assert (setup.link("a").index, setup.link("a").mtu, setup.link("a").group) == (link.index, 1500, link.group)


def test_deletes_gather_in_the_busiest_namespace(setup: Setup) -> None:
    for number in range(20):
        space = NamespaceRef(NamespaceType.NAMED_NS, name=f"spoke{number}")
        setup.spaces[space] = netns(100 + number)
        setup.put(
            Interface(f"h{number}", f"s{number}", namespace=NS1),
            Interface(f"s{number}", f"h{number}", namespace=space),
        )
    setup.settle()
    for number in range(20):
        setup.desired.delete(f"h{number}")
    deletes = setup.plan().deletes
    assert [(d.netns, len(d.links)) for d in deletes] == [(netns(1), 20)]
    assert isinstance(deletes[0], DeleteLinks)


def test_a_namespace_is_created_once_for_all_that_need_it(setup: Setup) -> None:
    setup.spaces[NS2] = Creatable("ns2")
    setup.put(A, B, A._replace(name="c", peer="d"), B._replace(name="d", peer="c"))
    assert [(n.name, n.pairs) for n in setup.plan().namespaces] == [("ns2", (PAIR, PairId("c", "d")))]


def test_links_that_serve_vpp_compute_their_checksums(setup: Setup) -> None:
    setup.spaces[DEFAULT_NAMESPACE] = netns(9)
    setup.put(A._replace(namespace=DEFAULT_NAMESPACE), B)
    setup.settle()
    assert setup.desired.serve({"a"}) == {PairId("a", "b")}
    setup.settle()
    assert (setup.link("a").checksum, setup.link("b").checksum) == (False, False)
    assert setup.desired.serve(set()) == {PairId("a", "b")}
    setup.settle()
    assert (setup.link("a").checksum, setup.link("b").checksum) == (True, True)


def test_names_that_come_and_go_leave_nothing_behind(setup: Setup) -> None:
    def round_of(number: int) -> int:
        for n in range(300):
            a, b = f"a{number}-{n}", f"b{number}-{n}"
            setup.put(A._replace(name=a, peer=b), B._replace(name=b, peer=a))
            setup.settle()
            for name in (a, b):
                setup.desired.delete(name)
            setup.settle()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        round_of(0)
        before, after = round_of(1), round_of(2)
    finally:
        tracemalloc.stop()
    assert after - before < 300 * 2 * 50, "octets for each name"
