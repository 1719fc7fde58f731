"""Answers that no etcd gives: each is an error of the store on one line, ends no thread, and costs no hurry.

With a FAKE server (tests/support/fake_etcd.py): a real one cannot be made to answer like this.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl
from tests.support.fake_etcd import FakeEtcd, Message, kv, quiet
from tests.support.netns import wait_until
from vppctl.errors import ConflictError, StoreError, UnknownOutcomeError
from vppctl.model.keys import config_prefix
from vppctl.reconcile.mirror import BACKOFF_LAST, Batch, Mirror
from vppctl.store.base import Changed, Guard, Put, Store, Watch
from vppctl.store.etcd_stubs import etcdrpc
from vppctl.store.follow import follow
from vppctl.store.settings import open_store, parse_endpoints

LARGEST = 2**63 - 1
PREFIX = config_prefix("vpp1")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[FakeEtcd]:
    with FakeEtcd(tmp_path) as server:
        yield server


@pytest.fixture
def store(etcd: FakeEtcd) -> Iterator[Store]:
    store = open_store(etcd.settings)
    yield store
    store.close()


@pytest.mark.parametrize("revision", [0, -1, -(2**63), 2**62 + 1, LARGEST])
def test_a_revision_that_is_none(etcd: FakeEtcd, store: Store, revision: int) -> None:
    """Once, the next request did not fit into 64 bits: an error of ours."""
    etcd.revision = revision
    with pytest.raises(StoreError, match=f"gives an odd answer: the revision is {revision}; is it etcd") as caught:
        store.list("/")
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownOutcomeError, match="whether the write was carried out is not known"):
        store.commit([Put("/a", b"1")])


@pytest.mark.parametrize("revision", [0, -1, 11, LARGEST])
def test_a_key_with_a_revision_that_is_none(etcd: FakeEtcd, store: Store, revision: int) -> None:
    """Of a list it is at most the list's own."""
    etcd.kvs = [kv("/a", revision=revision)]
    with pytest.raises(StoreError, match=f"the revision of a key is {revision}"):
        store.list("/")
    if revision != 11:
        with pytest.raises(StoreError, match=f"the revision of a key is {revision}"):
            store.get("/a")


@pytest.mark.parametrize(
    "kvs",
    [
        pytest.param([kv("")], id="no key"),
        pytest.param([kv("/b")], id="another one"),
        pytest.param([kv("/a/1"), kv("/a/1")], id="twice"),
        pytest.param([kv("/a/2"), kv("/a/1")], id="backwards"),
        pytest.param([kv("/a/1"), kv("/zzz")], id="one too many"),
        pytest.param([kv(f"/a/{number:04}") for number in range(200)], id="more than asked for"),
    ],
)
def test_keys_that_were_not_asked_for(etcd: FakeEtcd, store: Store, kvs: list[Message]) -> None:
    """Once, each of them was a document of the agent under some name."""
    etcd.range = lambda _: etcdrpc.RangeResponse(header=etcd.header, kvs=kvs)
    with pytest.raises(StoreError, match=r"odd answer: (more )?keys (that|than) were"):
        store.list("/a/")
    with pytest.raises(StoreError, match="odd answer: keys that were not asked for"):
        store.get("/a/3")


@pytest.mark.parametrize("kvs", [[], [kv("/a/1")]], ids=["none", "the same one"])
def test_a_list_without_an_end(etcd: FakeEtcd, store: Store, kvs: list[Message]) -> None:
    etcd.range = lambda _: etcdrpc.RangeResponse(header=etcd.header, kvs=kvs, more=True)
    with pytest.raises(StoreError, match="odd answer"):
        store.list("/a/")
    assert etcd.calls["Range"] <= 2


def test_a_transaction_that_is_refused_without_a_condition(etcd: FakeEtcd, store: Store) -> None:
    """Once, the agent's publisher ended: somebody else had changed the store."""
    etcd.succeeded = False
    with pytest.raises(StoreError, match="odd answer: a transaction without a condition was refused"):
        store.commit([Put("/a", b"1")])
    with pytest.raises(ConflictError):
        store.commit([Put("/a", b"1")], [Guard("/a", 3)])


def test_deletions_below_zero(etcd: FakeEtcd, store: Store) -> None:
    etcd.responses = [etcdrpc.ResponseOp(response_delete_range={"deleted": -5})]
    assert store.commit([Put("/a", b"1")]).deleted == 0


@pytest.mark.parametrize(
    "lease",
    [{"ID": 0, "TTL": 15}, {"ID": 7, "TTL": 0}, {"ID": 7, "TTL": -1}, {"ID": 7, "TTL": LARGEST}],
    ids=lambda lease: str(lease),
)
def test_a_lease_that_is_none(etcd: FakeEtcd, store: Store, lease: dict[str, int]) -> None:
    """Keys under a lease 0 would stay for ever."""
    etcd.lease = lease
    with pytest.raises(StoreError, match=r"odd answer: (a lease with the id 0|the time to live is)"):
        store.lease(15)


