"""An IPv6 address that another interface has is not applied, and is tried again when the other one may have gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until

pytestmark = pytest.mark.kernel
ADDRESS = "2001:db8::1/64"


def flags(namespace: str, name: str) -> set[str]:
    """What the kernel says about the address beside that it is there."""
    (found,) = [a for a in links(namespace)[name]["addr_info"] if a["local"] == "2001:db8::1"]
    return {key for key in ("tentative", "dadfailed") if found.get(key)}


def differences(vppctl: Vppctl) -> list[dict[str, Any]]:
    result = vppctl.run("check", "-o", "json")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.returncode == (1 if found else 0)
    return found


def test_both_ends_with_one_address(vppctl: Vppctl) -> None:
    """Once: APPLIED, wait exits with 0, check finds nothing."""
    with Agent(vppctl):
        vppctl.put(veth("va", "vb", "one", ip_addresses=[ADDRESS]), veth("vb", "va", "two", ip_addresses=[ADDRESS]))
        for name in ("va", "vb"):
            report = vppctl.wait_state(name, "FAILED", "DuplicateAddress")
            assert f"address {ADDRESS} is configured at both ends of the pair" in report["message"]
        assert vppctl.run("wait", "va", "vb", "--for", "applied", "--timeout", "100ms").returncode == 6
        assert {d["name"] for d in differences(vppctl) if "DuplicateAddress" in d["found"]} == {"va", "vb"}
        wait_until(lambda: "dadfailed" in flags("one", "va") | flags("two", "vb"), "the kernel to find it")
        failed = "va" if "dadfailed" in flags("one", "va") else "vb"
        other = "vb" if failed == "va" else "va"
        # The end that has it gives it up.
        vppctl.put(veth(other, failed, "two" if failed == "va" else "one"))
        for name in ("va", "vb"):
            vppctl.wait_state(name, "APPLIED", timeout=15)
        assert flags("one" if failed == "va" else "two", failed) == set()
        assert differences(vppctl) == []


def test_an_address_that_somebody_else_has(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(veth("va", "vb", "one"), veth("vb", "va", "two"), wait=True)
        ip("-n", "two", "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", "two", "link", "set", "dev", "bridge", "up")
        ip("-n", "two", "link", "set", "dev", "vb", "master", "bridge")
        ip("-n", "two", "addr", "add", ADDRESS, "dev", "bridge", "nodad")
        vppctl.put(veth("va", "vb", "one", ip_addresses=[ADDRESS]))
        report = vppctl.wait_state("va", "FAILED", "DuplicateAddress")
        assert f"address {ADDRESS} is in use by another interface" in report["message"]
        assert vppctl.state("vb")["state"] == "APPLIED"
        wait_until(lambda: vppctl.state("va")["retries"] >= 2, "another try")
        (difference,) = differences(vppctl)
        assert (difference["name"], difference["attribute"]) == ("va", "state")
        assert "DuplicateAddress" in difference["found"]
        ip("-n", "two", "addr", "del", ADDRESS, "dev", "bridge")
        report = vppctl.wait_state("va", "APPLIED", timeout=20)
        assert flags("one", "va") == set()
        results = [entry["result"].split(":")[0] for entry in report["history"]]
        first = results.index("FAILED DuplicateAddress")
        assert set(results[first:-1]) == {"FAILED DuplicateAddress"}, "no try is applied before its end"
