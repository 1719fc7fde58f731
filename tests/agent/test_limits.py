"""The agent as a process with fewer descriptors than the host has namespaces."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.agent import Vppctl
from tests.support.netns import ip, links
from tests.support.passes import own
from vppctl.linux.named import create_named

pytestmark = pytest.mark.kernel
LIMIT = 64


def limited(vppctl: Vppctl, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run with so many descriptors at most, which root cannot raise as it can a soft limit."""
    command = ["prlimit", f"--nofile={LIMIT}:{LIMIT}", *vppctl.command("vppctl", arguments)]
    return subprocess.run(command, env=vppctl.environment, capture_output=True, text=True, timeout=50, check=False)


def indexes() -> dict[str, int]:
    return {name: links(space)[name]["ifindex"] for space, name in (("oa0", "a0"), ("ob39", "b39"))}


def test_more_namespaces_than_descriptors(vppctl: Vppctl) -> None:
    """Once, `ulimit -n 200` and 300 namespaces were enough for nothing to work, whatever was configured."""
    for number in range(20):
        create_named(f"other{number}")
    documents = own(40)
    vppctl.put(*documents)
    result = limited(vppctl, "agent", "run", "--once")
    assert result.returncode == 0, result.stderr
    before = indexes()
    assert limited(vppctl, "agent", "run", "--once", "--resync", "adopt").returncode == 0
    assert indexes() == before
    result = limited(vppctl, "check")
    assert (result.returncode, result.stdout) == (0, ""), result.stdout
    ip("-n", "oa17", "link", "set", "a17", "mtu", "1400")
    assert limited(vppctl, "check").returncode == 1
    result = limited(vppctl, "agent", "cleanup")
    assert len(result.stdout.splitlines()) == len(documents), result.stderr
    assert [links(f"oa{number}") for number in range(40)] == [{}] * 40
