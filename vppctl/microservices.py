"""Microservices: which running container has which MICROSERVICE_LABEL, from Docker's events.

Lists first and then follows the events from that moment on, on the engine's own clock; lists again after every break
and from time to time. An engine that is away changes nothing that is known: its containers may well go on running.
Excluded: what a container's process leads to, which the agent finds out.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

LABEL_VARIABLE = "MICROSERVICE_LABEL"
"""What marks a container as a microservice, in its environment (ligato, linuxplugin/ifplugin)."""
TIMEOUT = 10
"""Seconds for one request to the engine."""
RELIST = 60
"""Seconds until the event stream is ended and everything is listed again, in case an event was missed."""
GRACE = 15
"""Seconds that an engine may take to end the stream; then it hangs."""
BACKOFF_FIRST, BACKOFF_LAST = 0.25, 10.0
"""Seconds between attempts to reach an engine that is away: doubled from the first to the last."""
_TELLING = frozenset(["start", "restart", "die", "died", "stop", "destroy", "remove", "rename"])
"""Events after which a container is looked at; Podman's names among them."""


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
        self.answered = False
        """Whether the engine was asked at all, with whatever result."""
        self.trouble = "Docker has not been asked yet"
        """Why the engine cannot be asked at present; empty when it can."""

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
                # An engine that ends every stream at once is not to be run down.
                stop.wait(0.05)
            except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
                if stop.is_set():
                    return
                self._away(error, deliver)
                failures += 1
                stop.wait(min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 10)))

    def _how(self, docker: Any) -> dict[str, Any]:
        """As the SDK takes it from DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH; the option wins."""
        environment = {**os.environ, **({"DOCKER_HOST": self._host} if self._host else {})}
        return {"version": "auto", "timeout": TIMEOUT, **docker.utils.kwargs_from_env(environment)}

    def _away(self, error: Exception, deliver: Callable[[MicroservicesChanged], None]) -> None:
        where = self._host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        trouble = f"Docker cannot be asked at {where}: {_cause(error)}"
        if trouble != self.trouble or not self.answered:
            self.trouble, self.answered = trouble, True
            deliver(MicroservicesChanged(None))

    def _follow(self, client: Any, stop: threading.Event, deliver: Callable[[MicroservicesChanged], None]) -> None:
        """List, then take events until the engine ends the stream."""
        now = _seconds(client.info()["SystemTime"])
        self._list(client, deliver)
        stream = client.events(since=now, until=now + RELIST, filters={"type": "container"}, decode=True)
        self._stream = stream
        hangs = threading.Timer(RELIST + GRACE, self.close)
        hangs.daemon = True
        hangs.start()
        try:
            for event in stream:
                if stop.is_set():
                    return
                if event.get("Action", event.get("status")) in _TELLING:
                    self._update({event["Actor"]["ID"]: self._inspect(client, event["Actor"]["ID"])}, deliver)
        finally:
            hangs.cancel()
            self._stream = None
            _close(stream)

    def _list(self, client: Any, deliver: Callable[[MicroservicesChanged], None]) -> None:
        found = {c["Id"]: self._inspect(client, c["Id"]) for c in client.containers()}
        answered, self.answered = self.answered and not self.trouble, True
        self.trouble = ""
        with self._lock:
            gone = dict.fromkeys(self._containers.keys() - found.keys())
        self._update({**found, **gone}, deliver)
        if not answered:
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
        said = client.inspect_container(key)
    except docker.errors.NotFound:
        return None
    variables = dict(variable.partition("=")[::2] for variable in said["Config"].get("Env") or ())
    label, state = variables.get(LABEL_VARIABLE), said["State"]
    if not label or not state.get("Running") or not state.get("Pid"):
        return None
    return Container(label, said["Id"], said["Name"].lstrip("/"), state["Pid"], 0, state.get("StartedAt", ""))


def _seconds(text: str) -> int:
    """Unix seconds of RFC 3339, whole ones: an event that is told twice does no harm."""
    from datetime import datetime

    return int(datetime.fromisoformat(text[:19] + (text[-6:] if text[-6] in "+-" else "+00:00")).timestamp())


def _cause(error: BaseException) -> str:
    """The innermost reason, on one line: the SDK wraps three deep."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
