"""The desired state, with the indexes that tell whom a change concerns.

Level, not edge: every method that changes something returns the pairs to look at again, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from vppctl.model.interface import Interface, NamespaceRef
from vppctl.reconcile.marks import ANY, TURNS, Marks, is_stable_mac, stable_mac
from vppctl.reconcile.state import Configured, Link, NetnsId, PairId, Reason, Resolution, Unavailable

K = TypeVar("K")

UNRESOLVED = Unavailable(Reason.NAMESPACE_NOT_FOUND, "the namespace has not been looked for yet")


@dataclass(slots=True)
class DesiredState:
    """All that the store asks of this agent, and where its namespaces are at present. Not thread-safe."""

    marks: Marks
    own: NetnsId | None = None
    """The agent's own namespace."""
    host: str = ""
    """What tells this host from others; the MACs that are chosen depend on it."""
    configured: dict[str, Configured] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    """Kernel names in the agent's own namespace that AF_PACKET interfaces of VPP are attached to."""
    resolutions: dict[NamespaceRef, Resolution] = field(default_factory=dict)
    generation: int = 0
    """Grows whenever the references in use become others."""
    _referrers: dict[str, set[str]] = field(default_factory=dict)
    _users: dict[NamespaceRef, set[str]] = field(default_factory=dict)
    _claims: dict[tuple[NetnsId, str], set[str]] = field(default_factory=dict)
    _contested: set[tuple[NetnsId, str]] = field(default_factory=set)
    """Those of `_claims` that several interfaces lay."""
    _names: dict[str, str] = field(default_factory=dict)
    """The names by their aliases ..."""
    _former: dict[str, str] = field(default_factory=dict)
    """... and by those that earlier versions gave to long ones."""
    _valid: dict[str, Interface] = field(default_factory=dict)
    _macs: dict[str, str] = field(default_factory=dict)
    """The addresses for new links of those that configure none ..."""
    _chosen: dict[str, str] = field(default_factory=dict)
    """... and whose each of them is."""

    def interface(self, name: str) -> Interface | None:
        """The valid configuration of this name, if there is one."""
        return self._valid.get(name)

    def is_invalid(self, name: str) -> bool:
        """Whether the name is configured by a document with errors."""
        return name in self.configured and name not in self._valid

    def is_frozen(self, name: str) -> bool:
        """Whether the kernel's part of this name stays as it is: its document, or its pair's two, have errors."""
        interface = self._valid.get(name)
        return self.shares_mac(interface) if interface else self.is_invalid(name)

    def shares_mac(self, interface: Interface) -> bool:
        """Whether the two ends of its pair would have one MAC address, so that neither takes the other for another."""
        peer = self._valid.get(interface.peer)
        if peer is None or peer.peer != interface.name or not (interface.phys_address or peer.phys_address):
            return False
        return self.mac(interface) == self.mac(peer)

    def pair_of(self, name: str) -> PairId:
        """The pair that this name belongs to; a name without a valid document is a pair with itself."""
        interface = self._valid.get(name)
        return PairId.of(name, interface.peer) if interface else PairId(name, name)

    def members(self, pair: PairId) -> list[str]:
        """The configured names that belong to this pair."""
        return [n for n in dict.fromkeys((pair.first, pair.second)) if n in self.configured and self.pair_of(n) == pair]

    def name_of(self, alias: str) -> str:
        """The interface name that an alias of ours stands for, configured or not."""
        return self._names.get(alias) or self._former.get(alias) or alias.removeprefix(self.marks.prefix)

    def owner(self, link: Link) -> str:
        """The name that a link of ours was made for.

        One without an alias, as an agent leaves it that is killed while it creates a pair, was made for what its place
        is configured for, or for what has its name. Where that document has errors, which would freeze the link, the
        MAC may show that it was created for another one.
        """
        if link.alias.startswith(ANY):
            return self.name_of(link.alias)
        name = min(self.claimants((link.netns, link.name)), default=link.name)
        if self.is_invalid(name) and not is_stable_mac(link.mac, self.marks.label, name):
            return min((other for other in self._valid if self.has_mac_of(link.mac, other)), default=name)
        return name

    def has_mac_of(self, mac: str, name: str) -> bool:
        """Whether it is the MAC that this interface configures, or one that is chosen for it."""
        configured = self._valid[name].phys_address
        return mac == configured if configured else is_stable_mac(mac, self.marks.label, name)

    def mac(self, interface: Interface, found: str = "") -> str:
        """The MAC that the link is to have: the configured one, or a chosen one.

        A link that has one which was chosen for it before keeps that: it is `found`, empty where there is no link.
        """
        if interface.phys_address:
            return interface.phys_address
        name = interface.name
        chosen = self._macs.get(name) or self._choose_mac(name)
        return found if found not in ("", chosen) and is_stable_mac(found, self.marks.label, name) else chosen

    def _choose_mac(self, name: str) -> str:
        """An address that none of the other names has: their digests may be equal."""
        for turn in range(TURNS):
            chosen = stable_mac(self.host, self.marks.label, name, turn)
            if self._chosen.setdefault(chosen, name) == name:
                break
        self._macs[name] = chosen
        return chosen

    def place(self, interface: Interface) -> Resolution:
        """Where the interface's namespace is at present."""
        return self.resolutions.get(interface.namespace, UNRESOLVED)

    def claim(self, interface: Interface) -> tuple[NetnsId, str] | None:
        """The namespace and kernel name that the interface lays claim to, when its namespace is there."""
        place = self.place(interface)
        return (place, interface.kernel_name) if isinstance(place, NetnsId) else None

    def claimants(self, place: tuple[NetnsId, str]) -> Iterable[str]:
        """The interfaces that lay claim to this kernel name in this namespace."""
        return self._claims.get(place, ())

    def references(self) -> list[NamespaceRef]:
        """Every namespace reference in use."""
        return list(self._users)

    def all_pairs(self) -> set[PairId]:
        """The pair of every configured name."""
        return {self.pair_of(name) for name in self.configured}

    def put(self, configured: Configured) -> set[PairId]:
        """Take over a new or changed document."""
        concerned = self._withdraw(configured.name)
        self.configured[configured.name] = configured
        self._names[self.marks.alias(configured.name)] = configured.name
        if former := self.marks.former_alias(configured.name):
            self._former[former] = configured.name
        if isinstance(configured.content, Interface):
            self._enter(configured.content)
        return concerned | self._concerned(configured.name)

    def serve(self, names: set[str]) -> set[PairId]:
        """From now on these kernel names in the agent's own namespace serve VPP."""
        changed, self.served = self.served ^ names, names
        if not changed:
            return set()
        return {
            self.pair_of(name)
            for name, interface in self._valid.items()
            if self._is_own(interface) and interface.kernel_name in changed
        }

    def serves(self, interface: Interface) -> bool:
        """Whether VPP gets what comes through this interface's pair."""
        if not self.served:
            return False
        sides = (interface, self._valid.get(interface.peer))
        return any(side and self._is_own(side) and side.kernel_name in self.served for side in sides)

    def _is_own(self, interface: Interface) -> bool:
        """Whether it is in the agent's own namespace, which may have a name, or be that of a process, too."""
        return interface.namespace.is_default or self.place(interface) == self.own

    def delete(self, name: str) -> set[PairId]:
        """Forget a document; unknown names concern nobody."""
        if name not in self.configured:
            return set()
        concerned = self._withdraw(name)
        del self.configured[name]
        self._names.pop(self.marks.alias(name), None)
        self._former.pop(self.marks.former_alias(name), None)
        return concerned | self._concerned(name)

    def resolve(self, reference: NamespaceRef, resolution: Resolution) -> set[PairId]:
        """Note where a namespace is now; concerns those who use it, when that is news."""
        if self.resolutions.get(reference) == resolution:
            return set()
        users = [i for n in self._users.get(reference, ()) if (i := self.interface(n))]
        concerned: set[PairId] = set()
        for interface in users:
            concerned |= self._concerned(interface.name)
            self._release(interface)
        self.resolutions[reference] = resolution
        for interface in users:
            self._lay_claim(interface)
            if self._contested:
                concerned |= self._concerned(interface.name)
        return concerned

    def _concerned(self, name: str) -> set[PairId]:
        """The name's own pair, those who name it as their peer, and those who want a kernel name of any of these."""
        interface = self._valid.get(name)
        pairs, others = {self.pair_of(name)}, self._referrers.get(name, ())
        for other in others:
            if interface is None or other != interface.peer:
                pairs.add(PairId.of(name, other))
        if self._contested:
            for one in (name, *others):
                pairs.update(self._rivals(one))
        return pairs

    def _rivals(self, name: str) -> Iterable[PairId]:
        """Those who want the same kernel name: whether this one is ready decides who gets it."""
        interface = self._valid.get(name)
        if interface and (claim := self.claim(interface)) and len(rivals := self._claims.get(claim, ())) > 1:
            return [self.pair_of(other) for other in rivals]
        return ()

    def _withdraw(self, name: str) -> set[PairId]:
        if name not in self.configured:
            return set()
        concerned = self._concerned(name)
        interface = self._valid.pop(name, None)
        if (chosen := self._macs.pop(name, "")) and self._chosen.get(chosen) == name:
            del self._chosen[chosen]
        if interface:
            self._release(interface)
            _discard(self._referrers, interface.peer, name)
            _discard(self._users, interface.namespace, name)
            if interface.namespace not in self._users:
                self.resolutions.pop(interface.namespace, None)
                self.generation += 1
        return concerned

    def _enter(self, interface: Interface) -> None:
        self._valid[interface.name] = interface
        self._referrers.setdefault(interface.peer, set()).add(interface.name)
        if interface.namespace not in self._users:
            self._users[interface.namespace] = set()
            self.generation += 1
        self._users[interface.namespace].add(interface.name)
        self._lay_claim(interface)

    def _lay_claim(self, interface: Interface) -> None:
        if claim := self.claim(interface):
            claimants = self._claims.setdefault(claim, set())
            claimants.add(interface.name)
            if len(claimants) > 1:
                self._contested.add(claim)

    def _release(self, interface: Interface) -> None:
        if claim := self.claim(interface):
            _discard(self._claims, claim, interface.name)
            if len(self._claims.get(claim, ())) < 2:
                self._contested.discard(claim)


def _discard(index: dict[K, set[str]], key: K, name: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(name)
        if not members:
            del index[key]
