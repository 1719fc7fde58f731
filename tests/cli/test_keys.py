"""Names and keys: what exactly a command means by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth

LINUX = "/vnf-agent/vpp1/linux/config/v1/interface/"
VPP = "/vnf-agent/vpp1/vpp/config/v1/interface/"


def packet(name: str) -> dict[str, object]:
    """An AF_PACKET interface."""
    return {"name": name, "type": 4, "enabled": True, "afpacket": {"host_if_name": "default1"}}


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "mine", "its"),
    [
        pytest.param(["-daf"], veth("afpacket1", "b"), f"{VPP}afpacket1", id="-daf"),
        pytest.param(["-dvth1"], packet("veth1"), f"{LINUX}veth1", id="-dvth1"),
        pytest.param(["preset", "del", "memif1"], veth("memif1", "b"), f"{VPP}memif1", id="preset del"),
    ],
)
def test_a_preset_is_deleted_under_its_own_key(
    vppctl: Vppctl, arguments: list[str], mine: dict[str, object], its: str
) -> None:
    vppctl.put(mine)
    before = vppctl("list")
    result = vppctl.run(*arguments)
    assert (result.returncode, result.stderr) == (3, f"{its}: not found; 'vppctl list' shows what is\n")
    assert vppctl("list") == before
    vppctl("preset", "put", its.rpartition("/")[2])
    assert vppctl.run(*arguments).stderr == f"deleted {its}\n"
    assert vppctl("list") == before


def test_a_preset_that_is_put_twice_is_named(vppctl: Vppctl) -> None:
    result = vppctl.run("preset", "put", "veth1", "veth1")
    assert (result.returncode, result.stderr) == (4, "veth1: name: 'veth1' is also in veth1; keep one of them\n")
    assert vppctl("list") == ""
