"""Connections to etcd's members: which one answers, with which certificates, and as which user.

A request that may have been carried out is not sent again: that is for whoever knows what it writes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from vppctl.errors import StoreError, cause
from vppctl.files import first_line, read_whole
from vppctl.store.etcd_answers import Answers
from vppctl.store.etcd_errors import UnsureError, explain, is_elsewhere, is_stale, text_of, was_refused
from vppctl.store.etcd_stubs import etcdrpc, grpc
from vppctl.store.etcd_threads import STREAM, start_core, try_threads
from vppctl.store.settings import StoreSettings

MAX_MESSAGE = 64 << 20
"""Bytes of an answer; etcd itself sends up to 2 GiB. Lists come in pages, and a watch that is behind lists again."""
PING_MS = 10_000
"""Milliseconds between HTTP/2 pings of an idle connection; etcd allows 5 s (--grpc-keepalive-min-time)."""
PONG_MS = 5000
"""Milliseconds that the answer to a ping may take."""
_OPTIONS = [
    # Two clients of one process share no connection: with --max-concurrent-streams the watches of one would take the
    # place of all calls of the other.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take, whatever the backoff: several round trips with TLS.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A name that leads elsewhere now is not looked up for half a minute otherwise.
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    ("grpc.keepalive_time_ms", PING_MS),
    ("grpc.keepalive_timeout_ms", PONG_MS),
    # Where nothing comes at all the time above does not run; this one is 60 s by default.
    ("grpc.http2.ping_timeout_ms", PONG_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
]
_stuck: list[grpc.Channel] = []
"""Channels that lack a thread. They wait for it when they are closed, also by the end of the last reference."""
Metadata = tuple[tuple[str, str], ...]
Work = Callable[[grpc.Channel, Metadata, float], Any]


class EtcdClient:
    """The members of one cluster. Thread-safe, as gRPC's channels are."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.description = f"etcd {','.join(settings.endpoints)}"
        self.answers = Answers(self.description)
        self.current = 0
        """The endpoint that answered last."""
        self._channels: dict[int, grpc.Channel] = {}
        self._alone: set[int] = set()
        """Endpoints that have left a call without an answer: there, one stream may take the place of all others."""
        self._tokens: dict[int, str] = {}
        self._warned = False
        self._lock = threading.Lock()
        self._files: tuple[object, ...] = ()
        self._credentials = self._read_credentials() if settings.secure else None
        with suppress(RuntimeError):
            # Now, while an agent has no other threads that could take the room for these; each call tries again.
            start_core()

    def close(self) -> None:
        """Let go of all connections."""
        for channel in self._channels.values():
            channel.close()

    def call(self, service: str, method: str, request: Any, *, index: int | None = None, write: bool = False) -> Any:
        """Call until one endpoint answers, or only the endpoint with this index, each within its share of the time.

        Raises StoreError; with `write` UnsureError when a request was sent and may have been carried out.
        """

        def work(channel: grpc.Channel, metadata: Metadata, timeout: float) -> Any:
            stub = getattr(etcdrpc, f"{service}Stub")(channel)
            return getattr(stub, method)(request, timeout=timeout, metadata=metadata)

        return self.attempt(work, index=index, write=write)

    def attempt(self, work: Work, *, index: int | None = None, write: bool = False) -> Any:
        """Do `work` with one endpoint after the other until one answers; see `call`."""
        count = len(self.settings.endpoints)
        share = max(1.0, self.settings.timeout / count) if count > 1 else self.settings.timeout
        numbers = range(self.current, self.current + count) if index is None else [index]
        for number in numbers:
            at = number % count
            try:
                result = self._at(at, work, share, write=write)
            except grpc.RpcError as error:
                failure = explain(error, self.description, self.settings.endpoints[at], self.settings)
                if not is_elsewhere(error):
                    raise failure from None
                continue
            self.current = at
            return result
        raise failure from None

    def _at(self, index: int, work: Work, timeout: float, *, write: bool) -> Any:
        """Do it with this endpoint; once more with what a renewed token or renewed certificates may change."""
        renew = False
        for last in (False, False, True):
            metadata = None
            try:
                metadata = self.metadata(index, timeout, renew=renew)
                return work(self.channel(index), metadata, timeout)
            except grpc.RpcError as error:
                if metadata is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    self.part(index)
                if write and metadata is not None and not was_refused(error):
                    self.current = index + 1 if is_elsewhere(error) else index
                    self.current %= len(self.settings.endpoints)
                    raise UnsureError(
                        str(explain(error, self.description, self.settings.endpoints[index], self.settings))
                    ) from None
                stale = is_stale(error) and not renew and bool(self.settings.user)
                renew = renew or stale
                if last or not (stale or self._renewed_certificates()):
                    raise
        raise AssertionError

    def channel(self, index: int | None = None) -> grpc.Channel:
        """The connection to an endpoint, by default to the one that answered last."""
        index = self.current if index is None else index
        with self._lock:
            if index not in self._channels:
                self._channels[index] = self._connect(index)
            return self._channels[index]

    def stream_channel(self, index: int) -> tuple[grpc.Channel, bool]:
        """The connection for a stream to this endpoint, and whether it is the stream's to close."""
        return (self._connect(index), True) if index in self._alone else (self.channel(index), False)

    @contextmanager
    def beginning(self, channel: grpc.Channel) -> Iterator[None]:
        """A stream begins on this channel. Raises StoreError when there are too few threads for it."""
        try:
            try_threads(STREAM)
        except RuntimeError as error:
            raise self._short(error) from None
        try:
            yield
        except RuntimeError as error:
            # Others were faster. No later stream of this channel would get an answer.
            _stuck.append(channel)
            with self._lock:
                self._channels = {index: other for index, other in self._channels.items() if other is not channel}
            raise self._short(error) from None

    def _short(self, error: RuntimeError) -> StoreError:
        return StoreError(f"cannot reach {self.description}: {cause(error)}")

    def part(self, index: int) -> None:
        """Give streams and calls connections of their own: one was not answered in time.

        With --max-concurrent-streams a server accepts no call on a connection that has a watch.
        """
        with self._lock:
            if index not in self._alone:
                self._alone.add(index)
                # Not closed: another thread's call may be on it.
                self._channels.pop(index, None)

    def _connect(self, index: int) -> grpc.Channel:
        try:
            start_core()
        except RuntimeError as error:
            raise self._short(error) from None
        endpoint = self.settings.endpoints[index]
        # Without a scheme of its own a host that is called `unix` would be one. The path is that of a URI.
        is_socket = endpoint.startswith("unix:/")
        target = f"unix:{quote(endpoint.removeprefix('unix:'))}" if is_socket else f"dns:///{endpoint}"
        if self._credentials:
            return grpc.secure_channel(target, self._credentials, _OPTIONS)
        return grpc.insecure_channel(target, _OPTIONS)

    def metadata(self, index: int | None, timeout: float, *, renew: bool = False) -> Metadata:
        """What goes with each request: the token of the user, asked for when there is none or a new one is wanted."""
        settings = self.settings
        index = self.current if index is None else index
        if not settings.user or not (settings.password or settings.password_file):
            return ()
        if renew or index not in self._tokens:
            request = etcdrpc.AuthenticateRequest(name=settings.user, password=self._password())
            try:
                answer = etcdrpc.AuthStub(self.channel(index)).Authenticate(request, timeout=timeout)
                self._tokens[index] = self.answers.token(answer.token)
            except grpc.RpcError as error:
                if "authentication is not enabled" not in text_of(error):
                    raise
                self._tokens[index] = ""
                self._warn_without_users()
        return (("token", self._tokens[index]),) if self._tokens[index] else ()

    def _password(self) -> str:
        """The password as it is now: a file may have another one than at the start."""
        path = self.settings.password_file
        if not path:
            return self.settings.password
        try:
            return first_line(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}; see --password-file") from None

    def _warn_without_users(self) -> None:
        if not self._warned:
            import logging

            self._warned = True
            text = "%s has no users switched on (etcdctl auth enable): --user is not used"
            logging.getLogger("vppctl.store").warning(text, self.description)

    # Certificates

    def _renewed_certificates(self) -> bool:
        """Read the certificates again when their files have changed; whether they have."""
        if not self._credentials or self._stamps() == self._files:
            return False
        self._credentials = self._read_credentials()
        with self._lock:
            # Not closed: another thread's call may be on one of them.
            self._channels.clear()
        return True

    def _read_credentials(self) -> grpc.ChannelCredentials:
        self._files = self._stamps()
        return grpc.ssl_channel_credentials(*(_read(path) if path else None for path in self._paths()))

    def _paths(self) -> tuple[str, str, str]:
        return self.settings.cacert, self.settings.key, self.settings.cert

    def _stamps(self) -> tuple[object, ...]:
        """What changes with a file's content."""
        found: list[object] = []
        for path in filter(None, self._paths()):
            try:
                info = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
        return tuple(found)


def _read(path: str) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; see --cacert, --cert and --key") from None
