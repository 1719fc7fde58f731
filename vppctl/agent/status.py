"""Publishes conditions: JSON under a lease, so that they vanish when the agent does.

A thread of its own with a store of its own: a store that is away delays nobody, and of several news about one
interface the newest wins. Excluded: what the conditions are, which the reconciler decides.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from vppctl.errors import StoreError, TooLargeError
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import agent_key
from vppctl.reconcile.state import Condition, Link, State, Statistics
from vppctl.reconcile.vpp import VppCondition, VppLink
from vppctl.store.base import Delete, Lease, Operation, Put, Store

log = logging.getLogger("vppctl.agent.status")

LEASE_TTL = 15
"""Seconds after the agent's death until its states vanish."""
REFRESH = 5.0
"""Seconds between refreshes of the lease, at most: two may fail. By chance up to a fifth less, so that agents that were
started together do not all refresh at once."""
BACKOFF_LAST = 5.0
"""Seconds between attempts while the store is away, at most."""
TOLD = 50
"""Changes of one pass that are logged one by one."""
BATCH = 100
"""Operations in one transaction; etcd takes 128."""
BATCH_OCTETS = 1 << 20
"""Of one transaction; etcd takes 1.5 MiB (--max-request-bytes)."""

Report = dict[str, Any]


def report(condition: Condition, interface: Interface | None, retries: int, place: Report) -> Report:
    """The published form of a condition (part 2 of the contract), but for its time; `place` is the resolver's part."""
    link: Link | None = condition.link
    statistics = (link.statistics if link else None) or Statistics()
    return {
        **_said(condition),
        "host_if_name": interface.kernel_name if interface else "",
        "namespace": str(interface.namespace) if interface else "",
        **place,
        "peer": interface.peer if interface else "",
        "if_index": link.index if link else 0,
        **_seen(link, interface),
        **({"tentative": list(link.tentative)} if link and link.tentative else {}),
        "config_revision": condition.revision,
        "retries": retries,
        "statistics": statistics._asdict(),
    }


def vpp_report(condition: VppCondition, retries: int) -> Report:
    """The same of an interface in VPP; `if_index` is VPP's sw_if_index, `peer` what it is attached to."""
    interface, link = condition.interface, condition.link
    memif = interface.memif if interface else None
    return {
        **_said(condition),
        "type": interface.type.name if interface else "",
        "internal_name": link.internal_name if link else "",
        "host_if_name": interface.host_if_name if interface else "",
        "namespace": "vpp",
        "peer": (memif.socket_filename if memif else interface.host_if_name) if interface else "",
        "if_index": link.sw_if_index if link else 0,
        **_seen(link, interface),
        "config_revision": condition.revision,
        "retries": retries,
        "statistics": dict.fromkeys(Statistics._fields, 0),
    }


def _said(condition: Condition | VppCondition) -> Report:
    return {
        "name": condition.name,
        "state": str(condition.state),
        "reason": str(condition.reason),
        "message": condition.message,
    }


def _seen(link: Link | VppLink | None, interface: Interface | VppInterface | None) -> Report:
    """What was read back; of what is not there, what is configured."""
    if link:
        status = {"admin_status": "UP" if link.up else "DOWN", "oper_status": "UP" if link.running else "DOWN"}
        return {**status, "phys_address": link.mac, "mtu": link.mtu, "ip_addresses": list(link.addresses)}
    return {
        "admin_status": "",
        "oper_status": "",
        "phys_address": interface.phys_address if interface else "",
        "mtu": interface.mtu if interface else 0,
        "ip_addresses": list(interface.ip_addresses if interface else ()),
    }


@dataclass(slots=True)
class Reports:
    """The newest report of every interface; `last_change` moves only when state or reason do."""

    current: dict[str, Report] = field(default_factory=dict)
    """By status key."""
    moved: list[Condition | VppCondition] = field(default_factory=list)

    def update(self, key: str, condition: Condition | VppCondition, report: Report) -> Report:
        """Take over what is said about an interface; returns it with the time of its last change, RFC 3339."""
        before = self.current.get(key)
        same = before and (before["state"], before["reason"]) == (condition.state, condition.reason)
        report["last_change"] = before["last_change"] if before and same else rfc3339()
        self.current[key] = report
        if not same:
            self.moved.append(condition)
        return report

    def tell(self) -> None:
        """Log what has moved since the last time, one by one as long as that can be read."""
        if len(self.moved) > TOLD:
            states = Counter(str(condition.state) for condition in self.moved)
            log.info("%d interfaces: %s", len(self.moved), ", ".join(f"{n} {state}" for state, n in states.items()))
        for condition in self.moved:
            if len(self.moved) <= TOLD or condition.state not in (State.APPLIED, State.PENDING):
                _tell(condition)
        self.moved.clear()


