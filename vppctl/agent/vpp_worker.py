"""VPP's thread: makes VPP's interfaces follow the configuration and their host interfaces.

A thread of its own, for VPP may hang: nothing that it does or does not do delays the kernel's side. Level-triggered,
as the reconciler is: whatever wakes it, it looks at everything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from vppctl.errors import cause
from vppctl.linux.hosts import Host, find_hosts, set_mac
from vppctl.model.interface import VppInterface
from vppctl.reconcile.contention import Contention, in_words
from vppctl.reconcile.drift import Drift, vpp_drift
from vppctl.reconcile.state import Reason, State
from vppctl.reconcile.vpp import (
    ChangeInVpp,
    CreateInVpp,
    VppCondition,
    VppConfigured,
    VppMarks,
    VppOperation,
    host_names,
    plan_vpp,
)
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError

log = logging.getLogger("vppctl.agent.vpp")

ROUNDS = 4
"""Plans made in one pass: deletions, creations, changes, verification."""
AUDIT = 5.0
"""Seconds between full looks: VPP tells of few of its changes, and not that it hangs."""
PATIENCE = 0.5
"""Seconds that VPP's end may go unnoticed."""
GAP = 0.1
"""Seconds between looks that events of VPP or of links bring about."""
BACKOFF_FIRST, BACKOFF_LAST = 0.5, 10.0
"""Seconds between attempts to reach VPP, or to do what it refused."""


class VppNews(NamedTuple):
    """What is said about VPP's interfaces from now on; None for one that is no more."""

    conditions: dict[str, VppCondition | None]
    retries: dict[str, int]


