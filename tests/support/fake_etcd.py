"""A FAKE etcd: the few calls that are used, on a unix socket, with answers that a test makes as odd as it likes.

A real etcd cannot be made to answer like this; what a real one does is tested with one (tests/store).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from vppctl.store.etcd_stubs import etcdrpc, grpc
from vppctl.store.settings import StoreSettings

Message = Any
Watching = Callable[["FakeEtcd", Message], Iterator[Message]]


def kv(key: str, value: bytes = b"1", revision: int = 5, **more: Any) -> Message:
    """A key that is stored."""
    return etcdrpc.RangeResponse(kvs=[{"key": key.encode(), "value": value, "mod_revision": revision, **more}]).kvs[0]


def quiet(etcd: FakeEtcd, _request: Message) -> Iterator[Message]:
    """A watch that is accepted, and nothing happens."""
    yield etcd.watched(created=True)
    etcd.ended.wait(60)


class FakeEtcd:
    """Answers are attributes; `kvs` is what every range has, by key."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"unix:{folder}/fake-etcd.sock"
        self.settings = StoreSettings((self.endpoint,), timeout=2.0)
        self.revision = 10
        self.kvs: list[Message] = []
        self.range: Callable[[Message], Message] | None = None
        """In the place of what `kvs` makes of a request."""
        self.succeeded = True
        self.responses: list[Message] = []
        """Of a transaction."""
        self.lease = {"ID": 7, "TTL": 15}
        self.alive = {"ID": 7, "TTL": 15}
        self.token = "token"
        self.watching: Watching = quiet
        self.calls: Counter[str] = Counter()
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(16))
        for add in (
            etcdrpc.add_KVServicer_to_server,
            etcdrpc.add_WatchServicer_to_server,
            etcdrpc.add_LeaseServicer_to_server,
            etcdrpc.add_AuthServicer_to_server,
            etcdrpc.add_MaintenanceServicer_to_server,
        ):
            add(_Servicer(self), self._server)
        self._server.add_insecure_port(self.endpoint)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.stop(0).wait(5)

    @property
    def header(self) -> Message:
        return {"revision": self.revision, "cluster_id": 1, "member_id": 1}

    def watched(self, **more: Any) -> Message:
        """A message of a watch."""
        return etcdrpc.WatchResponse(**{"header": self.header, **more})

    def ranged(self, request: Message) -> Message:
        """As a real one answers a range."""
        end = request.range_end
        keys = [
            one
            for one in self.kvs
            if (request.key <= one.key and (end == b"\0" or one.key < end) if end else one.key == request.key)
        ]
        limit = request.limit or len(keys)
        answer = etcdrpc.RangeResponse(header=self.header, kvs=keys[:limit], more=len(keys) > limit, count=len(keys))
        if request.keys_only:
            for one in answer.kvs:
                one.value = b""
        return answer


class _Servicer:
    """Every service that is used, in one."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd

    def __getattr__(self, name: str) -> Callable[[Message, Any], Message]:
        def refuse(_request: Message, context: Any) -> None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no {name}")

        return refuse

    def Range(self, request: Message, _context: Any) -> Message:  # noqa: N802
        self._etcd.calls["Range"] += 1
        return (self._etcd.range or self._etcd.ranged)(request)

    def Txn(self, _request: Message, _context: Any) -> Message:  # noqa: N802
        self._etcd.calls["Txn"] += 1
        etcd = self._etcd
        return etcdrpc.TxnResponse(header=etcd.header, succeeded=etcd.succeeded, responses=etcd.responses)

    def Watch(self, requests: Iterator[Message], _context: Any) -> Iterator[Message]:  # noqa: N802
        self._etcd.calls["Watch"] += 1
        yield from self._etcd.watching(self._etcd, next(requests).create_request)

    def LeaseGrant(self, _request: Message, _context: Any) -> Message:  # noqa: N802
        return etcdrpc.LeaseGrantResponse(header=self._etcd.header, **self._etcd.lease)

    def LeaseRevoke(self, _request: Message, _context: Any) -> Message:  # noqa: N802
        return etcdrpc.LeaseRevokeResponse(header=self._etcd.header)

    def LeaseKeepAlive(self, requests: Iterator[Message], _context: Any) -> Iterator[Message]:  # noqa: N802
        for _ in requests:
            yield etcdrpc.LeaseKeepAliveResponse(header=self._etcd.header, **self._etcd.alive)

    def Authenticate(self, _request: Message, _context: Any) -> Message:  # noqa: N802
        return etcdrpc.AuthenticateResponse(header=self._etcd.header, token=self._etcd.token)

    def Alarm(self, _request: Message, _context: Any) -> Message:  # noqa: N802
        return etcdrpc.AlarmResponse(header=self._etcd.header)
