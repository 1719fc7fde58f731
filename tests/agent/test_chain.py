"""The chain from VPP to a namespace as the agent tells it, with a VPP that is away; what it does to the host's side."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until

pytestmark = pytest.mark.kernel
EXAMPLES = Path(__file__).parents[2] / "json"
PAIR = (veth("a", "b"), veth("b", "a", "two"))


def afpacket(host: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": "af", "type": 4, "enabled": True, "afpacket": {"host_if_name": host}, **more}


def offload(name: str, namespace: str = "") -> bool:
    """Whether TX checksums are left to the link, as ethtool sees it."""
    where = ["ip", "netns", "exec", namespace] if namespace else []
    shown = subprocess.run([*where, "ethtool", "-k", name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"tx-checksum-ip-generic: (on|off)", shown)
    assert found
    return found[1] == "on"


def test_without_vpp_linux_goes_on(vppctl: Vppctl, tmp_path: Path) -> None:
    with Agent(vppctl, "--vpp-socket", f"{tmp_path}/no.sock"):
        vppctl.put(*PAIR, afpacket())
        report = vppctl.wait_state("af", "PENDING", "VppUnavailable")
        assert report["message"] == f"VPP cannot be asked at {tmp_path}/no.sock: No such file or directory"
        assert (report["kind"], report["host_if_name"], report["peer"]) == ("vpp", "a", "a")
        vppctl("wait", "a", "b", "--for", "applied", "--timeout", "10s")
        waited = vppctl.run("wait", "af", "--for", "applied", "--timeout", "300ms")
        assert (waited.returncode, "af: PENDING VppUnavailable" in waited.stderr) == (6, True)
        vppctl("del", "af", "--wait")
        assert vppctl.run("status", "af").returncode == 3


def test_checksums_are_not_left_to_links_that_serve_vpp(vppctl: Vppctl, tmp_path: Path) -> None:
    with Agent(vppctl, "--vpp-socket", f"{tmp_path}/no.sock"):
        vppctl.put(*PAIR, veth("c", "d"), veth("d", "c", "two"), wait=True)
        index = links()["a"]["ifindex"]
        assert (offload("a"), offload("b", "two")) == (True, True)
        vppctl.put(afpacket())
        wait_until(lambda: not offload("a") and not offload("b", "two"), "both ends to compute checksums")
        assert (offload("c"), offload("d", "two")) == (True, True)
        subprocess.run(["ethtool", "-K", "a", "tx", "on"], check=True, capture_output=True)
        vppctl.put({**PAIR[0], "mtu": 1400}, PAIR[1], wait=True)
        wait_until(lambda: not offload("a"), "the repair")
        vppctl("del", "af")
        wait_until(lambda: offload("a") and offload("b", "two"), "the old state")
        assert links()["a"]["ifindex"] == index


def test_the_chain_in_describe_and_graph(either: Vppctl, tmp_path: Path) -> None:
    with Agent(either, "--vpp-socket", f"{tmp_path}/no.sock"):
        either.put(*PAIR, afpacket(), wait=False)
        either.wait_state("af", "PENDING", "VppUnavailable")
        either("wait", "a", "--for", "applied", "--timeout", "10s")
        assert "vpp:af - a - b - namespace two" in either("describe", "af")
        assert "a - b - namespace two" in either("status")
        found = json.loads(either("graph", "-o", "json"))
        assert found["namespaces"] == {"vpp": ["vpp:af"], "default": ["a"], "two": ["b"]}
        assert {(e["first"], e["second"], e["state"]) for e in found["edges"]} == {
            ("a", "b", "APPLIED"),
            ("vpp:af", "a", "PENDING"),
        }
        assert "└─ a  ── b [APPLIED]  ── vpp:af [PENDING]\n" in either("graph")
        dot = either("graph", "-o", "dot")
        assert '"vpp:af" -- "a" [color=orange];' in dot
        assert either("graph", "-o", "mermaid").startswith("graph LR\n")


def test_names_of_both_kinds_do_not_get_into_each_others_way(vppctl: Vppctl, tmp_path: Path) -> None:
    with Agent(vppctl, "--vpp-socket", f"{tmp_path}/no.sock"):
        vppctl.put(*PAIR, {**afpacket(), "name": "a"})
        wait_until(lambda: len(json.loads(vppctl("status", "-o", "json"))) == 3, "all to be reported")
        key = "/vnf-agent/vpp1/vpp/config/v1/interface/a"
        wait_until(lambda: "VppUnavailable" in vppctl("describe", key), "the one in VPP")
        vppctl("wait", "b", "--for", "applied", "--timeout", "10s")
        assert "APPLIED" in vppctl("describe", "/vnf-agent/vpp1/linux/config/v1/interface/a")


def test_once_counts_vpp_too(vppctl: Vppctl, tmp_path: Path) -> None:
    vppctl.put(*PAIR, afpacket())
    result = vppctl.run("agent", "run", "--once", "--vpp-socket", f"{tmp_path}/no.sock")
    assert result.returncode == 1
    assert "VppUnavailable" in result.stdout
    assert ip("-n", "two", "-br", "link").count("b@") == 1


@pytest.mark.parametrize("name", ["afpacket1", "memif1", "memif2"])
def test_the_examples_are_understood(vppctl: Vppctl, tmp_path: Path, name: str) -> None:
    with Agent(vppctl, "--vpp-socket", f"{tmp_path}/no.sock"):
        vppctl("put", str(EXAMPLES / f"{name}.json"))
        vppctl.wait_state(name, "PENDING", "VppUnavailable")
