"""Microservices: which running container has which MICROSERVICE_LABEL, from Docker's events.

Lists first and then follows the events from that moment on, on the engine's own clock; lists again after every break
and from time to time. An engine that is away changes nothing that is known: its containers may well go on running.
Excluded: what a container's process leads to, which the agent finds out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from vppctl import engine
from vppctl.docker_answers import OddError, clock, concerned, described, epoch, events, ids
from vppctl.errors import cause
from vppctl.reconcile.state import Process

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


LONGEST = 200
"""Characters of an error's words that are repeated."""
_CONTAINER_ID = re.compile("[0-9a-f]{64}")
_BEFORE, _AFTER = 15.0, 1.0
"""Seconds that a container's process may be older or younger than the engine says that the container is: it starts the
process, then reads the clock."""


class Container(NamedTuple):
    """A running container; `pid` and `start` (clock ticks since boot, proc(5)) name its first process for good."""

    label: str
    id: str
    name: str
    pid: int
    start: int
    started_at: str
    sandbox: str = ""
    """The file of its network namespace, in the engine's file system."""
    foreign: str = ""
    """Why its PID does not lead to it from here; empty when it does."""

    def __str__(self) -> str:
        """For messages: name and short id."""
        return f"{self.name!r} ({self.id[:12]})"


class MicroservicesChanged(NamedTuple):
    """The containers of these labels are others now; None: whether the engine answers has changed."""

    labels: frozenset[str] | None


class Microservices:
    """Follows one engine. `find` and `close` may be called from any thread.

    `look_at` gives the process that has a PID where the agent runs, None when there is none.
    """

    def __init__(self, host: str | None, look_at: Callable[[int], Process | None]) -> None:
        self._host, self._look_at = host, look_at
        self._endpoint: engine.Endpoint | None = None
        self._near = self._grouped = False
        """Whether a PID of this engine has led to its container, and whether it says that those have control groups."""
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._stream: Any = None
        self._unread: dict[str, str] = {}
        """Why the engine's answer about a container cannot be read, by its id."""
        self.answered = False
        """Whether the engine was asked at all, with whatever result."""
        self.trouble = "Docker has not answered yet"
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
                client = engine.connect(self._find(), TIMEOUT)
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

    def _find(self) -> engine.Endpoint:
        """Where the engine is now; another one has other processes."""
        before, self._endpoint = self._endpoint, None
        self._endpoint = engine.find(self._host)
        self._near = self._near and self._endpoint == before
        return self._endpoint

    def _away(self, why: str, deliver: Callable[[MicroservicesChanged], None]) -> None:
        where = f" at {self._endpoint}" if self._endpoint else ""
        trouble = f"Docker cannot be asked{where}: {why}"
        if self._endpoint:
            trouble += engine.hint(self._endpoint)
        if trouble != self.trouble or not self.answered:
            self.trouble, self.answered = trouble, True
            deliver(MicroservicesChanged(None))

    def _follow(self, client: Any, stop: threading.Event, deliver: Callable[[MicroservicesChanged], None]) -> None:
        """List, then take events until the engine ends the stream."""
        info = client.info()
        now = clock(info)
        since = int(time.time()) - SKEW if now is None else now
        self._grouped = info.get("CgroupDriver") in ("cgroupfs", "systemd")
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
        except (ValueError, docker.errors.APIError) as error:
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

        The process is looked at between two looks that agree, so that it is the container's and not another one that
        was given the same PID.
        """
        found = _running(client, key)
        while found is not None:
            process = self._look_at(found.pid)
            again = _running(client, key)
            if again == found:
                return self._judged(found, process)
            found = again
        return None

    def _judged(self, found: Container, process: Process | None) -> Container | None:
        """The container with its process, or with why its PID does not lead to it; None when it has just ended."""
        if process is None:
            if self._near:
                return None
            why = "is no process here"
        elif not self._is_process_of(found, process):
            why = "is another process here"
        else:
            self._near = True
            return found._replace(start=process.start)
        fix = "run the agent on the engine's host, in a container with --pid host"
        return found._replace(foreign=f"PID {found.pid} of container {found} {why}; {fix}")

    def _is_process_of(self, container: Container, process: Process) -> bool:
        """Whether this is the container's process, and not one that has its PID in another PID namespace."""
        if container.id in process.cgroups or _is_file_of(container.sandbox, process):
            return True
        own = self._look_at(os.getpid())
        if own and process.cgroups == own.cgroups and self._grouped:
            return False
        if set(_CONTAINER_ID.findall(process.cgroups)).difference(_CONTAINER_ID.findall(own.cgroups if own else "")):
            return False
        started = epoch(container.started_at)
        return started is None or -_AFTER <= started - process.started <= _BEFORE


def _close(stream: Any) -> None:
    import docker

    # It may have come to its end by itself; one through ssh cannot be cut off.
    with contextlib.suppress(OSError, AttributeError, docker.errors.DockerException):
        stream.close()


def _running(client: Any, key: str) -> Container | None:
    import docker

    try:
        found = described(client.inspect_container(key), key)
    except docker.errors.NotFound:
        return None
    return found and Container(found.label, key, found.name, found.pid, 0, found.started_at, found.sandbox)


def _is_file_of(path: str, process: Process) -> bool:
    """Whether this is the file of the process's network namespace."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return False
    return (info.st_dev, info.st_ino) == process.netns


def _cause(error: BaseException) -> str:
    """The innermost reason, on one line: the SDK wraps three deep."""
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # What is no engine may answer anything, of any length.
    text = " ".join(str(text).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
