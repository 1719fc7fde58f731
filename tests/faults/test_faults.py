"""The short form: a stream with every kind of fault, the walk along what changes the kernel, two agents, growth."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.campaign import Campaign
from tests.faults.churn import PAIRS, cycles, growth_of
from tests.faults.documents import Document, Ref
from tests.faults.faults import Behind
from tests.faults.kernel import run_in
from tests.faults.places import NETNS
from tests.faults.process import AgentProcess, Violation
from tests.faults.walk import walk
from tests.faults.world import World
from tests.support.docker import Engine

pytestmark = [pytest.mark.kernel, pytest.mark.etcd, pytest.mark.timeout(120)]
SEED = 11
PAIR = {"n00": Document("n00", "n01", Ref("named", "m0")), "n01": Document("n01", "n00", Ref("named", "m1"))}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as found:
        yield found


def test_every_kind_of_fault_once(world: World) -> None:
    with Campaign(world, SEED) as campaign:
        for kind in campaign.kinds:
            campaign.only = frozenset((kind,))
            campaign.round()
    assert set(campaign.kinds) <= set(campaign.tally.faults)
    assert campaign.tally.faults["ENOBUFS"] > 0
    assert campaign.tally.faults["NLM_F_DUMP_INTR"] > 0
    assert campaign.tally.killed > 0


@pytest.mark.parametrize(
    ("point", "steps", "met"),
    [
        ("write", 4, {"RTM_NEWLINK", "RTM_SETLINK", "RTM_NEWADDR", "RTM_DELADDR", "RTM_DELLINK", "RTM_NEWNSID"}),
        ("namespace", 1, {"sharing /run/netns", "unshare", "mount"}),
    ],
)
def test_killed_at_each_call_in_turn(world: World, point: str, steps: int, met: set[str]) -> None:
    assert {f"after {what}" for what in met} <= set(walk(world, point, after=True, steps=steps))


def test_two_agents_in_the_same_namespaces(tmp_path: Path) -> None:
    with World(tmp_path, ("vpp1", "red")) as world, Campaign(world, SEED) as campaign:
        campaign.only = frozenset(("plain", "links tampered with", "namespaces and processes end and come"))
        for _ in range(8):
            campaign.round()
        second = AgentProcess(tmp_path / "..", "red", world.etcd.port)
        second.start()
        assert second.process is not None
        assert second.process.wait(10) == 1
        assert "an agent of label red is already running on this host" in second.tail()
        campaign.rest("the refusal of a second one")


def test_create_and_delete_again_and_again(tmp_path: Path) -> None:
    samples = list(cycles(tmp_path, SEED, 6 * PAIRS, 0))
    assert len(samples) >= 5
    assert not growth_of(samples)


def test_a_seed_repeats_the_decisions(tmp_path: Path) -> None:
    found = []
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        with World(tmp_path / attempt) as world, Campaign(world, SEED, kills=False) as campaign:
            campaign.only = frozenset(("plain", "documents with errors"))
            for _ in range(3):
                campaign.round()
            # PIDs are not decided.
            found.append([d for d in world.documents["vpp1"].values() if d.ref.kind in ("default", "named")])
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", Behind.kinds)
def test_the_oracle_sees_what_is_done_behind_the_agents_back(world: World, kind: str) -> None:
    world.start("vpp1")
    world.add_named("m2")
    world.write("vpp1", {**PAIR})
    world.rest("the start")
    world.agents["vpp1"].stop()
    assert world.differences(published=False) == []
    link = next(link for link in world.last.values() if link.name == "n00")
    command = Behind.command(kind, "n00", elsewhere="m2", number=7)
    assert run_in(str(NETNS / "m0"), "ip", *command) or kind == "up"
    assert bool(world.differences(published=False)) == (kind not in ("up", "flush addresses")), link


def test_the_oracle_misses_a_stranger_that_was_touched(world: World) -> None:
    world.add_named("m0")
    assert world.add_stranger(str(NETNS / "m0"), "name", "stranger", "type", "bridge")
    world.start("vpp1")
    world.rest("the start")
    subprocess.run(["ip", "-n", "m0", "link", "set", "dev", "stranger", "mtu", "1400"], check=True)
    with pytest.raises(Violation, match="stranger changed"):
        world.rest("a change", timeout=0.5)


@pytest.mark.docker
def test_containers_come_and_go(tmp_path: Path) -> None:
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(tmp_path))
        world = stack.enter_context(World(tmp_path, ("vpp1",), "--docker-host", engine.host))
        campaign = stack.enter_context(Campaign(world, SEED, engine=engine))
        campaign.only = frozenset(("containers start, stop, restart, are killed",))
        for _ in range(4):
            campaign.round()
