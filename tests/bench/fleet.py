"""Many agents on one etcd: hosts are network namespaces behind one bridge, each with an agent of its own label.

What is asked: how long a change of one label takes to be applied, and what the agents cost etcd while nothing changes.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.latency import Links
from tests.bench.scale import cpu_seconds
from tests.bench.timing import VPPCTL, Result, quantile
from tests.support.etcd import Etcd
from tests.support.netns import ip, wait_until
from vppctl.linux import wire
from vppctl.model.keys import ROOT, config_key
from vppctl.store.base import Put, Store
from vppctl.store.settings import open_store, parse_store_url

GATEWAY = "10.200.0.1"
IDLE = 60.0
"""Seconds that the idle fleet is watched."""
CHANGES = 100


def bench(count: int, folder: Path, _: Etcd) -> Iterator[Result]:
    """So many agents, a pair each."""
    ip("link", "add", "name", "fleet0", "up", "type", "bridge")
    ip("addr", "add", f"{GATEWAY}/16", "dev", "fleet0")
    home = folder / "fleet"
    home.mkdir()
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd(home, host=GATEWAY))
        store = open_store(parse_store_url(f"etcd://{etcd.endpoint}"))
        stack.callback(store.close)
        for number in range(count):
            configure(store, number, 1500)
        start = time.perf_counter()
        agents = stack.enter_context(running(count, etcd))
        wait_until(lambda: applied(store) == 2 * count, "all pairs to be applied", 600)
        yield Result(f"{count} agents started at once: all applied", "", time.perf_counter() - start, 0, "s", 0)
        yield from idle(count, etcd, agents)
        times = list(changes(count, store))
        work = f"one change applied, {count} agents on one etcd"
        yield Result(f"{work}: p50 of {len(times)}", "", quantile(times, 0.5), 0, "ms", 0)
        yield Result(f"{work}: p99", "", quantile(times, 0.99), 0, "ms", 0)


def configure(store: Store, number: int, mtu: int) -> None:
    """The pair of a host: one side in its own namespace, one in a named one."""
    space = {"type": 2, "name": f"fleet{number}"}
    sides = (
        {"name": "out", "enabled": True, "mtu": mtu, "veth": {"peer_if_name": "in"}},
        {"name": "in", "enabled": True, "mtu": mtu, "veth": {"peer_if_name": "out"}, "namespace": space},
    )
    store.commit([Put(config_key(f"host{number}", str(s["name"])), json.dumps(s).encode()) for s in sides])


@contextmanager
def running(count: int, etcd: Etcd) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The hosts, with an agent in each."""
    agents = []
    try:
        for number in range(count):
            host = f"host{number}"
            ip("netns", "add", host)
            ip(
                "link",
                "add",
                "name",
                f"h{number}",
                "up",
                "master",
                "fleet0",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                host,
            )
            ip("-n", host, "addr", "add", f"10.200.{1 + number // 250}.{1 + number % 250}/16", "dev", "eth0")
            ip("-n", host, "link", "set", "dev", "eth0", "up")
            command = [
                "ip",
                "netns",
                "exec",
                host,
                VPPCTL,
                "--store",
                f"etcd://{etcd.endpoint}",
                "-l",
                host,
                "agent",
                "run",
            ]
            agents.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        yield agents
    finally:
        for agent in agents:
            agent.terminate()
        for agent in agents:
            agent.wait(60)


def applied(store: Store) -> int:
    """How many interfaces are reported as they should be."""
    entries = store.list(ROOT).entries
    return sum(
        b'"state":"APPLIED"' in (entry.value or b"") for entry in entries if "/status/v1/interface/" in entry.key
    )


def idle(count: int, etcd: Etcd, agents: list[subprocess.Popen[bytes]]) -> Iterator[Result]:
    """What leases and states cost while nothing changes."""
    assert etcd.process is not None
    before, etcd_before = metrics(etcd), cpu_seconds(etcd.process.pid)
    own_before = sum(cpu_seconds(agent.pid) for agent in agents)
    time.sleep(IDLE)
    after = metrics(etcd)
    used = (cpu_seconds(etcd.process.pid) - etcd_before) / IDLE
    own = (sum(cpu_seconds(agent.pid) for agent in agents) - own_before) / IDLE / count
    yield Result(f"etcd under {count} idle agents", "", used * 100, 0, "% of a core", 0)
    yield Result("one of the idle agents", "", own * 100, 0, "% of a core", 0)
    for name, title in (
        ("etcd_server_proposals_committed_total", "commits of etcd a second"),
        ("etcd_debugging_lease_renewed_total", "leases renewed a second"),
        ("etcd_network_client_grpc_received_bytes_total", "octets to etcd a second"),
        ("etcd_network_client_grpc_sent_bytes_total", "octets from etcd a second"),
    ):
        yield Result(f"{title}, {count} idle agents", "", (after[name] - before[name]) / IDLE, 0, "", 0)


def metrics(etcd: Etcd) -> dict[str, float]:
    """etcd's own counters."""
    with urllib.request.urlopen(f"{etcd.url}/metrics") as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([0-9.e+]+)$", text, re.MULTILINE)}


def changes(count: int, store: Store) -> Iterator[float]:
    """Milliseconds from the write of one label's MTU to its link having it."""
    choose = random.Random(1)
    for number in range(CHANGES):
        host = choose.randrange(count)
        with Links(f"host{host}") as events:
            start = time.perf_counter()
            configure(store, host, 1499 - number)
            events.until("out", lambda _, __, a: wire.UINT.unpack(a[wire.IFLA_MTU])[0] == 1499 - number)  # noqa: B023
            yield (time.perf_counter() - start) * 1e3
