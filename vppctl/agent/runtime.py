"""The agent's threads and their end: sources fill an inbox, one deciding thread empties it.

Sources (store, kernel, namespaces, signals) hand over keys and batches; whatever is decided and done happens in the
thread that calls `run`. Stopping finishes the batch in hand and leaves every link as it is.
"""

from __future__ import annotations

import gc
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

from vppctl.agent.health import notify
from vppctl.agent.logs import set_up_logging
from vppctl.agent.reconciler import Options, Reconciler
from vppctl.agent.status import Publisher, Report, Reports
from vppctl.errors import StoreError
from vppctl.linux.monitor import LinkChanged, LinkMonitor, NamespaceGone, Overrun
from vppctl.linux.namespaces import raise_file_limit
from vppctl.linux.nsids import NsidTable
from vppctl.linux.watcher import NamespacesChanged, NamespaceWatcher
from vppctl.model.document import decode_bytes
from vppctl.model.interface import Interface
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.mirror import Batch, Mirror
from vppctl.reconcile.state import Configured, Invalid, State
from vppctl.store.base import Store
from vppctl.store.follow import follow
from vppctl.store.settings import StoreSettings, open_store

log = logging.getLogger("vppctl.agent")

AUDIT = 60.0
"""Seconds between full comparisons of the kernel with the configuration, in case an event was missed."""
DEBOUNCE = 0.02
"""Seconds that kernel events wait for more of their kind: our own changes come back as events, too."""
STOP_TIMEOUT = 3.0
"""Seconds that the threads get to end."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What `agent run` was asked for."""

    store: StoreSettings
    label: str
    version: str
    once: bool = False
    resync: str = "recreate"
    create_namespaces: bool = True
    allowed_dirs: tuple[str, ...] = ()
    log_format: str = "text"
    log_level: str = "info"
    docker_host: str | None = None
    vpp_socket: str | None = None
    on_status: Callable[[list[Report]], None] | None = None


class StoreState(NamedTuple):
    """The store can be followed, or not, and why."""

    ready: bool
    error: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the batch in hand and end."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Compare everything."""


Event = Batch | StoreState | LinkChanged | NamespaceGone | Overrun | NamespacesChanged | Stop | Resync


def run(settings: AgentSettings) -> int:
    """Run the agent until it is told to stop, or with `once` until everything was looked at once.

    Returns the exit code: 0, or 1 when `once` and not all interfaces are applied. Raises StoreError when `once`
    and the store cannot be reached.
    """
    set_up_logging(settings.log_format, settings.log_level)
    raise_file_limit()
    # What is loaded by now stays; and a pass over thousands of pairs makes many objects, but hardly any cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    return Agent(settings).run()


