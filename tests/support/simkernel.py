"""A simulated kernel for tests of the pure planner: it does what operations say, as the real one would.

It stands at the edge of the pure core only; everything else is tested against the real kernel. What it imitates of
the real one: names are unique in a namespace, both ends of a VETH vanish together, IPv6 addresses are lost on
link down, indexes are never used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from vppctl.reconcile.operations import (
    AddAddress,
    CreateVeth,
    DelAddress,
    DeleteLinks,
    End,
    SetChecksum,
    SetLink,
)
from vppctl.reconcile.plan import Plan
from vppctl.reconcile.state import Link, NetnsId, ObservedState


def netns(number: int) -> NetnsId:
    """The number-th namespace of the simulation."""
    return NetnsId(4, 1000 + number)


class SimulatedKernel:
    """Links in namespaces; raises AssertionError when asked for what a real kernel would refuse."""

    def __init__(self) -> None:
        self.links: dict[tuple[NetnsId, int], Link] = {}
        self.named: dict[str, NetnsId] = {}
        self._index = count(2)
        self._spaces = count(500)
        self._flushed: set[tuple[int, str]] = set()
        """What this plan has already made the kernel take away: indexes and IPv6 addresses."""

    def observe(self) -> ObservedState:
        return ObservedState.of(list(self.links.values()))

    def at(self, where: NetnsId, name: str) -> Link | None:
        return next((k for k in self.links.values() if (k.netns, k.name) == (where, name)), None)

    def apply(self, plan: Plan) -> None:
        self._flushed.clear()
        for stage in (plan.deletes, plan.namespaces, plan.creates, plan.settings):
            for operation in stage:
                match operation:
                    case DeleteLinks(netns=where, links=links):
                        for to_delete in links:
                            self.remove(where, to_delete.index)
                    case CreateVeth(first=first, second=second):
                        self.add_veth(first, second)
                    case SetLink():
                        self._set(operation)
                    case SetChecksum():
                        self.change(self.links[operation.netns, operation.index], checksum=operation.on)
                    case AddAddress() | DelAddress():
                        self._address(operation)
                    case _:
                        assert operation.name not in self.named
                        self.named[operation.name] = netns(next(self._spaces))

    def add_foreign(self, where: NetnsId, name: str, kind: str = "dummy") -> Link:
        link = Link(where, next(self._index), name, kind, mac="02:00:00:00:00:01", mtu=1500)
        assert self.at(where, name) is None
        self.links[where, link.index] = link
        return link

    def add_veth(self, first: End, second: End) -> tuple[Link, Link]:
        assert (first.netns, first.name) != (second.netns, second.name)
        links = [self._make(end) for end in (first, second)]
        for link, peer in (links, reversed(links)):
            tied = link._replace(peer_index=peer.index, peer_netns=peer.netns)
            self.links[link.netns, link.index] = tied
        return self.links[links[0].netns, links[0].index], self.links[links[1].netns, links[1].index]

    def add_foreign_pair(self, here: tuple[NetnsId, str], there: tuple[NetnsId, str]) -> tuple[Link, Link]:
        """A VETH pair without marks, as somebody makes it by hand."""
        ends = [End(where, name, "02:00:00:00:00:01", 1500, False, 0, "", ()) for where, name in (here, there)]
        return self.add_veth(*ends)

    def remove(self, where: NetnsId, index: int) -> None:
        link = self.links.pop((where, index), None)
        if link and link.peer_netns:
            self.links.pop((link.peer_netns, link.peer_index), None)

    def remove_namespace(self, where: NetnsId) -> None:
        for key in [key for key in self.links if key[0] == where]:
            self.remove(*key)

    def change(self, link: Link, **changes: object) -> None:
        self.links[link.netns, link.index] = link._replace(**changes)  # type: ignore[arg-type]

    def _make(self, end: End) -> Link:
        assert self.at(end.netns, end.name) is None, f"EEXIST: {end.name}"
        return Link(
            end.netns,
            next(self._index),
            end.name,
            "veth",
            mac=end.mac,
            mtu=end.mtu,
            up=end.up,
            addresses=tuple(sorted(end.addresses)),
            group=end.group,
            alias=end.alias,
            checksum=True,
        )

    def _set(self, operation: SetLink) -> None:
        link = self.links[operation.netns, operation.index]
        asked = {name: getattr(operation, name) for name in ("up", "mac", "mtu", "group", "alias", "arp", "multicast")}
        changes = {name: value for name, value in asked.items() if value is not None}
        if link.up and changes.get("up") is False:
            changes["addresses"] = tuple(a for a in link.addresses if ":" not in a)
            self._flushed |= {(link.index, a) for a in link.addresses if ":" in a}
        self.change(link, **changes)

    def _address(self, operation: AddAddress | DelAddress) -> None:
        link = self.links[operation.netns, operation.index]
        if isinstance(operation, DelAddress) and (operation.index, operation.address) in self._flushed:
            # The link went down a moment ago, and its IPv6 addresses with it: gone already counts as removed.
            assert operation.address not in link.addresses
            return
        addresses = set(link.addresses) ^ {operation.address}
        assert isinstance(operation, AddAddress) == (operation.address in addresses)
        self.change(link, addresses=tuple(sorted(addresses)))


def foreign(kernel: SimulatedKernel, owned: Iterable[int]) -> dict[tuple[NetnsId, int], Link]:
    """All links that are not in one of the groups `owned`."""
    return {key: link for key, link in kernel.links.items() if link.group not in owned}
