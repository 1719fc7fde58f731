"""What feeds the agent: threads and signals that put keys and batches into one inbox, and decide nothing."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NamedTuple

from vppctl.agent.counters import Counted
from vppctl.agent.supervisor import SourceChanged, Supervisor
from vppctl.agent.vpp_worker import VppNews, VppWorker
from vppctl.errors import shortage
from vppctl.linux.monitor import KernelEvent, LinkChanged, LinkMonitor, LinksChanged, NamespaceGone, Overrun
from vppctl.linux.nsids import NsidTable
from vppctl.linux.watcher import NamespacesChanged, NamespaceWatcher
from vppctl.microservices import Microservices, MicroservicesChanged
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.keys import Kind
from vppctl.reconcile.mirror import Batch, Mirror
from vppctl.store.base import AGENT
from vppctl.store.follow import follow
from vppctl.store.shared import SharedStore

DOCKER_PATIENCE = 2.0
"""Seconds that the first pass waits for Docker's first answer, so that what is there is not taken for gone."""


HEAR = 0.03
"""Seconds that the reconcile loop may read kernel events for; what comes so fast is not of its own making."""


class StoreState(NamedTuple):
    """The store can be followed, or not, and why."""

    ready: bool
    error: str


class Stop(NamedTuple):
    """Finish the batch in hand and end."""


class Resync(NamedTuple):
    """Compare everything."""


class Verbosity(NamedTuple):
    """Log more (-1) or less (1)."""

    step: int


class Configuration(NamedTuple):
    """What has changed in the store."""

    kind: Kind
    batch: Batch


Event = (
    Configuration
    | Counted
    | StoreState
    | VppNews
    | LinksChanged
    | NamespaceGone
    | Overrun
    | NamespacesChanged
    | MicroservicesChanged
    | Stop
    | Resync
    | SourceChanged
    | Verbosity
)


_SIGNALS: dict[signal.Signals, Stop | Resync | Verbosity] = {
    signal.SIGTERM: Stop(),
    signal.SIGINT: Stop(),
    signal.SIGHUP: Resync(),
    signal.SIGUSR1: Verbosity(-1),
    signal.SIGUSR2: Verbosity(1),
}


