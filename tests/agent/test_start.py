"""What a start would do, printed before it does it: `agent run --dry-run`, `check --start`; and the start itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import addresses, ip, links, wait_until

pytestmark = pytest.mark.kernel

resyncs = pytest.mark.parametrize("resync", ["recreate", "adopt"])
SPACES = ("one", "two", "app")


@pytest.fixture
def host(vppctl: Vppctl) -> Vppctl:
    """A host with pairs of the agent, of nobody, and of Docker, as a start may find it."""
    for space in SPACES:
        ip("netns", "add", space)
    vppctl.put(
        *(veth("gone1", "gone2", "one"), veth("gone2", "gone1", "two")),
        *(veth("well1", "well2", "one"), veth("well2", "well1", "two")),
        *(veth("less1", "less2", "one", mtu=1400), veth("less2", "less1", "two")),
        *(veth("moved1", "moved2", "one"), veth("moved2", "moved1", "two")),
    )
    assert vppctl.run("agent", "run", "--once").returncode == 0
    vppctl("del", "gone1", "gone2")
    ip("-n", "one", "link", "set", "dev", "less1", "mtu", "1300")
    pair("one", "hand1", "two", "hand2")
    pair("app", "eth0", "one", "veth12ab")
    vppctl.put(
        *(veth("moved1", "moved2", "two"), veth("moved2", "moved1", "two")),
        *(veth("hand1", "hand2", "one"), veth("hand2", "hand1", "two", mtu=9000)),
        *(veth("steal1", "steal2", "app", host_if_name="eth0"), veth("steal2", "steal1", "one")),
        *(veth("new1", "new2", "one"), veth("new2", "new1", "not-there-yet")),
        veth("lone", "twin", "one"),
    )
    return vppctl


def pair(here: str, name: str, there: str, peer: str) -> None:
    ip("-n", here, "link", "add", "name", name, "type", "veth", "peer", "name", peer, "netns", there)


def everything() -> tuple[dict[str, Any], set[str]]:
    """All that a look must not change."""
    kept = ("ifindex", "link_index", "mtu", "flags", "group", "ifalias", "address")
    found = {
        f"{name} in {space}": ({key: link.get(key) for key in kept}, addresses(space, name))
        for space in ("", *SPACES)
        for name, link in links(space).items()
    }
    return found, set(os.listdir("/run/netns"))


def steps(vppctl: Vppctl, *arguments: str, code: int = 0) -> dict[str, tuple[str, str]]:
    """Action and detail by name; a namespace's by `netns NAME`."""
    result = vppctl.run(*arguments, "-o", "json")
    assert result.returncode == code, result.stderr
    assert "nothing was changed" in result.stderr
    found = json.loads(result.stdout)
    return {step["name"] or f"netns {step['namespace']}": (step["action"], step["detail"]) for step in found}


EXPECTED = {
    "gone1": "delete",
    "gone2": "delete",
    "well1": "keep",
    "well2": "keep",
    "less1": "keep",
    "less2": "keep",
    "moved1": "recreate",
    "moved2": "recreate",
    "hand1": "takeover",
    "hand2": "takeover",
    "steal1": "leave",
    "steal2": "leave",
    "netns not-there-yet": "create-namespace",
    "new1": "create",
    "new2": "create",
    "lone": "wait",
}


@pytest.mark.parametrize(
    ("command", "resync"),
    [
        pytest.param(("agent", "run", "--dry-run"), "recreate", id="dry-run"),
        pytest.param(("agent", "run", "--dry-run"), "adopt", id="dry-run adopt"),
        pytest.param(("check", "--start"), "adopt", id="check"),
    ],
)
def test_all_that_a_start_would_do_is_printed_and_nothing_is_done(
    host: Vppctl, command: tuple[str, ...], resync: str
) -> None:
    before, store = everything(), host("dump", "/vnf-agent/")
    found = steps(host, *command, "--resync", resync, code=1 if command[0] == "check" else 0)
    keep = "adopt" if resync == "adopt" else "recreate"
    assert {name: action for name, (action, _) in found.items()} == {
        name: keep if action == "keep" else action for name, action in EXPECTED.items()
    }
    assert found["well1"][1] == "as configured"
    assert found["less1"][1] == "mtu 1300 becomes 1400"
    assert "is 'moved1' in namespace one" in found["moved1"][1]
    assert found["hand1"][1].startswith("without marks")
    assert "mtu 1500 becomes 9000" in found["hand2"][1]
    assert "NameTaken: 'eth0' in namespace app is taken by a veth" in found["steal1"][1]
    assert found["lone"][1].startswith("PENDING PeerNotConfigured")
    assert everything() == before
    assert host("dump", "/vnf-agent/") == store


