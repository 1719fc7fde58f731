"""Where the pairs are: the namespaces that a pass opens, the way into each, and the names to look for there.

Between the references of the documents, and the links that were seen in namespaces that no document refers to any
more. The reconciler asks it before each look; `resolver.py` opens what a reference leads to at present.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from vppctl.agent.memory import Memory
from vppctl.agent.resolver import Resolver
from vppctl.errors import cause
from vppctl.linux.marked import Marked
from vppctl.linux.named import inhabited
from vppctl.linux.namespaces import Netns, is_of_own_users, spaces_at_once
from vppctl.linux.nsids import NsidTable
from vppctl.model.interface import DEFAULT_NAMESPACE, NamespaceRef
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.state import Link, NetnsId, ObservedState, PairId

log = logging.getLogger("vppctl.agent")

FEW = 32
"""Namespaces that a pass may hold open without a look at how many descriptors there are."""
MANY = 16
"""Links in a namespace that are worth a search for a process that is in it."""


class Search(NamedTuple):
    """What a search of all namespaces has found."""

    pairs: set[PairId]
    """Those of links of ours that were not known."""
    marked: Marked
    """All links with marks of ours."""
    strays: list[Link]
    """Those among them that are ours and are in places where nothing is configured."""


class Places:
    """Not thread-safe: it belongs to the reconcile loop."""

    def __init__(self, desired: DesiredState, resolver: Resolver, nsids: NsidTable) -> None:
        self._desired, self._resolver, self._nsids = desired, resolver, nsids
        self.memory = Memory(ways={nsids.own: DEFAULT_NAMESPACE})
        self._room = FEW
        self._unseen: set[NetnsId] = set()
        """Namespaces that could not be asked, which was logged."""

    def refresh(self, references: Iterable[NamespaceRef] | None) -> set[PairId]:
        """Look where these references (None: all) lead to now; returns the pairs whose namespace is another one."""
        if references is None:
            self.memory.forget_ways({self._nsids.own})
        concerned: set[PairId] = set()
        failed: dict[str, list[NamespaceRef]] = {}
        for reference in self._desired.references() if references is None else references:
            try:
                found = self._resolver.open(reference)
            except OSError as error:
                # Nothing is known of where it leads; the passes and the audit ask again.
                failed.setdefault(cause(error), []).append(reference)
                continue
            if isinstance(found, Netns):
                with found:
                    concerned |= self._desired.resolve(reference, found.id)
            else:
                concerned |= self._desired.resolve(reference, found)
        for why, those in failed.items():
            more = f" and {len(those) - 1} more" if len(those) > 1 else ""
            log.warning("namespace %s%s cannot be looked for: %s", those[0], more, why)
        return concerned

    def sort(self, found: Marked, *, started: bool) -> Search:
        """What of this an earlier run of this agent left, or somebody has moved or created, anywhere on the host.

        As long as the agent starts there are no strays.
        """
        for netns, place in found.places.items():
            self.memory.ways.setdefault(netns, place.reference)
        ours = owned(self._desired, found.links)
        news = [link for link in found.links if link.key in ours and not self.memory.knows(link)]
        # Both ends of one that is tied to a link in a configured place are its pair's affair.
        in_place = {link.key for link in found.links if self._desired.claimants((link.netns, link.name))}
        strays = [link for link in news if started and in_place.isdisjoint((link.key, link.peer_key))]
        apart = {link.key for link in strays}
        names = self.memory.remember(self._desired, [link for link in news if link.key not in apart])
        return Search({self._desired.pair_of(name) for name in names}, found, strays)

    def parts(self, scope: set[PairId]) -> Iterator[set[PairId]]:
        """The scope in parts, so that the namespaces of each can be held open at one time."""
        self._room = FEW
        if len(self.memory.ways) + len(self._desired.references()) > FEW:
            self._room = spaces_at_once()
        part: set[PairId] = set()
        spaces: set[NetnsId | NamespaceRef] = set()
        for pair in sorted(scope):
            needed = self._needed(pair)
            if part and len(spaces) + len(needed - spaces) > self._room:
                yield part
                part, spaces = set(), set()
            part.add(pair)
            spaces |= needed
        if part:
            yield part

    def fit(self, scope: Iterable[PairId], spaces: Collection[NetnsId] = ()) -> bool:
        """Whether the namespaces of these pairs can be held open beside `spaces`, as `parts` has found."""
        needed = {netns for pair in scope for netns in self._needed(pair)}
        return len(spaces) + len(needed.difference(spaces)) <= self._room

    def _needed(self, pair: PairId) -> set[NetnsId | NamespaceRef]:
        """The namespaces that a look at this pair opens."""
        names = (pair.first, pair.second)
        needed: set[NetnsId | NamespaceRef] = {netns for n in names for netns, _ in self.memory.places.get(n, ())}
        for interface in filter(None, map(self._desired.interface, names)):
            place = self._desired.place(interface)
            needed.add(place if isinstance(place, NetnsId) else interface.namespace)
        return needed

    def names(self, scope: Iterable[PairId]) -> set[str]:
        """The interfaces that a look at these pairs is about.

        Whether a link is frozen, its other end tells, whatever the two are configured as now.
        """
        names = {name for pair in scope for name in (pair.first, pair.second)}
        return names | self.memory.partners(names)

    def open(self, stack: ExitStack, names: set[str], spaces: dict[NetnsId, Netns]) -> set[PairId]:
        """Add the namespaces of these interfaces to `spaces`, open and pinned as long as `stack` is.

        Returns the pairs whose namespace turns out to be another one. Theirs are opened, too, as far as there is room:
        where the pairs are a chain, each of them leads to the next one alone. Raises OSError.
        """
        concerned: set[PairId] = set()
        opened: set[str] = set()
        left = names
        while left:
            moved = self._open(stack, left, spaces) - concerned
            opened |= left
            concerned |= moved
            left = self.names(moved) - opened if self.fit(moved, spaces) else set()
        # Before anything is looked at: from here on the monitor hears what happens there. All of them, for the end of
        # another one that had the same id may have taken it away since the last look.
        self._nsids.assign_many(self._heard(spaces))
        return concerned

    def _open(self, stack: ExitStack, names: Iterable[str], spaces: dict[NetnsId, Netns]) -> set[PairId]:
        concerned: set[PairId] = set()
        references = {interface.namespace for name in names if (interface := self._desired.interface(name))}
        for reference in references:
            found = self._resolver.open(reference)
            if isinstance(found, Netns):
                if found.id in spaces:
                    found.close()
                else:
                    spaces[found.id] = stack.enter_context(found)
                if found.id != self._nsids.own:
                    self.memory.ways[found.id] = reference
                concerned |= self._desired.resolve(reference, found.id)
            else:
                concerned |= self._desired.resolve(reference, found)
        left = Counter(netns for name in names for netns, _ in self.memory.places.get(name, ()) if netns not in spaces)
        for netns, links in left.items():
            if again := self._again(netns, links):
                spaces[netns] = stack.enter_context(again)
        return concerned

    def _heard(self, spaces: dict[NetnsId, Netns]) -> list[Netns]:
        """Those of these namespaces whose events are of interest.

        Where nothing is configured, and any user may be root, links that carry our marks are removed now and then,
        and what happens besides is nobody's concern: an id cannot be taken back.
        """
        strange = [s for s in spaces.values() if self._nsids.nsid(s.id) is None and not is_of_own_users(s)]
        if not strange:
            return list(spaces.values())
        used = {place for place in self._desired.resolutions.values() if isinstance(place, NetnsId)}
        left_out = {space.id for space in strange} - used
        self._nsids.do_without(left_out)
        return [space for space in spaces.values() if space.id not in left_out]

    def _again(self, netns: NetnsId, links: int) -> Netns | None:
        """A namespace that no document refers to any more, by the reference that has last led there, or by a process.

        Where nothing leads there, it is reached by its id, and its links go one by one.
        """
        if reference := self.memory.ways.get(netns):
            found = self._resolver.open(reference)
            if isinstance(found, Netns):
                if found.id == netns:
                    return found
                found.close()
        return inhabited(netns) if links >= MANY else None

    def wanted(self, names: Iterable[str]) -> dict[NetnsId, dict[str, tuple[str, ...]]]:
        """Where to look for the links of these interfaces: kernel names, and the addresses that they are to have."""
        wanted: dict[NetnsId, dict[str, tuple[str, ...]]] = {}
        for name in names:
            for netns, kernel_name in self.memory.places.get(name, ()):
                wanted.setdefault(netns, {}).setdefault(kernel_name, ())
            interface = self._desired.interface(name)
            if interface and (claim := self._desired.claim(interface)):
                wanted.setdefault(claim[0], {})[claim[1]] = interface.ip_addresses
        return wanted

    def unseen(
        self, observed: ObservedState, asked: Collection[NetnsId], spaces: Mapping[NetnsId, Netns]
    ) -> dict[NetnsId, str]:
        """What to report of those of these namespaces that could not be asked; logged once, until one can be."""
        texts: dict[NetnsId, str] = {}
        for netns, error in observed.unseen.items():
            where = space.description if (space := spaces.get(netns)) else f"net:[{netns.ino}]"
            texts[netns] = f"namespace {where} cannot be asked: {cause(error)}"
            log.log(logging.DEBUG if netns in self._unseen else logging.WARNING, "%s", texts[netns])
        self._unseen = self._unseen.difference(asked).union(texts)
        return texts
