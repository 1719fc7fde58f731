"""What a pair waits for: the reasons, in the order in which they are told.

Looks at the desired state and the namespaces alone; what the kernel says comes later, in `plan.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from vppctl.model.interface import Interface
from vppctl.reconcile.desired import UNRESOLVED, DesiredState
from vppctl.reconcile.state import Condition, Creatable, Invalid, NetnsId, PairId, Reason, State, Unavailable


class Ready(NamedTuple):
    """Both sides are configured and point at each other, and both namespaces are there."""

    first: Interface
    second: Interface
    first_at: tuple[NetnsId, str]
    second_at: tuple[NetnsId, str]


class Awaiting(NamedTuple):
    """All is there but for named namespaces that may be created."""

    namespaces: tuple[str, ...]


class Blocked(NamedTuple):
    """The pair cannot exist at present, for the reasons in `conditions`."""

    conditions: dict[str, Condition]
    unknown: bool = False
    """What is waited for is a look at a namespace."""


def judge(desired: DesiredState, pair: PairId) -> Ready | Awaiting | Blocked:
    """Whether the pair may exist, and if not, what each configured member waits for."""
    first, second = desired.interface(pair.first), desired.interface(pair.second)
    if first is None or second is None or first.peer != second.name or second.peer != first.name:
        return Blocked({name: _alone(desired, name) for name in desired.members(pair)})
    members = (first.name, second.name)
    if desired.shares_mac(first):
        return Blocked({interface.name: _same_mac(desired, interface) for interface in (first, second)})
    places = (desired.place(first), desired.place(second))
    if not (isinstance(places[0], NetnsId) and isinstance(places[1], NetnsId)):
        blocked = [(i, p) for i, p in zip((first, second), places, strict=True) if isinstance(p, Unavailable)]
        if blocked:
            unknown = any(place is UNRESOLVED for _, place in blocked)
            return Blocked({name: _unavailable(desired, name, blocked) for name in members}, unknown)
        return Awaiting(tuple(dict.fromkeys(p.name for p in places if isinstance(p, Creatable))))
    first_at, second_at = (places[0], first.kernel_name), (places[1], second.kernel_name)
    if first_at == second_at:
        text = f"both sides want to be called {first.kernel_name!r} in namespace {first.namespace}; set host_if_name"
        return Blocked({n: condition(desired, n, State.FAILED, Reason.NAME_CONFLICT, text) for n in members})
    return Ready(first, second, first_at, second_at)


def condition(desired: DesiredState, name: str, state: State, reason: Reason, message: str) -> Condition:
    """A condition of this configured name, about the configuration as it is now."""
    return Condition(name, state, reason, message, desired.configured[name].revision)


def _alone(desired: DesiredState, name: str) -> Condition:
    """Why a name is no member of a complete pair."""
    content = desired.configured[name].content
    if isinstance(content, Invalid):
        return condition(desired, name, State.INVALID, Reason.INVALID_CONFIG, str(content))
    peer = content.peer
    if desired.is_invalid(peer):
        text = f"the configuration of peer {peer!r} has errors; the pair stays as it is until they are mended"
        return condition(desired, name, State.PENDING, Reason.PEER_INVALID, text)
    other = desired.interface(peer)
    if other is None:
        text = f"peer {peer!r} is not configured"
        return condition(desired, name, State.PENDING, Reason.PEER_NOT_CONFIGURED, text)
    text = f"peer {peer!r} names {other.peer!r} as its peer, not {name!r}"
    return condition(desired, name, State.PENDING, Reason.PEER_MISMATCH, text)


def _same_mac(desired: DesiredState, interface: Interface) -> Condition:
    """An error of two documents together: what is in the kernel stays, as with one that has errors by itself."""
    text = (
        f"phys_address: {desired.mac(interface)} is that of peer {interface.peer!r} too; write another for one of them"
    )
    return condition(desired, interface.name, State.INVALID, Reason.INVALID_CONFIG, text)


def _unavailable(desired: DesiredState, name: str, blocked: list[tuple[Interface, Unavailable]]) -> Condition:
    """The name's own namespace is told first, its peer's otherwise."""
    interface, place = next((b for b in blocked if b[0].name == name), blocked[0])
    text = place.message if interface.name == name else f"peer {interface.name!r}: {place.message}"
    return condition(desired, name, State.PENDING, place.reason, text)