@resyncs
def test_the_start_does_what_was_printed(host: Vppctl, resync: str) -> None:
    planned = steps(host, "agent", "run", "--dry-run", "--resync", resync)
    before = {(space, name): link["ifindex"] for space in SPACES for name, link in links(space).items()}
    host.run("agent", "run", "--once", "--resync", resync)
    after = {(space, name): link["ifindex"] for space in SPACES for name, link in links(space).items()}
    stays = {name for (space, name), index in before.items() if after.get((space, name)) == index}
    adopted = {name for name, (action, detail) in planned.items() if action == "adopt" or "is kept" in detail}
    assert stays == adopted | {"eth0", "veth12ab"}
    there = {name for name, (action, _) in planned.items() if action in ("adopt", "create", "recreate", "takeover")}
    assert {name for _, name in after} | set(links("not-there-yet")) == there | {"eth0", "veth12ab"}
    # And then there is nothing left to do but what waits or is in the way.
    again = steps(host, "check", "--start", "--resync", "adopt", code=1)
    assert {action for action, _ in again.values()} == {"adopt", "leave", "wait"}
    assert {detail for action, detail in again.values() if action == "adopt"} == {"as configured"}


@resyncs
def test_no_takeover(host: Vppctl, resync: str) -> None:
    found = steps(host, "agent", "run", "--dry-run", "--no-takeover", "--resync", resync)
    assert {found[name][0] for name in ("hand1", "hand2")} == {"leave"}
    before = links("two")["hand2"]["ifindex"]
    with Agent(host, "--no-takeover", "--resync", resync) as agent:
        host.wait_state("hand1", "FAILED", "NameTaken")
        host.wait_state("well1", "APPLIED")
        assert links("two")["hand2"]["ifindex"] == before
        assert "taking over" not in agent.log.read_text()
        ip("-n", "two", "link", "del", "dev", "hand2")
        host.wait_state("hand1", "APPLIED")


@resyncs
def test_a_start_is_logged(host: Vppctl, resync: str) -> None:
    with Agent(host, "--resync", resync) as agent:
        host.wait_state("hand1", "APPLIED")
        wait_until(lambda: "the start is over" in agent.log.read_text(), "the summary")
        lines = agent.log.read_text().splitlines()
    taken = [line for line in lines if "taking over" in line]
    assert len(taken) == 1
    assert "'hand1' in namespace one (index " in taken[0]
    assert "'hand2' in namespace two (index " in taken[0]
    over = next(line for line in lines if "the start is over" in line)
    kept = "2 adopted, 1 re-created" if resync == "adopt" else "3 re-created"
    assert f"pairs: 1 taken over, {kept}, 1 created; 1 links" in over


def test_it_needs_no_lock_and_shows_the_restart_of_an_agent_that_runs(either: Vppctl) -> None:
    documents = (veth("a", "b", "one"), veth("b", "a", "two"))
    with Agent(either, "--resync", "adopt"):
        either.put(*documents, wait=True)
        before, states = everything(), either.state("a")["last_change"]
        for resync, action in (("recreate", "recreate"), ("adopt", "adopt")):
            expected = dict.fromkeys("ab", (action, "as configured"))
            assert steps(either, "agent", "run", "--dry-run", "--resync", resync) == expected
            assert steps(either, "check", "--start", "--resync", resync) == expected, "nothing differs"
        assert everything() == before
        assert either.state("a")["last_change"] == states


def test_files_count_as_if_they_were_put(vppctl: Vppctl, tmp_path: Path) -> None:
    file = tmp_path / "pair.json"
    file.write_text(json.dumps({"interface": [veth("a", "b", "one"), veth("b", "a", "two", mtu=1400)]}))
    vppctl.put(veth("b", "a", "two"), veth("c", "d"))
    found = steps(vppctl, "agent", "run", "--dry-run", str(file))
    actions = {name: action for name, (action, _) in found.items()}
    spaces = dict.fromkeys(("netns one", "netns two"), "create-namespace")
    assert actions == {"a": "create", "b": "create", "c": "wait", **spaces}
    assert vppctl("list").count("\n") == 2
    assert os.listdir("/run/netns") == []
    found = steps(vppctl, "agent", "run", "--dry-run", "--no-create-namespaces", str(file))
    assert {action for action, _ in found.values()} == {"wait"}
    bad = tmp_path / "bad.json"
    bad.write_text('{"name": "a", "mtu": 1}')
    assert vppctl.run("agent", "run", "--dry-run", str(bad)).returncode == 4


