"""What one pass of the reconciler has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from vppctl.linux.namespaces import Netns
from vppctl.reconcile.drift import Drift
from vppctl.reconcile.operations import Failure
from vppctl.reconcile.plan import Policy
from vppctl.reconcile.state import Condition, NetnsId, PairId, Reason, State


@dataclass(slots=True)
class Pass:
    """What one pass has found so far."""

    scope: set[PairId]
    policy: Policy
    conditions: dict[str, Condition] = field(default_factory=dict)
    failures: dict[PairId, Failure] = field(default_factory=dict)
    spaces: dict[NetnsId, Netns] = field(default_factory=dict)
    done: dict[PairId, list[str]] = field(default_factory=dict)
    retried: frozenset[PairId] = frozenset()
    """Those whose addresses that were duplicates were removed and added."""
    drift: dict[PairId, list[Drift]] = field(default_factory=dict)
    """What others have changed of pairs of which nothing else is asked than before."""
    waiting: set[PairId] = field(default_factory=set)
    """Those that are not as configured, and are let be for now."""
    unsettled: set[PairId] = field(default_factory=set)
    """Those that did not stay as configured for as long as the pass took."""
    blind: set[PairId] = field(default_factory=set)
    """Those of `failures` of which nothing is known: a namespace of theirs could not be looked at."""


def as_failed(condition: Condition, reason: Reason, message: str, *, anyway: bool = False) -> Condition:
    """The condition of what the kernel has refused or others have changed, unless a better reason is known."""
    if condition.reason is not Reason.NONE and not anyway:
        return condition
    return condition._replace(state=State.FAILED, reason=reason, message=message)
