"""Neighbours that do what they can: without privileges, and in a container with CAP_NET_ADMIN. Others are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.neighbour import Neighbour, addresses, altnames, group, links
from tests.support.netns import ip
from tests.support.netns import links as links_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]
MARKED = links(group("vpp1"), *(f"vppctl:vpp1:{name}" for name in ("elsewhere1", "elsewhere2")))


@pytest.mark.parametrize(
    "work", [altnames(), MARKED, addresses()], ids=["large and many links", "links with our marks", "addresses"]
)
def test_a_neighbour_without_privileges(vppctl: Vppctl, tmp_path: Path, work: tuple[str, str]) -> None:
    """Once, the first one had the whole pass given up, again and again, and at start nothing was ever applied."""
    with Neighbour(tmp_path, work) as neighbour, Agent(vppctl) as agent:
        vppctl.put(veth("va", "vb", "one"), veth("vb", "va", "two"), wait=True)
        turns = neighbour.turns
        for mtu in range(1400, 1403):
            vppctl.put(veth("va", "vb", "one", mtu=mtu), veth("vb", "va", "two"), wait=True)
            assert links_of("one")["va"]["mtu"] == mtu
        vppctl("del", "va", "vb", "--wait")
        assert neighbour.turns > turns, "it was at work all the time"
        assert agent.log.read_text().count(" cannot be ") <= 2


@pytest.mark.parametrize("work", [addresses(), links()], ids=["addresses", "links"])
def test_a_neighbour_in_a_configured_namespace(vppctl: Vppctl, tmp_path: Path, work: tuple[str, str]) -> None:
    """It has an id, so that all that happens there is heard."""
    ip("netns", "add", "container")
    with Agent(vppctl):
        vppctl.put(veth("ca", "cb", "container"), veth("cb", "ca", "one"), wait=True)
        with Neighbour(tmp_path, work, namespace="container") as neighbour:
            turns = neighbour.turns
            for mtu in range(1400, 1403):
                vppctl.put(veth("va", "vb", "one", mtu=mtu), veth("vb", "va", "two"), wait=True)
            # What is its own, and what is ours beside it.
            ip("-n", "container", "link", "set", "ca", "mtu", "1300")
            vppctl.wait_state("ca", "APPLIED")
            vppctl.put(veth("ca", "cb", "container", mtu=1401), veth("cb", "ca", "one"), wait=True)
            assert links_of("container")["ca"]["mtu"] == 1401
            assert neighbour.turns > turns, "it was at work all the time"
