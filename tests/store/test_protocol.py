"""One suite for both stores: what the protocol promises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.support.netns import wait_until
from vppctl.errors import ConflictError, StoreError
from vppctl.reconcile.mirror import Batch, Mirror
from vppctl.store.base import Changed, Compacted, Delete, Entry, Guard, Operation, Put, Store, Watch
from vppctl.store.follow import follow

Connect = Callable[[], Store]


def keys(store: Store, prefix: str = "/", revision: int = 0) -> list[str]:
    return [entry.key for entry in store.list(prefix, revision).entries]


def collect(watch: Watch, count: int) -> list[Entry]:
    """So many entries of a watch, with a deadline."""
    found: list[Entry] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline, found
        message = watch.next(0.5)
        if message is not None:
            assert isinstance(message, Changed)
            found += message.entries
    return found


def test_get_and_put(store: Store) -> None:
    assert store.get("/a") is None
    revision = store.commit([Put("/a", b"1")]).revision
    assert store.get("/a") == Entry("/a", b"1", revision)


def test_list_is_by_prefix_and_in_order(store: Store) -> None:
    store.commit([Put(key, b"x") for key in ("/b/2", "/b/1", "/b", "/bb", "/a", "/b/ü")])
    assert keys(store, "/b/") == ["/b/1", "/b/2", "/b/ü"]
    assert keys(store, "/b") == ["/b", "/b/1", "/b/2", "/b/ü", "/bb"]
    assert len(keys(store, "")) == 6
    assert {entry.value for entry in store.list("/", keys_only=True).entries} == {b""}


def test_list_at_a_revision(store: Store) -> None:
    first = store.commit([Put("/a", b"1")]).revision
    store.commit([Put("/b", b"1"), Delete("/a")])
    assert keys(store, "/", first) == ["/a"]
    assert keys(store) == ["/b"]


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    revision = store.commit([Put("/a", b"1"), Put("/b", b"1")]).revision
    with pytest.raises(ConflictError):
        store.commit([Put("/a", b"2"), Put("/c", b"2")], [Guard("/b", revision + 1)])
    assert keys(store) == ["/a", "/b"]
    done = store.commit([Put("/a", b"2"), Delete("/b"), Delete("/nothing")], [Guard("/b", revision), Guard("/c", 0)])
    assert done.deleted == 1
    assert [(e.key, e.value, e.mod_revision) for e in store.list("/").entries] == [("/a", b"2", done.revision)]


def test_a_watch_tells_all_from_its_revision_on_in_order(store: Store, connect: Connect) -> None:
    start = store.commit([Put("/w/a", b"1")]).revision
    other = connect()
    other.commit([Put("/w/b", b"1"), Put("/w/c", b"1")])
    watch = store.watch("/w/", start)
    other.commit([Put("/elsewhere", b"1")])
    other.commit([Delete("/w/a")])
    found = collect(watch, 4)
    assert [(e.key, e.value) for e in found] == [("/w/a", b"1"), ("/w/b", b"1"), ("/w/c", b"1"), ("/w/a", None)]
    assert found[1].mod_revision == found[2].mod_revision == start + 1
    watch.close()


def test_a_transaction_arrives_whole(store: Store, connect: Connect) -> None:
    revision = store.list("/").revision
    watch = store.watch("/t/", revision + 1)
    connect().commit([Put(f"/t/{n}", b"x" * 1000) for n in range(100)])
    wait_for = [message for _ in range(20) if (message := watch.next(0.5))]
    assert [len(m.entries) for m in wait_for if isinstance(m, Changed)] == [100]
    watch.close()


def test_a_watch_can_be_closed_from_another_thread(store: Store) -> None:
    """Once, a watch that was closed just before it began to wait read from a closed descriptor."""
    for _ in range(20):
        watch = store.watch("/", store.list("/").revision + 1)
        results: list[object] = []
        thread = threading.Thread(target=lambda watch=watch, results=results: results.append(watch.next(30)))
        thread.start()
        watch.close()
        thread.join(5)
        assert results == [None]


def test_an_idle_watch_does_not_poll(store: Store) -> None:
    watch = store.watch("/", store.list("/").revision + 1)
    before = time.process_time()
    assert watch.next(2.0) is None
    assert time.process_time() - before < 0.5
    watch.close()


def test_compacted_history_says_so(store: Store) -> None:
    first = store.commit([Put("/a", b"1")]).revision
    for n in range(5):
        last = store.commit([Put("/a", b"%d" % n)]).revision
    store.compact(last)  # type: ignore[attr-defined]
    watch = store.watch("/", first)
    message = next(m for _ in range(20) if (m := watch.next(0.5)))
    assert isinstance(message, Compacted)
    watch.close()
    with pytest.raises(StoreError, match="compacted"):
        store.list("/", first)
    assert keys(store) == ["/a"]


def test_keys_of_a_lease_end_with_it(store: Store, connect: Connect) -> None:
    lease = store.lease(2)
    store.commit([Put("/l/a", b"1", lease.id), Put("/l/b", b"1")])
    assert lease.refresh()
    watch = connect().watch("/l/", store.list("/").revision + 1)
    found = collect(watch, 1)
    assert [(e.key, e.value) for e in found] == [("/l/a", None)]
    assert keys(store, "/l/") == ["/l/b"]
    assert not lease.refresh()
    watch.close()


def test_a_revoked_lease_takes_its_keys_along(store: Store) -> None:
    lease = store.lease(60)
    store.commit([Put("/a", b"1", lease.id)])
    lease.revoke()
    lease.revoke()
    assert keys(store) == []


def test_large_transactions_and_lists(store: Store) -> None:
    for start in range(0, 2000, 100):
        operations: list[Operation] = [Put(f"/many/{n:04}", b"x" * 300) for n in range(start, start + 100)]
        store.commit(operations)
    assert len(keys(store, "/many/")) == 2000


def test_follow_keeps_a_mirror_up_to_date(store: Store, connect: Connect) -> None:
    other = connect()
    other.commit([Put("/f/a", b"1")])
    seen: dict[str, bytes | None] = {}
    states: list[bool] = []
    stop = threading.Event()

    def deliver(batch: Batch) -> None:
        seen.update((entry.key, entry.value) for entry in batch.entries)

    arguments = (store, "/f/", Mirror(), stop, deliver, lambda ready, _: states.append(ready))
    thread = threading.Thread(target=follow, args=arguments)
    thread.start()
    wait_until(lambda: seen == {"/f/a": b"1"}, "the list")
    other.commit([Put("/f/b", b"2"), Delete("/f/a")])
    wait_until(lambda: seen == {"/f/a": None, "/f/b": b"2"}, "the change")
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert states == [True]