class VppWorker:
    """Follows one VPP. `configure`, `wake` and `stop` may be called from any thread."""

    def __init__(
        self,
        label: str,
        path: str | None,
        deliver: Callable[[VppNews], None],
        on_trouble: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """`on_trouble` hears why VPP cannot be asked; an empty text: it can, or nothing is wanted of it."""
        self._on_trouble = on_trouble
        self._marks, self._path, self._deliver = VppMarks(label), path or DEFAULT_SOCKET, deliver
        self._explicit = path is not None
        self._known = False
        self._desired: dict[str, VppConfigured] = {}
        self._told: dict[str, VppCondition] = {}
        self._retries: dict[str, int] = {}
        self._vpp: Vpp | None = None
        self._trouble = ""
        self._failures = 0
        self._contention: Contention[str] = Contention()
        self._asked: dict[str, tuple[VppConfigured, int]] = {}
        self._changed = False
        self._wake = threading.Event()
        self._stop = False

    def configure(self, desired: Mapping[str, VppConfigured]) -> None:
        """From now on the configuration is this, all of it; before the first call nothing is touched."""
        self._desired, self._known, self._changed = dict(desired), True, True
        self._wake.set()

    def wake(self) -> None:
        """Look at everything soon."""
        self._wake.set()

    def stop(self) -> None:
        """End `run`; VPP's interfaces stay."""
        self._stop = True
        self._wake.set()

    def run(self) -> None:
        """Follow until stopped; the body of a thread."""
        try:
            self._follow()
        except Exception as error:
            self._lose(f"VPP is not followed: {cause(error)}")
            desired = self._desired
            self._tell({name: self._unavailable(configured) for name, configured in desired.items()}, desired)
            raise
        if self._vpp:
            self._vpp.close()

    def _follow(self) -> None:
        due = earliest = 0.0
        while not self._stop:
            woken = self._wake.wait(min(PATIENCE, max(0.0, due - time.monotonic())) if self._wanted() else None)
            self._wake.clear()
            if woken and not self._changed:
                # Events may come without end; a configuration does not wait.
                due = min(due, earliest)
            lost = self._vpp is not None and not self._vpp.alive
            if self._wanted() and (self._changed or lost or time.monotonic() >= due):
                self._changed = False
                due = time.monotonic() + self.look()
                earliest = time.monotonic() + GAP
            if not self._wanted():
                self._on_trouble("")

    def look(self) -> float:
        """One pass over everything; returns the seconds until the next."""
        desired = self._desired
        if self._vpp is not None and not self._vpp.alive:
            self._lose("VPP has gone away")
        try:
            if self._vpp is None:
                self._vpp = Vpp(self._path, self.wake)
                log.info("connected to VPP %s at %s", self._vpp.version, self._path)
                self._trouble = ""
                self._on_trouble("")
            failed = self._converge(self._vpp, desired)
        except VppAwayError as error:
            self._lose(str(error))
            self._tell({name: self._unavailable(configured) for name, configured in desired.items()}, desired)
            failed = True
        self._failures = self._failures + 1 if failed else 0
        if failed:
            return min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(self._failures - 1, 10))
        now = time.monotonic()
        contests = [contest for name in desired if (contest := self._contention.contest(name))]
        return min([AUDIT, *(contest.next_look(now) - now for contest in contests)])

    def _wanted(self) -> bool:
        return self._known and bool(self._explicit or self._desired or self._told or self._vpp)

    def _lose(self, why: str) -> None:
        self._trouble = why
        self._on_trouble(why)
        # What a new VPP does not have is nobody's doing.
        self._asked.clear()
        if self._vpp is not None:
            self._vpp.close()
            self._vpp = None

    def _unavailable(self, configured: VppConfigured) -> VppCondition:
        interface = configured.content
        if not isinstance(interface, VppInterface):
            text = str(interface)
            return VppCondition(configured.name, State.INVALID, Reason.INVALID_CONFIG, text, configured.revision)
        return VppCondition(
            configured.name, State.PENDING, Reason.VPP_UNAVAILABLE, self._trouble, configured.revision, interface
        )

    def _converge(self, vpp: Vpp, desired: dict[str, VppConfigured]) -> bool:
        """Plan and do until nothing is left to do; True when something was refused."""
        refused: dict[str, str] = {}
        drift: dict[str, list[Drift]] = {}
        now = time.monotonic()
        hosts = find_hosts(host_names(desired))
        known = self._ask(desired, hosts)
        paused = {name for name in known if (c := self._contention.contest(name)) and now < c.until}
        left: list[VppOperation] = []
        for _ in range(ROUNDS):
            hosts = find_hosts(host_names(desired))
            indexes = {name: host.index for name, host in hosts.items()}
            plan = plan_vpp(self._marks, desired, vpp.observe(), indexes)
            for difference in vpp_drift(plan):
                if difference.name in known and difference.attribute != "state":
                    drift.setdefault(difference.name, []).append(difference)
            left = [operation for operation in plan.operations if _name(operation) not in refused]
            operations = [operation for operation in left if _name(operation) not in paused]
            if not operations:
                break
            for operation in operations:
                if problem := vpp.execute(operation):
                    refused[_name(operation)] = problem
                    log.warning("%s: %s", _name(operation), problem)
                elif isinstance(operation, ChangeInVpp) and operation.mac and operation.link.host_if_name in hosts:
                    # VPP sets the address on the host interface, too, which is not VPP's to change.
                    name = operation.link.host_if_name
                    set_mac(name, hosts[name])
        conditions = plan.conditions
        unsettled = {_name(operation) for operation in left} - paused
        for name in desired:
            self._contend(name, drift.get(name, ()), now, paused=name in paused, unsettled=name in unsettled)
            said = refused.get(name) or str(self._contention.contest(name) or "")
            if name in conditions and (name in refused or (said and conditions[name].reason is Reason.NONE)):
                conditions[name] = conditions[name]._replace(
                    state=State.FAILED, reason=Reason.KERNEL_ERROR, message=said
                )
        self._tell(conditions, desired)
        return bool(refused)

    def _ask(self, desired: Mapping[str, VppConfigured], hosts: Mapping[str, Host]) -> set[str]:
        """Note what is asked for now; the names of which the same was asked before."""
        asked = {name: _asked(configured, hosts) for name, configured in desired.items()}
        known = {name for name in asked if self._asked.get(name) == asked[name]}
        for name in self._asked.keys() - known:
            self._contention.forget(name)
        self._asked = asked
        return known

    def _contend(self, name: str, drift: Sequence[Drift], now: float, *, paused: bool, unsettled: bool) -> None:
        """Take account of what others have changed of this one."""
        if drift and paused:
            self._contention.seen(name, in_words(drift))
        elif drift or unsettled:
            self._contention.repaired(name, now, in_words(drift), unsettled=unsettled)
        else:
            self._contention.held(name, now)

    def _tell(self, conditions: dict[str, VppCondition], desired: Mapping[str, VppConfigured]) -> None:
        news: dict[str, VppCondition | None] = {
            name: condition for name, condition in conditions.items() if self._told.get(name) != condition
        }
        news.update(dict.fromkeys(self._told.keys() - desired.keys()))
        for name, condition in conditions.items():
            self._retries[name] = self._retries.get(name, 0) + 1 if condition.state is State.FAILED else 0
        for name in self._retries.keys() - desired.keys():
            del self._retries[name]
        self._told = conditions
        if news:
            self._deliver(VppNews(news, dict(self._retries)))


def _name(operation: VppOperation) -> str:
    return operation.interface.name if isinstance(operation, CreateInVpp) else operation.name


def _asked(configured: VppConfigured, hosts: Mapping[str, Host]) -> tuple[VppConfigured, int]:
    """All that is asked of an interface: its document, and which host interface it is to be attached to."""
    interface = configured.content
    host = hosts.get(interface.host_if_name) if isinstance(interface, VppInterface) else None
    return configured, host.index if host else 0
