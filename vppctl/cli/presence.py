"""Whether an agent runs, as far as that is known: from its heartbeat in the store, and its lock on this host."""

from __future__ import annotations

import os
from typing import NamedTuple

from vppctl.store.base import Store


class Absence(NamedTuple):
    """What stands for the reports of an agent without a heartbeat."""

    reason: str
    message: str


def absence(store: Store, label: str) -> Absence:
    """Why there is no heartbeat. That no agent is running is only one of the reasons, and not always known."""
    from vppctl.agent.lock import has_own_run, pulse

    here = pulse(label)
    if here is None and has_own_run(label):
        here = ""
    trouble = store.trouble()
    why = f": {trouble}" if trouble else ""
    if here is not None and not here.startswith("no agent"):
        if here:
            return Absence("NoHeartbeat", f"{here}{why}")
        text = f"the agent of label {label} runs on this host, but has no heartbeat in {store.description}"
        return Absence("NoHeartbeat", f"{text}{why or f'; {hindrance(label) or _ELSEWHERE}'}")
    if store.is_local and os.geteuid() == 0:
        # It could only be on this host, and would hold the lock.
        return Absence("AgentNotRunning", f"no agent of label {label} is running on this host")
    return no_heartbeat(label, f"{store.description}{why}")


def hindrance(label: str) -> str:
    """What keeps the agent of this label on this host from hearing or reporting, in its own words; empty: nothing."""
    from vppctl.agent.lock import pulse, troubles

    found = troubles(label) if pulse(label) == "" else ""
    return f"on this host it reports: {found}" if "publisher: " in found or "store" in found else ""


_ELSEWHERE = "it may have another --store, or be stopped (SIGSTOP)"


def no_heartbeat(label: str, where: str) -> Absence:
    """All that is known is what is in the store."""
    return Absence("NoHeartbeat", f"no agent of label {label} has a heartbeat in {where}")
