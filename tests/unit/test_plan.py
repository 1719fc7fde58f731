"""The planner, case by case, against a simulated kernel: what it asks for, what it says, what it leaves alone."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.support.planning import NS1, NS2, A, B, Setup
from tests.support.simkernel import netns
from vppctl.model.interface import DEFAULT_NAMESPACE, Interface, NamespaceRef, NamespaceType
from vppctl.reconcile.marks import is_stable_mac
from vppctl.reconcile.operations import AddAddress, CreateVeth, DelAddress, DeleteLinks, SetLink
from vppctl.reconcile.plan import Policy
from vppctl.reconcile.state import Creatable, PairId, Reason, State

PAIR = PairId("a", "b")


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
    assert int(setup.link("b").mac[:2], 16) & 3 == 2, "a stable address where none is configured"


def test_either_side_deleted_removes_both_and_remembers_the_other(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.desired.delete("b")
    result = setup.settle()
    assert not setup.kernel.links
    assert result.conditions["a"].reason is Reason.PEER_NOT_CONFIGURED
    setup.put(B)
    assert {c.state for c in setup.settle().conditions.values()} == {State.APPLIED}


@pytest.mark.parametrize("configured", ["", "02:00:00:00:00:0a"], ids=["a chosen MAC", "a configured MAC"])
def test_half_of_another_pair_is_not_frozen_by_its_name(setup: Setup, configured: str) -> None:
    """An agent was killed before it set the alias. Since then the kernel name is that of a document with errors."""
    setup.put(A._replace(host_if_name="c", phys_address=configured), B)
    setup.settle()
    for link in list(setup.kernel.links.values()):
        setup.kernel.change(link, alias="")
    setup.put(A._replace(phys_address=configured))
    setup.spoil("c")
    setup.settle()
    assert sorted(link.name for link in setup.kernel.links.values()) == ["a", "b"]


def test_what_has_lost_its_alias_stays_frozen(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    before = {key: link._replace(alias="") for key, link in setup.kernel.links.items()}
    for link in list(setup.kernel.links.values()):
        setup.kernel.change(link, alias="")
    setup.spoil("a")
    setup.settle()
    assert setup.kernel.links == before


@pytest.mark.parametrize("mac", ["0a:00:00:01", "ff:" * 10 + "02:00:00:00:00:00", ""], ids=["4", "16", "none"])
def test_a_stray_whose_address_has_another_length(setup: Setup, mac: str) -> None:
    """A tunnel that somebody has given an alias of ours. Once, OverflowError ended the pass of that pair."""
    setup.put(A, B)
    setup.settle()
    link = setup.link("a")
    setup.kernel.links[link.netns, 99] = link._replace(index=99, name="t", mac=mac, peer_netns=None, peer_index=0)
    setup.desired.delete("b")
    setup.put(B._replace(host_if_name="b2"))
    setup.plan()
    assert not is_stable_mac(mac, "vpp1", "a")


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


def test_names_are_swapped(setup: Setup) -> None:
    setup.put(A, B, A._replace(name="c", peer="d"), B._replace(name="d", peer="c"))
    setup.settle()
    setup.put(A._replace(host_if_name="c"), A._replace(name="c", peer="d", host_if_name="a"))
    result = setup.settle()
    assert {c.state for c in result.conditions.values()} == {State.APPLIED}


def test_both_ends_of_one_pair_want_one_name(setup: Setup) -> None:
    setup.put(A._replace(host_if_name="x"), B._replace(host_if_name="x", namespace=NS1))
    assert {c.reason for c in setup.plan().conditions.values()} == {Reason.NAME_CONFLICT}


MAC = "02:00:00:00:00:01"


def test_both_ends_with_one_mac_are_an_error_of_both_documents(setup: Setup) -> None:
    setup.put(A._replace(phys_address=MAC), B._replace(phys_address=MAC))
    result = setup.plan()
    assert not result
    assert {(c.state, c.reason) for c in result.conditions.values()} == {(State.INVALID, Reason.INVALID_CONFIG)}
    assert result.conditions["a"].message.startswith(f"phys_address: {MAC} is that of peer 'b' too")


def test_a_mac_that_becomes_its_peers_freezes_the_pair(setup: Setup) -> None:
    """Rule 10: a mistake takes nobody's link down; and the chosen address of the peer counts, too."""
    setup.put(A, B)
    setup.settle()
    before = dict(setup.kernel.links)
    setup.put(A._replace(phys_address=setup.link("b").mac))
    result = setup.plan()
    assert not result
    assert {c.state for c in result.conditions.values()} == {State.INVALID}
    assert setup.kernel.links == before
    setup.put(A._replace(phys_address=MAC))
    assert {c.state for c in setup.settle().conditions.values()} == {State.APPLIED}
    assert setup.link("a").index in {index for _, index in before}


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
        setup.desired.delete(f"s{number}")
    deletes = setup.plan().deletes
    assert [(d.netns, len(d.links)) for d in deletes] == [(netns(1), 20)]
    assert isinstance(deletes[0], DeleteLinks)


