"""Whose a link is that lacks a mark, or has the number of another label: against the simulated kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.planning import NS1, NS2, A, B, Setup
from tests.support.simkernel import netns
from vppctl.model.interface import Interface
from vppctl.reconcile.marks import DELETION_BASE
from vppctl.reconcile.operations import CreateVeth
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.plan import Policy
from vppctl.reconcile.state import Link, Reason, State

TWIN = "h12521763"
"""A label that has the CRC-24 of vpp1."""
POLICIES = [Policy(), Policy(start=True), Policy(start=True, adopt=True)]
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")


@pytest.fixture
def setup() -> Setup:
    return Setup()


def ends(setup: Setup) -> list[Link]:
    return sorted(setup.kernel.links.values(), key=lambda link: link.name)


def change(setup: Setup, *changes: dict[str, object]) -> None:
    """Change the links of the kernel, by name, each as it says."""
    for link, values in zip(ends(setup), changes, strict=True):
        setup.kernel.change(link, **values)


def new(setup: Setup) -> list[dict[str, object]]:
    """As the message that creates a pair leaves its ends."""
    return [{"alias": "", "group": group} for group in setup.desired.marks.fresh]


def half(setup: Setup) -> list[dict[str, object]]:
    """As they are when one end has its marks."""
    return [{}, new(setup)[1]]


def other_half(setup: Setup) -> list[dict[str, object]]:
    return [new(setup)[0], {}]


def leaving(setup: Setup) -> list[dict[str, object]]:
    """As deleting a new pair leaves it when the agent ends meanwhile."""
    return [{"alias": "", "group": DELETION_BASE | 5}, new(setup)[1]]


def leaving_whole(setup: Setup) -> list[dict[str, object]]:
    return [{"group": DELETION_BASE | 5}, {}]


def no_alias(_: Setup) -> list[dict[str, object]]:
    """As an earlier version left a new pair, or as others do who remove aliases."""
    return [{"alias": ""}, {"alias": ""}]


MOMENTS = [new, half, other_half, leaving, leaving_whole, no_alias]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("documents", [[], [A, B], [A._replace(namespace=NS2), B]], ids=["none", "same", "elsewhere"])
@pytest.mark.parametrize("macs", [("", ""), MACS], ids=["chosen MACs", "configured MACs"])
def test_links_of_a_label_with_an_equal_number(
    moment: Callable[[Setup], list[dict[str, object]]],
    policy: Policy,
    documents: list[Interface],
    macs: tuple[str, str],
) -> None:
    """Neither touches the other's, whatever moment it finds them in."""
    theirs, setup = Setup(TWIN), Setup()
    assert theirs.desired.marks.group == setup.desired.marks.group
    setup.kernel = theirs.kernel
    theirs.put(A._replace(phys_address=macs[0]), B._replace(phys_address=macs[1]))
    theirs.settle()
    change(theirs, *moment(theirs))
    before = dict(setup.kernel.links)
    setup.put(*documents)
    result = setup.plan(policy)
    assert not result.deletes
    setup.kernel.apply(result)
    assert {key: link for key, link in setup.kernel.links.items() if key in before} == before
    if documents == [A, B]:
        assert {c.reason for c in result.conditions.values()} == {Reason.NAME_TAKEN}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("macs", [("", ""), MACS, ("", MACS[1])], ids=["chosen MACs", "configured MACs", "one of each"])
def test_a_pair_that_lacks_marks_is_found_again(
    setup: Setup, moment: Callable[[Setup], list[dict[str, object]]], policy: Policy, macs: tuple[str, str]
) -> None:
    setup.put(A._replace(phys_address=macs[0]), B._replace(phys_address=macs[1]))
    setup.settle()
    change(setup, *moment(setup))
    result = setup.settle(policy)
    assert {c.state for c in result.conditions.values()} == {State.APPLIED}
    assert [(link.group, link.alias) for link in ends(setup)] == [
        (setup.desired.marks.group, f"vppctl:vpp1:{name}") for name in "ab"
    ]


