"""All of an address and of a link is compared, not a part: what another program gives to it is found and taken back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux import observe
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind
from vppctl.reconcile.drift import Drift, kernel_drift
from vppctl.reconcile.state import Condition, Configured, Reason, State

pytestmark = pytest.mark.kernel
V4, V6 = "10.0.0.1/24", "2001:db8::1/64"


@pytest.fixture
def reconciler() -> Reconciler:
    return Reconciler("vpp1", Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), NsidTable())


def put(reconciler: Reconciler, *documents: dict[str, Any]) -> None:
    for document in documents:
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        reconciler.backlog.add(reconciler.desired.put(found))


def apply(reconciler: Reconciler, now: float) -> dict[str, Condition]:
    """Look at everything; what is said about each interface."""
    reconciler.backlog.add(reconciler.all_pairs())
    return {name: condition for name, condition in reconciler.run(now).items() if condition}


def differences(reconciler: Reconciler) -> list[Drift]:
    return [found for part in reconciler.survey() for found in kernel_drift(reconciler.desired, *part)]


def seen(name: str = "a") -> dict[str, Any]:
    """The link as `ip` shows it, without what the kernel changes by itself."""
    link = links("x")[name]
    addresses = [{k: v for k, v in a.items() if k != "tentative"} for a in link.pop("addr_info")]
    kept = ("ifindex", "ifname", "mtu", "address", "flags", "group", "ifalias")
    flags = sorted(set(link["flags"]) - {"LOWER_UP", "NO-CARRIER", "M-DOWN"})
    mine = sorted((a for a in addresses if not a["local"].startswith("fe80")), key=lambda a: str(a["local"]))
    return {**{k: link[k] for k in kept}, "flags": flags, "addresses": mine}


def again(address: str, *more: str) -> Callable[[], None]:
    """Remove an address and add it again in another way."""

    def change() -> None:
        ip("-n", "x", "addr", "del", address, "dev", "a")
        ip("-n", "x", "addr", "add", *(more[1:] if more[0] == "instead" else (address, *more)), "dev", "a")

    return change


def modify(*arguments: str) -> Callable[[], None]:
    return lambda: [ip("-n", "x", *arguments), None][1]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(again(V4, "noprefixroute"), f"{V4} noprefixroute", id="no route"),
        pytest.param(again(V6, "noprefixroute"), f"{V6} noprefixroute", id="no route, IPv6"),
        pytest.param(again(V4, "instead", "10.0.0.1", "peer", "10.0.0.9/24"), "10.0.0.1 peer 10.0.0.9/24", id="peer"),
        pytest.param(again(V4, "instead", "10.0.0.1", "peer", "10.9.0.9/24"), "10.0.0.1 peer 10.9.0.9/24", id="far"),
        pytest.param(
            again(V6, "instead", "2001:db8::1", "peer", "2001:db8::9/64"), "2001:db8::1 peer 2001:db8::9/64", id="peer6"
        ),
        pytest.param(again(V4, "brd", "10.0.0.7"), f"{V4} brd 10.0.0.7", id="broadcast"),
        pytest.param(again(V4, "metric", "77"), f"{V4} metric 77", id="metric"),
        pytest.param(again(V6, "metric", "77"), f"{V6} metric 77", id="metric, IPv6"),
        pytest.param(again(V4, "scope", "link"), f"{V4} scope link", id="scope"),
        pytest.param(again(V4, "label", "a:1"), f"{V4} label a:1", id="label"),
        pytest.param(again(V6, "nodad"), f"{V6} nodad", id="no detection of duplicates"),
        pytest.param(again(V6, "home"), f"{V6} home", id="home"),
        pytest.param(again(V6, "mngtmpaddr"), f"{V6} mngtmpaddr", id="temporary addresses"),
        pytest.param(modify("addr", "change", V4, "dev", "a", "preferred_lft", "0"), f"{V4} deprecated", id="old"),
        pytest.param(
            modify("addr", "change", V6, "dev", "a", "preferred_lft", "0"), f"{V6} deprecated", id="old, IPv6"
        ),
        pytest.param(
            modify("addr", "change", V6, "dev", "a", "preferred_lft", "600"), f"{V6} preferred_lft limited", id="ages"
        ),
        pytest.param(again(V4, "metric", "5", "noprefixroute"), f"{V4} metric 5 noprefixroute", id="two at once"),
    ],
)
def test_an_address_with_other_attributes(reconciler: Reconciler, change: Callable[[], None], found: str) -> None:
    put(reconciler, veth("a", "b", "x", ip_addresses=[V4, V6]), veth("b", "a"))
    apply(reconciler, 0.0)
    assert differences(reconciler) == []
    before = seen()
    change()
    assert seen() != before
    plain = V6 if found.startswith("2001") else V4
    assert differences(reconciler) == [Drift("a", "ip_addresses", plain, found)]
    states = {c.state for c in apply(reconciler, 1.0).values()}
    assert states == {State.APPLIED}
    assert seen() == before
    assert differences(reconciler) == []


def test_a_second_address_with_the_same_host(reconciler: Reconciler) -> None:
    put(reconciler, veth("a", "b", "x", ip_addresses=[V4]), veth("b", "a"))
    apply(reconciler, 0.0)
    before = seen()
    ip("-n", "x", "addr", "add", "10.0.0.1", "peer", "10.9.0.9/24", "dev", "a")
    assert differences(reconciler) == [Drift("a", "ip_addresses", "", "10.0.0.1 peer 10.9.0.9/24")]
    apply(reconciler, 1.0)
    assert seen() == before


def test_secondary_addresses_are_as_configured(reconciler: Reconciler) -> None:
    """The kernel's own order and flags are no difference, and what goes with a primary one comes back."""
    many = [f"10.0.0.{n}/24" for n in range(1, 6)]
    put(reconciler, veth("a", "b", "x", ip_addresses=many), veth("b", "a"))
    apply(reconciler, 0.0)
    assert differences(reconciler) == []
    again(many[0], "noprefixroute")()
    assert {c.state for c in apply(reconciler, 1.0).values()} == {State.APPLIED}
    assert {a["local"] for a in seen()["addresses"]} == {a.partition("/")[0] for a in many}
    assert differences(reconciler) == []


