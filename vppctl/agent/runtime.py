"""The agent's threads and their end: sources fill an inbox, one deciding thread empties it.

Sources (store, kernel, namespaces, signals) hand over keys and batches; whatever is decided and done happens in the
thread that calls `run`. Stopping finishes the batch in hand and leaves every link as it is.
"""

from __future__ import annotations

import logging
import queue
import time

from vppctl.agent.counters import Counted, CounterReader
from vppctl.agent.facts import Facts
from vppctl.agent.health import Pulse, notify
from vppctl.agent.intake import configured
from vppctl.agent.lock import AgentLock
from vppctl.agent.logs import change_level
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.agent.settings import AgentSettings
from vppctl.agent.sources import Configuration, Event, Resync, Sources, Stop, StoreState, Verbosity
from vppctl.agent.status import Publisher
from vppctl.agent.telling import Teller
from vppctl.agent.vpp_worker import VppNews, VppWorker
from vppctl.errors import StoreError
from vppctl.linux.monitor import LinksChanged, NamespaceGone, Overrun
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.linux.watcher import NamespacesChanged
from vppctl.microservices import Microservices, MicroservicesChanged
from vppctl.model.interface import NamespaceType
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.backlog import Audit
from vppctl.reconcile.mirror import Batch
from vppctl.reconcile.state import State
from vppctl.reconcile.vpp import VppConfigured, host_names
from vppctl.store.base import Store
from vppctl.store.settings import open_store

log = logging.getLogger("vppctl.agent")

DEBOUNCE = 0.02
"""Seconds that kernel events wait for more of their kind: our own changes come back as events, too."""
STOP_TIMEOUT = 3.0
"""Seconds that the threads get to end."""


