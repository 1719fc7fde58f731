"""A running agent, on a real etcd and the real kernel, whose part of the store is full of garbage."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz.strategies import HOSTILE, mutants
from tests.fuzz.test_reports import STORED
from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import ip, links, wait_until
from vppctl.store.base import Operation, Put, Store
from vppctl.store.settings import StoreSettings, open_store

pytestmark = [pytest.mark.kernel, pytest.mark.etcd]

PREFIX = "/vnf-agent/vpp1/{}/config/v1/interface/"
PAIR = (veth("a", "b", "one", mtu=1400), veth("b", "a", "two", mtu=1400))
OCTETS = "\udcff\udcfe"
"""What no UTF-8 is, as Python keeps it."""


@pytest.fixture
def on_etcd(tmp_path: Path) -> Any:
    with Etcd(tmp_path, "--quota-backend-bytes=2000000000") as server:
        yield Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint}, tmp_path)


def commit(store: Store, puts: list[Put]) -> None:
    """In transactions as etcd takes them: 1.5 MiB and 128 operations."""
    part: list[Operation] = []
    for put in puts:
        size = sum(len(p.key) + len(p.value) for p in part if isinstance(p, Put)) + len(put.value)
        if part and (size > 1_000_000 or len(part) == 100):
            store.commit(part)
            part = []
        part.append(put)
    store.commit(part)


def indexes() -> dict[tuple[str, str], int]:
    """All links of the namespaces of this test, so that one that was made again or added is seen."""
    return {(space, name): link["ifindex"] for space in ("one", "two", "") for name, link in links(space).items()}


def test_garbage_disturbs_nobody(on_etcd: Vppctl) -> None:
    """Once, a link renamed to octets that are no UTF-8 ended the agent, and so did a key of such octets."""
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    with Agent(on_etcd) as agent:
        on_etcd.put(*PAIR, wait=True)
        before = indexes()
        names = [*STORED, *HOSTILE[1:], OCTETS, "\udcc3", "a/../../b", "x" * 10_000]
        values = list(STORED.values())
        garbage = [
            Put(PREFIX.format(kind) + name, values[n % len(values)])
            for kind in ("linux", "vpp")
            for n, name in enumerate(dict.fromkeys(name for name in names if name != "\ud800"))
        ]
        commit(store, garbage)
        random = Random(6)
        spoiled = mutants(veth("n", "m", "three", phys_address="02:00:00:00:00:01"), random, 300)
        commit(store, [Put(f"{PREFIX.format('linux')}n{n}", value[:100_000]) for n, value in enumerate(spoiled)])
        commit(store, [Put(f"/vnf-agent/vpp1/linux/status/v1/interface/s{n}", v) for n, v in enumerate(values)])
        on_etcd.wait_state("n1", "INVALID", "InvalidConfig", timeout=30)
        on_etcd.put(*(document | {"mtu": 1401} for document in PAIR), wait=True)
        assert indexes() == before
        ip("-n", "two", "link", "set", "dev", "b", "name", OCTETS)
        wait_until(lambda: set(links("two")) == {"b"}, "the name to return")
        assert set(os.listdir("/run/netns")) == {"one", "two"}
        assert agent.process is not None
        assert agent.process.poll() is None
        for arguments in (["status"], ["list"], ["dump"], ["graph"], ["history"], ["check"]):
            result = subprocess.run(
                on_etcd.command("vppctl", arguments), env=on_etcd.environment, capture_output=True, check=False
            )
            text = (result.stdout + result.stderr).decode()
            assert "internal error" not in text
            assert all(c.isprintable() or c == "\n" for c in text)
        assert on_etcd.run("del", PREFIX.format("linux") + OCTETS).returncode == 0
    store.close()
    assert all(c.isprintable() or c == "\n" for c in agent.log.read_bytes().decode())


def test_ten_thousand_keys_of_garbage(on_etcd: Vppctl) -> None:
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    commit(store, [Put(f"{PREFIX.format('linux')}{n}", b"\xff" * (n % 50)) for n in range(10_000)])
    with Agent(on_etcd, "--log-level", "error"):
        on_etcd.put(*PAIR)
        on_etcd.wait_state("a", "APPLIED", timeout=40)
        assert set(links("one")) == {"a"}
    store.close()


def test_names_of_all_lengths(on_etcd: Vppctl) -> None:
    """Once, a report that was too large for the store, which has the name twice, kept all others waiting for ever."""
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    for length in (256, 10_000, 20_000, 800_000):
        store.commit([Put(PREFIX.format("linux") + "x" * length, b"{}")])
    with Agent(on_etcd) as agent:
        on_etcd.put(*PAIR, wait=True)
        on_etcd.wait_state("x" * 10_000, "INVALID", "InvalidConfig")
        assert on_etcd.run("agent", "health").returncode == 0
    assert max(map(len, agent.log.read_text().splitlines())) < 2000
    store.close()


def test_documents_at_the_bounds(on_etcd: Vppctl) -> None:
    """What is allowed to the last octet is done; one more is refused."""
    addresses = [f"10.{n // 250}.{n % 250}.1/24" for n in range(1024)]
    first = veth("a", "b", "one", ip_addresses=addresses, description="d" * 1000)
    first["description"] = "d" * (1000 + 65536 - len(json.dumps(first, separators=(",", ":"))))
    over = first | {"name": "over", "description": first["description"] + "d"}
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    with Agent(on_etcd):
        for document in (first, veth("b", "a", "two"), over):
            value = json.dumps(document, separators=(",", ":")).encode()
            store.commit([Put(PREFIX.format("linux") + document["name"], value)])
        on_etcd.wait_state("a", "APPLIED", timeout=30)
        assert len(links("one")["a"]["addr_info"]) >= 1024
        assert "write at most 65536" in on_etcd.wait_state("over", "INVALID", "InvalidConfig")["message"]
    store.close()


def test_documents_with_a_thousand_errors_each(on_etcd: Vppctl) -> None:
    """Once, what was to be said about them was more than etcd takes at once, and nothing was said about anybody."""
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    bad = [f"10.{n}.0.1" for n in range(1024)]
    for round_ in range(2):
        documents = {f"bad{n}": veth(f"bad{n}", "b", ip_addresses=bad[round_:]) for n in range(60)}
        commit(store, [Put(PREFIX.format("linux") + n, json.dumps(d).encode()) for n, d in documents.items()])
    with Agent(on_etcd):
        on_etcd.put(*PAIR)
        on_etcd.wait_state("a", "APPLIED", timeout=30)
        message = on_etcd.wait_state("bad59", "INVALID", "InvalidConfig")["message"]
        assert message.endswith("; and 973 more problems")
    store.close()
