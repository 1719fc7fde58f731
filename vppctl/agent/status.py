"""Reports: the published form of conditions. Excluded: what the conditions are, which the reconciler decides."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vppctl.model.interface import Interface, VppInterface
from vppctl.reconcile.state import Condition, Link, State, Statistics
from vppctl.reconcile.vpp import VppCondition, VppLink

log = logging.getLogger("vppctl.agent.status")

TOLD = 50
"""Changes of one pass that are logged one by one."""

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