@pytest.mark.parametrize("moved", [NS1, NS2])
def test_what_is_deleted_is_reached_by_a_reference_where_there_is_one(setup: Setup, moved: NamespaceRef) -> None:
    """The id of a namespace that has lost its name may be another's by the time of the deletion."""
    setup.put(A, B)
    setup.settle()
    setup.spaces[moved] = netns(9)
    setup.resolve()
    (delete,) = setup.plan().deletes
    assert delete.netns == netns(1 if moved is NS2 else 2)


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


def test_a_link_that_serves_vpp_in_the_agents_namespace_by_another_name(setup: Setup) -> None:
    """Once, only the default reference counted, and VPP got packets without checksums."""
    setup.desired.own = netns(1)
    setup.put(A, B)
    setup.settle()
    assert setup.desired.serve({"a"}) == {PairId("a", "b")}
    setup.settle()
    assert (setup.link("a").checksum, setup.link("b").checksum) == (False, False)


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


V6 = "2001:db8::1/64"


def test_an_address_that_is_a_duplicate_is_not_applied(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.kernel.change(setup.link("a"), duplicates=(V6,), tentative=(V6,))
    result = setup.plan()
    assert not result, "it is not tried at every look"
    assert (result.conditions["a"].state, result.conditions["a"].reason) == (State.FAILED, Reason.DUPLICATE_ADDRESS)
    assert V6 in result.conditions["a"].message
    assert result.conditions["b"].state is State.APPLIED
    tried = setup.plan(Policy(retried=frozenset({PAIR})))
    assert tried.settings == [
        kind(PAIR, setup.link("a").netns, setup.link("a").index, "a", V6) for kind in (DelAddress, AddAddress)
    ]


def test_an_address_that_was_a_duplicate_is_applied_when_the_kernel_has_looked(setup: Setup) -> None:
    """A new one is applied before that, for it takes seconds; one that is tried again is not."""
    setup.put(A, B)
    setup.settle()
    setup.kernel.change(setup.link("a"), tentative=(V6,), running=True)
    assert setup.plan().conditions["a"].state is State.APPLIED
    doubtful = Policy(doubtful=frozenset({PAIR}))
    assert setup.plan(doubtful).conditions["a"].reason is Reason.DUPLICATE_ADDRESS
    setup.kernel.change(setup.link("a"), running=False)
    assert setup.plan(doubtful).conditions["a"].state is State.APPLIED, "it does not look while the peer is down"
    setup.kernel.change(setup.link("a"), tentative=(), running=True)
    assert setup.plan(doubtful).conditions["a"].state is State.APPLIED


def test_one_ipv6_address_at_both_ends(setup: Setup) -> None:
    setup.put(A, B._replace(ip_addresses=("2001:db8::1/48",)))
    conditions = setup.settle().conditions
    assert {(c.state, c.reason) for c in conditions.values()} == {(State.FAILED, Reason.DUPLICATE_ADDRESS)}
    # An end that is down looks for nobody.
    setup.put(B._replace(ip_addresses=("2001:db8::1/48",), enabled=False))
    assert {c.state for c in setup.settle().conditions.values()} == {State.APPLIED}


def test_an_address_with_other_attributes_is_another_one(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    found = ("192.168.22.1/24 noprefixroute", V6)
    setup.kernel.change(setup.link("a"), addresses=found)
    where = (PAIR, setup.link("a").netns, setup.link("a").index, "a")
    assert setup.plan().settings == [DelAddress(*where, found[0]), AddAddress(*where, "192.168.22.1/24")]
    setup.settle()
    assert setup.link("a").addresses == A.ip_addresses