class Agent:
    """The deciding thread, between the sources and the reconciler."""

    def __init__(self, settings: AgentSettings, lock: AgentLock) -> None:
        self.settings, self.pulse = settings, Pulse(lock)
        self.nsids = NsidTable()
        microservices = Microservices(settings.docker_host, look_at)
        resolver = Resolver(microservices, create=settings.create_namespaces, allowed_dirs=tuple(settings.allowed_dirs))
        self.sources = Sources(microservices)
        self.reconciler = Reconciler(
            settings.label,
            resolver,
            self.nsids,
            adopt=settings.resync == "adopt",
            on_progress=self.pulse.beat,
            on_look=self._hear_kernel,
        )
        self.teller = Teller(settings.label)
        self.facts = Facts(
            settings.version, settings.label, self.teller.all, self.reconciler.results, lambda: self.pulse.beats
        )
        interval = 0.0 if settings.once else settings.stats_interval
        self.counters = CounterReader(resolver, interval, self.sources.inbox.put)
        self.audit = Audit(time.monotonic())
        self.vpp = VppWorker(settings.label, settings.vpp_socket, self.sources.inbox.put)
        self.vpp_desired: dict[str, VppConfigured] = {}
        self.generation = -1
        """Of the references that are followed."""
        self.listed: set[Kind] = set()
        """The kinds whose configuration is known in full."""
        self.ready = False
        """Whether the first pass is done."""
        self.stopping = self.failed = False

    def run(self) -> int:
        """Run to the end; see `vppctl.agent.launch.run`."""
        store = open_store(self.settings.store)
        log.info("agent of label %s starts, store %s", self.settings.label, store.description)
        for kind in Kind:
            self.sources.follow_store(store, kind, config_prefix(self.settings.label, kind))
        if not self.settings.once:
            self.sources.follow_kernel(self.nsids)
            self.sources.follow_signals()
            self.sources.follow_vpp(self.vpp)
            self.teller.publisher = Publisher(
                lambda: open_store(self.settings.store),
                self.settings.label,
                self.settings.version,
                lambda: self.sources.inbox.put(Stop(failed=True)),
            )
            self.teller.publisher.start()
        try:
            self._loop()
        finally:
            self._end(store)
        reports = sorted(self.teller.reports.current.values(), key=lambda r: str(r["name"]))
        if self.settings.on_status and self.settings.once:
            self.settings.on_status(reports)
        if not self.settings.once:
            return int(self.failed)
        return 0 if all(r["state"] == State.APPLIED for r in reports) else 1

    def _loop(self) -> None:
        while not self.stopping:
            self._drain(self._patience())
            self._beat()
            now = time.monotonic()
            if not self._is_known() or self.stopping or self._wait_for_docker():
                continue
            if self.audit.begins(now):
                self.reconciler.refresh_namespaces()
                self.audit.start(self.reconciler.all_pairs())
                self.reconciler.sweep()
            self.reconciler.backlog.add(self.audit.take(now))
            self._reconcile(now)
            if self.reconciler.started and not self.ready:
                self.ready = self.facts.ready = True
                notify("READY=1")
            if now >= self.counters.due:
                self.counters.begin(self.reconciler.desired.references(), self.reconciler.memory.links())
            if self.settings.once:
                if self.vpp_desired:
                    self.vpp.look()
                    self._drain(0.0)
                return

    def _beat(self) -> None:
        self.pulse.beat(self.teller.summary)

    def _is_known(self) -> bool:
        """Whether there is enough to begin with: nothing is deleted before the first full list."""
        return Kind.LINUX in self.listed and (not self.settings.once or Kind.VPP in self.listed)

    def _wait_for_docker(self) -> float:
        """Seconds that the first pass is still put off."""
        return 0.0 if self.ready else self.sources.docker_wait()

    def _patience(self) -> float:
        """Seconds to wait for the next event."""
        if not self._is_known():
            return self.pulse.interval
        if wait := self._wait_for_docker():
            return wait
        now = time.monotonic()
        waits = [self.audit.due - now, self.counters.due - now, self.pulse.interval]
        if (due := self.reconciler.backlog.wait(now)) is not None:
            waits.append(due)
        return max(0.0, min(waits))

    def _drain(self, patience: float) -> None:
        """Wait for an event, then take all that are there: a thousand puts become a few passes."""
        try:
            event = self.sources.inbox.get(timeout=patience) if patience != 0.0 else self.sources.inbox.get_nowait()
            look = False
            while True:
                # One look at all references, however many have moved.
                look = look or isinstance(event, NamespacesChanged | NamespaceGone | Overrun | Resync)
                self._take(event)
                self._beat()
                if self.sources.inbox.empty():
                    break
                event = self.sources.inbox.get_nowait()
        except queue.Empty:
            return
        if look and self._is_known():
            self.reconciler.refresh_namespaces()

    def _take(self, event: Event) -> None:
        reconciler = self.reconciler
        match event:
            case Configuration(kind, batch):
                self._configure(kind, batch)
            case VppNews():
                self.teller.vpp(event)
            case Counted(counters):
                self.teller.count(counters)
            case Verbosity(step):
                log.warning("log level is %s now", change_level(step))
            case StoreState():
                self._store_state(event)
            case LinksChanged():
                self._hear_kernel()
            case NamespaceGone(netns=netns):
                reconciler.enqueue(reconciler.memory.leave(netns), time.monotonic(), DEBOUNCE)
            case Overrun() | Resync():
                if isinstance(event, Resync):
                    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                    self.ready = False
                reconciler.backlog.add(reconciler.all_pairs())
                reconciler.sweep()
                self.vpp.wake()
            case Stop(failed):
                self.stopping, self.failed = True, self.failed or failed
            case NamespacesChanged():
                # `_drain` looks.
                pass
            case MicroservicesChanged(labels):
                microservices = [
                    r for r in reconciler.desired.references() if r.type is NamespaceType.MICROSERVICE_REF_NS
                ]
                reconciler.refresh_namespaces(r for r in microservices if labels is None or r.microservice in labels)

    def _hear_kernel(self) -> None:
        """Note whom the kernel's events are about."""
        reconciler = self.reconciler
        names: set[str] = set()
        for netns, index, name in (changed := self.sources.changed_links()):
            names |= reconciler.memory.at(netns, index, name)
            names.update(reconciler.desired.claimants((netns, name)))
        reconciler.enqueue(names, time.monotonic(), DEBOUNCE)
        if any(link.netns == self.nsids.own for link in changed):
            self.vpp.wake()

    def _store_state(self, event: StoreState) -> None:
        self.facts.store_up = event.ready
        if event.ready:
            log.info("the store is followed")
        else:
            log.warning("%s", event.error)
            if self.settings.once and not self._is_known():
                raise StoreError(event.error)

    def _configure(self, kind: Kind, batch: Batch) -> None:
        prefix = config_prefix(self.settings.label, kind)
        for entry in batch.entries:
            self._beat()
            name = entry.key.removeprefix(prefix)
            if entry.value is None:
                self._forget(kind, name)
                continue
            match configured(kind, name, entry.value, entry.mod_revision, self.settings.allowed_dirs):
                case VppConfigured() as found:
                    self.vpp_desired[name] = found
                case found:
                    self.reconciler.backlog.add(self.reconciler.desired.put(found))
        if batch.full:
            self.listed.add(kind)
        if kind is Kind.VPP:
            self.reconciler.backlog.add(self.reconciler.desired.serve(host_names(self.vpp_desired)))
            self.vpp.configure(self.vpp_desired)
        elif self.generation != self.reconciler.desired.generation:
            self.generation = self.reconciler.desired.generation
            self.sources.follow_references(self.reconciler.desired.references())

    def _forget(self, kind: Kind, name: str) -> None:
        if kind is Kind.VPP:
            self.vpp_desired.pop(name, None)
        else:
            self.reconciler.backlog.add(self.reconciler.desired.delete(name))

    def _reconcile(self, now: float) -> None:
        started = time.perf_counter()
        reconciler = self.reconciler
        news = reconciler.run(now)
        seconds = time.perf_counter() - started
        for name, condition in news.items():
            if condition is None:
                self.teller.gone(Kind.LINUX, name)
                continue
            interface, pair = reconciler.desired.interface(name), reconciler.desired.pair_of(name)
            place = reconciler.desired.place(interface) if interface else None
            told = reconciler.resolver.told(interface.namespace, place) if interface and place else {}
            done = reconciler.done.get(pair, ())
            self.teller.linux(condition, interface, reconciler.backlog.retries(pair), told, done, seconds)
        self.teller.reports.tell()
        if news:
            self.facts.passes += 1
            self.facts.pass_seconds += seconds
            log.debug("looked at %d interfaces in %.1f ms", len(news), seconds * 1e3)

    def _end(self, store: Store) -> None:
        notify("STOPPING=1")
        log.info("the agent stops; links stay as they are")
        if self.settings.once:
            # What is left only listens; the process ends now.
            return
        if self.teller.publisher:
            self.teller.publisher.close(STOP_TIMEOUT)
        self.sources.stop(STOP_TIMEOUT)
        store.close()
