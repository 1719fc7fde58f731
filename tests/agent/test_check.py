"""check: the kernel against the store, without an agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links

pytestmark = pytest.mark.kernel


def differences(vppctl: Vppctl, *names: str) -> list[dict[str, Any]]:
    result = vppctl.run("check", "-o", "json", *names)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.returncode == (1 if found else 0), result.stderr
    return found


@pytest.fixture
def pair(either: Vppctl) -> Vppctl:
    """A pair that an agent has made and left."""
    with Agent(either):
        either.put(
            veth("va", "vb", ip_addresses=["10.0.0.1/24"], mtu=1400),
            veth("vb", "va", "ns1", host_if_name="bb"),
            wait=True,
        )
    return either


def test_what_the_agent_made_has_no_difference(pair: Vppctl) -> None:
    assert differences(pair) == []
    assert pair.run("check").stderr == "2 interfaces, no difference\n"


def test_every_attribute_is_told_and_nothing_is_changed(pair: Vppctl) -> None:
    ip("link", "set", "va", "mtu", "1300", "down")
    ip("addr", "del", "10.0.0.1/24", "dev", "va")
    ip("addr", "add", "10.0.0.9/24", "dev", "va")
    before = links()
    found = {(d["name"], d["attribute"], d["configured"], d["found"]) for d in differences(pair)}
    assert found == {
        ("va", "up", "True", "False"),
        ("va", "mtu", "1400", "1300"),
        ("va", "ip_addresses", "10.0.0.1/24", ""),
        ("va", "ip_addresses", "", "10.0.0.9/24"),
    }
    assert links() == before
    assert differences(pair, "vb") == []
    assert "va    mtu           1400" in pair.run("check").stdout


def test_a_link_that_is_gone_and_one_too_many(pair: Vppctl) -> None:
    ip("link", "del", "va")
    assert {(d["name"], d["attribute"], d["configured"]) for d in differences(pair)} == {
        ("va", "link", "va"),
        ("vb", "link", "bb"),
    }
    with Agent(pair):
        pair("wait", "va", "vb", "--for", "applied")
    pair("del", "vb")
    assert [(d["attribute"], d["configured"]) for d in differences(pair)] == [("link", "")]


def test_what_waits_is_no_difference_and_what_is_in_the_way_is(either: Vppctl) -> None:
    either.put(veth("va", "vb"))
    assert differences(either) == []
    ip("link", "add", "va", "type", "veth", "peer", "name", "foreign")
    either.put(veth("vb", "va"))
    assert {(d["name"], d["attribute"]) for d in differences(either)} == {("va", "state"), ("vb", "state")}
    assert all("NameTaken" in d["found"] for d in differences(either))
    assert either.run("check", "zz").returncode == 3


def test_a_missing_named_namespace_is_told_and_not_made(either: Vppctl) -> None:
    either.put(veth("va", "vb"), veth("vb", "va", "ns1"))
    assert {(d["name"], d["attribute"], d["configured"]) for d in differences(either)} == {
        ("va", "namespace", "ns1"),
        ("vb", "namespace", "ns1"),
    }
    assert "ns1" not in ip("netns", "list")
