"""The planner at start: which pairs that no agent has marked it takes over, and which it leaves alone."""

from __future__ import annotations

import pytest

from tests.support.planning import NS1, NS2, A, B, Setup
from tests.support.simkernel import netns
from vppctl.model.interface import Interface
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.plan import Plan, Policy
from vppctl.reconcile.state import PairId, Reason, State

HERE, THERE = (netns(1), "a"), (netns(2), "b")
PAIR = PairId("a", "b")
STARTS = [Policy(start=True), Policy(start=True, adopt=True)]
starts = pytest.mark.parametrize("policy", STARTS, ids=["recreate", "adopt"])


@pytest.fixture
def setup() -> Setup:
    found = Setup()
    found.put(A, B)
    return found


def left_alone(setup: Setup, policy: Policy) -> Plan:
    """Nothing is planned, nor done."""
    before = dict(setup.kernel.links)
    result = setup.plan(policy)
    assert not result
    assert not result.takeovers
    assert setup.kernel.links == before
    return result


def taken_by_others(result: Plan, *names: str) -> None:
    found = {name: (c.state, c.reason) for name, c in result.conditions.items()}
    assert found == dict.fromkeys(names, (State.FAILED, Reason.NAME_TAKEN))


@starts
def test_a_whole_pair_in_its_places_is_taken_over(setup: Setup, policy: Policy) -> None:
    ends = setup.kernel.add_foreign_pair(HERE, THERE)
    result = setup.plan(policy)
    assert tuple(result.takeovers[PAIR]) == ends
    setup.settle(policy)
    assert (setup.link("a").alias, setup.link("b").alias) == ("vppctl:vpp1:a", "vppctl:vpp1:b")
    assert (setup.link("a").index == ends[0].index) == policy.adopt


@starts
def test_not_with_no_takeover_and_not_later(setup: Setup, policy: Policy) -> None:
    setup.kernel.add_foreign_pair(HERE, THERE)
    hint = "takes it over when it is started again"
    for other in (policy._replace(takeover=False), policy._replace(start=False), policy._replace(only=frozenset())):
        result = left_alone(setup, other)
        taken_by_others(result, "a", "b")
        assert (hint in result.conditions["a"].message) == other.takeover


@starts
@pytest.mark.parametrize(
    ("here", "there"),
    [
        pytest.param(HERE, (netns(3), "b"), id="the peer in another namespace"),
        pytest.param(HERE, (netns(2), "vethab12cd"), id="the peer under another name"),
        pytest.param((netns(1), "b"), (netns(2), "b"), id="one end in the other's namespace"),
        pytest.param((netns(3), "x"), THERE, id="the second end alone"),
    ],
)
def test_one_end_in_its_place_proves_nothing(
    setup: Setup, policy: Policy, here: tuple[object, str], there: tuple[object, str]
) -> None:
    setup.kernel.add_foreign_pair(here, there)  # type: ignore[arg-type]
    result = left_alone(setup, policy)
    taken_by_others(result, "a", "b")
    assert not any("started again" in condition.message for condition in result.conditions.values())


@starts
def test_both_places_held_by_two_pairs(setup: Setup, policy: Policy) -> None:
    setup.kernel.add_foreign_pair(HERE, (netns(3), "x"))
    setup.kernel.add_foreign_pair(THERE, (netns(3), "y"))
    taken_by_others(left_alone(setup, policy), "a", "b")


@starts
def test_a_pair_in_the_places_of_two_pairs(setup: Setup, policy: Policy) -> None:
    setup.put(Interface("c", "d", namespace=NS1), Interface("d", "c", namespace=NS2))
    setup.kernel.add_foreign_pair(HERE, (netns(2), "d"))
    taken_by_others(left_alone(setup, policy), "a", "b", "c", "d")


