"""Where the agent's links were last seen, so that it finds them again when configuration or names change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.state import Link, NetnsId, ObservedState

Place = tuple[NetnsId, str]
Key = tuple[NetnsId, int]


@dataclass(slots=True)
class Memory:
    """Kernel places and indexes by interface name. A hint about where to look, never about what is there."""

    places: dict[str, set[Place]] = field(default_factory=dict)
    ways: dict[NetnsId, NamespaceRef] = field(default_factory=dict)
    """The reference that has last led to a namespace. Where it leads now is another question."""
    _names: dict[NetnsId, dict[int, str]] = field(default_factory=dict)
    """The interfaces by namespace and index of their links."""
    _keys: dict[str, set[Key]] = field(default_factory=dict)
    _tied: dict[str, set[str]] = field(default_factory=dict)
    _in_the_way: dict[Key, set[str]] = field(default_factory=dict)
    """Of links that are not ours, the interfaces whose configured name, or alternative name, is theirs: when they get
    another one, events have only that."""

    def forget(self, names: Collection[str], unseen: Collection[NetnsId] = ()) -> None:
        """These were looked at, but for what is in the namespaces that could not be."""
        if self._in_the_way:
            left = {key: {n for n in waiting if n not in names} for key, waiting in self._in_the_way.items()}
            self._in_the_way = {key: waiting for key, waiting in left.items() if waiting}
        for name in names:
            if not unseen:
                self._tied.pop(name, None)
            places, keys = self.places.pop(name, ()), self._keys.pop(name, ())
            for netns, index in keys:
                if there := self._names.get(netns):
                    there.pop(index, None)
                    if not there:
                        del self._names[netns]
            if unseen:
                self._keep(name, [p for p in places if p[0] in unseen], [k for k in keys if k[0] in unseen])

    def _keep(self, name: str, places: Iterable[Place], keys: Iterable[Key]) -> None:
        for place in places:
            self.places.setdefault(name, set()).add(place)
        for key in keys:
            self._names.setdefault(key[0], {})[key[1]] = name
            self._keys.setdefault(name, set()).add(key)

    def note(self, desired: DesiredState, observed: ObservedState) -> set[str]:
        """Remember every link of ours, and what is in the way; returns the names that ours were made for."""
        names = set()
        for place, link in observed.altnames.items():
            if waiting := desired.claimants(place):
                self._in_the_way.setdefault((link.netns, link.index), set()).update(waiting)
        for link in observed.links.values():
            if desired.marks.owns(link):
                names.add(name := desired.owner(link))
                self.places.setdefault(name, set()).add((link.netns, link.name))
                self._names.setdefault(link.netns, {})[link.index] = name
                self._keys.setdefault(name, set()).add((link.netns, link.index))
                if link.peer_netns and (peer := self._names.get(link.peer_netns, {}).get(link.peer_index)):
                    self._tied.setdefault(name, set()).add(peer)
                    self._tied.setdefault(peer, set()).add(name)
            elif waiting := desired.claimants((link.netns, link.name)):
                self._in_the_way.setdefault((link.netns, link.index), set()).update(waiting)
        return names

    def partners(self, names: Iterable[str]) -> set[str]:
        """The interfaces whose links are the other ends of links of these."""
        return {partner for name in names for partner in self._tied.get(name, ())}

    def knows(self, link: Link) -> bool:
        """Whether this link was seen where it is."""
        return link.index in self._names.get(link.netns, ())

    def at(self, netns: NetnsId, index: int, name: str) -> set[str]:
        """The interfaces that the link with this index is, or is in the way of.

        A new name of the link is remembered as a place to look at.
        """
        # An event of an address has no name, and what is in the way does not go by that.
        found = set(self._in_the_way.get((netns, index), ())) if name else set()
        if interface := self._names.get(netns, {}).get(index):
            found.add(interface)
            if name:
                self.places.setdefault(interface, set()).add((netns, name))
        return found

    def links(self) -> dict[NetnsId, dict[int, str]]:
        """The interface names of all links that were seen, by namespace and index."""
        return {netns: there.copy() for netns, there in self._names.items()}

    def leave(self, netns: NetnsId) -> set[str]:
        """The namespace is no more; returns the interfaces that had a link there."""
        self.ways.pop(netns, None)
        left = set(self._names.get(netns, {}).values())
        for name in left:
            places = [place for place in self.places.get(name, ()) if place[0] != netns]
            keys = [key for key in self._keys.get(name, ()) if key[0] != netns]
            self.forget([name])
            self._keep(name, places, keys)
        return left

    def forget_ways(self, used: Collection[NetnsId]) -> None:
        """Keep the ways into these namespaces, and into those with links: the end of others may not have been heard."""
        kept = {netns for places in self.places.values() for netns, _ in places}.union(used)
        self.ways = {netns: reference for netns, reference in self.ways.items() if netns in kept}
