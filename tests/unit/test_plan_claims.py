"""The planner: what belongs to whom, at start and later; what is left alone, adopted, frozen, taken."""

from __future__ import annotations

import pytest

from tests.support.planning import NS1, NS2, A, B, Setup
from tests.support.simkernel import netns
from vppctl.model.interface import Interface
from vppctl.reconcile.plan import Policy
from vppctl.reconcile.state import Reason, State


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.mark.parametrize("policy", [Policy(), Policy(start=True)], ids=["running", "start"])
def test_a_foreign_interface_in_the_way_is_left_alone(setup: Setup, policy: Policy) -> None:
    taken = setup.kernel.add_foreign(netns(1), "a")
    setup.put(A, B)
    result = setup.plan(policy)
    assert not result
    assert {(c.state, c.reason) for c in result.conditions.values()} == {(State.FAILED, Reason.NAME_TAKEN)}
    assert list(setup.kernel.links.values()) == [taken]


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


def test_a_name_stays_with_whom_it_was_configured_for_first(setup: Setup) -> None:
    """Whoever deletes the link for a moment does not give its name to another pair."""
    setup.put(A, B, Interface("0", "1", host_if_name="a", namespace=NS1), Interface("1", "0", namespace=NS2))
    for _ in range(2):
        setup.settle()
        assert setup.link("a").alias == "vppctl:vpp1:a"
        setup.kernel.links.clear()
    setup.desired.delete("b")
    setup.settle()
    assert setup.link("0").alias == "vppctl:vpp1:0"


def test_two_interfaces_want_one_name(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    setup.put(Interface("0", "1", host_if_name="a", namespace=NS1), Interface("1", "0", namespace=NS2))
    result = setup.settle()
    assert result.conditions["a"].state is State.APPLIED, "who has the name keeps it"
    assert result.conditions["0"].reason is Reason.NAME_CONFLICT
    setup.desired.delete("a")
    assert setup.settle().conditions["0"].state is State.APPLIED
