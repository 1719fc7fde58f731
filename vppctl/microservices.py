"""Microservices: which running container has which MICROSERVICE_LABEL, from Docker's events.

Lists first and then follows the events from that moment on, on the engine's own clock; lists again after every break
and from time to time. An engine that is away changes nothing that is known: its containers may well go on running.
Excluded: what a container's process leads to, which the agent finds out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from vppctl.docker_answers import OddError, clock, concerned, described, events, ids
from vppctl.errors import cause

log = logging.getLogger("vppctl.docker")

TIMEOUT = 10
"""Seconds for one request to the engine."""
RELIST = 60
"""Seconds until the event stream is ended and everything is listed again, in case an event was missed."""
GRACE = 15
"""Seconds that an engine may take to end the stream; then it hangs."""
SKEW = 60
"""Seconds that are looked back for events of an engine that does not tell what time it has."""
PAUSE = 1.0
"""Seconds between two lists, at least, of an engine that ends every stream at once or whose events cannot be read."""
BACKOFF_FIRST, BACKOFF_LAST = 0.25, 10.0
"""Seconds between attempts to reach an engine that is away: doubled from the first to the last."""


class Container(NamedTuple):
    """A running container; `pid` and `start` (clock ticks since boot, proc(5)) name its first process for good."""

    label: str
    id: str
    name: str
    pid: int
    start: int
    started_at: str

    def __str__(self) -> str:
        """For messages: name and short id."""
        return f"{self.name!r} ({self.id[:12]})"


class MicroservicesChanged(NamedTuple):
    """The containers of these labels are others now; None: whether the engine answers has changed."""

    labels: frozenset[str] | None


class Microservices:
    """Follows one engine. `find` and `close` may be called from any thread.

    `start_of` gives the start time of a process in ticks, None when there is none.
    """

    def __init__(self, host: str | None, start_of: Callable[[int], int | None]) -> None:
        self._host, self._start_of = host, start_of
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._stream: Any = None
        self._unread: dict[str, str] = {}
        """Why the engine's answer about a container cannot be read, by its id."""
        self.answered = False
        """Whether the engine was asked at all, with whatever result."""
        self.trouble = "Docker has not been asked yet"
        """Why the engine, or which of its containers, cannot be asked at present; empty when all can."""

    def find(self, label: str) -> list[Container]:
        """The containers with this label that are running as far as is known, by name."""
        with self._lock:
            return sorted((c for c in self._containers.values() if c.label == label), key=lambda c: c.name)

    def close(self) -> None:
        """Make `run` notice at once that it is to stop."""
        if (stream := self._stream) is not None:
            _close(stream)

    def run(self, stop: threading.Event, deliver: Callable[[MicroservicesChanged], None]) -> None:
        """Deliver what changes until `stop` is set; the body of a thread."""
        # Heavy, and only for those who have microservices.
        import docker
        import requests

        failures = 0
        while not stop.is_set():
            try:
                client = docker.APIClient(**self._how(docker))
                try:
                    self._follow(client, stop, deliver)
                finally:
                    client.close()
                failures = 0
            except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
                if stop.is_set():
                    return
                self._away(_cause(error), deliver)
                failures += 1
                stop.wait(min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 10)))
            except Exception as error:
                # Who runs this starts it again; until then the engine is not followed.
                self._away(cause(error), deliver)
                raise

    def _how(self, docker: Any) -> dict[str, Any]:
        """As the SDK takes it from DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH; the option wins."""
        environment = {**os.environ, **({"DOCKER_HOST": self._host} if self._host else {})}
        return {"version": "auto", "timeout": TIMEOUT, **docker.utils.kwargs_from_env(environment)}

    def _away(self, why: str, deliver: Callable[[MicroservicesChanged], None]) -> None:
        where = self._host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        trouble = f"Docker cannot be asked at {where}: {why}"
        if trouble != self.trouble or not self.answered:
            self.trouble, self.answered = trouble, True
            deliver(MicroservicesChanged(None))

    def _follow(self, client: Any, stop: threading.Event, deliver: Callable[[MicroservicesChanged], None]) -> None:
        """List, then take events until the engine ends the stream."""
        now = clock(client.info())
        since = int(time.time()) - SKEW if now is None else now
        self._list(client, deliver)
        listed = time.monotonic()
        until = None if now is None else now + RELIST
        self._stream = stream = client.events(since=since, until=until, filters={"type": "container"})
        hangs = threading.Timer(RELIST + (GRACE if until else 0), self.close)
        hangs.daemon = True
        hangs.start()
        try:
            for event in events(stream):
                if stop.is_set():
                    return
                key = concerned(event)
                if key is not None:
                    self._update({key: self._inspect(client, key)}, deliver)
                    self._note_unread(deliver)
        except OddError as error:
            # Which container it was about is not known: list again.
            log.debug("%s", error)
        finally:
            hangs.cancel()
            self._stream = None
            _close(stream)
        stop.wait(max(0.0, listed + PAUSE - time.monotonic()))

    def _list(self, client: Any, deliver: Callable[[MicroservicesChanged], None]) -> None:
        """Look at all that the engine lists, and at those that it lists no more: a list may be short."""
        with self._lock:
            known = list(self._containers)
        keys = dict.fromkeys([*ids(client.containers()), *known])
        found = {key: self._inspect(client, key) for key in keys}
        self._unread = {key: why for key, why in self._unread.items() if key in keys}
        answered, self.answered = self.answered, True
        self._update(found, deliver)
        self._note_unread(deliver, changed=not answered)

    def _note_unread(self, deliver: Callable[[MicroservicesChanged], None], *, changed: bool = False) -> None:
        """The engine answers; what is left to report is which containers it cannot describe."""
        trouble = "; ".join(list(self._unread.values())[:3])
        changed = changed or trouble != self.trouble
        self.trouble = trouble
        if changed:
            deliver(MicroservicesChanged(None))

    def _update(self, containers: dict[str, Container | None], deliver: Callable[[MicroservicesChanged], None]) -> None:
        labels: set[str] = set()
        with self._lock:
            for key, container in containers.items():
                before = self._containers.pop(key, None)
                if container is not None:
                    self._containers[key] = container
                if container != before:
                    labels |= {c.label for c in (before, container) if c is not None}
        if labels:
            deliver(MicroservicesChanged(frozenset(labels)))

    def _inspect(self, client: Any, key: str) -> Container | None:
        """The container if it is running and has a label; what was known of it when the engine's answer is odd."""
        import docker

        try:
            found = self._settle(client, key)
        except (OddError, docker.errors.APIError) as error:
            why = f"container {key[:12]} cannot be read: {_cause(error)}"
            if self._unread.get(key) != why:
                log.warning("%s", why)
            self._unread[key] = why
            with self._lock:
                return self._containers.get(key)
        self._unread.pop(key, None)
        return found

    def _settle(self, client: Any, key: str) -> Container | None:
        """The container if it is running and has a label; its process is told by pid and start time.

        The start time is read between two looks that agree, so that it is of the container's process and not of
        another one that was given the same PID.
        """
        found = _running(client, key)
        while found is not None:
            start = self._start_of(found.pid)
            again = _running(client, key)
            if again == found:
                return None if start is None else found._replace(start=start)
            found = again
        return None


def _close(stream: Any) -> None:
    import docker

    # It may have come to its end by itself; one through ssh cannot be cut off.
    with contextlib.suppress(OSError, AttributeError, docker.errors.DockerException):
        stream.close()


def _running(client: Any, key: str) -> Container | None:
    import docker

    try:
        found = described(client.inspect_container(key))
    except docker.errors.NotFound:
        return None
    return found and Container(found.label, key, found.name, found.pid, 0, found.started_at)


def _cause(error: BaseException) -> str:
    """The innermost reason, on one line: the SDK wraps three deep."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