def test_a_refreshed_lease_that_is_another(etcd: FakeEtcd, store: Store) -> None:
    lease = store.lease(15)
    assert lease.refresh()
    for ttl in (0, -1):
        etcd.alive = {"ID": 7, "TTL": ttl}
        assert not lease.refresh()
    for alive in ({"ID": 8, "TTL": 15}, {"ID": 0, "TTL": 15}, {"ID": 7, "TTL": LARGEST}):
        etcd.alive = alive
        with pytest.raises(StoreError, match="odd answer"):
            lease.refresh()


@pytest.mark.parametrize("token", ["", "a\nb: c", "\u00e4", "x" * 9000, "\x7f"])
def test_a_token_that_no_request_can_have(etcd: FakeEtcd, token: str) -> None:
    etcd.token = token
    store = open_store(replace(etcd.settings, user="ann", password="x"))
    with pytest.raises(StoreError, match="odd answer: a token that no request can have"):
        store.get("/a")
    store.close()


@pytest.mark.parametrize("name", ["a%41", "a?b=c", "a#b", "a b", "\u00e4"])
def test_a_socket_with_an_odd_path(tmp_path: Path, name: str) -> None:
    """Once, gRPC read `%41` as A, and what follows a question mark as nothing."""
    with FakeEtcd(tmp_path) as server:
        os.rename(tmp_path / "fake-etcd.sock", tmp_path / name)
        store = open_store(replace(server.settings, endpoints=parse_endpoints(f"unix:{tmp_path}/{name}")))
        assert store.get("/a") is None
        store.close()


def event(key: str, revision: int, value: bytes = b"1", kind: int = 0) -> dict[str, Any]:
    return {"type": kind, "kv": {"key": key.encode(), "value": value, "mod_revision": revision}}


def then(*messages: dict[str, Any]) -> Callable[[FakeEtcd, Message], Iterator[Message]]:
    """A watch that is accepted, sends these, and ends."""

    def watching(etcd: FakeEtcd, _request: Message) -> Iterator[Message]:
        yield etcd.watched(created=True)
        yield from (etcd.watched(**message) for message in messages)

    return watching


def drain(watch: Watch) -> None:
    """Take what a watch brings, which is no change."""
    for _ in range(5):
        assert not isinstance(watch.next(5.0), Changed)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"events": [event("", 11)]}, id="no key"),
        pytest.param({"events": [event("/b", 11)]}, id="another key"),
        pytest.param({"events": [event("/a/1", 11, kind=5)]}, id="unknown type"),
        pytest.param({"events": [event("/a/1", 0)]}, id="no revision"),
        pytest.param({"events": [event("/a/1", -3)]}, id="negative"),
        pytest.param({"events": [event("/a/1", LARGEST)]}, id="largest"),
        pytest.param({"events": [event("/a/1", 11)], "watch_id": 9}, id="another watch"),
        pytest.param({"canceled": True, "cancel_reason": "x\ny" * 5000}, id="long reason"),
    ],
)
def test_messages_of_a_watch(etcd: FakeEtcd, store: Store, message: dict[str, Any]) -> None:
    """Once, an event of an unknown type was a deletion, and the pair went."""
    etcd.watching = then(message)
    watch = store.watch("/a/", 11)
    with pytest.raises(StoreError, match=r"odd answer|refused to watch") as caught:
        drain(watch)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    watch.close()


