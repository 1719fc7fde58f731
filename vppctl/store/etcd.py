"""etcd as a store, through the stubs of package etcd3.

Neighbours: `etcd_client` chooses the endpoint and has timeouts, certificates and users; `etcd_watch` drives the watch
itself, since the library's own never tells that its stream has ended. Loaded by `open_store` alone.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from vppctl.errors import ConflictError, StoreError, UnknownOutcomeError
from vppctl.store.base import ALL, Bounds, Commit, Delete, Entry, Guard, Listed, Operation, Put, Watch
from vppctl.store.bounds import Gauge
from vppctl.store.etcd_answers import encoded, range_end
from vppctl.store.etcd_client import EtcdClient, Metadata
from vppctl.store.etcd_errors import ALARMS, UnsureError
from vppctl.store.etcd_pages import CompactedError, Pages
from vppctl.store.etcd_stubs import etcdrpc, grpc
from vppctl.store.settings import StoreSettings

MAX_OPERATIONS = 128
"""Operations in a transaction, unless etcd's --max-txn-ops says otherwise."""
_ATTEMPTS = 3
"""How often a write is sent, at most, whose answers are lost and which a look does not find."""
_UNKNOWN = "whether the write was carried out is not known: look before you write again"


class EtcdStore:
    """One client of one cluster. Thread-safe, as gRPC's channels are."""

    is_local = False
    max_operations = MAX_OPERATIONS

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self.client = EtcdClient(settings)
        self.description = self.client.description
        self._answers = self.client.answers

    def close(self) -> None:
        self.client.close()

    def get(self, key: str) -> Entry | None:
        answer = self.client.call("KV", "Range", etcdrpc.RangeRequest(key=encoded(key)))
        found = self._answers.only(answer.kvs, encoded(key))
        return None if found is None else self._answers.entry(found)

    def list(self, prefix: str, revision: int = 0, keys_only: bool = False, bounds: Bounds = ALL) -> Listed:
        for left in reversed(range(_ATTEMPTS)):
            try:
                pages = [*self._pages(prefix, revision, bounds, keys_only=keys_only)]
            except CompactedError:
                # Between two pages; with a newer revision there may be time enough.
                if revision or not left:
                    raise
            else:
                return Listed(pages[0].revision, tuple(entry for page in pages for entry in page.entries))
        raise AssertionError

    def pages(self, prefix: str, keys_only: bool = False) -> Iterator[Listed]:
        return self._pages(prefix, 0, ALL, keys_only=keys_only)

    def _pages(self, prefix: str, revision: int, bounds: Bounds, *, keys_only: bool) -> Iterator[Listed]:
        call = partial(self.client.call, "KV", "Range")
        pages = Pages(call, self._answers, encoded(prefix) or b"\0", range_end(prefix))
        return pages.read(revision, Gauge(bounds, self.description, prefix), keys_only=keys_only)

    def commit(self, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> Commit:
        given = {guard.key: guard.mod_revision for guard in guards}
        expected, lost = given, ""
        for _ in range(_ATTEMPTS):
            try:
                answer = self.client.call("KV", "Txn", _transaction(operations, expected), write=True)
            except UnsureError as error:
                lost = str(error)
            else:
                if answer.succeeded:
                    return self._committed(answer)
                if not expected:
                    raise self._answers.odd("a transaction without a condition was refused")
                if not lost:
                    text = "the store was changed by somebody else meanwhile; nothing was written, try again"
                    raise ConflictError(text)
            revision, found = self._look(operations, lost)
            if _is_written(operations, found, given):
                deleted = sum(isinstance(operation, Delete) for operation in operations)
                return Commit(max((kv.mod_revision for kv in found.values()), default=revision), deleted)
            now = {o.key: found[o.key].mod_revision if o.key in found else 0 for o in operations}
            if any(now.get(key, revision) != revision for key, revision in given.items()):
                break
            # Guarded in any case from now on: of the one that may be on its way and the next, only one goes through.
            expected = {**given, **now}
        raise UnknownOutcomeError(f"{lost}; {_UNKNOWN}")

    def _committed(self, answer: Any) -> Commit:
        """What a transaction that went through has done. Raises UnknownOutcomeError for an odd answer."""
        try:
            revision = self._answers.revision(answer)
        except StoreError as error:
            raise UnknownOutcomeError(f"{error}; {_UNKNOWN}") from None
        return Commit(revision, sum(max(0, r.response_delete_range.deleted) for r in answer.responses))

    def _look(self, operations: Sequence[Operation], lost: str) -> tuple[int, dict[str, Any]]:
        """The store's revision, and what is under the keys of a write without an answer. Raises UnknownOutcomeError."""
        reads = [etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=encoded(o.key))) for o in operations]
        try:
            answer = self.client.call("KV", "Txn", etcdrpc.TxnRequest(success=reads))
            newest = self._answers.revision(answer)
            kvs = [kv for response in answer.responses for kv in response.response_range.kvs]
            return newest, {self._answers.entry(kv, newest).key: kv for kv in kvs}
        except StoreError:
            raise UnknownOutcomeError(f"{lost}; {_UNKNOWN}") from None

    def trouble(self) -> str:
        try:
            request = etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.GET)
            answer = self.client.call("Maintenance", "Alarm", request)
        except StoreError as error:
            return str(error)
        alarms = sorted({member.alarm for member in answer.alarms} & ALARMS.keys())
        return f"{self.description}: {'; '.join(ALARMS[alarm] for alarm in alarms)}" if alarms else ""

    def watch(self, prefix: str, revision: int, bounds: Bounds = ALL) -> Watch:
        from vppctl.store.etcd_watch import EtcdWatch

        gauge = Gauge(Bounds(bounds.value), self.description, prefix)
        return EtcdWatch(self.client, prefix, revision, self._settings.timeout, gauge)

    def lease(self, ttl: int) -> EtcdLease:
        # One that is granted and whose answer is lost ends by itself.
        answer = self.client.call("Lease", "LeaseGrant", etcdrpc.LeaseGrantRequest(TTL=ttl))
        return EtcdLease(self.client, *self._answers.lease(answer))

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`; for tests of whom it hits."""
        self.client.call("KV", "Compact", etcdrpc.CompactionRequest(revision=revision, physical=True))


def _transaction(operations: Sequence[Operation], guards: Mapping[str, int]) -> Any:
    compare = [
        etcdrpc.Compare(
            result=etcdrpc.Compare.EQUAL,
            target=etcdrpc.Compare.MOD,
            key=encoded(key),
            mod_revision=mod_revision,
        )
        for key, mod_revision in guards.items()
    ]
    return etcdrpc.TxnRequest(compare=compare, success=[_operation(o) for o in operations])


def _is_written(operations: Sequence[Operation], found: Mapping[str, Any], guards: Mapping[str, int]) -> bool:
    """Whether what is there now is what these operations leave behind.

    With guards one value of ours is enough, if it is newer than its guard: the transaction is whole, and the other
    keys have been changed since.
    """
    puts = [operation for operation in operations if isinstance(operation, Put)]
    ours = [o for o in puts if o.key in found and (found[o.key].value, found[o.key].lease) == (o.value, o.lease)]
    if guards and puts:
        return any(found[o.key].mod_revision != guards.get(o.key, found[o.key].mod_revision) for o in ours)
    return len(ours) == len(puts) and not any(o.key in found for o in operations if isinstance(o, Delete))


def _operation(operation: Operation) -> Any:
    match operation:
        case Put(key, value, lease):
            return etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=encoded(key), value=value, lease=lease))
        case Delete(key):
            return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=encoded(key)))


class EtcdLease:
    """A lease of etcd."""

    def __init__(self, client: EtcdClient, lease: int, ttl: int) -> None:
        self._client, self.id, self.ttl = client, lease, ttl

    def refresh(self) -> bool:
        def work(channel: grpc.Channel, metadata: Metadata, timeout: float) -> int:
            # Open until the answer is there: etcd's grpc-proxy cancels what is asked on a stream that has ended.
            requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
            requests.put(etcdrpc.LeaseKeepAliveRequest(ID=self.id))
            stub = etcdrpc.LeaseStub(channel)
            with self._client.beginning(channel):
                answers = stub.LeaseKeepAlive(iter(requests.get, None), timeout=timeout, metadata=metadata)
            try:
                answer = next(answers, None)
            finally:
                requests.put(None)
                answers.cancel()
            return self._client.answers.lease(answer, self.id)[1] if answer else 0

        return bool(self._client.attempt(work) > 0)

    def revoke(self) -> None:
        try:
            self._client.call("Lease", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=self.id))
        except StoreError as error:
            if "lease not found" not in str(error):
                raise
