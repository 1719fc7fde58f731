"""The verbs of reconciliation: what the planner asks for and the executors do."""

from __future__ import annotations

from typing import Any, NamedTuple

from vppctl.errors import SHORTAGES
from vppctl.reconcile.state import NetnsId, PairId, Reason


class CreateNamespace(NamedTuple):
    """Make the named namespace, as `ip netns add` would."""

    name: str
    pairs: tuple[PairId, ...]


class End(NamedTuple):
    """One end of a VETH pair that is to be created, with everything that belongs on it."""

    netns: NetnsId
    name: str
    mac: str
    mtu: int
    up: bool
    group: int
    alias: str
    addresses: tuple[str, ...]
    checksum: bool = True
    """Whether TX checksums may be left to the link."""
    fresh: int = 0
    """The group that it is in until its alias is set; 0: `group` from the beginning."""


class CreateVeth(NamedTuple):
    """Make a pair with both ends in their namespaces, marked, addressed and up as asked."""

    pair: PairId
    first: End
    second: End


class LinkToDelete(NamedTuple):
    """A link to delete, by index; the name is for messages."""

    index: int  # type: ignore[assignment]
    name: str
    pair: PairId | None = None


class DeleteLinks(NamedTuple):
    """Remove these links of one namespace, their peers with them. One that is gone already counts as removed."""

    netns: NetnsId
    links: tuple[LinkToDelete, ...]


class SetLink(NamedTuple):
    """Change a link in place; what is None stays."""

    pair: PairId
    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str
    up: bool | None = None
    mac: str | None = None
    mtu: int | None = None
    group: int | None = None
    alias: str | None = None
    arp: bool | None = None
    multicast: bool | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """What changes, by the name that the attribute has here and on a link."""
        values = {key: getattr(self, key) for key in ("up", "mac", "mtu", "group", "alias", "arp", "multicast")}
        return {key: value for key, value in values.items() if value is not None}


class AddAddress(NamedTuple):
    """Add `address/prefix` to a link. One that is there already counts as added."""

    pair: PairId
    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str
    address: str


class DelAddress(NamedTuple):
    """Remove an address, as `Link.addresses` has it, from a link. One that is gone already counts as removed."""

    pair: PairId
    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str
    address: str


class SetChecksum(NamedTuple):
    """Leave TX checksums to a link, or compute them before (ethtool's tx-checksumming)."""

    pair: PairId
    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str
    on: bool


Setting = SetChecksum | SetLink | AddAddress | DelAddress
Operation = CreateNamespace | CreateVeth | DeleteLinks | Setting


def summary(operation: Operation) -> str:
    """An operation in a few words, for the history of an interface."""
    match operation:
        case CreateNamespace(name=name):
            return f"create namespace {name}"
        case CreateVeth(first=first, second=second):
            return f"create {first.name} with peer {second.name}"
        case DeleteLinks(links=links):
            return f"delete {', '.join(link.name for link in links[:2])}{' ...' if len(links) > 2 else ''}"
        case AddAddress(name=name, address=address):
            return f"add {address} to {name}"
        case DelAddress(name=name, address=address):
            return f"remove {address} from {name}"
        case SetChecksum(name=name, on=on):
            return f"set TX checksums of {name} {'on' if on else 'off'}"
        case SetLink():
            shown = ", ".join(f"{key} {value}" for key, value in operation.changes.items())
            return f"set {shown} of {operation.name}"


class Failure(NamedTuple):
    """Why an operation did not work."""

    errno: int
    """errno(3) of the kernel's answer; 0 when it came from elsewhere."""
    message: str
    """One line, with the names of what was attempted and the kernel's own explanation where it gave one."""
    retriable: bool = True
    """False when trying again without a change cannot help."""
    links: frozenset[int] = frozenset()
    """Of a deletion of several links, the indexes of those that could not be deleted; none: it is not known which."""

    @property
    def reason(self) -> Reason:
        """What the state of the pair gives as its reason."""
        return Reason.RESOURCE_EXHAUSTED if self.errno in SHORTAGES else Reason.KERNEL_ERROR


class Outcome(NamedTuple):
    """What became of an operation; `failure` is None when it worked.

    DeleteLinks gives one outcome; its failure, if any, has the message of the first link that could not be removed.
    """

    operation: Operation
    failure: Failure | None = None


def by_pair(operation: Operation) -> dict[PairId, Operation]:
    """The operation by the pairs that it was for; of a deletion of many, what it was for each."""
    match operation:
        case DeleteLinks(netns=netns, links=links):
            to_delete: dict[PairId, tuple[LinkToDelete, ...]] = {}
            for link in links:
                if link.pair:
                    to_delete[link.pair] = (*to_delete.get(link.pair, ()), link)
            return {pair: DeleteLinks(netns, own) for pair, own in to_delete.items()}
        case CreateNamespace(pairs=pairs):
            return dict.fromkeys(pairs, operation)
        case _:
            return {operation.pair: operation}
