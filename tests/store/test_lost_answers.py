"""A write whose answer was lost is looked for: what is said about it is so, and it is never done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import Etcd
from tests.support.proxy import Proxy
from vppctl.errors import ConflictError, UnknownOutcomeError
from vppctl.store.base import Delete, Guard, Put, Store
from vppctl.store.settings import StoreSettings, open_store

pytestmark = pytest.mark.etcd


@pytest.fixture
def direct(etcd: Etcd) -> Iterator[Store]:
    etcd.ctl("del", "", "--prefix")
    store = open_store(StoreSettings((etcd.endpoint,), timeout=4.0))
    yield store
    store.close()


@pytest.fixture
def proxy(etcd: Etcd) -> Iterator[Proxy]:
    with Proxy(etcd.port) as found:
        yield found


@pytest.fixture(params=[False, True], ids=["one endpoint", "two endpoints"])
def store(request: pytest.FixtureRequest, etcd: Etcd, proxy: Proxy) -> Iterator[Store]:
    """Through a network that loses answers; with another way to the same store, or without."""
    endpoints = (proxy.endpoint, etcd.endpoint) if request.param else (proxy.endpoint,)
    store = open_store(StoreSettings(endpoints, timeout=4.0))
    yield store
    store.close()


def version(etcd: Etcd, key: str) -> int:
    """How often a key was written since it was created."""
    found = json.loads(etcd.ctl("get", key, "-w", "json")).get("kvs", [])
    return int(found[0]["version"]) if found else 0


def test_a_guarded_write_is_reported_as_written(etcd: Etcd, direct: Store, store: Store, proxy: Proxy) -> None:
    """Once, it was sent to the next endpoint, where its own guard did not hold: nothing was written, it said."""
    before = direct.commit([Put("/a", b"old"), Put("/b", b"old")]).revision
    proxy.lose_answer(b"new value", lambda: version(etcd, "/a") == 2)
    done = store.commit([Put("/a", b"new value"), Put("/b", b"new")], [Guard("/a", before), Guard("/b", before)])
    assert proxy.cuts == 1
    found = direct.get("/a")
    assert found
    assert (found.value, found.mod_revision) == (b"new value", done.revision)
    assert version(etcd, "/a") == 2


def test_a_guarded_write_that_creates(etcd: Etcd, direct: Store, store: Store, proxy: Proxy) -> None:
    proxy.lose_answer(b"first value", lambda: version(etcd, "/a") == 1)
    done = store.commit([Put("/a", b"first value")], [Guard("/a", 0)])
    assert proxy.cuts == 1
    found = direct.get("/a")
    assert found
    assert found.mod_revision == done.revision
    assert version(etcd, "/a") == 1


def test_a_put_is_not_done_twice(etcd: Etcd, direct: Store, store: Store, proxy: Proxy) -> None:
    proxy.lose_answer(b"put value", lambda: version(etcd, "/a") == 1)
    done = store.commit([Put("/a", b"put value")])
    assert proxy.cuts == 1
    found = direct.get("/a")
    assert found
    assert found.mod_revision == done.revision
    assert version(etcd, "/a") == 1


def test_a_delete_is_not_done_twice(etcd: Etcd, direct: Store, store: Store, proxy: Proxy) -> None:
    direct.commit([Put("/gone", b"1")])
    proxy.lose_answer(b"/gone", lambda: version(etcd, "/gone") == 0)
    assert store.commit([Delete("/gone")]).deleted == 1
    assert proxy.cuts == 1
    assert direct.get("/gone") is None


@pytest.mark.parametrize("guarded", [False, True], ids=["plain", "guarded"])
def test_a_request_that_did_not_arrive_is_sent_again(
    etcd: Etcd, direct: Store, store: Store, proxy: Proxy, guarded: bool
) -> None:
    before = direct.commit([Put("/a", b"old")]).revision
    proxy.lose_request(b"late value")
    store.commit([Put("/a", b"late value")], [Guard("/a", before)] if guarded else [])
    assert proxy.cuts == 1
    assert version(etcd, "/a") == 2


def test_what_nobody_knows_is_said_to_be_unknown(etcd: Etcd, direct: Store, store: Store, proxy: Proxy) -> None:
    """Another client has written over it meanwhile: whether ours was there before cannot be seen any more."""
    before = direct.commit([Put("/a", b"old")]).revision

    def overwritten() -> bool:
        if version(etcd, "/a") == 2:
            direct.commit([Put("/a", b"another's")])
        return version(etcd, "/a") == 3

    proxy.lose_answer(b"mine", overwritten)
    with pytest.raises(UnknownOutcomeError, match="whether the write was carried out is not known"):
        store.commit([Put("/a", b"mine")], [Guard("/a", before)])
    assert version(etcd, "/a") == 3


def test_one_of_many_changed_since_does_not_hide_the_rest(
    etcd: Etcd, direct: Store, store: Store, proxy: Proxy
) -> None:
    before = direct.commit([Put("/a", b"old"), Put("/b", b"old")]).revision

    def overwritten() -> bool:
        if version(etcd, "/b") == 2:
            direct.commit([Put("/b", b"another's")])
        return version(etcd, "/b") == 3

    proxy.lose_answer(b"mine", overwritten)
    store.commit([Put("/a", b"mine"), Put("/b", b"mine")], [Guard("/a", before), Guard("/b", before)])
    found = direct.get("/b")
    assert found
    assert found.value == b"another's"


def test_a_guard_that_does_not_hold_writes_nothing(direct: Store, store: Store) -> None:
    before = direct.commit([Put("/a", b"old")]).revision
    direct.commit([Put("/a", b"another's")])
    with pytest.raises(ConflictError, match="nothing was written"):
        store.commit([Put("/a", b"mine")], [Guard("/a", before)])


def test_a_store_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    with Etcd(tmp_path) as server, Proxy(server.port) as proxy:
        store = open_store(StoreSettings((proxy.endpoint,), timeout=2.0))
        store.commit([Put("/a", b"old")])

        def gone() -> bool:
            if server.process and version(server, "/a") == 2:
                server.kill()
            return server.process is None

        proxy.lose_answer(b"mine", gone)
        with pytest.raises(UnknownOutcomeError, match="whether the write was carried out is not known"):
            store.commit([Put("/a", b"mine")])
        store.close()