@pytest.mark.parametrize(
    ("change", "attribute"), [(("arp", "off"), "arp"), (("multicast", "off"), "multicast")], ids=["arp", "multicast"]
)
def test_a_link_that_reaches_nobody(reconciler: Reconciler, change: tuple[str, str], attribute: str) -> None:
    put(reconciler, veth("a", "b", "x", ip_addresses=[V4]), veth("b", "a"))
    apply(reconciler, 0.0)
    before = seen()
    ip("-n", "x", "link", "set", "dev", "a", *change)
    assert differences(reconciler) == [Drift("a", attribute, "True", "False")]
    assert {c.state for c in apply(reconciler, 1.0).values()} == {State.APPLIED}
    assert seen() == before


def test_ipv6_switched_off_on_the_link(reconciler: Reconciler) -> None:
    put(reconciler, veth("a", "b", "x", ip_addresses=[V6]), veth("b", "a"))
    apply(reconciler, 0.0)
    command = ["ip", "netns", "exec", "x", "sysctl", "-qw", "net.ipv6.conf.a.disable_ipv6=1"]
    subprocess.run(command, check=True)
    assert differences(reconciler) == [Drift("a", "ip_addresses", V6, "")]
    assert {c.state for c in apply(reconciler, 1.0).values()} == {State.APPLIED}
    assert [a["local"] for a in seen()["addresses"]] == ["2001:db8::1"]