@starts
@pytest.mark.parametrize("ends", [(0,), (1,), (0, 1)], ids=["first", "second", "both"])
@pytest.mark.parametrize(
    "marks",
    [
        pytest.param({"alias": "vppctl:other:a", "group": Marks("other").group}, id="of another label"),
        pytest.param({"alias": "vppctl:other:a"}, id="its alias alone"),
        pytest.param({"group": Marks("other").group}, id="its group alone"),
        pytest.param({"alias": "vppctl:other:a", "group": Marks("vpp1").group}, id="its alias with our group"),
    ],
)
def test_marks_of_another_label_at_either_end(
    setup: Setup, policy: Policy, ends: tuple[int, ...], marks: dict[str, object]
) -> None:
    pair = setup.kernel.add_foreign_pair(HERE, THERE)
    for number in ends:
        setup.kernel.change(pair[number], **marks)
    taken_by_others(left_alone(setup, policy), "a", "b")


@starts
@pytest.mark.parametrize("kind", ["netkit", "vxcan", "macvlan", "dummy", ""])
def test_only_veths(setup: Setup, policy: Policy, kind: str) -> None:
    for link in setup.kernel.add_foreign_pair(HERE, THERE):
        setup.kernel.change(link, kind=kind)
    taken_by_others(left_alone(setup, policy), "a", "b")


@pytest.mark.parametrize("policy", [*STARTS, Policy(start=True, takeover=False), Policy()], ids=str)
@pytest.mark.parametrize("lost", ["a", "b"])
def test_one_end_marked_and_the_other_not_is_ours(setup: Setup, policy: Policy, lost: str) -> None:
    setup.settle()
    setup.kernel.change(setup.link(lost), alias="", group=0)
    setup.settle(policy)
    assert (setup.link("a").alias, setup.link("b").alias) == ("vppctl:vpp1:a", "vppctl:vpp1:b")
    assert len(setup.kernel.links) == 2


@pytest.mark.parametrize("policy", [*STARTS, Policy(start=True, takeover=False), Policy()], ids=str)
def test_what_goes_with_a_link_of_ours_is_not_in_the_way(setup: Setup, policy: Policy) -> None:
    """The end that lost its marks is in its place, and its other end, which has them, is not."""
    setup.settle()
    setup.kernel.change(setup.link("b"), alias="", group=0)
    setup.kernel.change(setup.link("a"), name="renamed")
    result = setup.plan(policy)
    assert {c.state for c in result.conditions.values()} == {State.PENDING}
    assert [create.pair for create in result.creates] == [PAIR]
    setup.settle(policy)
    assert {link.name for link in setup.kernel.links.values()} == {"a", "b"}


@starts
def test_who_has_no_right_to_the_name_takes_nothing(setup: Setup, policy: Policy) -> None:
    """Two pairs want one place, and the pair that is there would complete the later one."""
    setup.put(Interface("0", "1", host_if_name="a", namespace=NS1), Interface("1", "0", namespace=NS2))
    setup.kernel.add_foreign_pair(HERE, (netns(2), "1"))
    result = left_alone(setup, policy)
    assert result.conditions["0"].reason is Reason.NAME_CONFLICT
    assert result.conditions["a"].reason is Reason.NAME_TAKEN


@starts
def test_two_pairs_want_both_places(setup: Setup, policy: Policy) -> None:
    setup.put(*(i._replace(host_if_name=i.kernel_name, name=n, peer=p) for i, n, p in ((A, "0", "1"), (B, "1", "0"))))
    setup.kernel.add_foreign_pair(HERE, THERE)
    assert list(setup.plan(policy).takeovers) == [PAIR]
    result = setup.settle(policy)
    assert {result.conditions[name].reason for name in "01"} == {Reason.NAME_CONFLICT}
    assert setup.link("a").alias == "vppctl:vpp1:a"


@starts
def test_a_document_with_errors_takes_nothing(setup: Setup, policy: Policy) -> None:
    setup.kernel.add_foreign_pair(HERE, THERE)
    setup.spoil("b")
    assert left_alone(setup, policy).conditions["b"].state is State.INVALID


@starts
def test_a_pair_within_one_namespace(policy: Policy) -> None:
    setup = Setup()
    setup.put(A, B._replace(namespace=NS1))
    setup.kernel.add_foreign_pair(HERE, (netns(1), "b"))
    setup.settle(policy)
    assert setup.link("b").alias == "vppctl:vpp1:b"