def _tell(condition: Condition | VppCondition) -> None:
    level = logging.INFO if condition.state in (State.APPLIED, State.PENDING) else logging.WARNING
    detail = f" {condition.reason}: {condition.message}" if condition.reason else ""
    log.log(level, "%.255s %s%s", condition.name, condition.state, detail)


def rfc3339(seconds: float | None = None, precision: str = "milliseconds") -> str:
    """A Unix time, by default now, as RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _fitting(news: Mapping[str, Report | None], operations: int) -> dict[str, bytes | None]:
    """The first values that go into one transaction of so many operations, beside the heartbeat; at least one."""
    size = 0
    found: dict[str, bytes | None] = {}
    for key, content in islice(news.items(), max(1, operations - 1)):
        value = None if content is None else _encode(content)
        size += len(key.encode(errors="surrogateescape")) + len(value or b"")
        if found and size > BATCH_OCTETS:
            break
        found[key] = value
    return found


class Publisher:
    """Keeps the store's view of this agent up to date until it is closed."""

    def __init__(self, open_store: Callable[[], Store], label: str, version: str, on_death: Callable[[], None]) -> None:
        """`on_death` is called when the thread ends by an error of ours."""
        self._open, self._label, self._version, self._on_death = open_store, label, version, on_death
        self._known: dict[str, Report] = {}
        self._news: dict[str, Report | None] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._started = self._changed = int(time.time())
        self._room = BATCH
        """Operations that a transaction of this store takes (etcd's --max-txn-ops)."""
        self._due = 0.0
        """When the lease is to be refreshed (time.monotonic)."""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def offer(self, key: str, content: Report | None) -> None:
        """Publish this report, which nobody changes any more, under its key; with None that there is none any more."""
        with self._wake:
            if content is None or key in self._news or self._known.get(key) != content:
                self._news[key] = content
                self._changed = int(time.time())
                self._wake.notify()

    def close(self, timeout: float) -> None:
        """Withdraw everything and stop; gives up after `timeout` seconds, for the lease ends by itself."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._follow()
        except Exception:
            # An agent that says nothing any more is to be started again.
            log.exception("the publisher has died")
            self._on_death()

    def _follow(self) -> None:
        failures = 0
        while not self._closing:
            try:
                self._publish()
            except StoreError as error:
                failures += 1
                if failures == 1:
                    log.warning("cannot publish states: %s", error)
                self._pause(min(BACKOFF_LAST, 0.2 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.5))
            else:
                failures = 0

    def _publish(self) -> None:
        """Publish under one lease until it is lost, the store fails, or the agent stops."""
        store = self._open()
        try:
            lease = store.lease(LEASE_TTL)
            with self._wake:
                self._news = {**self._known, **self._news}
                self._known = {}
            self._due = _next_refresh()
            held = self._commit(store, lease, alive=True)
            while held and not self._closing:
                self._pause(self._due - time.monotonic(), until_news=True)
                held = self._commit(store, lease)
            if held:
                lease.revoke()
        finally:
            store.close()

    def _pause(self, seconds: float, *, until_news: bool = False) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._closing or (until_news and bool(self._news)), max(0.0, seconds))

    def _commit(self, store: Store, lease: Lease, *, alive: bool = False) -> bool:
        """Publish the news; False when the lease was lost meanwhile."""
        while True:
            # Between transactions too: ten thousand reports may take longer than the lease lasts.
            if time.monotonic() >= self._due:
                if not lease.refresh():
                    return False
                self._due = _next_refresh()
            with self._wake:
                values = _fitting(self._news, self._room)
                batch = {key: self._news.pop(key) for key in values}
            if not batch and not alive:
                return True
            operations: list[Operation] = [
                Delete(key) if value is None else Put(key, value, lease.id) for key, value in values.items()
            ]
            operations.append(Put(agent_key(self._label), self._life_sign(), lease.id))
            alive = False
            try:
                store.commit(operations)
            except StoreError as error:
                with self._wake:
                    self._news = {**batch, **self._news}
                if not isinstance(error, TooLargeError) or len(batch) < 2:
                    raise
                self._room = len(operations) // 2
                continue
            for key, content in batch.items():
                if content is None:
                    self._known.pop(key, None)
                else:
                    self._known[key] = content

    def _life_sign(self) -> bytes:
        """As ligato's agents write it (status.proto): state 1 is OK, times are Unix seconds."""
        return _encode(
            {
                "build_version": self._version,
                "state": 1,
                "start_time": self._started,
                "last_change": self._changed,
                "last_update": int(time.time()),
            }
        )


def _next_refresh() -> float:
    return time.monotonic() + REFRESH * random.uniform(0.8, 1.0)


def _encode(content: Report) -> bytes:
    # Octets of a key or of the kernel's that are no UTF-8 are question marks here.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
