"""Where the agent's links were last seen, so that it finds them again when configuration or names change.

A link of ours stands in a configured place, or has stood in one, or was found when the agent started. Any other link
with our marks is a stray: whoever creates such links again and again has no pair looked at for that. `strays.py`
deletes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.state import Link, LinkKey, NetnsId, ObservedState

Place = tuple[NetnsId, str]


@dataclass(slots=True)
class Memory:
    """Kernel places and indexes by interface name. A hint about where to look, never about what is there."""

    places: dict[str, set[Place]] = field(default_factory=dict)
    ways: dict[NetnsId, NamespaceRef] = field(default_factory=dict)
    """The reference that has last led to a namespace. Where it leads now is another question."""
    _names: dict[LinkKey, str] = field(default_factory=dict)
    _keys: dict[str, set[LinkKey]] = field(default_factory=dict)
    _tied: dict[str, set[str]] = field(default_factory=dict)
    _in_the_way: dict[LinkKey, set[str]] = field(default_factory=dict)
    """Of links that are not ours, the interfaces whose configured name, or alternative name, is theirs: when they get
    another one, events have only that."""

    def forget(self, names: Collection[str], unseen: Collection[NetnsId] = ()) -> set[LinkKey]:
        """These were looked at, but for what is in the namespaces that could not be; returns the links they had."""
        known: set[LinkKey] = set()
        if self._in_the_way:
            left = {key: {n for n in waiting if n not in names} for key, waiting in self._in_the_way.items()}
            self._in_the_way = {key: waiting for key, waiting in left.items() if waiting}
        for name in names:
            if not unseen:
                self._tied.pop(name, None)
            places, keys = self.places.pop(name, ()), self._keys.pop(name, ())
            known.update(keys)
            for key in keys:
                self._names.pop(key, None)
            if unseen:
                self._keep(name, [p for p in places if p[0] in unseen], [k for k in keys if k[0] in unseen])
        return known

    def drop(self, keys: Iterable[LinkKey]) -> None:
        """These were deleted: a link that has such an index from now on is another one."""
        for key in keys:
            if name := self._names.pop(key, None):
                self._keys.get(name, set()).discard(key)

    def _keep(self, name: str, places: Iterable[Place], keys: Iterable[LinkKey]) -> None:
        for place in places:
            self.places.setdefault(name, set()).add(place)
        for key in keys:
            self._names[key] = name
            self._keys.setdefault(name, set()).add(key)

    def note(
        self, desired: DesiredState, observed: ObservedState, known: Collection[LinkKey]
    ) -> tuple[ObservedState, set[str]]:
        """Remember every link of ours, and what is in the way; of those in no configured place only the `known` ones.

        Returns what was observed without strays, and the names that our links were made for.
        """
        for place, link in observed.altnames.items():
            if waiting := desired.claimants(place):
                self._in_the_way.setdefault(link.key, set()).update(waiting)
        ours = owned(desired, observed.links.values())
        those: list[Link] = []
        strays: set[Place] = set()
        for place, link in observed.links.items():
            key, waiting = (place[0], link.index), desired.claimants(place)
            if key in ours:
                if waiting or key in known or key in self._names:
                    those.append(link)
                else:
                    strays.add(place)
            elif waiting:
                self._in_the_way.setdefault(key, set()).update(waiting)
        if strays:
            left = {place: link for place, link in observed.links.items() if place not in strays}
            observed = replace(observed, links=left)
        return observed, self.remember(desired, those)

    def remember(self, desired: DesiredState, links: Iterable[Link]) -> set[str]:
        """Remember these links of ours; returns the names that they were made for."""
        names: set[str] = set()
        for link in links:
            names.add(name := desired.owner(link))
            self.places.setdefault(name, set()).add((link.netns, link.name))
            key = link.netns, link.index
            self._names[key] = name
            self._keys.setdefault(name, set()).add(key)
            if link.peer_netns and (peer := self._names.get((link.peer_netns, link.peer_index))):
                self._tied.setdefault(name, set()).add(peer)
                self._tied.setdefault(peer, set()).add(name)
        return names

    def partners(self, names: Iterable[str]) -> set[str]:
        """The interfaces whose links are the other ends of links of these."""
        return {partner for name in names for partner in self._tied.get(name, ())}

    def knows(self, link: Link) -> bool:
        """Whether this link was seen where it is."""
        return (link.netns, link.index) in self._names

    def at(self, netns: NetnsId, index: int, name: str) -> set[str]:
        """The interfaces that the link with this index is, or is in the way of.

        A new name of the link is remembered as a place to look at.
        """
        # An event of an address has no name, and what is in the way does not go by that.
        found = set(self._in_the_way.get((netns, index), ())) if name else set()
        if interface := self._names.get((netns, index)):
            found.add(interface)
            if name:
                self.places.setdefault(interface, set()).add((netns, name))
        return found

    def links(self) -> dict[NetnsId, dict[int, str]]:
        """The interface names of all links that were seen, by namespace and index."""
        found: dict[NetnsId, dict[int, str]] = {}
        for (netns, index), name in self._names.items():
            found.setdefault(netns, {})[index] = name
        return found

    def leave(self, netns: NetnsId) -> set[str]:
        """The namespace is no more; returns the interfaces that had a link there."""
        self.ways.pop(netns, None)
        left = {name for key, name in self._names.items() if key[0] == netns}
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
