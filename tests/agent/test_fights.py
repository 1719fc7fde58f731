"""Another program that changes what is configured again and again: it is named, and set right ever more seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import addresses, entered, ip, links, wait_until

pytestmark = pytest.mark.kernel
ADDRESS = "10.0.0.1/24"


def pair(**more: Any) -> list[dict[str, Any]]:
    return [veth("va", "vb", "one", ip_addresses=[ADDRESS], **more), veth("vb", "va", "two")]


class Stranger:
    """Undoes what the agent does, as often as it does it; counts how often that was."""

    def __init__(self, undo: list[str], undone: Callable[[dict[str, Any]], bool]) -> None:
        self.undo, self.undone = undo, undone
        self.times = 0
        self.indexes: set[int] = set()
        self._stop = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            link = links("one").get("va")
            if link is None or self.undone(link):
                continue
            self.indexes.add(link["ifindex"])
            with entered("one"):
                # It may have gone meanwhile.
                try:
                    ip(*self.undo)
                except AssertionError:
                    continue
            self.times += 1


def test_a_link_that_is_renamed_each_time(vppctl: Vppctl) -> None:
    """Once, it was created 22 times a second for ever, and mostly reported as APPLIED."""
    stranger = Stranger(["link", "set", "dev", "va", "name", "vz"], lambda _: False)
    with Agent(vppctl) as agent:
        vppctl.put(*pair(), wait=True)
        with stranger.at_work():
            for name in ("va", "vb"):
                report = vppctl.wait_state(name, "FAILED", "KernelError")
                assert "something else keeps changing it: link 'va' is renamed to 'vz'" in report["message"]
            before = stranger.times
            for number in range(3):
                # Meanwhile others are served, and what is reported stays.
                vppctl.put(veth("vc", "vd", "three", mtu=1400 + number), veth("vd", "vc", "four"), wait=True)
                assert (vppctl.state("va")["state"], vppctl.state("vc")["state"]) == ("FAILED", "APPLIED")
            assert stranger.times - before <= 4, "as many as there are pauses in some seconds"
        assert stranger.times < 40
        vppctl.wait_state("va", "APPLIED", timeout=20)
        assert set(links("one")) == {"va"}
        assert addresses("one", "va") == {ADDRESS}
        log = agent.log.read_text()
        assert log.count("va FAILED") <= 2
        assert len(log.splitlines()) < 60


def test_a_change_of_configuration_acts_at_once(vppctl: Vppctl) -> None:
    stranger = Stranger(["link", "set", "dev", "va", "mtu", "1300"], lambda link: link["mtu"] == 1300)
    with Agent(vppctl):
        vppctl.put(*pair(), wait=True)
        with stranger.at_work():
            vppctl.wait_state("va", "FAILED", "KernelError")
            # What the other one wants: the fight is over.
            vppctl.put(*pair(mtu=1300), wait=True)
            assert vppctl.state("va")["mtu"] == 1300
            vppctl("del", "va", "--wait")
            assert links("one") == {}


def test_a_namespace_that_is_removed_each_time(vppctl: Vppctl) -> None:
    removed = 0
    with Agent(vppctl):
        vppctl.put(*pair(), wait=True)

        def remove() -> bool:
            nonlocal removed
            if links("one"):
                ip("netns", "del", "one")
                removed += 1
            # In between, the namespace may go while links are created in it.
            message = vppctl.state("va").get("message", "")
            return "something else keeps changing it: namespace 'one' is deleted" in message

        wait_until(remove, "the fight to be named", 30)
        assert removed < 30
        vppctl.wait_state("va", "APPLIED", timeout=20)
