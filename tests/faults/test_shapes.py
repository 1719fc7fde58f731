"""The short form of `--shapes`, and that the oracle sees what it looks for at rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path

import pytest

from tests.faults import oracle
from tests.faults.campaign import Campaign
from tests.faults.documents import Document, Ref
from tests.faults.kernel import Snapshot
from tests.faults.process import Violation
from tests.faults.shapes import at_work, through
from tests.faults.stillness import check, compare_all, quiet, stay
from tests.faults.ways import WAYS
from tests.faults.world import World
from tests.support.netns import ip
from tests.support.shapes import SHAPES

pytestmark = [pytest.mark.kernel, pytest.mark.etcd, pytest.mark.timeout(120)]
PAIR: dict[str, Document | None] = {
    "a": Document("a", "b", Ref("named", "one"), enabled=False, addresses=("10.0.0.1/24",)),
    "b": Document("b", "a", Ref("named", "two"), mtu=1400),
}
SHARES = {name: [way for way, of in zip(WAYS, cycle(SHAPES), strict=False) if of == name] for name in SHAPES}
"""Each way of change for one of the shapes, for all through all take a quarter of an hour."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as found:
        found.start("vpp1")
        found.write("vpp1", PAIR)
        found.rest("the start")
        yield found


@pytest.mark.parametrize("names", [SHAPES[n::3] for n in range(3)], ids=", ".join)
def test_small_shapes_through_their_share_of_the_ways(tmp_path: Path, names: tuple[str, ...]) -> None:
    with at_work(tmp_path) as world:
        for name in names:
            assert [gone.way for gone in through(world, name, 3, SHARES[name], still=False)] == SHARES[name]


def test_a_hub_with_more_spokes_than_a_datagram_has_ids(tmp_path: Path) -> None:
    """Once, half of them were created anew, again and again, while the other half was reported as changed by others."""
    with at_work(tmp_path) as world:
        (created,) = through(world, "star-named", 120, ["create"], still=False)
    assert created.changes == 240


def test_a_campaign_draws_shapes(tmp_path: Path) -> None:
    """The shapes that this seed draws are small."""
    with World(tmp_path) as world, Campaign(world, 14, kills=False) as campaign:
        campaign.only = frozenset(("a shape comes, changes and goes",))
        for _ in range(2):
            campaign.round()
        assert campaign.tally.shaped > 0
        assert len(campaign.tally.shapes) >= 4


# What the oracle sees


def test_work_at_rest_is_seen(world: World) -> None:
    agent = world.agents["vpp1"]
    compare_all(agent, anything=True)
    # Of new marks on a link that is down the kernel tells nobody: the comparison finds it.
    ip("-n", "one", "link", "set", "dev", "a", "alias", "")
    with pytest.raises(Violation, match=r"at rest: .*'RTM_SETLINK': 1"):
        compare_all(agent, anything=True)


def test_an_agent_without_rest_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.stillness.PATIENCE", 0.5)
    agent = world.agents["vpp1"]
    quiet(agent)
    messages = count()
    monkeypatch.setattr(type(agent.control), "messages", property(lambda _: next(messages)))
    with pytest.raises(Violation, match="does not come to rest"):
        quiet(agent)


def test_a_link_made_anew_at_rest_is_seen(world: World) -> None:
    before = world.last

    def look() -> Snapshot:
        ip("-n", "one", "link", "del", "dev", "a")
        world.rest("a link was deleted")
        return world.last

    with pytest.raises(Violation, match="2 links changed at rest"):
        stay(world.agents, world.expected, before, look)


def test_a_difference_that_check_finds_or_misses_is_seen(world: World) -> None:
    agent, expected = world.agents["vpp1"], world.expected["vpp1"]
    check(agent, expected)
    expected.states["a"] = ("FAILED", "NameTaken")
    with pytest.raises(Violation, match=r"misses \['a'\]"):
        check(agent, expected)
    expected.states["a"] = oracle.APPLIED
    agent.stop()
    ip("-n", "two", "link", "set", "dev", "b", "mtu", "1500")
    with pytest.raises(Violation, match="check exits with 1, finds"):
        check(agent, expected)


def test_a_state_that_is_not_so_is_seen(world: World) -> None:
    key = "/vnf-agent/vpp1/linux/status/v1/interface/a"
    report = json.loads(world.gateway.read(key)[key].value)
    link = next(link for link in world.last.values() if link.name == "a")
    document = PAIR["a"]
    assert document
    assert list(oracle.untrue(report, document, link, link)) == []
    others: dict[str, object] = {
        "if_index": 4711,
        "netns": {"id": "net:[1]"},
        "host_if_name": "other",
        "peer": "c",
        "admin_status": "UP",
        "phys_address": "02:00:00:00:00:00",
        "mtu": 1400,
        "ip_addresses": [],
    }
    for what, value in others.items():
        (text,) = oracle.untrue({**report, what: value}, document, link, link)
        assert text.startswith(f"a: published {what} ")


def test_an_index_of_no_link_is_seen() -> None:
    (text,) = oracle.untrue({"if_index": 7}, Document("a", "b"), None, None)
    assert text == "a: published if_index 7, it has None"
    assert list(oracle.untrue({"if_index": 0}, Document("a", "b"), None, None)) == []
