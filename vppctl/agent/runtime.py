"""The agent's threads and their end: sources fill an inbox, one deciding thread empties it.

Sources (store, kernel, namespaces, signals) hand over keys and batches; whatever is decided and done happens in the
thread that calls `run`. Stopping finishes the batch in hand and leaves every link as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from vppctl.agent.counters import Counted, CounterReader
from vppctl.agent.facts import Facts
from vppctl.agent.health import Pulse, notify
from vppctl.agent.inbox import Inbox
from vppctl.agent.intake import Intake
from vppctl.agent.lock import AgentLock
from vppctl.agent.logs import change_level
from vppctl.agent.moves import Moves
from vppctl.agent.publisher import Publisher
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.agent.settings import AgentSettings
from vppctl.agent.sources import Configuration, Event, Resync, Sources, Stop, StoreState, Verbosity
from vppctl.agent.standing import Standing
from vppctl.agent.supervisor import SourceChanged
from vppctl.agent.telling import Teller
from vppctl.agent.trials import Trials
from vppctl.agent.vpp_worker import VppNews, VppWorker
from vppctl.errors import StoreError, VppctlError
from vppctl.linux.monitor import LinkChanged, LinksChanged, NamespaceGone, Overrun
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.linux.watcher import NamespacesChanged
from vppctl.microservices import Microservices, MicroservicesChanged
from vppctl.model.interface import NamespaceType
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.backlog import Audit
from vppctl.reconcile.state import State
from vppctl.store.settings import open_store
from vppctl.store.shared import SharedStore

log = logging.getLogger("vppctl.agent")

DEBOUNCE = 0.02
"""Seconds that kernel events wait for more of their kind: our own changes come back as events, too."""
READY_PATIENCE = 15.0
"""Seconds that the service manager is kept waiting for the first full comparison."""
STOP_TIMEOUT = 3.0
"""Seconds that the threads get to end."""


class Agent:
    """The deciding thread, between the sources and the reconciler."""

    def __init__(self, settings: AgentSettings, lock: AgentLock, lost: Callable[[], str] = str) -> None:
        """`lost` gives what could not be logged, once it can be reported."""
        self.settings, self.pulse = settings, Pulse(lock)
        self.nsids = NsidTable()
        microservices = Microservices(settings.docker_host, look_at)
        resolver = Resolver.of_agent(settings, microservices)
        self.sources = Sources(microservices, settings.allowed_dirs)
        self.reconciler = Reconciler(
            settings.label,
            resolver,
            self.nsids,
            adopt=settings.resync == "adopt",
            takeover=settings.takeover,
            on_progress=lambda: self.standing.beat(),
            on_look=lambda: self._take_links(self.sources.hear_links()),
        )
        self.reconciler.search.at_once = settings.once
        self.teller = Teller(settings.label)
        supervisor = self.sources.supervisor
        self.trials = Trials(supervisor, lambda: self._report())
        self.standing = Standing(supervisor, self.pulse, self.trials, self.teller.summary, lost)
        self.intake = Intake(settings.label, settings.allowed_dirs, self.reconciler, self.standing.beat)
        own = (settings.version, settings.label, self.teller.all, self.reconciler.results, lambda: self.pulse.beats)
        self.facts = Facts(*own, supervisor.up, supervisor.failures, self.standing.troubles)
        interval = 0.0 if settings.once else settings.stats_interval
        self.counters = CounterReader(resolver, interval, self.sources.inbox.put)
        self.audit = Audit(time.monotonic())
        vpp_trouble = partial(supervisor.note, "vpp")
        self.vpp = VppWorker(settings.label, settings.vpp_socket, self.sources.inbox.put, vpp_trouble)
        self.ready = False
        """Whether the first pass is done."""
        self.stopping = False
        self.store_settings = settings.store
        self.inbox = Inbox(self.sources.inbox)

    def run(self) -> int:
        """Run to the end; see `vppctl.agent.launch.run`."""
        shared = SharedStore(lambda: open_store(self.store_settings))
        # What cannot be opened at all (a file of --cacert that is not there) is reported at once.
        session = shared.take()
        log.info("agent of label %s starts, store %s", self.settings.label, session.store.description)
        for kind in Kind:
            self.sources.follow_store(shared, kind, config_prefix(self.settings.label, kind))
        shared.give(session)
        if not self.settings.once:
            self.sources.follow_kernel(self.nsids)
            self.sources.follow_signals()
            self.sources.follow_vpp(self.vpp)
            self._publish()
        try:
            self._loop()
        finally:
            self._end()
        reports = sorted(self.teller.reports.current.values(), key=lambda r: str(r["name"]))
        if self.settings.on_status and self.settings.once:
            self.settings.on_status(reports)
        return int(not all(r["state"] == State.APPLIED for r in reports) if self.settings.once else self.trials.in_vain)

    def _publish(self) -> None:
        supervisor, settings = self.sources.supervisor, self.settings
        opening, trouble = (lambda: open_store(self.store_settings)), partial(supervisor.note, "publisher")
        self.teller.publisher = Publisher(opening, settings.label, settings.version, trouble)
        supervisor.start("publisher", self.teller.publisher.run)

    def _loop(self) -> None:
        """Turn after turn; an error of one is tried again, and ends the agent when none succeeds any more."""
        while not self.stopping and not self.trials.in_vain:
            try:
                if self._turn():
                    return
            except VppctlError:
                raise
            except Exception as error:
                if self.settings.once:
                    raise
                self.trials.failed(error)
            else:
                self.trials.succeeded()

    def _turn(self) -> bool:
        """Wait for events, and do what is due; True when that was all there is to do."""
        if self.trials.failures:
            # Also behind what fails; and what the last turn would have reported is found out again.
            self.stopping = self.inbox.holds(Stop)
            self.reconciler.backlog.add(self.reconciler.all_pairs())
        self._drain(self._patience())
        self.standing.beat()
        now = time.monotonic()
        self.sources.supervisor.tend(now)
        if not self.settings.once:
            self.pulse.announce(READY_PATIENCE)
        if not self._is_known() or self.stopping or self._wait_for_docker():
            return False
        if self.audit.begins(now):
            self.reconciler.refresh_namespaces()
            self.audit.start(self.reconciler.all_pairs())
            self.reconciler.sweep()
        self.reconciler.backlog.add(self.audit.take(now))
        self._reconcile(now)
        if self.reconciler.started and not self.ready:
            self.ready = self.facts.ready = True
            self.pulse.announce()
            self.standing.beat(now=True)
        if now >= self.counters.due:
            self.counters.begin(self.reconciler.desired.references(), self.reconciler.memory.links())
        if self.settings.once and self.intake.vpp_desired:
            self.vpp.look()
            self._drain(0.0)
        return self.settings.once

    def _is_known(self) -> bool:
        """Whether there is enough to begin with: nothing is deleted before the first full list."""
        return Kind.LINUX in self.intake.listed and (not self.settings.once or Kind.VPP in self.intake.listed)

    def _wait_for_docker(self) -> float:
        """Seconds that the first pass is still put off."""
        return 0.0 if self.ready else self.sources.docker_wait()

    def _patience(self) -> float:
        """Seconds to wait for the next event."""
        if not self._is_known():
            return min(self.pulse.interval, self.sources.supervisor.wait(time.monotonic()))
        if wait := self._wait_for_docker():
            return wait
        now = time.monotonic()
        waits = [self.audit.due - now, self.counters.due - now, self.pulse.interval, self.sources.supervisor.wait(now)]
        if (due := self.reconciler.wait(now)) is not None:
            waits.append(due)
        return max(0.0, min(waits))

    def _drain(self, patience: float) -> None:
        """Wait for an event, then take all that are there: a thousand puts become a few passes."""
        moves = Moves()
        event = self.inbox.first(patience)
        while event is not None:
            moves.note(event)
            self._take(event)
            self.inbox.done()
            self.standing.beat()
            event = self.inbox.first(0.0)
        if moves and self._is_known():
            self.reconciler.refresh_namespaces(moves.of(self.reconciler.desired))

    def _take(self, event: Event) -> None:
        reconciler = self.reconciler
        match event:
            case Configuration(kind, batch):
                self.intake.take(kind, batch)
                self.standing.known = self._is_known()
                if kind is Kind.VPP:
                    self.vpp.configure(self.intake.vpp_desired)
                elif (references := self.intake.new_references()) is not None:
                    self.sources.follow_references(references)
            case VppNews():
                self.teller.vpp(event)
            case Counted(counters):
                self.teller.count(counters)
            case Verbosity(step):
                log.warning("log level is %s now", change_level(step))
            case StoreState():
                self._store_state(event)
            case LinksChanged():
                self._take_links(self.sources.changed_links())
            case NamespaceGone(netns=netns):
                reconciler.enqueue(reconciler.memory.leave(netns), time.monotonic(), DEBOUNCE)
            case Overrun() | Resync():
                if isinstance(event, Resync):
                    self.pulse.reload()
                    self.ready = False
                    self._read_again()
                reconciler.compare(time.monotonic(), at_once=isinstance(event, Resync))
                self.vpp.wake()
            case Stop():
                self.stopping = True
            case SourceChanged():
                self._report()
            case NamespacesChanged():
                pass  # `Moves` has it.
            case MicroservicesChanged(labels):
                found = (r for r in reconciler.desired.references() if r.type is NamespaceType.MICROSERVICE_REF_NS)
                reconciler.refresh_namespaces(r for r in found if labels is None or r.microservice in labels)

    def _take_links(self, changed: Collection[LinkChanged]) -> None:
        """Note whom the kernel's events are about."""
        reconciler = self.reconciler
        names: set[str] = set()
        for netns, index, name in changed:
            names |= reconciler.memory.at(netns, index, name)
            names.update(reconciler.desired.claimants((netns, name)))
        reconciler.enqueue(names, time.monotonic(), DEBOUNCE)
        if any(link.netns == self.nsids.own for link in changed):
            self.vpp.wake()

    def _read_again(self) -> None:
        """Connect anew with what files say now: certificates, passwords and `--config` change while the agent runs."""
        before = self.store_settings
        if self.settings.reread:
            try:
                self.store_settings = self.settings.reread()
            except VppctlError as error:
                log.warning("the store's settings stay as they were: %s", error)
        self.intake.awaited.update(Kind if (elsewhere := self.store_settings != before) else ())
        self.sources.renew()
        if self.teller.publisher:
            self.teller.publisher.renew(elsewhere=elsewhere)

    def _report(self) -> None:
        troubles = self.standing.news()
        if self.settings.once and not self._is_known() and (away := [t for t in troubles if t.startswith("store")]):
            raise StoreError(away[0])
        if self.teller.publisher:
            self.teller.publisher.report_troubles(troubles)
        self.standing.beat(now=True)

    def _store_state(self, event: StoreState) -> None:
        self.facts.store_up = event.ready
        applied = f"; what is applied is of revision {self.intake.revision}" if self.intake.revision else ""
        self.sources.supervisor.note("store", event.error and f"{event.error}{applied}")
        if event.ready:
            log.info("the store is followed")
        elif self.settings.once and not self._is_known():
            raise StoreError(event.error)

    def _reconcile(self, now: float) -> None:
        started = time.perf_counter()
        reconciler = self.reconciler
        news = reconciler.run(now)
        seconds = time.perf_counter() - started
        self.teller.passed(reconciler, news, seconds, whole=not self.intake.awaited)
        if news:
            self.facts.passes += 1
            self.facts.pass_seconds += seconds
            log.debug("looked at %d interfaces in %.1f ms", len(news), seconds * 1e3)

    def _end(self) -> None:
        notify("STOPPING=1")
        self.sources.supervisor.end()
        log.info("the agent stops; links stay as they are")
        if self.settings.once:
            return  # what is left only listens
        if self.teller.publisher:
            self.teller.publisher.close(STOP_TIMEOUT)
        self.sources.stop(STOP_TIMEOUT)
