"""In what the kernel differs from the configuration, attribute by attribute: a plan read as a finding. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.operations import AddAddress, DelAddress, SetChecksum, SetLink
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.plan import Plan
from vppctl.reconcile.state import Link, NetnsId, ObservedState, PairId, State
from vppctl.reconcile.vpp import ChangeInVpp, CreateInVpp, VppPlan

ELSEWHERE = " in another namespace"
"""What stands behind the name of a link that is."""


class Drift(NamedTuple):
    """One difference; empty strings stand for what is not there."""

    name: str
    attribute: str
    configured: str
    found: str


def kernel_drift(desired: DesiredState, observed: ObservedState, plan: Plan) -> Iterator[Drift]:
    """The differences of the interfaces that this plan is about."""
    links = {(link.netns, link.index): link for link in observed.links.values()}
    for awaited in plan.namespaces:
        for pair in awaited.pairs:
            yield from (Drift(name, "namespace", awaited.name, "") for name in desired.members(pair))
    created = {name for create in plan.creates for name in create.pair}
    yield from _missing(desired, observed, created)
    for delete in plan.deletes:
        for to_delete in delete.links:
            link = links[delete.netns, to_delete.index]
            name = desired.owner(link)
            if name not in created:
                yield Drift(name, "link", "", link.name)
    for setting in plan.settings:
        yield from _setting(desired, links, setting)
    for condition in plan.conditions.values():
        if condition.state in (State.FAILED, State.INVALID):
            yield Drift(condition.name, "state", "", f"{condition.reason}: {condition.message}")


def drift_of(
    pairs: set[PairId], desired: DesiredState, observed: ObservedState, plan: Plan
) -> dict[PairId, list[Drift]]:
    """What others have changed of these pairs, when this plan is about documents that it has met before."""
    found: dict[PairId, list[Drift]] = {}
    for drift in kernel_drift(desired, observed, plan):
        pair = desired.pair_of(drift.name)
        # A link of ours that is in nobody's place says nothing about the pair that it was made for.
        if pair in pairs and drift.attribute != "state" and (drift.configured or drift.attribute != "link"):
            found.setdefault(pair, []).append(drift)
    return found


def vpp_drift(plan: VppPlan) -> Iterator[Drift]:
    """The same for VPP."""
    for operation in plan.operations:
        if isinstance(operation, CreateInVpp):
            yield Drift(operation.interface.name, "interface", operation.interface.type.name, "")
        elif isinstance(operation, ChangeInVpp):
            link = operation.link
            for attribute, now in (("up", link.up), ("mac", link.mac), ("mtu", link.mtu)):
                if (value := getattr(operation, attribute)) is not None:
                    yield Drift(operation.name, attribute, str(value), str(now))
            yield from (Drift(operation.name, "ip_addresses", address, "") for address in operation.add)
            yield from (Drift(operation.name, "ip_addresses", "", address) for address in operation.remove)
        else:
            yield Drift(operation.name, "interface", "", operation.link.internal_name)
    for condition in plan.conditions.values():
        if condition.state in (State.FAILED, State.INVALID):
            yield Drift(condition.name, "state", "", f"{condition.reason}: {condition.message}")


def _missing(desired: DesiredState, observed: ObservedState, created: set[str]) -> Iterator[Drift]:
    """The links that are to be created, and where they are instead."""
    if not created:
        return
    ours = owned(desired, observed.links.values())
    there = {desired.owner(link): link for link in observed.links.values() if link.key in ours}
    found = {name: _elsewhere(desired, name, there.get(name)) for name in sorted(created)}
    # An end that is in its place goes with the other one, which is the difference; both in place are not tied.
    for name, what in found.items():
        if what is not None or all(other is None for other in found.values()):
            yield Drift(name, "link", _kernel_name(desired, name), what or "")


def _elsewhere(desired: DesiredState, name: str, link: Link | None) -> str | None:
    """Under which name a link is that is not in its place; empty when there is none, None when it is in its place."""
    interface = desired.interface(name)
    claim = desired.claim(interface) if interface else None
    if link is None or claim is None:
        return ""
    if link.netns != claim[0]:
        return f"{link.name}{ELSEWHERE}"
    return None if link.name == claim[1] else link.name


def _setting(
    desired: DesiredState,
    links: dict[tuple[NetnsId, int], Link],
    setting: SetLink | AddAddress | DelAddress | SetChecksum,
) -> Iterator[Drift]:
    link = links[setting.netns, setting.index]
    name = desired.owner(link)
    match setting:
        case AddAddress(address=address):
            # With other attributes it is there, and is removed first: one difference.
            found = next((other for other in link.addresses if other != address and plain(other) == address), "")
            yield Drift(name, "ip_addresses", address, found)
        case DelAddress(address=address):
            interface = desired.interface(name)
            if interface is None or plain(address) not in interface.ip_addresses or plain(address) in link.addresses:
                yield Drift(name, "ip_addresses", "", address)
        case SetChecksum(on=on):
            yield Drift(name, "tx_checksum", str(on), str(link.checksum))
        case SetLink():
            for attribute, value in setting.changes.items():
                yield Drift(name, attribute, str(value), str(getattr(link, attribute)))


def plain(address: str) -> str:
    """`address/prefix` of an address with whatever else it has."""
    host, *more = address.split()
    return f"{host}/{more[1].partition('/')[2]}" if more[:1] == ["peer"] else host


def _kernel_name(desired: DesiredState, name: str) -> str:
    interface = desired.interface(name)
    return interface.kernel_name if interface else name
