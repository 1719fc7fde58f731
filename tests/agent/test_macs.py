"""Addresses that the agent chooses: other ones on another host, the same ones for ever on this one."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "one"), veth("b", "a", "two"))


@pytest.fixture(autouse=True)
def namespaces() -> None:
    ip("netns", "add", "one")
    ip("netns", "add", "two")


def on_host(vppctl: Vppctl, machine_id: str, *arguments: str) -> str:
    """The command on a machine with this id; what it printed."""
    file = vppctl.folder / "machine-id"
    file.write_text(f"{machine_id}\n")
    command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"', str(file)]
    result = subprocess.run(
        [*command, *vppctl.command("vppctl", arguments)],
        env=vppctl.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def macs() -> tuple[str, str]:
    return links("one")["a"]["address"], links("two")["b"]["address"]


def is_local(mac: str) -> bool:
    """Locally administered and unicast (IEEE 802)."""
    return int(mac[:2], 16) & 3 == 2


@pytest.mark.skipif(not Path("/etc/machine-id").exists(), reason="needs a file to put another one over")
def test_hosts_of_one_label_choose_different_ones_and_each_host_the_same_again(vppctl: Vppctl) -> None:
    vppctl.put(*PAIR)
    chosen = []
    for host in ("a" * 31 + "1", "b" * 31 + "2", "a" * 31 + "1"):
        on_host(vppctl, host, "agent", "run", "--once")
        chosen.append(macs())
        ip("-n", "one", "link", "del", "dev", "a")
    assert chosen[0] == chosen[2]
    assert len({mac for pair in chosen for mac in pair}) == 4
    assert all(is_local(mac) for pair in chosen for mac in pair)


@pytest.mark.skipif(not Path("/etc/machine-id").exists(), reason="needs a file to put another one over")
@pytest.mark.parametrize("resync", ["recreate", "adopt"])
def test_links_that_exist_keep_theirs_when_the_host_is_another_one(vppctl: Vppctl, resync: str) -> None:
    """As for an agent in a container whose image was made again, and a check beside it."""
    vppctl.put(*PAIR)
    on_host(vppctl, "a" * 31 + "1", "agent", "run", "--once")
    before = macs()
    assert on_host(vppctl, "b" * 31 + "2", "check") == ""
    on_host(vppctl, "b" * 31 + "2", "agent", "run", "--once", "--resync", resync)
    assert macs() == before


@pytest.mark.parametrize("resync", ["recreate", "adopt"])
def test_links_of_an_earlier_version_keep_theirs(vppctl: Vppctl, resync: str) -> None:
    vppctl.put(*PAIR)
    assert vppctl.run("agent", "run", "--once").returncode == 0
    earlier = {
        name: (b"\x02" + hashlib.blake2s(f"vpp1/{name}".encode(), digest_size=5).digest()).hex(":") for name in "ab"
    }
    ip("-n", "one", "link", "set", "dev", "a", "address", earlier["a"])
    ip("-n", "two", "link", "set", "dev", "b", "address", earlier["b"])
    assert vppctl("check") == ""
    assert vppctl.run("agent", "run", "--once", "--resync", resync).returncode == 0
    assert macs() == (earlier["a"], earlier["b"])


def test_one_that_was_chosen_for_nobody_is_replaced(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(*PAIR, wait=True)
        before = macs()
        # The other end's own, one that is local, and one of a vendor.
        for mac in (before[1], "02:00:00:00:00:99", "52:54:00:12:34:56"):
            ip("-n", "one", "link", "set", "dev", "a", "address", mac)
            wait_until(lambda: macs() == before, f"{mac} to be replaced")