def test_a_message_that_is_larger_than_one_may_be(
    etcd: FakeEtcd, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a watch that is behind, which brings a thousand revisions at once: a list has them, too."""
    from vppctl.store import etcd_client

    options = [(n, 1 << 20 if n == "grpc.max_receive_message_length" else v) for n, v in etcd_client._OPTIONS]
    monkeypatch.setattr(etcd_client, "_OPTIONS", options)
    etcd.watching = then({"events": [event(f"{PREFIX}a", 11, b"x" * (2 << 20))]})
    seen: dict[str, bytes | None] = {}
    errors: list[str] = []
    stop = threading.Event()

    def deliver(batch: Batch) -> None:
        seen.update((entry.key, entry.value) for entry in batch.entries)

    arguments = (store, PREFIX, Mirror(), stop, deliver, lambda _, error: errors.append(error))
    thread = threading.Thread(target=follow, args=arguments, daemon=True)
    thread.start()
    wait_until(lambda: any("message larger than max" in error for error in errors), "the watch to break", 10)
    etcd.revision, etcd.kvs, etcd.watching = 12, [kv(f"{PREFIX}a", b"2", 11), kv(f"{PREFIX}b", b"2", 12)], quiet
    wait_until(lambda: seen == {f"{PREFIX}a": b"2", f"{PREFIX}b": b"2"}, "the list", 20)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


class Clock(threading.Event):
    """A stop that counts the pauses and waits for none, until there were so many."""

    def __init__(self, pauses: int) -> None:
        super().__init__()
        self.most, self.pauses = pauses, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) >= self.most:
            self.set()
        return self.is_set()


def growing(etcd: FakeEtcd, _request: Message) -> Iterator[Message]:
    """Something new each time, and then compaction."""
    etcd.revision += 1
    yield etcd.watched(created=True)
    yield etcd.watched(events=[event(f"{PREFIX}a", etcd.revision)])
    yield etcd.watched(compact_revision=etcd.revision + 5, canceled=True)


def backwards(etcd: FakeEtcd, _request: Message) -> Iterator[Message]:
    etcd.revision += 1
    yield etcd.watched(created=True)
    yield etcd.watched(header={"revision": 3})


WAYS = {
    "compaction": then({"compact_revision": 2**62, "canceled": True}),
    "old news and compaction": then({"events": [event(f"{PREFIX}a", 2)]}, {"compact_revision": 5, "canceled": True}),
    "news and compaction": growing,
    "the past": backwards,
    "an end": then(),
    "news and an end": then({"events": [event(f"{PREFIX}a", 11)]}),
    "a refusal": then({"canceled": True}),
    "odd news": then({"events": [event(f"{PREFIX}a", 11, kind=7)]}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_watch_that_ends_at_once_is_tried_later_and_later(etcd: FakeEtcd, store: Store, way: str) -> None:
    """Once, a message before the end began the backoff anew, and the store was listed 700 times a second."""
    etcd.watching = WAYS[way]
    clock = Clock(12)
    thread = threading.Thread(
        target=follow, args=(store, PREFIX, Mirror(), clock, lambda _: None, lambda *_: None), daemon=True
    )
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    middle = [pause / 1.5 for pause in clock.pauses]
    assert middle[-1] >= BACKOFF_LAST / 3
    assert sum(middle) > 10
    # All without a pause: the first, and one more.
    assert etcd.calls["Watch"] <= len(clock.pauses) + 2


def test_revisions_that_go_back_between_lists(etcd: FakeEtcd, store: Store) -> None:
    """As of a store that was wiped: what is listed then is what there is."""
    etcd.kvs = [kv(f"{PREFIX}a", revision=9)]
    batches: list[Batch] = []
    mirror = Mirror()
    batches.append(mirror.feed(store.list(PREFIX)))  # type: ignore[arg-type]
    etcd.revision, etcd.kvs = 4, [kv(f"{PREFIX}b", revision=2)]
    batches.append(mirror.feed(store.list(PREFIX)))  # type: ignore[arg-type]
    assert {entry.key: entry.value for entry in batches[1].entries} == {f"{PREFIX}a": None, f"{PREFIX}b": b"1"}


def refuse_all(etcd: FakeEtcd) -> None:
    etcd.succeeded = False


def largest(etcd: FakeEtcd) -> None:
    etcd.revision = LARGEST


def compact(etcd: FakeEtcd) -> None:
    etcd.watching = growing


def no_lease(etcd: FakeEtcd) -> None:
    etcd.lease = {"ID": 0, "TTL": LARGEST}


def junk(etcd: FakeEtcd) -> None:
    etcd.range = lambda _: etcdrpc.RangeResponse(header=etcd.header, kvs=[kv(""), kv("/\xff", revision=LARGEST)])


@pytest.mark.kernel
@pytest.mark.parametrize("make", [refuse_all, largest, compact, no_lease, junk], ids=lambda make: make.__name__)
def test_an_agent_goes_on(etcd: FakeEtcd, tmp_path: Path, make: Callable[[FakeEtcd], None]) -> None:
    """Once, the first two ended it, and the third had it list 700 times a second."""
    make(etcd)
    vppctl = Vppctl({"VPPCTL_STORE": etcd.endpoint}, tmp_path)
    with Agent(vppctl) as agent:
        if make is compact:
            wait_until(lambda: etcd.calls["Watch"] >= 6, "some watches", 30)
        else:
            wait_until(lambda: "odd answer" in agent.log.read_text(), "the log to name it", 20)
        # It comes to reason, and the agent hears it.
        etcd.revision, etcd.range, etcd.watching = 20, None, quiet
        etcd.succeeded, etcd.lease = True, {"ID": 7, "TTL": 15}
        wait_until(lambda: "the store is followed" in agent.log.read_text(), "it to be followed", 30)
        assert "has failed" not in agent.log.read_text()