def test_names_choose_and_forms_are_those_of_other_commands(host: Vppctl) -> None:
    assert set(steps(host, "check", "--start", "well1", "hand1", code=1)) == {"well1", "hand1"}
    assert set(steps(host, "check", "--start", "well1")) == {"well1"}
    assert host.run("check", "--start", "zz").returncode == 3
    table = host("agent", "run", "--dry-run").splitlines()
    assert table[0].split() == ["ACTION", "NAME", "LINK", "NAMESPACE", "DETAIL"]
    assert table[1].split()[:4] == ["takeover", "hand1", "hand1", "one"]
    assert host("agent", "run", "--dry-run", "-o", "wide").splitlines()[0].split()[-1] == "DIFFERS"
    names = host("agent", "run", "--dry-run", "-o", "name").splitlines()
    assert sorted(names) == sorted(name for name in EXPECTED if not name.startswith("netns "))


def test_a_store_that_is_empty(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"))
    vppctl("del", "a")
    result = vppctl.run("agent", "run", "--dry-run", "-o", "json")
    assert (result.returncode, result.stdout) == (0, "[]\n")
    assert "nothing; nothing was changed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "--resync", "adopt"), "--resync is about the agent's start; add --start, or leave it out"),
        (("check", "--no-takeover"), "--takeover is about the agent's start; add --start, or leave it out"),
        (("check", "--no-create-namespaces"), "--create-namespaces is about the agent's start"),
        (("agent", "run", "-o", "json"), "-o is for --once and --dry-run"),
    ],
)
def test_options_of_which_nothing_would_come(vppctl: Vppctl, arguments: tuple[str, ...], said: str) -> None:
    result = vppctl.run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_once_prints_as_it_is_asked_to(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"), veth("b", "a"))
    found = json.loads(vppctl("agent", "run", "--once", "-o", "json"))
    assert [(report["name"], report["state"]) for report in found] == [("a", "APPLIED"), ("b", "APPLIED")]


def test_a_pair_that_is_not_whole_any_more(vppctl: Vppctl) -> None:
    """Its links go, and the side that is left waits: one line for it, with the reason."""
    vppctl.put(veth("a", "b", "one"), veth("b", "a", "two"))
    assert vppctl.run("agent", "run", "--once").returncode == 0
    vppctl("del", "b")
    found = steps(vppctl, "check", "--start", code=1)
    assert found["a"] == ("delete", "PENDING PeerNotConfigured: peer 'b' is not configured")
    assert found["b"] == ("delete", "not configured")


def test_a_document_with_errors_freezes_its_pair(vppctl: Vppctl, tmp_path: Path) -> None:
    vppctl.put(veth("a", "b", "one"), veth("b", "a", "two"))
    assert vppctl.run("agent", "run", "--once").returncode == 0
    (tmp_path / "bad").write_text("{")
    vppctl("put", "--raw", "/vnf-agent/vpp1/linux/config/v1/interface/b", str(tmp_path / "bad"))
    found = steps(vppctl, "check", "--start", code=1)
    assert found["a"][0] == "wait"
    assert found["b"][0] == "leave"
    assert found["b"][1].startswith("INVALID InvalidConfig: ")


def test_a_link_of_ours_in_a_namespace_of_nobody(vppctl: Vppctl) -> None:
    """What no document leads to is found by its marks, with both of its ends, as in a start."""
    vppctl.put(veth("a", "b", "one"), veth("b", "a", "two"))
    assert vppctl.run("agent", "run", "--once").returncode == 0
    vppctl("del", "a", "b")
    assert steps(vppctl, "agent", "run", "--dry-run") == dict.fromkeys("ab", ("delete", "not configured"))
    result = vppctl.run("agent", "run", "--dry-run")
    assert "delete  a     a     one        not configured" in result.stdout
