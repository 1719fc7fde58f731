"""The agent on the real kernel: configuration is written, the kernel is looked at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import addresses, ip, links, wait_until

pytestmark = pytest.mark.kernel
EXAMPLES = Path(__file__).parents[2] / "json"
KEY = "/vnf-agent/my-agent/linux/config/v1/interface/"


def pair(**more: Any) -> list[dict[str, Any]]:
    return [veth("a", "b", "one", **more), veth("b", "a", "two")]


def index(namespace: str, name: str) -> int:
    found: int = links(namespace)[name]["ifindex"]
    return found


@pytest.mark.etcd
def test_the_example_on_etcd_as_scripts_have_it(on_etcd: Vppctl) -> None:
    on_etcd.environment["MICROSERVICE_LABEL"] = "my-agent"
    with Agent(on_etcd):
        on_etcd("-put", f"{KEY}veth1", str(EXAMPLES / "veth1.json"), program="vpp-agent-ctl")
        on_etcd.wait_state("veth1", "PENDING", "PeerNotConfigured")
        assert links("ns1") == {}
        on_etcd("-put", f"{KEY}veth2", str(EXAMPLES / "veth2.json"), program="vpp-agent-ctl")
        on_etcd("wait", "veth1", "veth2", "--for", "applied", "--timeout", "10s")
        link = links("ns1")["veth1"]
        assert (link["address"], link["mtu"], link["operstate"]) == ("d2:74:8c:12:67:d2", 1500, "UP")
        assert addresses("ns1", "veth1") == {"192.168.22.1/24", "2001:db8::ff00:89e3:bb42/48"}
        ip("netns", "exec", "ns1", "ping", "-c", "1", "-W", "2", "192.168.22.2")
        on_etcd("-del", f"{KEY}veth1", program="vpp-agent-ctl")
        wait_until(lambda: not links("ns1") and not links("ns2"), "both ends to go")
        on_etcd.wait_state("veth2", "PENDING", "PeerNotConfigured")
        on_etcd("-cvth1", program="vpp-agent-ctl")
        on_etcd.wait_state("veth2", "APPLIED")


@pytest.mark.etcd
def test_configuration_written_by_etcdctl(on_etcd: Vppctl) -> None:
    with Agent(on_etcd):
        for name in ("veth1", "veth2"):
            value = (EXAMPLES / f"{name}.json").read_text()
            command = ["etcdctl", "put", f"/vnf-agent/vpp1/linux/config/v1/interface/{name}", value]
            subprocess.run(command, env=on_etcd.environment, check=True, capture_output=True)
        on_etcd.wait_state("veth1", "APPLIED")
        life = json.loads(on_etcd("get", "/vnf-agent/vpp1/check/status/v1/agent"))
        assert {"build_version", "state", "start_time", "last_change", "last_update"} <= life.keys()


def test_once_makes_the_pair_and_says_so(vppctl: Vppctl) -> None:
    result = vppctl.run("agent", "run", "--once", str(EXAMPLES / "veth1.json"), str(EXAMPLES / "veth2.json"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "NAME   STATE    REASON  NAMESPACE  PEER   ADDRESSES\n"
        "veth1  APPLIED          ns1        veth2  192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48\n"
        "veth2  APPLIED          ns2        veth1  192.168.22.2/24, 2001:db8::ff00:13c7:1245/48\n"
    )
    assert set(links("ns1")) | set(links("ns2")) == {"veth1", "veth2"}


def test_once_says_what_is_missing(vppctl: Vppctl) -> None:
    result = vppctl.run("agent", "run", "--once", str(EXAMPLES / "veth1.json"))
    assert result.returncode == 1
    assert "PeerNotConfigured" in result.stdout


@pytest.mark.parametrize(
    ("change", "look"),
    [
        pytest.param({"mtu": 9000}, lambda k: k["mtu"] == 9000, id="mtu"),
        pytest.param({"phys_address": "02:00:00:00:00:99"}, lambda k: k["address"] == "02:00:00:00:00:99", id="mac"),
        pytest.param({"enabled": False}, lambda k: "UP" not in k["flags"], id="down"),
        pytest.param({"ip_addresses": ["10.9.0.1/24", "2001:db8:9::1/64"]}, lambda k: True, id="addresses"),
    ],
)
def test_changes_in_place_keep_the_link(vppctl: Vppctl, change: dict[str, Any], look: Any) -> None:
    first = {"ip_addresses": ["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"]}
    with Agent(vppctl):
        vppctl.put(*pair(**first), wait=True)
        before = index("one", "a")
        vppctl.put(veth("a", "b", "one", **{**first, **change}), wait=True)
        # --wait returns only after the kernel was read back: no waiting here.
        assert look(links("one")["a"])
        assert addresses("one", "a") == set({**first, **change}["ip_addresses"])
        assert index("one", "a") == before


def test_disable_and_enable_keeps_ipv6(vppctl: Vppctl) -> None:
    more = {"ip_addresses": ["2001:db8::1/64"]}
    with Agent(vppctl):
        vppctl.put(*pair(**more), wait=True)
        vppctl.put(veth("a", "b", "one", **{**more, "enabled": False}), wait=True)
        vppctl.put(veth("a", "b", "one", **more), wait=True)
        assert addresses("one", "a") == {"2001:db8::1/64"}


def test_an_ipv6_address_where_ipv6_is_off(vppctl: Vppctl) -> None:
    ip("netns", "add", "one")
    subprocess.run(
        [
            "ip",
            "netns",
            "exec",
            "one",
            "sysctl",
            "-qw",
            "net.ipv6.conf.all.disable_ipv6=1",
            "net.ipv6.conf.default.disable_ipv6=1",
        ],
        check=True,
    )
    with Agent(vppctl):
        vppctl.put(veth("a", "b", "one", ip_addresses=["2001:db8::1/64"]), veth("b", "a", "two"), wait=True)
        assert addresses("one", "a") == {"2001:db8::1/64"}
        vppctl.put(veth("a", "b", "one", ip_addresses=["2001:db8::2/64"]), veth("b", "a", "two"), wait=True)
        assert addresses("one", "a") == {"2001:db8::2/64"}


def test_a_change_of_name_or_namespace_makes_it_again(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(*pair(), wait=True)
        vppctl.put(veth("a", "b", "one", host_if_name="eth7"), wait=True)
        assert set(links("one")) == {"eth7"}
        vppctl.put(veth("a", "b", "three"), wait=True)
        assert (set(links("one")), set(links("three"))) == (set(), {"a"})


def test_describe_tells_everything(vppctl: Vppctl) -> None:
    assert vppctl.run("describe", "a").returncode == 3
    with Agent(vppctl):
        vppctl.put(*pair(), wait=True)
        shown = dict(line.split(":", 1) for line in vppctl("describe", "a").split("Configuration:")[0].splitlines())
        assert shown["State"].split()[0] == "APPLIED"
        assert shown["Link"].strip() == f"a, index {index('one', 'a')}"
        assert shown["MAC"].strip() == links("one")["a"]["address"]
        assert "packets" in shown["Received"]
        found = json.loads(vppctl("describe", "/vnf-agent/vpp1/linux/config/v1/interface/a", "-o", "json"))
        assert found["configuration"]["name"] == found["status"]["name"] == "a"
        vppctl("del", "b", "--wait")
        assert "PeerNotConfigured" in vppctl("describe", "a")


def test_drift_is_repaired(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(*pair(ip_addresses=["10.0.0.1/24"]), wait=True)
        before = index("one", "a")
        ip("-n", "one", "link", "set", "dev", "a", "mtu", "1400")
        ip("-n", "one", "addr", "del", "10.0.0.1/24", "dev", "a")
        ip("-n", "one", "addr", "add", "10.7.7.7/24", "dev", "a")
        wait_until(
            lambda: links("one")["a"]["mtu"] == 1500 and addresses("one", "a") == {"10.0.0.1/24"}, "repair in place"
        )
        assert index("one", "a") == before
        ip("-n", "two", "link", "del", "dev", "b")
        wait_until(lambda: "b" in links("two") and addresses("one", "a") == {"10.0.0.1/24"}, "the pair to return")
        ip("-n", "two", "link", "set", "dev", "b", "down")
        ip("-n", "two", "link", "set", "dev", "b", "name", "other")
        wait_until(lambda: set(links("two")) == {"b"}, "the name to return")


def test_what_is_not_ours_is_left_alone(vppctl: Vppctl) -> None:
    ip("netns", "add", "one")
    ip("-n", "one", "link", "add", "name", "a", "type", "bridge")
    ip("-n", "one", "link", "add", "other", "type", "veth", "peer", "name", "twin")
    before = {name: link["ifindex"] for name, link in links("one").items()}
    with Agent(vppctl):
        vppctl.put(*pair())
        report = vppctl.wait_state("a", "FAILED", "NameTaken")
        assert "taken by a bridge" in report["message"]
        assert {name: link["ifindex"] for name, link in links("one").items()} == before
        ip("-n", "one", "link", "del", "dev", "a")
        vppctl.wait_state("a", "APPLIED")
    assert {"other", "twin"} < set(links("one"))


def test_two_ends_in_one_namespace(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(veth("a", "b", "one"), veth("b", "a", "one"), wait=True)
        assert set(links("one")) == {"a", "b"}
        vppctl("del", "a", "--wait")
        assert links("one") == {}


def test_an_invalid_document_freezes_its_pair(vppctl: Vppctl) -> None:
    key = "/vnf-agent/vpp1/linux/config/v1/interface/a"
    broken = vppctl.folder / "broken.json"
    broken.write_text('{"name": "a", "mtu": 7, "veth": {"peer_if_name": "b"}}')
    agent = Agent(vppctl)
    with agent:
        vppctl.put(*pair(), wait=True)
        before = index("one", "a")
        vppctl("put", "--raw", key, str(broken))
        report = vppctl.wait_state("a", "INVALID", "InvalidConfig")
        assert "mtu: 7 is out of range" in report["message"]
        vppctl.wait_state("b", "PENDING", "PeerInvalid")
        assert agent.stop() == 0
        agent.start()
        vppctl.wait_state("b", "PENDING", "PeerInvalid")
        assert index("one", "a") == before
        vppctl("del", "a")
        wait_until(lambda: not links("one") and not links("two"), "the pair to go")


def test_restart_makes_again_or_adopts_and_removes_orphans(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(*pair(), veth("x", "y", "one"), veth("y", "x", "elsewhere"), wait=True)
    before = index("one", "a")
    assert set(links("one")) == {"a", "x"}, "stopping leaves links up"
    vppctl("del", "x", "y")
    assert vppctl.run("agent", "run", "--once", "--resync", "adopt").returncode == 0
    assert (set(links("one")), links("elsewhere"), index("one", "a")) == ({"a"}, {}, before)
    assert vppctl.run("agent", "run", "--once").returncode == 0
    assert index("one", "a") != before
    assert "APPLIED" in vppctl.run("agent", "run", "--once").stdout


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*1.json")), ids=lambda file: file.stem)
def test_every_example_is_applied(vppctl: Vppctl, file: Path) -> None:
    kind = file.stem[:-1]
    if kind in ("afpacket", "memif", "microservice"):
        result = vppctl.run("put", *map(str, sorted(EXAMPLES.glob(f"{kind}?.json"))))
        assert result.returncode == 0, result.stderr
        return
    holder = subprocess.Popen(["sleep", "600"])
    try:
        documents = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob(f"{kind}?.json"))]
        for document in documents:
            if "pid" in document.get("namespace", {}):
                document["namespace"]["pid"] = holder.pid
            if "filepath" in document.get("namespace", {}):
                ip("netns", "add", Path(document["namespace"]["filepath"]).name)
        with Agent(vppctl):
            vppctl.put(*documents, wait=True)
    finally:
        holder.kill()
        holder.wait()


def test_the_pair_in_one_file(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl("put", str(EXAMPLES / "pair.json"), "--wait")
        assert (set(links("ns8")), set(links("ns9"))) == ({"left"}, {"right"})
