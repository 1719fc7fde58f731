"""etcd, through the stubs of package etcd3: timeouts on every call, several endpoints, TLS, users.

Drives the watch itself, since the library's own never tells that its stream has ended. Loaded by `open_store` alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vppctl.errors import ConflictError, StoreError
from vppctl.store.base import (
    Commit,
    Delete,
    Entry,
    Guard,
    Listed,
    Operation,
    Put,
    Watch,
)
from vppctl.store.etcd_stubs import etcdrpc, grpc
from vppctl.store.settings import StoreSettings

MAX_OPERATIONS = 128
"""Operations in a transaction (etcd's --max-txn-ops)."""
MAX_MESSAGE = 512 << 20
"""Octets of an answer; etcd itself sends up to 2 GiB."""
PING_MS = 10_000
"""Milliseconds between HTTP/2 pings of an idle connection; etcd allows 5 s (--grpc-keepalive-min-time)."""
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take, whatever the backoff: several round trips with TLS.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", PING_MS),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
]
_ELSEWHERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Metadata = tuple[tuple[str, str], ...]


class EtcdStore:
    """One client of one cluster. Thread-safe, as gRPC's channels are."""

    max_operations = MAX_OPERATIONS

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._endpoints = settings.endpoints
        self.description = f"etcd {','.join(self._endpoints)}"
        self._credentials = self._load_credentials() if settings.secure else None
        self._channels: dict[int, grpc.Channel] = {}
        self._current = 0
        self._tokens: dict[int, str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def get(self, key: str) -> Entry | None:
        answer = self.call("KV", "Range", etcdrpc.RangeRequest(key=octets(key)))
        return _entry(answer.kvs[0]) if answer.kvs else None

    def list(self, prefix: str, revision: int = 0, keys_only: bool = False) -> Listed:
        request = etcdrpc.RangeRequest(
            key=octets(prefix) or b"\0", range_end=range_end(prefix), revision=revision, keys_only=keys_only
        )
        answer = self.call("KV", "Range", request)
        entries = tuple(_entry(kv) for kv in sorted(answer.kvs, key=lambda kv: kv.key))
        return Listed(revision or answer.header.revision, entries)

    def commit(self, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> Commit:
        compare = [
            etcdrpc.Compare(
                result=etcdrpc.Compare.EQUAL,
                target=etcdrpc.Compare.MOD,
                key=octets(guard.key),
                mod_revision=guard.mod_revision,
            )
            for guard in guards
        ]
        answer = self.call(
            "KV", "Txn", etcdrpc.TxnRequest(compare=compare, success=[_operation(o) for o in operations])
        )
        if not answer.succeeded:
            raise ConflictError("the store was changed by somebody else meanwhile; nothing was written, try again")
        deleted = sum(r.response_delete_range.deleted for r in answer.responses)
        return Commit(answer.header.revision, deleted)

    def watch(self, prefix: str, revision: int) -> Watch:
        from vppctl.store.etcd_watch import EtcdWatch

        return EtcdWatch(self, prefix, revision, self._settings.timeout)

    def lease(self, ttl: int) -> EtcdLease:
        answer = self.call("Lease", "LeaseGrant", etcdrpc.LeaseGrantRequest(TTL=ttl))
        return EtcdLease(self, answer.ID, answer.TTL)

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`; for tests of whom it hits."""
        self.call("KV", "Compact", etcdrpc.CompactionRequest(revision=revision, physical=True))

    # Calls

    def call(self, service: str, method: str, request: Any) -> Any:
        """Call until one endpoint answers, each within its share of the time. Raises StoreError."""
        return self.attempt(
            lambda channel, metadata, timeout: getattr(getattr(etcdrpc, f"{service}Stub")(channel), method)(
                request, timeout=timeout, metadata=metadata
            )
        )

    def attempt(self, work: Callable[[grpc.Channel, Metadata, float], Any]) -> Any:
        count = len(self._endpoints)
        share = max(1.0, self._settings.timeout / count) if count > 1 else self._settings.timeout
        failure: grpc.RpcError | None = None
        for number in range(self._current, self._current + count):
            index = number % count
            for fresh_token in (False, True):
                try:
                    result = work(self.channel(index), self.metadata(index, share, renew=fresh_token), share)
                except grpc.RpcError as error:
                    failure = error
                    if _is_stale(error) and not fresh_token:
                        continue
                    if error.code() not in _ELSEWHERE:
                        raise self.error(error) from None
                    break
                self._current = index
                return result
        assert failure is not None
        raise self.error(failure) from None

    def channel(self, index: int | None = None) -> grpc.Channel:
        """The connection to an endpoint, by default to the one that answered last."""
        index = self._current if index is None else index
        with self._lock:
            if index not in self._channels:
                endpoint = self._endpoints[index]
                if self._credentials:
                    self._channels[index] = grpc.secure_channel(endpoint, self._credentials, _OPTIONS)
                else:
                    self._channels[index] = grpc.insecure_channel(endpoint, _OPTIONS)
            return self._channels[index]

    def metadata(self, index: int | None, timeout: float, *, renew: bool = False) -> Metadata:
        """What goes with each request: the token of the user, asked for when there is none or a new one is wanted."""
        settings = self._settings
        index = self._current if index is None else index
        if not settings.user or not settings.password:
            return ()
        if renew or index not in self._tokens:
            request = etcdrpc.AuthenticateRequest(name=settings.user, password=settings.password)
            answer = etcdrpc.AuthStub(self.channel(index)).Authenticate(request, timeout=timeout)
            self._tokens[index] = answer.token
        return (("token", self._tokens[index]),)

    def _load_credentials(self) -> grpc.ChannelCredentials:
        settings = self._settings
        parts = [_read(path) if path else None for path in (settings.cacert, settings.key, settings.cert)]
        return grpc.ssl_channel_credentials(*parts)

    def error(self, error: grpc.RpcError) -> StoreError:
        """What a failed call means, in one line with the mend."""
        code, details = error.code(), " ".join((error.details() or "").split())
        where = self.description
        if code in _ELSEWHERE:
            return StoreError(
                f"cannot reach {where}: {_why(code, details, self._settings)}; is it running? see --endpoints"
            )
        if code is grpc.StatusCode.PERMISSION_DENIED or "permission denied" in details:
            who = f"user {self._settings.user!r}" if self._settings.user else "this client"
            return StoreError(f"{where} refused: {who} has no permission; grant it a role, or see --user")
        if "user name is empty" in details:
            return StoreError(f"{where} refused: it asks for a user; see --user")
        if "authentication failed" in details:
            return StoreError(f"{where} refused user {self._settings.user!r}: wrong name or password; see --user")
        return StoreError(f"{where} refused: {details.removeprefix('etcdserver: ')}")


def _why(code: grpc.StatusCode, details: str, settings: StoreSettings) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {settings.timeout:g} s"
    for sign in ("Connection refused", "CERTIFICATE_VERIFY_FAILED", "Handshake", "handshake", "Name or service", "DNS"):
        if sign in details:
            return {"Handshake": "the TLS handshake failed", "handshake": "the TLS handshake failed"}.get(
                sign, sign.lower() if sign != "DNS" else "its name is unknown"
            )
    return details[-120:] or "unavailable"


def _is_stale(error: grpc.RpcError) -> bool:
    return "invalid auth token" in (error.details() or "") or "old revision" in (error.details() or "")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; see --cacert, --cert and --key") from None


def _entry(kv: Any) -> Entry:
    return Entry(from_octets(kv.key), kv.value, kv.mod_revision)


def octets(key: str) -> bytes:
    """A key as etcd has it: any octets."""
    return key.encode(errors="surrogateescape")


def from_octets(key: bytes) -> str:
    """A key as everybody else has it; no two keys are the same."""
    return key.decode(errors="surrogateescape")


def _operation(operation: Operation) -> Any:
    match operation:
        case Put(key, value, lease):
            return etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=octets(key), value=value, lease=lease))
        case Delete(key):
            return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=octets(key)))


def range_end(prefix: str) -> bytes:
    """The end of the range of all keys with this prefix; a zero octet stands for the end of all keys."""
    start = octets(prefix).rstrip(b"\xff")
    return start[:-1] + bytes((start[-1] + 1,)) if start else b"\0"


class EtcdLease:
    """A lease of etcd."""

    def __init__(self, store: EtcdStore, lease: int, ttl: int) -> None:
        self._store, self.id, self.ttl = store, lease, ttl

    def refresh(self) -> bool:
        def work(channel: grpc.Channel, metadata: Metadata, timeout: float) -> int:
            requests = iter([etcdrpc.LeaseKeepAliveRequest(ID=self.id)])
            answers = etcdrpc.LeaseStub(channel).LeaseKeepAlive(requests, timeout=timeout, metadata=metadata)
            answer = next(answers, None)
            answers.cancel()
            return int(answer.TTL) if answer else 0

        return bool(self._store.attempt(work) > 0)

    def revoke(self) -> None:
        try:
            self._store.call("Lease", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=self.id))
        except StoreError as error:
            if "lease not found" not in str(error):
                raise
