"""In what the kernel differs from the configuration, attribute by attribute: a plan read as a finding. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.operations import AddAddress, DelAddress, SetChecksum, SetLink
from vppctl.reconcile.plan import Plan
from vppctl.reconcile.state import Link, NetnsId, ObservedState, State
from vppctl.reconcile.vpp import ChangeInVpp, CreateInVpp, VppPlan


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
    for name in sorted(created):
        yield Drift(name, "link", _kernel_name(desired, name), "")
    for delete in plan.deletes:
        for doomed in delete.links:
            link = links[delete.netns, doomed.index]
            name = desired.owner(link)
            if name not in created:
                yield Drift(name, "link", "", link.name)
    for setting in plan.settings:
        yield from _setting(desired, links, setting)
    for condition in plan.conditions.values():
        if condition.state in (State.FAILED, State.INVALID):
            yield Drift(condition.name, "state", "", f"{condition.reason}: {condition.message}")


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


def _setting(
    desired: DesiredState,
    links: dict[tuple[NetnsId, int], Link],
    setting: SetLink | AddAddress | DelAddress | SetChecksum,
) -> Iterator[Drift]:
    link = links[setting.netns, setting.index]
    name = desired.owner(link)
    match setting:
        case AddAddress(address=address):
            yield Drift(name, "ip_addresses", address, "")
        case DelAddress(address=address):
            yield Drift(name, "ip_addresses", "", address)
        case SetChecksum(on=on):
            yield Drift(name, "tx_checksum", str(on), str(link.checksum))
        case SetLink():
            for attribute, value in setting.changes.items():
                yield Drift(name, attribute, str(value), str(getattr(link, attribute)))


def _kernel_name(desired: DesiredState, name: str) -> str:
    interface = desired.interface(name)
    return interface.kernel_name if interface else name
