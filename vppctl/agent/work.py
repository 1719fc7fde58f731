"""What one pass of the reconciler has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from vppctl.linux.namespaces import Netns
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.drift import Drift
from vppctl.reconcile.operations import DeleteLinks, Failure, Operation, by_pair
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


def refused_to(desired: DesiredState, operation: Operation, failure: Failure) -> set[PairId]:
    """The pairs whose affair it is that this operation failed.

    That the kernel refuses to delete a link is not, where no interface is configured in its place.
    """
    if not (isinstance(operation, DeleteLinks) and failure.links):
        return set(by_pair(operation))
    left = [link for link in operation.links if link.index in failure.links]
    return {
        link.pair
        for link in left
        if link.pair and (failure.retriable or desired.claimants((operation.netns, link.name)))
    }


def as_failed(condition: Condition, reason: Reason, message: str, *, anyway: bool = False) -> Condition:
    """The condition of what the kernel has refused or others have changed, unless a better reason is known."""
    if condition.reason is not Reason.NONE and not anyway:
        return condition
    return condition._replace(state=State.FAILED, reason=reason, message=message)
