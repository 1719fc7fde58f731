"""Lists of much: in pages of one revision, with values that are too long left out, and within bounds."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.fake_etcd import FakeEtcd, Message, kv
from vppctl.errors import StoreError
from vppctl.model.document import decode_bytes
from vppctl.model.keys import Kind, config_prefix
from vppctl.model.text import Withheld
from vppctl.store.base import AGENT, ALL, DOCUMENTS, Bounds, Changed, Put, Store
from vppctl.store.etcd import EtcdStore
from vppctl.store.etcd_pages import AIM, FIRST
from vppctl.store.settings import StoreSettings, open_store

PREFIX = config_prefix("vpp1")
Connect = Callable[[], Store]


def put_many(store: Store, count: int, prefix: str = "/p/") -> None:
    for start in range(0, count, 100):
        some = range(start, min(count, start + 100))
        store.commit([Put(f"{prefix}{number:05}", b"%d" % number) for number in some])


@pytest.mark.parametrize("count", [0, 1, FIRST - 1, FIRST, FIRST + 1, 3 * FIRST + 1])
def test_pages_are_one_list(store: Store, count: int) -> None:
    put_many(store, count)
    store.commit([Put("/o", b"before"), Put("/q", b"behind")])
    listed = store.list("/p/")
    assert [entry.key for entry in listed.entries] == [f"/p/{number:05}" for number in range(count)]
    assert [entry.value for entry in listed.entries] == [b"%d" % number for number in range(count)]
    pages = [*store.pages("/p/")]
    assert {page.revision for page in pages} == {listed.revision}
    assert tuple(entry for page in pages for entry in page.entries) == listed.entries
    names = store.list("/p/", keys_only=True)
    assert [entry[0::2] for entry in names.entries] == [entry[0::2] for entry in listed.entries]
    assert {entry.value for entry in names.entries} <= {b""}
    assert len(store.list("").entries) == count + 2
    assert store.list("/p/", listed.revision).entries == listed.entries


@pytest.mark.etcd
def test_keys_of_any_bytes(etcd: Etcd) -> None:
    """The next page begins behind the last key, whatever that is."""
    etcd.ctl("del", "", "--prefix")
    store = open_store(StoreSettings((etcd.endpoint,)))
    keys = ["/p/" + bytes((number,)).decode(errors="surrogateescape") * 3 for number in range(1, 256)]
    for start in range(0, len(keys), 100):
        store.commit([Put(key, b"1") for key in keys[start : start + 100]])
    assert {entry.key for entry in store.list("/p/").entries} == {*keys}
    assert len(store.list("/p/").entries) == len(keys) > FIRST
    store.close()


def test_values_that_are_too_long_are_left_out(store: Store, connect: Connect) -> None:
    bounds = Bounds(value=10)
    watch = store.watch("/p/", store.list("/p/").revision + 1, bounds)
    connect().commit([Put("/p/a", b"x" * 10), Put("/p/b", b"x" * 11)])
    listed = {entry.key: entry.value for entry in store.list("/p/", bounds=bounds).entries}
    message = next(m for _ in range(20) if (m := watch.next(0.5)))
    watch.close()
    assert isinstance(message, Changed)
    assert {entry.key: entry.value for entry in message.entries} == listed == {"/p/a": b"x" * 10, "/p/b": b""}
    assert isinstance(listed["/p/b"], Withheld)
    assert listed["/p/b"].why == "is 11 bytes long; write at most 10"
    (problem,) = decode_bytes(listed["/p/b"], kind=Kind.LINUX).problems
    assert str(problem) == "is 11 bytes long; write at most 10"
    assert {entry.key: entry.value for entry in store.list("/p/").entries}["/p/b"] == b"x" * 11


def test_bounds_of_a_list(store: Store) -> None:
    store.commit([Put(f"/p/{number}", b"x" * 10) for number in range(5)])
    values = [entry.value for entry in store.list("/p/", bounds=Bounds(total=30)).entries]
    assert values == [b"x" * 10] * 3 + [b""] * 2
    assert isinstance(values[-1], Withheld)
    assert "the values below /p/ have more than 30 bytes altogether; delete those that" in values[-1].why
    assert len(store.list("/p/", bounds=Bounds(keys=5)).entries) == 5
    with pytest.raises(StoreError, match="more than 4 keys are below /p/; delete those that nobody needs"):
        store.list("/p/", bounds=Bounds(keys=4))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as server:
        yield server


@pytest.mark.etcd
def test_many_long_values(small: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, all of them were one answer, which is larger than a client takes."""
    options = [(n, 4 << 20 if n == "grpc.max_receive_message_length" else v) for n, v in _options()]
    monkeypatch.setattr("vppctl.store.etcd_client._OPTIONS", options)
    store = open_store(StoreSettings((small.endpoint,), timeout=5.0))
    for number in range(12):
        store.commit([Put(f"{PREFIX}junk{number:03}", b"x" * 1_450_000)])
    store.commit([Put(f"{PREFIX}a", b"{}"), Put(f"{PREFIX}z", b"{}")])
    assert [entry.key for entry in store.list(PREFIX, keys_only=True).entries][-1] == f"{PREFIX}z"
    assert sum(len(entry.value or b"") for entry in store.list(PREFIX).entries) == 12 * 1_450_000 + 4
    tracemalloc.start()
    try:
        listed = store.list(PREFIX, bounds=DOCUMENTS)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(entry.value or b"") for entry in listed.entries] == [2, *[0] * 12, 2]
    assert (kept, peak) < (1 << 20, 12 << 20)
    store.close()