def hold_signals() -> None:
    """Signals that come before they are followed wait; by default they would end a process that counts as alive."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class Sources:
    """The inbox and those who fill it."""

    def __init__(self, microservices: Microservices, folders: Iterable[str] = ()) -> None:
        """`folders` are those in which files of namespaces may be, beside the usual ones."""
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.supervisor = Supervisor(lambda: self.inbox.put(SourceChanged()))
        self._microservices = microservices
        self._watcher = NamespaceWatcher(folders)
        self._stop = threading.Event()
        self._store: SharedStore | None = None
        self._followed: dict[Kind, StoreState] = {}
        self._store_state: StoreState | None = None
        """What was reported last of all kinds."""
        self._monitor: LinkMonitor | None = None
        self._changed: set[LinkChanged] = set()
        self._changing = threading.Lock()
        self._docker_since: float | None = None
        self._vpp: VppWorker | None = None

    def follow_store(self, shared: SharedStore, kind: Kind, prefix: str) -> None:
        """From now on changes of this kind of configuration arrive."""
        self._store = shared
        mirror = Mirror()

        def deliver(batch: Batch) -> None:
            self.inbox.put(Configuration(kind, batch))

        def state(ready: bool, error: str) -> None:
            self._report_store(kind, ready=ready, error=error)

        def body() -> None:
            while not self._stop.is_set():
                session = shared.take()
                try:
                    mirror.start_again()
                    follow(session.store, prefix, mirror, session.over, deliver, state, AGENT)
                except Exception:
                    # A connection that an error of ours has interrupted is not to be trusted.
                    shared.renew()
                    raise
                finally:
                    shared.give(session)

        self.supervisor.start(f"store-{kind}", body)

    def _report_store(self, kind: Kind, *, ready: bool, error: str) -> None:
        """Both kinds are in one store: once is enough, but one of them alone may be what cannot be followed."""
        with self._changing:
            self._followed[kind] = StoreState(ready, error)
            errors = [state.error for state in self._followed.values() if state.error]
            now = StoreState(not errors and Kind.LINUX in self._followed, errors[0] if errors else "")
            if now != self._store_state and any(now):
                self._store_state = now
                self.inbox.put(now)

    def renew(self) -> None:
        """Connect anew to the store and to Docker, with what is on the disk now: certificates and passwords change."""
        if self._store:
            self._store.renew()
        self._microservices.close()

    def follow_vpp(self, worker: VppWorker) -> None:
        """From now on VPP follows its configuration."""
        self._vpp = worker
        self.supervisor.start("vpp", worker.run)

    def follow_kernel(self, nsids: NsidTable) -> None:
        """From now on events of links and namespaces arrive."""

        def links() -> None:
            try:
                again = self._monitor is None
                self._monitor = monitor = self._monitor or LinkMonitor(nsids, self._hear)
                if again:
                    # Nobody has heard what happened meanwhile.
                    self.inbox.put(Overrun())
                monitor.run(self._stop)
            finally:
                self._monitor = None

        # Before the first look, so that nothing falls in between; where something has run out, the thread tries again.
        try:
            self._monitor = LinkMonitor(nsids, self._hear)
        except OSError as error:
            if not shortage(error):
                raise
        self.supervisor.start("kernel", links)
        self.supervisor.start("namespaces", lambda: self._watcher.run(self._stop, self.inbox.put))

    def changed_links(self) -> set[LinkChanged]:
        """What was read about links and nobody has taken yet."""
        with self._changing:
            changed, self._changed = self._changed, set()
        return changed

    def hear_links(self) -> set[LinkChanged]:
        """The same after a look at what the kernel has told by now."""
        if monitor := self._monitor:
            # One that fails is its own thread's to report, and its end is followed by a look at everything.
            until = time.monotonic() + HEAR
            with contextlib.suppress(OSError):
                while not monitor.flush() and time.monotonic() < until:
                    pass
        return self.changed_links()

    def _hear(self, event: KernelEvent) -> None:
        """Links are collected beside the inbox, where a pass can take them: of an event of theirs one is enough."""
        if isinstance(event, LinksChanged):
            with self._changing:
                news, self._changed = not self._changed, self._changed | event.links
            if news:
                self.inbox.put(LinksChanged(frozenset()))
        else:
            self.inbox.put(event)

    def follow_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP compares everything, SIGUSR1 logs more and SIGUSR2 less."""
        if threading.current_thread() is threading.main_thread():
            for number, event in _SIGNALS.items():
                signal.signal(number, self._on_signal(event))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def follow_references(self, references: Iterable[NamespaceRef]) -> None:
        """These references are of interest now; Docker is followed from the first microservice on."""
        references = list(references)
        self._watcher.follow(references)
        wanted = any(reference.type is NamespaceType.MICROSERVICE_REF_NS for reference in references)
        if wanted and self._docker_since is None:
            self._docker_since = time.monotonic()
            self.supervisor.start("docker", lambda: self._microservices.run(self._stop, self._hear_docker))
            if (trouble := self.supervisor.troubles().get("docker")) and not self._microservices.answered:
                self._microservices.trouble = f"Docker cannot be asked: {trouble.why.removeprefix('has failed: ')}"

    def _hear_docker(self, event: MicroservicesChanged) -> None:
        if event.labels is None:
            self.supervisor.note("docker", self._microservices.trouble)
        self.inbox.put(event)

    def docker_wait(self) -> float:
        """Seconds that Docker's first answer is still worth waiting for; 0 when it is there or not needed."""
        if self._docker_since is None or self._microservices.answered:
            return 0.0
        return max(0.0, self._docker_since + DOCKER_PATIENCE - time.monotonic())

    def stop(self, timeout: float) -> None:
        """End the threads; those that take longer than `timeout` seconds end with the process."""
        self._stop.set()
        if self._store:
            self._store.renew()
        self._microservices.close()
        if self._vpp:
            self._vpp.stop()
        self.supervisor.stop(timeout)

    def _on_signal(self, event: Stop | Resync | Verbosity) -> Callable[[int, FrameType | None], None]:
        def handle(_number: int, _frame: FrameType | None) -> None:
            # SimpleQueue.put is reentrant: safe in a signal handler.
            self.inbox.put(event)

        return handle
