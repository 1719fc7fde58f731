"""A watch of etcd on a stream of its own, driven by ourselves: the library's own never tells that it has ended."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Any

from vppctl.errors import StoreError
from vppctl.store.base import Changed, Compacted, Progress
from vppctl.store.bounds import Gauge
from vppctl.store.etcd_answers import encoded, range_end, range_request
from vppctl.store.etcd_client import EtcdClient
from vppctl.store.etcd_errors import LONGEST, explain
from vppctl.store.etcd_stubs import etcdrpc, grpc

SILENCE = 30.0
"""Seconds without an event after which a watch asks whether the server still works. One that is gone or stopped is
noticed sooner, by the pings of the connection; and ten thousand agents have twenty thousand watches."""

WAITING = 16
"""Messages of a watch that wait to be taken."""
_ALL_WATCHES = -1
"""Of a message about all watches of a stream (InvalidWatchID, etcd's server/storage/mvcc/watcher.go)."""


class EtcdWatch:
    """One watch on a stream of its own. A thread reads the stream, for gRPC cannot wait with a deadline."""

    def __init__(self, client: EtcdClient, prefix: str, revision: int, timeout: float, gauge: Gauge) -> None:
        self._client, self._timeout, self._gauge = client, timeout, gauge
        self._start, self._end = encoded(prefix) or b"\0", range_end(prefix)
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Whoever writes faster than this is read waits in etcd, and not in our memory.
        self._answers: queue.Queue[Any] = queue.Queue(WAITING)
        self._closed = False
        create = etcdrpc.WatchCreateRequest(
            key=self._start, range_end=self._end, start_revision=revision, progress_notify=True
        )
        self._requests.put(etcdrpc.WatchRequest(create_request=create))
        # A call first: it finds an endpoint that answers, and a token that is good; within what the user's role allows.
        client.call("KV", "Range", etcdrpc.RangeRequest(key=encoded(prefix or "/"), keys_only=True))
        self._index = client.current
        # A member that its peers have left would be silent for ever; so it ends the watch (v3rpc/interceptor.go).
        metadata = (("hasleader", "true"), *client.metadata(self._index, timeout))
        self._channel, self._own_channel = client.stream_channel(self._index)
        self._thread = threading.Thread(target=self._read, name="watch", daemon=True)
        with client.beginning(self._channel):
            self._stream = etcdrpc.WatchStub(self._channel).Watch(iter(self._requests.get, None), metadata=metadata)
            self._thread.start()
        self._heard = time.monotonic()
        self._late = 0.0
        """Since when the server has had something that the watch has not brought."""
        self._id: int | None = None
        """Of the watch, once the server has accepted it."""
        self._seen = revision - 1

    def next(self, timeout: float) -> Changed | Progress | Compacted | None:
        deadline = time.monotonic() + timeout
        while not self._closed:
            try:
                answer = self._answers.get(timeout=max(0.0, min(deadline - time.monotonic(), 1.0)))
            except queue.Empty:
                if (lost := self._check()) is not None:
                    return lost
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
            with contextlib.suppress(queue.Full):
                # For a `next` that waits; where it is full none does.
                self._answers.put_nowait(None)
            if self._own_channel:
                self._channel.close()

    def _check(self) -> Progress | None:
        """A stream must be accepted in time, and later a silent server must answer, and have nothing new."""
        now = time.monotonic()
        if self._id is None and now - self._heard > self._timeout:
            self._client.part(self._index)
            raise StoreError(f"cannot reach {self._client.description}: no answer within {self._timeout:g} s")
        if now - self._heard <= (self._timeout if self._late else SILENCE):
            return None
        # Not by a request for progress on the stream: etcd's own proxy does not pass it on, or ends by it.
        request = range_request(self._start, self._end, min_mod_revision=self._seen + 1, limit=1, keys_only=True)
        answer = self._client.call("KV", "Range", request, index=self._index)
        revision = self._client.answers.revision(answer)
        if not answer.kvs or revision < self._seen:
            self._heard, self._late = now, 0.0
            return self._progress(revision)
        if self._late:
            raise StoreError(f"{self._client.description} has something new, and the watch does not bring it")
        self._heard = self._late = now
        return None

    def _progress(self, revision: int) -> Progress | None:
        """The server lives, and no more: before 3.4.25 and 3.5.8 its revision may be ahead of the events (etcd #15220).

        One that lies behind us means that the store was wiped.
        """
        return Progress(revision) if revision < self._seen else None

    def _read(self) -> None:
        client = self._client
        try:
            for answer in self._stream:
                if not self._hand_over(answer):
                    return
            self._hand_over(StoreError(f"{client.description} ended the watch"))
        except grpc.RpcError as error:
            endpoint = client.settings.endpoints[self._index]
            self._hand_over(explain(error, client.description, endpoint, client.settings))

    def _hand_over(self, answer: Any) -> bool:
        """Wait until there is room for it; False when nobody wants it any more."""
        while not self._closed:
            try:
                self._answers.put(answer, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False

    def _take(self, answer: Any) -> Changed | Progress | Compacted | None:
        if answer is None:
            return None
        if isinstance(answer, StoreError):
            raise answer
        self._heard, self._late = time.monotonic(), 0.0
        if answer.compact_revision:
            return Compacted(answer.compact_revision)
        client = self._client
        if answer.canceled:
            reason = " ".join(answer.cancel_reason.split())[:LONGEST]
            raise StoreError(f"{client.description} refused to watch: {reason or 'no reason given'}")
        if self._id is None:
            self._id = answer.watch_id
        elif answer.watch_id not in (self._id, _ALL_WATCHES):
            raise client.answers.odd(f"a message of watch {answer.watch_id}, which is not ours")
        if not answer.events:
            return self._progress(answer.header.revision)
        entries = [client.answers.event(event, self._start, self._end) for event in answer.events]
        self._seen = max(self._seen, *(entry.mod_revision for entry in entries))
        return Changed(self._seen, tuple(map(self._gauge.measure, entries)))