@pytest.mark.parametrize("moment", [new, half, other_half, leaving, leaving_whole])
@pytest.mark.parametrize("kernel_name", ["", "eth7"])
@pytest.mark.parametrize("macs", [("", ""), MACS], ids=["chosen MACs", "configured MACs"])
def test_no_orphan_without_a_document(
    setup: Setup, moment: Callable[[Setup], list[dict[str, object]]], kernel_name: str, macs: tuple[str, str]
) -> None:
    """Killed at any moment, and the documents are gone, or about other places, when it starts again."""
    first = A._replace(phys_address=macs[0], host_if_name=kernel_name)
    setup.put(first, B._replace(phys_address=macs[1]))
    setup.settle()
    changes = moment(setup)
    change(setup, *(reversed(changes) if kernel_name else changes))
    for name in "ab":
        setup.desired.delete(name)
    setup.settle(Policy(start=True))
    assert not setup.kernel.links


def test_what_an_earlier_version_left_without_an_alias_goes_by_its_chosen_mac(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    change(setup, *no_alias(setup))
    for name in "ab":
        setup.desired.delete(name)
    setup.settle(Policy(start=True))
    assert not setup.kernel.links


def test_an_earlier_versions_alias_of_a_long_name_is_recognised(setup: Setup) -> None:
    name = "n" * 255
    setup.put(A._replace(name=name, host_if_name="a"), B._replace(peer=name))
    setup.settle()
    index = setup.link(name).index
    change(setup, {"alias": setup.desired.marks.former_alias(name)}, {})
    setup.settle(Policy(start=True, adopt=True))
    assert (setup.link(name).index, setup.link(name).alias) == (index, setup.desired.marks.alias(name))


def test_a_long_name_and_what_once_had_its_alias() -> None:
    """They deleted and created each other's links for ever."""
    setup = Setup()
    name = "n" * 254
    short = setup.desired.marks.former_alias(name).removeprefix("vppctl:vpp1:")
    assert short.startswith("#")
    setup.put(A._replace(name=name, host_if_name="a"), B._replace(peer=name))
    setup.put(A._replace(name=short, peer="c", host_if_name="d"), B._replace(name="c", peer=short))
    result = setup.settle()
    assert {c.state for c in result.conditions.values()} == {State.APPLIED}
    assert len(setup.kernel.links) == 4


STRANGERS = {
    "alias alone": {"alias": "vppctl:vpp1:a"},
    "group alone": {"group": "ours"},
    "a new one's group alone": {"group": "new"},
    "a leaving one's group alone": {"group": DELETION_BASE | 1},
    "another group": {"alias": "vppctl:vpp1:a", "group": 7},
    "no VETH": {"alias": "vppctl:vpp1:a", "group": "ours", "kind": ""},
    "a dummy": {"alias": "vppctl:vpp1:a", "group": "ours", "kind": "dummy"},
    "another label with an equal number": {"alias": "vppctl:h12521763:#a", "group": "ours"},
}


@pytest.mark.parametrize("marks", STRANGERS.values(), ids=list(STRANGERS))
@pytest.mark.parametrize("configured", [True, False])
def test_what_is_not_ours_stays(setup: Setup, marks: dict[str, object], configured: bool) -> None:
    numbers = {"ours": setup.desired.marks.group, "new": setup.desired.marks.fresh[0]}
    marks = {key: numbers.get(str(value), value) for key, value in marks.items()}
    stranger = setup.kernel.add_foreign(netns(1), "stranger", "veth")
    setup.kernel.change(stranger, **marks)
    stranger = setup.kernel.links[stranger.key]
    if configured:
        setup.put(A, B)
    for policy in POLICIES:
        result = setup.settle(policy)
        assert {c.state for c in result.conditions.values()} == ({State.APPLIED} if configured else set())
        assert setup.kernel.links[stranger.key] == stranger


@pytest.mark.parametrize("marks", STRANGERS.values(), ids=list(STRANGERS))
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_not_ours_and_in_the_way_is_told(setup: Setup, marks: dict[str, object], policy: Policy) -> None:
    numbers = {"ours": setup.desired.marks.group, "new": setup.desired.marks.fresh[0]}
    marks = {key: numbers.get(str(value), value) for key, value in marks.items()}
    stranger = setup.kernel.add_foreign(netns(1), "a", "veth")
    setup.kernel.change(stranger, **marks)
    setup.put(A, B)
    result = setup.plan(policy)
    assert not result
    assert {c.reason for c in result.conditions.values()} == {Reason.NAME_TAKEN}
    setup.put(A._replace(host_if_name="a2"))
    assert {c.state for c in setup.settle().conditions.values()} == {State.APPLIED}


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(
    "lost", [{"group": 0}, {"alias": ""}, {"alias": "x"}, {"alias": "", "group": 0}, {"alias": "x", "group": 7}]
)
def test_marks_that_others_remove_from_one_end_are_set_again(setup: Setup, end: int, lost: dict[str, object]) -> None:
    setup.put(A, B)
    setup.settle()
    indexes = [link.index for link in ends(setup)]
    changes: list[dict[str, object]] = [{}, {}]
    changes[end] = lost
    change(setup, *changes)
    setup.settle()
    assert [link.index for link in ends(setup)] == indexes
    assert {link.group for link in ends(setup)} == {setup.desired.marks.group}
    assert [link.alias for link in ends(setup)] == ["vppctl:vpp1:a", "vppctl:vpp1:b"]


@pytest.mark.parametrize("lost", [{"group": 7}, {"alias": ""}, {"alias": "x"}])
@pytest.mark.parametrize("renamed", [{}, {"name": "z"}])
def test_a_mark_that_others_remove_from_both_ends(
    setup: Setup, lost: dict[str, object], renamed: dict[str, object]
) -> None:
    """While no agent runs: one end in its place is enough, when what is left says whose the two are."""
    setup.put(A._replace(phys_address=MACS[0]), B._replace(phys_address=MACS[1]))
    setup.settle()
    change(setup, lost | renamed, lost)
    assert {c.state for c in setup.settle(Policy(start=True)).conditions.values()} == {State.APPLIED}
    assert [link.alias for link in ends(setup)] == ["vppctl:vpp1:a", "vppctl:vpp1:b"]


def test_an_end_of_ours_with_another_labels_alias_is_not_touched(setup: Setup) -> None:
    setup.put(A, B)
    setup.settle()
    change(setup, {"alias": "vppctl:other:a"}, {})
    ours = owned(setup.desired, setup.kernel.links.values())
    assert ours == {ends(setup)[1].key}


def test_a_pair_is_created_in_groups_of_its_own(setup: Setup) -> None:
    setup.put(A, B)
    (create,) = setup.plan().creates
    assert isinstance(create, CreateVeth)
    assert (create.first.fresh, create.second.fresh) == setup.desired.marks.fresh
    assert create.first.group == create.second.group == setup.desired.marks.group


def test_whose_affair_a_link_in_the_way_is(setup: Setup) -> None:
    """Marked for another pair, it stands in the place of this one: the other one has nothing to do with it."""
    setup.put(Interface("c", "d", namespace=NS1), Interface("d", "c", namespace=NS2))
    setup.settle()
    stray = setup.kernel.add_foreign(netns(1), "a", "veth")
    setup.kernel.change(stray, alias="vppctl:vpp1:c", group=setup.desired.marks.group)
    setup.put(A, B)
    result = setup.plan()
    (delete,) = result.deletes
    assert [(to_delete.name, to_delete.pair) for to_delete in delete.links] == [("a", setup.desired.pair_of("a"))]
    assert result.leaving == {stray.key}
    assert result.conditions["c"].state is State.APPLIED
