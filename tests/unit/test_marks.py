"""Marks: two labels or names never have one alias, tag or lock, and what happens where numbers derived from them are
equal.
"""

from __future__ import annotations

import zlib
from itertools import count
from typing import Any

import pytest

from tests.support.planning import NS1, NS2, Setup
from vppctl.agent.lock import lock_path
from vppctl.model.interface import Interface, VppInterface, VppInterfaceType
from vppctl.reconcile.marks import DELETION_BASE, Marks, is_stable_mac, is_unmarked, stable_mac
from vppctl.reconcile.state import Link, NetnsId
from vppctl.reconcile.vpp import (
    ChangeInVpp,
    CreateInVpp,
    DeleteInVpp,
    VppConfigured,
    VppLink,
    VppMarks,
    VppPlan,
    plan_vpp,
    shape_of,
)

TWINS = "vpp1", "h12521763"
"""Labels of one CRC-24."""
LABELS = [
    *TWINS,
    "#",
    "vpp1#",
    "ü",
    *("x" * n for n in (206, 207, 214, 215, 226, 227, 228, 246, 247, 248, 255, 300, 400)),
    "x" * 399 + "y",
]
NAMES = ["a", "#", "#8f244fecd4b3df31", "a:b", ":", "vpp1:a", *("n" * n for n in (207, 213, 243, 244, 254, 255))]
NAMES += ["n" * 254 + "m", "n" * 253 + "ü"]


def test_the_twins_are_twins() -> None:
    assert len({Marks(label).group for label in TWINS}) == 1


def test_each_label_and_name_has_an_alias_of_its_own() -> None:
    aliases = {Marks(label).alias(name): (label, name) for label in LABELS for name in NAMES}
    assert len(aliases) == len(LABELS) * len(NAMES)
    for alias, (owner, name) in aliases.items():
        assert len(alias.encode()) <= 255
        plain = f"vppctl:{owner}:{name}"
        assert alias == plain or len(plain.encode()) > 255, "what fits is not cut"
        for label in LABELS:
            marks = Marks(label)
            link = Link(NetnsId(1, 1), 7, "x", "veth", group=marks.group, alias=alias)
            assert marks.owns(link) == (label == owner)


def test_an_alias_that_was_cut_is_no_other_ones_whatever_that_is_called() -> None:
    marks = Marks("vpp1")
    cut = marks.alias("n" * 255)
    assert cut.startswith("vppctl:vpp1:nnn"), "a person can read it"
    imitation = cut.removeprefix("vppctl:vpp1:")
    assert marks.alias(imitation) != cut, "also one that no document can have, for it has a slash"


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"group": DELETION_BASE | 0x123456}, True),
        ({"group": 0}, False),
        ({"group": 7}, False),
        ({"alias": ""}, False),
        ({"alias": "x"}, False),
        ({"alias": "vppctl:vpp1"}, False),
        ({"alias": "vppctl:h12521763:a"}, False),
        ({"alias": "vppctl:h12521763:#a"}, False),
        ({"kind": ""}, False),
        ({"kind": "dummy"}, False),
    ],
)
def test_ours_is_a_veth_with_every_mark(change: dict[str, Any], ours: bool) -> None:
    marks = Marks("vpp1")
    link = Link(NetnsId(1, 1), 7, "x", "veth", group=marks.group, alias=marks.alias("a"))
    assert marks.owns(link._replace(**change)) == ours


def test_what_any_agent_has_marked_is_not_unmarked() -> None:
    link = Link(NetnsId(1, 1), 7, "x", "veth", alias="eth0 of web")
    assert is_unmarked(link)
    assert is_unmarked(link._replace(group=7))
    other = Marks("other")
    for group in (*other.groups, DELETION_BASE | 7):
        assert not is_unmarked(link._replace(group=group))
    assert not is_unmarked(link._replace(alias=other.alias("a")))


def test_names_for_which_one_mac_would_be_chosen_get_two() -> None:
    first, second = names_of_one_mac()
    setup = Setup()
    setup.put(Interface(first, second, namespace=NS1, host_if_name="a"))
    setup.put(Interface(second, first, namespace=NS2, host_if_name="b"))
    setup.settle()
    macs = {setup.link(name).mac: name for name in (first, second)}
    assert len(macs) == 2
    assert all(is_stable_mac(mac, "vpp1", name) for mac, name in macs.items())
    # Whoever comes first after that: a link that is there keeps its own.
    for name in (second, first):
        setup.put(setup.desired.interface(name))  # type: ignore[arg-type]
        setup.settle()
    assert {setup.link(name).mac: name for name in (first, second)} == macs


def names_of_one_mac() -> tuple[str, str]:
    found: dict[str, str] = {}
    for number in count():
        name = f"n{number}"
        other = found.setdefault(stable_mac("", "vpp1", name), name)
        if other != name:
            return other, name
    raise AssertionError


def test_locks_of_long_labels_are_theirs_alone() -> None:
    label = "x" * 300
    other = lock_path(label).name.removeprefix("agent-").removesuffix(".lock")
    assert ":" in other, "which no label has"
    assert len(lock_path(label).name) < 255


def test_each_label_and_name_has_a_tag_of_its_own_in_vpp() -> None:
    labels = [*LABELS, f"#{zlib.crc32(('x' * 300).encode()):08x}"]
    tags = {VppMarks(label).tag(name, 7): (label, name) for label in labels for name in [*NAMES, "a/b"]}
    assert len(tags) == len(labels) * (len(NAMES) + 1)
    for tag, (owner, name) in tags.items():
        assert tag.isascii()
        assert len(tag) <= 63
        assert {label for label in labels if VppMarks(label).owns(vpp_link(tag))} == {owner}
        assert VppMarks(owner).is_of(vpp_link(tag), name)


LONG = VppInterface("n" * 60, VppInterfaceType.AF_PACKET_INTERFACE, enabled=True, host_if_name="veth2")


def vpp_link(tag: str) -> VppLink:
    kind, name = VppInterfaceType.AF_PACKET_INTERFACE, "veth2"
    return VppLink(1, f"host-{name}", kind, "", 9000, up=True, running=True, addresses=(), tag=tag, host_if_name=name)


def planned(tag: str, *, configured: bool = True) -> VppPlan:
    desired = {LONG.name: VppConfigured(LONG.name, LONG, 1)} if configured else {}
    return plan_vpp(VppMarks("vpp1"), desired, [vpp_link(tag)], {"veth2": 7})


def test_an_interface_of_vpp_with_an_earlier_versions_tag_gets_todays() -> None:
    marks, shape = VppMarks("vpp1"), shape_of(LONG, 7)
    (operation,) = planned(marks.former_tag(LONG.name, shape)).operations
    assert isinstance(operation, ChangeInVpp)
    assert operation.tag == marks.tag(LONG.name, shape)


def test_an_earlier_versions_tag_that_others_may_have_deletes_nothing() -> None:
    marks, shape = VppMarks("vpp1"), shape_of(LONG, 7)
    assert not planned(marks.former_tag(LONG.name, shape), configured=False).operations
    assert not planned(marks.former_tag("other" * 12, shape)).operations
    (delete,) = planned(marks.tag("other" * 12, shape), configured=False).operations
    assert isinstance(delete, DeleteInVpp)
    assert any(isinstance(o, CreateInVpp) for o in planned(marks.tag("other" * 12, shape)).operations)
