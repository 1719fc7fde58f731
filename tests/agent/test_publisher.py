"""What is published, when the store is slow and when there is nothing to publish under."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import ip, links, wait_until
from vppctl.agent import publisher as module
from vppctl.agent.publisher import Publisher
from vppctl.errors import StoreError
from vppctl.store import etcd
from vppctl.store.base import Put, Store
from vppctl.store.etcd import EtcdLease
from vppctl.store.settings import open_store, parse_store_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
    yield store
    store.close()


def test_publishing_that_takes_longer_than_the_lease(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, the lease ended in the middle, and it all began again, for ever."""
    monkeypatch.setattr(module, "LEASE_TTL", 1)
    monkeypatch.setattr(module, "REFRESH", 0.3)

    def slow() -> Any:
        opened = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
        commit = opened.commit

        def later(*arguments: Any) -> Any:
            time.sleep(0.15)
            return commit(*arguments)

        opened.commit = later  # type: ignore[method-assign,assignment]
        return opened

    publisher = Publisher(slow, "vpp1", "1")
    for number in range(1500):
        publisher.offer(f"/states/{number}", {"number": number})
    threading.Thread(target=publisher.run, daemon=True).start()
    wait_until(lambda: len(store.list("/states/").entries) == 1500, "everything to be published", 20)
    publisher.close(10)


def test_a_store_that_goes_away_refuses_no_report(store: Store, tmp_path: Path) -> None:
    """Once, a report that was to be removed while etcd was away stayed as long as the lease."""
    away = threading.Event()

    def fickle() -> Any:
        opened = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
        commit = opened.commit

        def sometimes(operations: Any, *arguments: Any) -> Any:
            if away.is_set() and len(operations) > 1:
                away.clear()
                raise StoreError("cannot reach it")
            return commit(operations, *arguments)

        opened.commit = sometimes  # type: ignore[method-assign,assignment]
        return opened

    publisher = Publisher(fickle, "vpp1", "1")
    threading.Thread(target=publisher.run, daemon=True).start()
    publisher.offer("/states/a", {"name": "a"})
    wait_until(lambda: store.list("/states/").entries, "the report to be published")
    away.set()
    publisher.offer("/states/a", None)
    wait_until(lambda: not store.list("/states/").entries, "the report to be removed")
    publisher.close(10)


@pytest.mark.kernel
def test_a_link_with_a_mark_that_is_no_name(vppctl: Vppctl) -> None:
    """Once, any user's link with such an alias had the embedded store refuse all that was published with it."""
    ip("link", "add", "name", "s", "type", "veth", "peer", "name", "t")
    subprocess.run(["ip", "link", "set", "dev", "s", "alias", b"vppctl:vpp1:\xff"], check=True)
    with Agent(vppctl):
        vppctl.put(veth("a", "b", "one"), veth("b", "a"), wait=True)
        assert set(links("one")) == {"a"}
        vppctl.put(veth("a", "b", "one", mtu=1400), wait=True)


@pytest.mark.etcd
def test_a_store_that_takes_small_transactions(tmp_path: Path) -> None:
    with Etcd(tmp_path, "--max-txn-ops=8") as server:
        where = parse_store_url(f"etcd://{server.endpoint}")
        publisher = Publisher(lambda: open_store(where), "vpp1", "1")
        for number in range(100):
            publisher.offer(f"/states/{number}", {"number": number})
        threading.Thread(target=publisher.run, daemon=True).start()
        store = open_store(where)
        wait_until(lambda: len(store.list("/states/").entries) == 100, "everything to be published", 20)
        assert store.get("/vnf-agent/vpp1/check/status/v1/agent")
        publisher.close(10)
        assert store.list("/").entries == ()
        store.close()


def fill(store: Store) -> None:
    while True:
        store.commit([Put("/fill", bytes(500_000))])


@pytest.mark.etcd
def test_a_store_without_space_keeps_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the publisher began anew without a lease, and `no agent is running` was reported of one that was."""
    monkeypatch.setattr(module, "LEASE_TTL", 2)
    monkeypatch.setattr(module, "REFRESH", 0.5)
    monkeypatch.setattr(module, "BACKOFF_LAST", 0.5)
    refreshed = 0

    class Counting(EtcdLease):
        def refresh(self) -> bool:
            nonlocal refreshed
            refreshed += 1
            return super().refresh()

    monkeypatch.setattr(etcd, "EtcdLease", Counting)
    troubles: list[str] = []
    with Etcd(tmp_path, "--quota-backend-bytes=1000000", "--max-request-bytes=4000000") as server:
        where = parse_store_url(f"etcd://{server.endpoint}")
        publisher = Publisher(lambda: open_store(where), "vpp1", "1", troubles.append)
        publisher.offer("/states/a", {"state": "APPLIED"})
        thread = threading.Thread(target=publisher.run, daemon=True)
        thread.start()
        with contextlib.closing(open_store(where)) as store:
            wait_until(lambda: store.get("/states/a"), "it to be published")
            with pytest.raises(StoreError, match="out of space"):
                fill(store)
            publisher.offer("/states/b", {"state": "APPLIED"})
            wait_until(lambda: any("it is out of space" in why for why in troubles), "the trouble to be reported")
            # For longer than the lease lasts by itself.
            before = refreshed
            wait_until(lambda: refreshed >= before + 6, "the lease to be refreshed again and again", 20)
            assert store.get("/states/a")
            revision = store.list("/").revision
            server.ctl("compact", str(revision))
            server.ctl("defrag")
            server.ctl("alarm", "disarm")
            wait_until(lambda: store.get("/states/b"), "the news to be published", 20)
            wait_until(lambda: troubles[-1] == "", "all to be well again")
        publisher.close(10)
        thread.join(10)
