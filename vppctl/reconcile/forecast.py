"""What a start of the agent would do, object by object: a plan of the first pass, for people and scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.drift import Drift, kernel_drift, vpp_drift
from vppctl.reconcile.operations import End
from vppctl.reconcile.plan import Plan
from vppctl.reconcile.state import Condition, Link, NetnsId, ObservedState, Reason, State
from vppctl.reconcile.vpp import ChangeInVpp, CreateInVpp, DeleteInVpp, VppCondition, VppPlan

IN_VPP = "VPP"
"""What stands in the place of a namespace for interfaces of VPP."""


class Action(StrEnum):
    """What would be done, in the order in which it is shown: first what others may miss."""

    TAKE_OVER = "takeover"
    DELETE = "delete"
    RECREATE = "recreate"
    CREATE_NAMESPACE = "create-namespace"
    CREATE = "create"
    ADOPT = "adopt"
    LEAVE = "leave"
    """Nothing, for something is wrong."""
    WAIT = "wait"
    """Nothing yet."""


ORDER = {action: number for number, action in enumerate(Action)}


class Step(NamedTuple):
    """What would be done about one end of a pair, a link without configuration, a namespace or an interface of VPP."""

    action: Action
    name: str
    """Of the interface; empty for a namespace."""
    link: str
    """The kernel's name, or VPP's."""
    namespace: str
    detail: str
    differs: bool = True
    """Whether what is there is not what is configured: such as `check` reports."""


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Each step once, in the order of its action, then by name."""
    return sorted(set(steps), key=lambda step: (ORDER[step.action], *step[1:]))


def differences(desired: DesiredState, observed: ObservedState, adopting: Plan) -> dict[str, list[Drift]]:
    """What an adopting start would change of each end of the pairs that are there, by interface; marks apart."""
    found: dict[str, list[Drift]] = {name: [] for pair in adopting.kept for name in pair}
    for drift in kernel_drift(desired, observed, adopting):
        if drift.name in found and drift.attribute not in ("alias", "group", "state"):
            found[drift.name].append(drift)
    return found


class Forecast:
    """Reads plans of the start, each with what was observed for it."""

    def __init__(
        self, desired: DesiredState, standing: Mapping[str, list[Drift]], namespaces: Mapping[NetnsId, str]
    ) -> None:
        """`standing` is what `differences` gives; `namespaces` has the names of those with links."""
        self._desired, self._standing, self._namespaces = desired, standing, namespaces

    def steps(self, observed: ObservedState, plan: Plan) -> Iterator[Step]:
        """What this plan would do."""
        for awaited in plan.namespaces:
            yield Step(Action.CREATE_NAMESPACE, "", "", awaited.name, "")
        owned: dict[str, list[Link]] = {}
        for link in _going(observed, plan):
            owned.setdefault(self._desired.owner(link), []).append(link)
        created = {name for create in plan.creates for name in create.pair}
        for name, links in owned.items():
            if name not in created:
                yield from (self._deleted(name, link, plan) for link in links)
        for create in plan.creates:
            for name, end in zip(create.pair, (create.first, create.second), strict=True):
                yield self._created(name, end, owned.get(name, ()), taken=create.pair in plan.takeovers)
        for pair, ends in plan.kept.items():
            for name, link in zip(pair, ends, strict=True):
                yield self._kept(name, link, plan.conditions[name], taken=pair in plan.takeovers)
        shown = {name for pair in plan.kept for name in pair} | owned.keys()
        for name, condition in plan.conditions.items():
            if name not in shown and condition.reason is not Reason.NONE:
                interface = self._desired.interface(name)
                yield _nothing(condition, interface.kernel_name if interface else "", self._place(name))

    def _deleted(self, name: str, link: Link, plan: Plan) -> Step:
        condition = plan.conditions.get(name)
        detail = "not configured"
        if condition:
            detail = "another link is in its place" if condition.reason is Reason.NONE else _why(condition)
        return Step(Action.DELETE, name, link.name, self._where(link.netns), detail)

    def _created(self, name: str, end: End, before: Sequence[Link], *, taken: bool) -> Step:
        changes = self._changes(name)
        if taken:
            detail = ["without marks: is deleted and created again", *changes]
            return Step(Action.TAKE_OVER, name, end.name, self._place(name), "; ".join(detail))
        if not before:
            return Step(Action.CREATE, name, end.name, self._place(name), "")
        moved = [link for link in before if (link.netns, link.name) != (end.netns, end.name)]
        changes += [f"is {link.name!r} in namespace {self._where(link.netns)}" for link in moved]
        whole = name in self._standing
        detail = changes or ["as configured" if whole else "its pair is not as configured"]
        return Step(
            Action.RECREATE, name, end.name, self._place(name), "; ".join(detail), differs=bool(changes) or not whole
        )

    def _kept(self, name: str, link: Link, condition: Condition, *, taken: bool) -> Step:
        changes = self._changes(name)
        if condition.state is State.FAILED:
            changes.append(f"{condition.reason}: {condition.message}")
        if taken:
            detail = ["without marks: is kept and marked", *changes]
            return Step(Action.TAKE_OVER, name, link.name, self._place(name), "; ".join(detail))
        detail = changes or ["as configured"]
        return Step(Action.ADOPT, name, link.name, self._place(name), "; ".join(detail), differs=bool(changes))

    def _changes(self, name: str) -> list[str]:
        return [_in_words(drift) for drift in self._standing.get(name, ())]

    def _place(self, name: str) -> str:
        """The namespace that an interface is configured in."""
        interface = self._desired.interface(name)
        return str(interface.namespace) if interface else ""

    def _where(self, netns: NetnsId) -> str:
        """The namespace that a link is in."""
        return self._namespaces.get(netns, f"net:[{netns.ino}]")