class Agent:
    """The deciding thread and the sources that feed it."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.nsids = NsidTable()
        options = Options(settings.resync == "adopt", settings.create_namespaces, settings.allowed_dirs)
        self.reconciler = Reconciler(settings.label, options, self.nsids)
        self.watcher = NamespaceWatcher()
        self.reports = Reports()
        self.publisher: Publisher | None = None
        self.threads: list[threading.Thread] = []
        self.listed = False
        self.stopping = False

    def run(self) -> int:
        """Run to the end; see `run`."""
        store = open_store(self.settings.store)
        log.info("agent of label %s starts, store %s", self.settings.label, store.description)
        self._sources(store)
        try:
            self._loop()
        finally:
            self._end(store)
        reports = [self.reports.current[name] for name in sorted(self.reports.current)]
        if self.settings.on_status and self.settings.once:
            self.settings.on_status(reports)
        return 0 if not self.settings.once or all(r["state"] == State.APPLIED for r in reports) else 1

    def _sources(self, store: Store) -> None:
        prefix = config_prefix(self.settings.label)

        def state(ready: bool, error: str) -> None:
            self.inbox.put(StoreState(ready, error))

        self._thread("store", follow, store, prefix, Mirror(), self.stop, self.inbox.put, state)
        if self.settings.once:
            return
        monitor = LinkMonitor(self.nsids)
        self._thread("kernel", monitor.run, self.stop, self.inbox.put)
        self._thread("namespaces", self.watcher.run, self.stop, self.inbox.put)
        self.publisher = Publisher(lambda: open_store(self.settings.store), self.settings.label, self.settings.version)
        self.publisher.start()
        if threading.current_thread() is threading.main_thread():
            for number, event in ((signal.SIGTERM, Stop()), (signal.SIGINT, Stop()), (signal.SIGHUP, Resync())):
                signal.signal(number, self._on_signal(event))

    def _on_signal(self, event: Stop | Resync) -> Callable[[int, FrameType | None], None]:
        def handle(_number: int, _frame: FrameType | None) -> None:
            # SimpleQueue.put is reentrant: safe in a signal handler.
            self.inbox.put(event)

        return handle

    def _thread(self, name: str, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()
        self.threads.append(thread)

    def _loop(self) -> None:
        audit = time.monotonic() + AUDIT
        ready = False
        while not self.stopping:
            self._drain(self._patience(audit))
            now = time.monotonic()
            if not self.listed or self.stopping:
                continue
            if now >= audit:
                self.reconciler.refresh_namespaces()
                self.reconciler.enqueue_all()
                audit = now + AUDIT
            self._reconcile(now)
            if not ready:
                ready = True
                notify("READY=1\nSTATUS=reconciling")
            if self.settings.once:
                return

    def _patience(self, audit: float) -> float | None:
        """Seconds to wait for the next event."""
        if not self.listed:
            return None
        now = time.monotonic()
        waits = [audit - now]
        if (due := self.reconciler.backlog.wait(now)) is not None:
            waits.append(due)
        return max(0.0, min(waits))

    def _drain(self, patience: float | None) -> None:
        """Wait for an event, then take all that are there: a thousand puts become a few passes."""
        try:
            event = self.inbox.get(timeout=patience) if patience != 0.0 else self.inbox.get_nowait()
            look = False
            while True:
                if isinstance(event, NamespacesChanged):
                    look = True
                else:
                    self._take(event)
                if self.inbox.empty():
                    break
                event = self.inbox.get_nowait()
        except queue.Empty:
            return
        if look and self.listed:
            self.reconciler.refresh_namespaces()

    def _take(self, event: Event) -> None:
        reconciler = self.reconciler
        match event:
            case Batch():
                self._configure(event)
            case StoreState():
                self._store_state(event)
            case LinkChanged(netns=netns, index=index, name=name):
                names = reconciler.memory.at(netns, index, name) | set(reconciler.desired.claimants((netns, name)))
                reconciler.enqueue(names, time.monotonic(), DEBOUNCE)
            case NamespaceGone(netns=netns):
                reconciler.enqueue(reconciler.memory.leave(netns), time.monotonic(), DEBOUNCE)
                reconciler.refresh_namespaces()
            case Overrun() | Resync():
                reconciler.refresh_namespaces()
                reconciler.enqueue_all()
            case Stop():
                self.stopping = True
            case NamespacesChanged():
                reconciler.refresh_namespaces()

    def _store_state(self, event: StoreState) -> None:
        if event.ready:
            log.info("the store is followed")
        else:
            log.warning("%s", event.error)
            if self.settings.once and not self.listed:
                raise StoreError(event.error)

    def _configure(self, batch: Batch) -> None:
        desired = self.reconciler.desired
        prefix = config_prefix(self.settings.label)
        for entry in batch.entries:
            name = entry.key.removeprefix(prefix)
            if entry.value is None:
                self.reconciler.backlog.add(desired.delete(name))
                continue
            decoded = decode_bytes(
                entry.value, kind=Kind.LINUX, name=name, tolerant=True, allowed_dirs=self.settings.allowed_dirs
            )
            for warning in decoded.warnings:
                log.warning("%s: %s", name, warning)
            valid = isinstance(decoded.interface, Interface) and not decoded.problems
            content = decoded.interface if valid else Invalid(decoded.problems)
            assert isinstance(content, Interface | Invalid)
            self.reconciler.backlog.add(desired.put(Configured(name, content, entry.mod_revision)))
        self.listed = self.listed or batch.full
        self.watcher.follow(desired.references())

    def _reconcile(self, now: float) -> None:
        started = time.perf_counter()
        news = self.reconciler.run(now)
        for name, condition in news.items():
            if condition is None:
                self.reports.current.pop(name, None)
                content = None
            else:
                retries = self.reconciler.backlog.retries(self.reconciler.desired.pair_of(name))
                content = self.reports.update(condition, self.reconciler.desired.interface(name), retries)
            if self.publisher:
                self.publisher.offer(name, content)
        self.reports.tell()
        if news:
            log.debug("looked at %d interfaces in %.1f ms", len(news), (time.perf_counter() - started) * 1e3)

    def _end(self, store: Store) -> None:
        notify("STOPPING=1")
        log.info("the agent stops; links stay as they are")
        self.stop.set()
        if self.settings.once:
            # One thread at most is left, which only listens; the process ends now.
            return
        if self.publisher:
            self.publisher.close(STOP_TIMEOUT)
        deadline = time.monotonic() + STOP_TIMEOUT
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        store.close()
