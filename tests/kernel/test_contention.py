"""What others change again and again is set right ever more seldom: single passes, with a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import addresses, ip, links
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Condition, Configured, Reason, State

pytestmark = pytest.mark.kernel
ADDRESS = "10.0.0.1/24"
PAIR = [veth("va", "vb", "one", ip_addresses=[ADDRESS]), veth("vb", "va", "two")]


class Played:
    """A reconciler that is fed as the agent's loop feeds it, in time that passes as fast as it is looked at."""

    def __init__(self) -> None:
        resolver = Resolver(Microservices(None, look_at), create=True, allowed_dirs=())
        self.reconciler = Reconciler("vpp1", resolver, NsidTable())
        self.now = 1000.0
        self.revision = 0
        self.conditions: dict[str, Condition] = {}
        self.looks = self.operations = 0

    def put(self, *documents: dict[str, Any]) -> None:
        self.revision += 1
        for document in documents:
            data = json.dumps(document).encode()
            found = configured(Kind.LINUX, document["name"], data, self.revision, ())
            assert isinstance(found, Configured)
            self.reconciler.backlog.add(self.reconciler.desired.put(found))

    def hear(self, *names: str) -> None:
        """Events about these, and about the links in namespace one under the names that they have now."""
        if link := self.conditions["va"].link:
            for name, shown in links("one").items():
                self.reconciler.memory.at(link.netns, shown["ifindex"], name)
        self.reconciler.enqueue(names, self.now, 0.02)

    def look(self) -> bool:
        """Wait for what is due and look at it; False when nothing is."""
        wait = self.reconciler.backlog.wait(self.now)
        if wait is None:
            return False
        self.now += wait
        self.conditions.update({n: c for n, c in self.reconciler.run(self.now).items() if c})
        self.looks += 1
        self.operations += sum(map(len, self.reconciler.done.values()))
        return True

    def rest(self) -> None:
        """Look until nothing is due; the agent's own operations are events, too."""
        while self.look():
            assert self.looks < 10_000

    def state(self, name: str) -> State:
        return self.conditions[name].state


@pytest.fixture
def played() -> Played:
    played = Played()
    played.put(*PAIR)
    played.rest()
    assert played.state("va") is played.state("vb") is State.APPLIED
    return played


WAYS: dict[str, tuple[list[str], str]] = {
    "mtu": (["link", "set", "dev", "va", "mtu", "1300"], "mtu of 'va' is set to 1300 instead of 1500"),
    "down": (["link", "set", "dev", "va", "down"], "'va' is set down"),
    "arp": (["link", "set", "dev", "va", "arp", "off"], "arp of 'va' is set to False instead of True"),
    "address": (["addr", "flush", "dev", "va"], f"address {ADDRESS} of 'va' is removed"),
    "another address": (["addr", "add", "10.9.9.9/8", "dev", "va"], "address 10.9.9.9/8 of 'va' is added"),
    "alias": (["link", "set", "dev", "va", "alias", "x"], "alias of 'va' is set to x instead of vppctl:vpp1:va"),
    "group": (["link", "set", "dev", "va", "group", "7"], "group of 'va' is set to 7"),
    "rename": (["link", "set", "dev", "va", "name", "vz"], "link 'va' is renamed to 'vz'"),
    "move": (["link", "set", "dev", "va", "netns", "two"], "link 'va' is deleted"),
    "delete": (["link", "del", "dev", "va"], "link 'va' is deleted"),
}


def undo(way: list[str]) -> None:
    link = links("one").get("va")
    if link and not any(address["local"] == "10.9.9.9" for address in link["addr_info"]):
        ip("-n", "one", *way)


@pytest.mark.parametrize(("way", "said"), WAYS.values(), ids=list(WAYS))
def test_a_fight_and_its_end(played: Played, way: list[str], said: str) -> None:
    began, looks = played.now, played.looks
    while played.now < began + 60.0:
        undo(way)
        played.hear("va", "vb")
        played.look()
        if played.now > began + 2.0:
            assert played.state("va") is played.state("vb") is State.FAILED
            assert played.conditions["va"].reason is Reason.KERNEL_ERROR
            assert said in played.conditions["va"].message
    assert played.looks - looks < 30, "looks in a minute"
    played.rest()
    assert played.now < began + 90.0, "seconds until all is well again"
    assert played.state("va") is played.state("vb") is State.APPLIED
    assert addresses("one", "va") == {ADDRESS}


def test_now_and_then_is_no_fight(played: Played) -> None:
    """What is changed every ten seconds is set right at once each time."""
    for _ in range(20):
        undo(WAYS["mtu"][0])
        played.hear("va")
        before = played.now
        played.look()
        assert played.now - before < 0.1
        assert played.state("va") is State.APPLIED
        assert links("one")["va"]["mtu"] == 1500
        played.now += 10.0


def test_one_change_after_the_other_is_no_fight(played: Played) -> None:
    """Whoever changes something else each time is not kept waiting: it is a person at work, or a test."""
    for _ in range(2):
        for way, _ in WAYS.values():
            undo(way)
            played.hear("va", "vb")
            before = played.now
            played.look()
            assert played.now - before < 0.1
            assert played.state("va") is played.state("vb") is State.APPLIED, way
            assert addresses("one", "va") == {ADDRESS}


