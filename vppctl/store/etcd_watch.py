"""A watch of etcd on a stream of its own, driven by ourselves: the library's own never tells that it has ended."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from vppctl.errors import StoreError
from vppctl.store.base import Changed, Compacted, Entry, Progress
from vppctl.store.etcd import EtcdStore, from_octets, octets, range_end
from vppctl.store.etcd_stubs import etcdrpc, grpc

SILENCE = 30.0
"""Seconds without a word after which a watch asks whether the server still works. One that is gone or stopped is
noticed sooner, by the pings of the connection; and ten thousand agents have twenty thousand watches."""


class EtcdWatch:
    """One watch on a stream of its own. A thread reads the stream, for gRPC cannot wait with a deadline."""

    def __init__(self, store: EtcdStore, prefix: str, revision: int, timeout: float) -> None:
        self._store, self._timeout = store, timeout
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closed = False
        create = etcdrpc.WatchCreateRequest(
            key=octets(prefix) or b"\0", range_end=range_end(prefix), start_revision=revision, progress_notify=True
        )
        self._requests.put(etcdrpc.WatchRequest(create_request=create))
        # A call first: it finds an endpoint that answers, and a token that is good; within what the user's role allows.
        store.get(prefix or "/")
        # A member that its peers have left would be silent for ever; so it ends the watch (v3rpc/interceptor.go).
        metadata = (("hasleader", "true"), *store.metadata(None, timeout))
        self._stream = etcdrpc.WatchStub(store.channel()).Watch(iter(self._requests.get, None), metadata=metadata)
        self._thread = threading.Thread(target=self._read, name="watch", daemon=True)
        self._thread.start()
        self._heard = time.monotonic()
        self._asked = 0.0
        self._created = False
        self._seen = revision - 1

    def next(self, timeout: float) -> Changed | Progress | Compacted | None:
        deadline = time.monotonic() + timeout
        while not self._closed:
            try:
                answer = self._answers.get(timeout=max(0.0, min(deadline - time.monotonic(), 1.0)))
            except queue.Empty:
                self._check()
                if time.monotonic() >= deadline:
                    return None
                continue
            message = self._take(answer)
            if message is not None:
                return message
        return None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._requests.put(None)
            self._stream.cancel()
            self._answers.put(None)

    def _check(self) -> None:
        """A stream must be accepted in time, and later a silent server must answer a question for progress."""
        now = time.monotonic()
        waiting = self._asked or (0.0 if self._created else self._heard)
        if waiting and now - waiting > self._timeout:
            raise StoreError(f"cannot reach {self._store.description}: no answer within {self._timeout:g} s")
        if not waiting and now - self._heard > SILENCE:
            self._asked = now
            self._requests.put(etcdrpc.WatchRequest(progress_request=etcdrpc.WatchProgressRequest()))

    def _read(self) -> None:
        try:
            for answer in self._stream:
                self._answers.put(answer)
            self._answers.put(StoreError(f"{self._store.description} ended the watch"))
        except grpc.RpcError as error:
            self._answers.put(self._store.error(error))

    def _take(self, answer: Any) -> Changed | Progress | Compacted | None:
        if answer is None:
            return None
        if isinstance(answer, StoreError):
            raise answer
        self._heard, self._asked = time.monotonic(), 0.0
        if answer.compact_revision:
            return Compacted(answer.compact_revision)
        if answer.canceled:
            raise StoreError(f"{self._store.description} refused to watch: {answer.cancel_reason or 'no reason given'}")
        self._created = True
        if not answer.events:
            # Progress is a sign of life and no more: before 3.4.25 and 3.5.8 its revision may run ahead of the events
            # (etcd #15220). One that lies behind us tells that the store was wiped.
            return Progress(answer.header.revision) if answer.header.revision < self._seen else None
        entries = tuple(
            Entry(
                from_octets(event.kv.key),
                event.kv.value if event.type == event.PUT else None,
                event.kv.mod_revision,
            )
            for event in answer.events
        )
        self._seen = entries[-1].mod_revision
        return Changed(self._seen, entries)