def _going(observed: ObservedState, plan: Plan) -> Iterator[Link]:
    """The links that are deleted, and their other ends."""
    links = {(link.netns, link.index): link for link in observed.links.values()}
    shown: set[tuple[NetnsId, int]] = set()
    for operation in plan.deletes:
        for to_delete in operation.links:
            link = links[operation.netns, to_delete.index]
            peer = links.get((link.peer_netns, link.peer_index)) if link.peer_netns else None
            for one in (link, peer) if peer and peer.is_tied_to(link) else (link,):
                if (key := (one.netns, one.index)) not in shown:
                    shown.add(key)
                    yield one


def _in_words(drift: Drift) -> str:
    return f"{drift.attribute} {drift.found or 'none'} becomes {drift.configured or 'none'}"


def _nothing(condition: Condition | VppCondition, link: str, where: str) -> Step:
    """Why nothing would be done about an interface."""
    waits = condition.state is State.PENDING
    return Step(Action.WAIT if waits else Action.LEAVE, condition.name, link, where, _why(condition), differs=not waits)


def _why(condition: Condition | VppCondition) -> str:
    return f"{condition.state} {condition.reason}: {condition.message}"


def vpp_steps(plan: VppPlan) -> Iterator[Step]:
    """What the first plan for VPP would do."""
    changed = {o.name: o for o in plan.operations if isinstance(o, ChangeInVpp)}
    created = {o.interface.name for o in plan.operations if isinstance(o, CreateInVpp)}
    deleted = {o.name: o.link for o in plan.operations if isinstance(o, DeleteInVpp)}
    for name, link in deleted.items():
        if name not in created:
            why = _why(plan.conditions[name]) if name in plan.conditions else "not configured"
            yield Step(Action.DELETE, name, link.internal_name, IN_VPP, why)
    for name in created:
        action, link_name = Action.CREATE, ""
        if name in deleted:
            action, link_name = Action.RECREATE, deleted[name].internal_name
        yield Step(action, name, link_name, IN_VPP, "")
    drift: dict[str, list[str]] = {}
    for found in vpp_drift(plan):
        drift.setdefault(found.name, []).append(_in_words(found))
    for name, condition in plan.conditions.items():
        if condition.reason is not Reason.NONE:
            if name not in deleted:
                yield _nothing(condition, "", IN_VPP)
        elif condition.link and name not in created:
            ours = name not in changed or changed[name].tag is None
            changes = drift.get(name, [])
            detail = changes or ["as configured" if ours else "without a tag: is kept and tagged"]
            action = Action.ADOPT if ours else Action.TAKE_OVER
            yield Step(
                action, name, condition.link.internal_name, IN_VPP, "; ".join(detail), differs=bool(changes) or not ours
            )