def test_a_fight_with_something_else_each_time(played: Played) -> None:
    operations, number = played.operations, 0
    began = played.now
    while played.now < began + 60.0:
        number += 1
        if links("one")["va"]["mtu"] == 1500:
            ip("-n", "one", "link", "set", "dev", "va", "mtu", str(1000 + number))
        played.hear("va")
        played.look()
    assert played.state("va") is State.FAILED
    assert played.operations - operations < 40
    played.rest()
    assert played.state("va") is State.APPLIED


def test_a_namespace_that_is_removed_each_time_is_named_all_the_time(played: Played) -> None:
    """Once, it was reported as being created for as long as the agent let it be."""
    looks, held = [], []
    for _ in range(40):
        if links("one"):
            # As long as it is open, the next one has another number: nobody reports here that it has died.
            held.append(open("/run/netns/one", "rb"))  # noqa: SIM115 - closed at the end
            ip("netns", "del", "one")
            played.reconciler.refresh_namespaces()
        # As an audit has it.
        played.reconciler.backlog.add(played.reconciler.all_pairs())
        played.look()
        looks.append(played.state("va") is State.FAILED)
        if looks[-1]:
            for name in ("va", "vb"):
                assert "something else keeps changing it: namespace 'one' is deleted" in played.conditions[name].message
        played.now += 0.3
    assert True in looks
    assert all(looks[looks.index(True) :]), "FAILED until a repair has held"
    played.rest()
    for space in held:
        space.close()
    assert played.state("va") is played.state("vb") is State.APPLIED


def test_repairs_are_at_once_again_after_a_quiet_minute(played: Played) -> None:
    def fight(times: int) -> None:
        for _ in range(times):
            undo(WAYS["mtu"][0])
            played.hear("va")
            played.look()

    fight(20)
    assert played.state("va") is State.FAILED
    played.rest()
    played.now += 70.0
    began = played.now
    fight(5)
    assert played.state("va") is State.APPLIED
    assert played.now - began < 1.0


def test_the_agents_own_changes_are_nobody_elses(played: Played) -> None:
    for number in range(50):
        played.put(veth("va", "vb", "one", mtu=1400 + number, ip_addresses=[f"10.0.{number}.1/24"]))
        played.look()
        played.hear("va", "vb")
        played.look()
        assert played.state("va") is played.state("vb") is State.APPLIED
    assert played.operations < 250


def test_a_change_of_configuration_acts_at_once_and_ends_it(played: Played) -> None:
    for _ in range(12):
        undo(WAYS["mtu"][0])
        played.hear("va")
        played.look()
    assert played.state("va") is State.FAILED
    undo(WAYS["mtu"][0])
    before = played.now
    played.put(veth("va", "vb", "one", mtu=1450, ip_addresses=[ADDRESS]))
    played.look()
    assert played.now == before
    assert played.state("va") is State.APPLIED
    assert links("one")["va"]["mtu"] == 1450


def test_an_audit_resets_nothing(played: Played) -> None:
    for _ in range(12):
        undo(WAYS["mtu"][0])
        played.hear("va")
        played.look()
    undo(WAYS["mtu"][0])
    before = played.operations
    for _ in range(10):
        played.reconciler.backlog.add(played.reconciler.all_pairs())
        played.look()
    assert played.operations == before
    assert played.state("va") is State.FAILED


def test_events_about_what_is_as_configured(played: Played) -> None:
    """Changes that are none of ours, without end: two looks a second, and no more of the processor."""
    began, looks = played.now, played.looks
    while played.now < began + 30.0:
        played.hear("va")
        played.look()
    assert played.looks - looks < 100
    assert played.state("va") is State.APPLIED


def changed_while_it_is_applied(played: Played, monkeypatch: pytest.MonkeyPatch, way: list[str]) -> None:
    """Have the other one undo everything before it is read back."""
    execute = played.reconciler.executor.execute

    def and_undo(*arguments: Any) -> Any:
        outcomes = execute(*arguments)
        undo(way)
        return outcomes

    monkeypatch.setattr(played.reconciler.executor, "execute", and_undo)


def test_what_does_not_even_hold_for_a_pass(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_while_it_is_applied(played, monkeypatch, WAYS["mtu"][0])
    undo(WAYS["mtu"][0])
    played.hear("va")
    began, before = played.now, played.operations
    while played.now < began + 30.0:
        played.hear("va")
        played.look()
        assert played.state("va") is State.FAILED
        assert "mtu of 'va' is set to 1300" in played.conditions["va"].message
    assert played.operations - before < 60
    monkeypatch.undo()
    played.rest()
    assert played.state("va") is State.APPLIED


def test_what_the_kernel_refuses_again_and_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events do not take part in how often it is tried."""
    from vppctl.linux import wire

    address: Callable[..., bytes] = wire.address
    monkeypatch.setattr(wire, "address", lambda kind, index, value: address(kind, index + 100, value))
    undo(WAYS["address"][0])
    began, before = played.now, played.operations
    while played.now < began + 60.0:
        played.hear("va")
        played.look()
        assert played.state("va") is State.FAILED
    assert "cannot add 10.0.0.1/24 to 'va'" in played.conditions["va"].message
    assert played.operations - before < 40
    monkeypatch.undo()
    played.rest()
    assert played.state("va") is State.APPLIED