def _options() -> list[tuple[str, Any]]:
    from vppctl.store import etcd_client

    return [*etcd_client._OPTIONS]


@pytest.mark.etcd
def test_a_value_that_no_answer_has_room_for(small: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be set up to take longer values than a client takes answers (--max-request-bytes)."""
    options = [(n, 1 << 20 if n == "grpc.max_receive_message_length" else v) for n, v in _options()]
    monkeypatch.setattr("vppctl.store.etcd_client._OPTIONS", options)
    store = open_store(StoreSettings((small.endpoint,), timeout=5.0))
    store.commit([Put("/p/a", b"1"), Put("/p/c", b"3")])
    store.commit([Put("/p/b", b"x" * 1_400_000)])
    listed = store.list("/p/", bounds=AGENT).entries
    assert [entry.key for entry in listed] == ["/p/a", "/p/b", "/p/c"]
    assert isinstance(listed[1].value, Withheld)
    assert listed[1].value.why == "is longer than an answer of etcd may be; write at most 65536 bytes"
    assert listed[1].mod_revision > listed[0].mod_revision
    assert len(store.list("/p/", keys_only=True).entries) == 3
    with pytest.raises(StoreError, match=r"^/p/b: its value is longer than an answer may be; 'etcdctl get' has it"):
        store.list("/p/")
    store.close()


@pytest.mark.etcd
def test_compaction_between_two_pages(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list begins again with what is there now; a list of an old revision says so."""
    etcd.ctl("del", "", "--prefix")
    store = open_store(StoreSettings((etcd.endpoint,)))
    assert isinstance(store, EtcdStore)
    put_many(store, FIRST + 10)
    call, pages = store.client.call, 0

    def compacting(service: str, method: str, request: Any, **more: Any) -> Any:
        nonlocal pages
        answer = call(service, method, request, **more)
        if method == "Range" and answer.more and pages < times:
            pages += 1
            revision = store.commit([Put("/p/99999", b"%d" % pages)]).revision
            store.compact(revision)
        return answer

    monkeypatch.setattr(store.client, "call", compacting)
    times = 2
    listed = store.list("/p/").entries
    assert len(listed) == FIRST + 11
    assert listed[-1].value == b"2"
    times, pages = 99, 0
    with pytest.raises(StoreError, match="required revision has been compacted"):
        store.list("/p/")
    assert pages == 3
    store.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEtcd]:
    with FakeEtcd(tmp_path) as server:
        yield server


@pytest.mark.parametrize("size", [10, 1000, 100_000, 1_000_000])
def test_pages_grow_and_shrink_with_what_is_in_them(fake: FakeEtcd, size: int) -> None:
    asked: list[tuple[int, int]] = []
    fake.kvs = [kv(f"/p/{number:05}", b"x" * size) for number in range(30 if size > 1000 else 2000)]
    if size > 1000:
        fake.kvs = [*(kv(f"/a/{number:05}", b"x") for number in range(FIRST)), *fake.kvs]

    def count(request: Message) -> Message:
        answer = fake.ranged(request)
        asked.append((request.limit, sum(len(one.value) for one in answer.kvs)))
        return answer

    fake.range = count
    store = open_store(fake.settings)
    assert len(store.list("/", bounds=Bounds(value=5000)).entries) == len(fake.kvs)
    store.close()
    assert asked[0][0] == FIRST
    if size <= 1000:
        # A cold start of a thousand pairs is a few requests.
        assert len(asked) <= 4
    assert max(bytes_ for _, bytes_ in asked) <= 8 * AIM or size == 1_000_000


@pytest.fixture(params=["embedded", pytest.param("etcd", marks=pytest.mark.etcd)])
def vppctl(request: pytest.FixtureRequest, tmp_path: Path) -> Vppctl:
    if request.param == "embedded":
        return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store/store.db"}, tmp_path)
    server: Etcd = request.getfixturevalue("small")
    return Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint}, tmp_path)


def test_the_command_line_beside_junk(vppctl: Vppctl) -> None:
    from vppctl.store.settings import parse_endpoints, parse_store_url

    where = vppctl.environment
    settings = (
        parse_store_url(where["VPPCTL_STORE"])
        if "VPPCTL_STORE" in where
        else StoreSettings(parse_endpoints(where["ETCDCTL_ENDPOINTS"]))
    )
    vppctl.put(veth("a", "b"), veth("b", "a"))
    store = open_store(settings)
    put_many(store, 2 * FIRST, f"{PREFIX}junk")
    for number in range(3):
        store.commit([Put(f"{PREFIX}long{number}", b"x" * 1_450_000)])
    store.close()
    count = 2 * FIRST + 5
    assert vppctl("list").count("\n") == count
    assert vppctl("dump").count("\n") == 3 * count
    assert vppctl("status").count("\n") == count + 1
    assert len(json.loads(vppctl("status", "-o", "json"))) == count
    assert json.loads(vppctl("get", "a"))["name"] == "a"
    assert len(json.loads(vppctl("get", "long0"))) == 1_450_000
    assert vppctl("describe", "a").startswith("Name:")
    file = vppctl.folder / "file.json"
    file.write_text(json.dumps({"interface": [veth("a", "b"), veth("b", "a")]}))
    shown = vppctl.run("diff", "--prune", "-f", str(file)).stdout
    assert shown.endswith(f"0 to create, 0 to update, {count - 2} to delete, 2 unchanged\n")
    assert Bounds() == ALL