def test_what_an_operator_adds_to_a_link_is_let_be(reconciler: Reconciler) -> None:
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    apply(reconciler, 0.0)
    ip("-n", "x", "link", "add", "br0", "type", "bridge")
    ip("-n", "x", "link", "set", "dev", "a", "master", "br0")
    ip("-n", "x", "link", "set", "dev", "a", "promisc", "on")
    ip("-n", "x", "link", "set", "dev", "a", "txqueuelen", "77")
    ip("-n", "x", "link", "property", "add", "dev", "a", "altname", "uplink-to-b")
    assert differences(reconciler) == []
    assert {c.state for c in apply(reconciler, 1.0).values()} == {State.APPLIED}
    link = links("x")["a"]
    assert (link["master"], link["promiscuity"] > 0, link["txqlen"]) == ("br0", True, 77)
    assert link["altnames"] == ["uplink-to-b"]


@pytest.mark.parametrize("many", [128, 0], ids=["asked for by name", "from a dump"])
def test_the_name_of_a_strangers_link_is_quoted_in_a_proposed_command(
    reconciler: Reconciler, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "MANY", many)
    ip("netns", "add", "x")
    ip("-n", "x", "link", "add", "$(id>x)", "type", "bridge")
    ip("-n", "x", "link", "property", "add", "dev", "$(id>x)", "altname", "a")
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    message = apply(reconciler, 0.0)["a"].message
    assert "ip link property del dev '$(id>x)' altname a" in message


@pytest.mark.parametrize("many", [128, 0], ids=["asked for by name", "from a dump"])
def test_a_name_that_is_anothers_alternative_name(
    reconciler: Reconciler, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: KernelError, cannot make 'a': File exists."""
    monkeypatch.setattr(observe, "MANY", many)
    ip("netns", "add", "x")
    ip("-n", "x", "link", "add", "eth0", "type", "bridge")
    for name in ("other", "a"):
        ip("-n", "x", "link", "property", "add", "dev", "eth0", "altname", name)
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    conditions = apply(reconciler, 0.0)
    assert {(c.state, c.reason) for c in conditions.values()} == {(State.FAILED, Reason.NAME_TAKEN)}
    assert "'a' in namespace x is an alternative name of 'eth0'" in conditions["a"].message
    assert "peer 'a': " in conditions["b"].message
    assert [d.attribute for d in differences(reconciler)] == ["state", "state"]
    ip("-n", "x", "link", "property", "del", "dev", "eth0", "altname", "a")
    # The event has the index of the link, and not the name that it has no more.
    netns = next(space for space in reconciler.memory.ways if space != reconciler.nsids.own)
    reconciler.enqueue(reconciler.memory.at(netns, links("x")["eth0"]["ifindex"], "eth0"), 0.1, 0.0)
    assert {n: c.state for n, c in reconciler.run(0.1).items() if c} == {"a": State.APPLIED, "b": State.APPLIED}
    assert set(links("x")) == {"eth0", "a"}


@pytest.mark.parametrize("many", [128, 0], ids=["asked for by name", "from a dump"])
def test_a_name_that_is_an_alternative_one_of_our_own_link(
    reconciler: Reconciler, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, the link was read twice, and had each of its addresses twice."""
    monkeypatch.setattr(observe, "MANY", many)
    put(reconciler, veth("a", "b", "x", ip_addresses=[V4]), veth("b", "a"))
    apply(reconciler, 0.0)
    before = seen()
    ip("-n", "x", "link", "property", "add", "dev", "a", "altname", "c")
    put(reconciler, veth("c", "d", "x", ip_addresses=["10.0.1.1/24"]), veth("d", "c"))
    conditions = apply(reconciler, 1.0)
    assert {(n, c.state, c.reason) for n, c in conditions.items()} == {
        *((n, State.APPLIED, Reason.NONE) for n in ("a", "b")),
        *((n, State.FAILED, Reason.NAME_TAKEN) for n in ("c", "d")),
    }
    assert conditions["a"].link
    assert conditions["a"].link.addresses == (V4,)
    assert seen() == before
    assert links("x")["a"]["altnames"] == ["c"]
