"""The planner: desired state and observed links in, operations and conditions out. Pure.

`plan` is level-triggered and idempotent: applied to a kernel that does what it is told, its operations make the
next plan empty. What is not marked as ours is never touched, with the one exception that the contract asks for: at
start, a VETH that carries a configured name in its configured namespace is re-created.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vppctl.model.interface import Interface
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.judge import Awaiting, Blocked, Ready, condition, judge
from vppctl.reconcile.operations import (
    CreateNamespace,
    CreateVeth,
    DeleteLinks,
    Doomed,
    End,
    Setting,
)
from vppctl.reconcile.settling import again, clash, settings
from vppctl.reconcile.state import Condition, Link, NetnsId, ObservedState, PairId, Reason, State

DEFAULT_MTU = 1500
"""Octets; what the kernel gives a VETH without a configured MTU (ETH_DATA_LEN, linux/if_ether.h)."""

Place = tuple[NetnsId, str]


class Policy(NamedTuple):
    """What is special about this pass."""

    start: bool = False
    """The first look at these pairs since the agent started."""
    adopt: bool = False
    """At start keep what matches instead of re-creating it."""
    only: Collection[PairId] | None = None
    """The pairs that `start` is about; None: all of them."""
    retried: frozenset[PairId] = frozenset()
    """Pairs whose addresses that are duplicates are removed and added, for the other one may have gone."""
    doubtful: frozenset[PairId] = frozenset()
    """Pairs that had such addresses when they were looked at last: one whose detection goes on is not applied yet."""


@dataclass(slots=True)
class Plan:
    """What to do, in stages, and what to say. Stages: deletes, namespaces, creates, settings."""

    deletes: list[DeleteLinks] = field(default_factory=list)
    namespaces: list[CreateNamespace] = field(default_factory=list)
    creates: list[CreateVeth] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    conditions: dict[str, Condition] = field(default_factory=dict)
    """Of every configured name in the scope; APPLIED only for a pair that needs no operation."""

    def __bool__(self) -> bool:
        return bool(self.deletes or self.namespaces or self.creates or self.settings)


def plan(desired: DesiredState, observed: ObservedState, scope: Iterable[PairId], policy: Policy | None = None) -> Plan:
    """Plan for the pairs in `scope`; `observed` holds at least the links at their places and those marked as theirs."""
    return _Planner(desired, observed, set(scope), policy or Policy()).run()


class _Planner:
    def __init__(self, desired: DesiredState, observed: ObservedState, scope: set[PairId], policy: Policy) -> None:
        self.desired, self.observed, self.scope, self.policy = desired, observed, scope, policy
        self.marks = desired.marks
        self.result = Plan()
        self.doomed: dict[tuple[NetnsId, int], Doomed] = {}
        self.by_index = {(link.netns, link.index): link for link in observed.links.values()}
        self.macs: dict[str, str] = {}  # of links that are replaced, by interface name
        self.holders: dict[Place, str] = {}
        self.awaited: dict[str, list[PairId]] = {}
        self.verdicts = {pair: judge(desired, pair) for pair in scope}

    def run(self) -> Plan:
        kept: dict[PairId, tuple[Link, Link]] = {}
        for pair, verdict in self.verdicts.items():
            if isinstance(verdict, Ready) and (ends := self._standing(verdict)):
                kept[pair] = ends
        self._doom_strays({(link.netns, link.index) for ends in kept.values() for link in ends})
        for pair, verdict in sorted(self.verdicts.items(), key=lambda item: item[0]):
            match verdict:
                case Blocked(conditions):
                    self.result.conditions.update(conditions)
                case Awaiting(namespaces):
                    self._await(pair, namespaces)
                case Ready() if pair in kept:
                    self._settle(pair, verdict, kept[pair])
                case Ready():
                    self._create(pair, verdict)
        self.result.deletes = list(self._deletes())
        self.result.namespaces = [CreateNamespace(name, tuple(pairs)) for name, pairs in self.awaited.items()]
        return self.result

    # What stands

    def _standing(self, ready: Ready) -> tuple[Link, Link] | None:
        """Both ends of the pair when they are where they belong, tied to each other, and may be kept."""
        first, second = self.observed.links.get(ready.first_at), self.observed.links.get(ready.second_at)
        if first is None or second is None or not (_tied(first, second) and _tied(second, first)):
            return None
        ours = self._is(first, ready.first.name) and self._is(second, ready.second.name)
        if self._starts(PairId.of(ready.first.name, ready.second.name)):
            foreign = not self.marks.owns(first) and not self.marks.owns(second)
            marked = first.alias.startswith("vppctl:") or second.alias.startswith("vppctl:")
            return (first, second) if self.policy.adopt and (ours or (foreign and not marked)) else None
        return (first, second) if ours else None

    def _starts(self, pair: PairId) -> bool:
        """Whether this is the first look at the pair since the agent started."""
        return self.policy.start and (self.policy.only is None or pair in self.policy.only)

    def _is(self, link: Link, name: str) -> bool:
        """Whether the link is ours and was made for this name; one without an alias is what its place says."""
        return self.marks.owns(link) and (
            not link.alias.startswith("vppctl:") or self.desired.name_of(link.alias) == name
        )

    def _doom_strays(self, kept: set[tuple[NetnsId, int]]) -> None:
        """All that is ours and not where it belongs goes, but for what an invalid document freezes."""
        for key, link in self.by_index.items():
            if key in kept or not self.marks.owns(link):
                continue
            name = self.desired.owner(link)
            pair = self.desired.pair_of(name)
            if (pair in self.scope or name not in self.desired.configured) and not self._frozen(link):
                self._doom(link, pair)
                self.macs.setdefault(name, link.mac)

    def _frozen(self, link: Link) -> bool:
        """A link is frozen while the document of either of its ends has errors (rule 10 of the contract)."""
        name = self.desired.owner(link)
        if self.desired.is_frozen(name):
            return True
        peer = self.by_index.get((link.peer_netns, link.peer_index)) if link.peer_netns else None
        if peer is not None and self.marks.owns(peer):
            return self.desired.is_frozen(self.desired.owner(peer))
        interface = self.desired.interface(name)
        return interface is not None and self.desired.is_frozen(interface.peer)

    # What goes

    def _doom(self, link: Link, pair: PairId | None) -> None:
        self.doomed[link.netns, link.index] = Doomed(link.index, link.name, pair)

    def _deletes(self) -> Iterator[DeleteLinks]:
        """One end of each doomed pair suffices; those of one namespace go together, so the busier one is chosen.

        Before that the one that was entered: of a namespace that is reached by its id the links go one by one, and the
        id may be another's by then.
        """
        if not self.doomed:
            return
        weight = Counter(netns for netns, _ in self.doomed)
        reached = self.observed.reached

        def rank(netns: NetnsId, index: int) -> tuple[bool, int, NetnsId, int]:
            return netns in reached, weight[netns], netns, index

        spaces: dict[NetnsId, list[Doomed]] = {}
        for (netns, index), doomed in self.doomed.items():
            link = self.by_index[netns, index]
            peer = (link.peer_netns, link.peer_index) if link.peer_netns else None
            other = self.by_index.get(peer) if peer else None
            if (
                peer in self.doomed
                and other is not None
                and _tied(other, link)
                and rank(other.netns, other.index) > rank(netns, index)
            ):
                continue
            spaces.setdefault(netns, []).append(doomed)
        for netns, links in spaces.items():
            yield DeleteLinks(netns, tuple(links))

    # What comes

    def _await(self, pair: PairId, namespaces: tuple[str, ...]) -> None:
        for name in namespaces:
            self.awaited.setdefault(name, []).append(pair)
        text = f"creating namespace {', '.join(namespaces)}" if namespaces else "the namespace is being looked for"
        for name in self.desired.members(pair):
            self._say(name, State.PENDING, Reason.NAMESPACE_NOT_FOUND, text)

    def _create(self, pair: PairId, ready: Ready) -> None:
        problems = [
            (interface.name, *problem)
            for interface, place in ((ready.first, ready.first_at), (ready.second, ready.second_at))
            if (problem := self._obstacle(interface, place))
        ]
        if problems:
            for name in (ready.first.name, ready.second.name):
                whose, reason, text = next((p for p in problems if p[0] == name), problems[0])
                message = text if whose == name else f"peer {whose!r}: {text}"
                state = State.PENDING if reason is Reason.PEER_INVALID else State.FAILED
                self._say(name, state, reason, message)
            return
        for place in (ready.first_at, ready.second_at):
            if (link := self.observed.links.get(place)) and (link.netns, link.index) not in self.doomed:
                self._doom(link, pair)
        sides = ((ready.first, ready.first_at), (ready.second, ready.second_at))
        ends = [self._end(interface, place, self.macs.get(interface.name, "")) for interface, place in sides]
        self.result.creates.append(CreateVeth(pair, *ends))
        for name in (ready.first.name, ready.second.name):
            self._say(name, State.PENDING, Reason.NONE, "being created")

    def _obstacle(self, interface: Interface, place: Place) -> tuple[Reason, str] | None:
        """What stands in the way of making this end here; a VETH that may be replaced does not."""
        winner = self._holder(place)
        if winner != interface.name:
            text = f"name {place[1]!r} in namespace {interface.namespace} is configured for {winner!r} too"
            return Reason.NAME_CONFLICT, f"{text}; set another host_if_name"
        where = f"{place[1]!r} in namespace {interface.namespace}"
        link = self.observed.links.get(place)
        if link is None and (link := self.observed.altnames.get(place)) and (link.netns, link.index) not in self.doomed:
            mend = f"'ip link property del dev {link.word} altname {place[1]}' there, or set another host_if_name"
            return Reason.NAME_TAKEN, f"{where} is an alternative name of {link.name!r}; {mend}"
        if link is None or (link.netns, link.index) in self.doomed:
            return None
        if self.marks.owns(link):
            return Reason.PEER_INVALID, f"{where} is held by a pair that a document with errors freezes"
        starts = self._starts(self.desired.pair_of(interface.name))
        if starts and link.kind == "veth" and not link.alias.startswith("vppctl:"):
            return None
        what = f"a {link.kind}" if link.kind else "an interface"
        mend = "remove it or set another host_if_name"
        return Reason.NAME_TAKEN, f"{where} is taken by {what} that this agent did not make; {mend}"

    def _holder(self, place: Place) -> str:
        """Of several interfaces that want one name: the one that has it, else the one that was configured first."""
        if place not in self.holders:
            since = {name: self.desired.configured[name].revision for name in self.desired.claimants(place)}
            names = sorted((n for n in since if self._is_ready(n)), key=lambda n: (since[n], n))
            link = self.observed.links.get(place)
            has = [n for n in names if link and link.alias.startswith("vppctl:") and self._is(link, n)]
            self.holders[place] = (has or names)[0]
        return self.holders[place]

    def _is_ready(self, name: str) -> bool:
        pair = self.desired.pair_of(name)
        return isinstance(self.verdicts.get(pair) or judge(self.desired, pair), Ready)

    def _end(self, interface: Interface, place: Place, mac: str) -> End:
        """What the link is to be like; `mac` is what it, or the one that it replaces, has."""
        return End(
            netns=place[0],
            name=place[1],
            mac=self.desired.mac(interface, mac),
            mtu=interface.mtu or DEFAULT_MTU,
            up=interface.enabled,
            group=self.marks.group,
            alias=self.marks.alias(interface.name),
            addresses=interface.ip_addresses,
            checksum=not self.desired.serves(interface),
        )

    # What changes in place

    def _settle(self, pair: PairId, ready: Ready, ends: tuple[Link, Link]) -> None:
        before = len(self.result.settings)
        sides = ((ready.first, ready.first_at, ends[0]), (ready.second, ready.second_at, ends[1]))
        shared = clash(ready.first, ready.second)
        for interface, place, link in sides:
            end = self._end(interface, place, link.mac)
            self.result.settings.extend(settings(pair, link, end))
            if pair in self.policy.retried and not shared:
                self.result.settings.extend(again(pair, link, end))
        applied = len(self.result.settings) == before
        for interface, _, link in sides:
            if not applied:
                self._say(interface.name, State.PENDING, Reason.NONE, "being changed")
                continue
            revision = self.desired.configured[interface.name].revision
            state, reason, text = State.APPLIED, Reason.NONE, ""
            if text := shared or self._duplicate(pair, interface, link):
                state, reason = State.FAILED, Reason.DUPLICATE_ADDRESS
            self.result.conditions[interface.name] = Condition(interface.name, state, reason, text, revision, link)

    def _duplicate(self, pair: PairId, interface: Interface, link: Link) -> str:
        """What there is to say about addresses that the kernel does not use, for others at this link have them."""
        # On a link that is down, or whose peer is, the kernel does not look.
        doubtful = link.tentative if pair in self.policy.doubtful and link.running else link.duplicates
        if not (found := [address for address in doubtful if address in interface.ip_addresses]):
            return ""
        text = "is in use by another interface (duplicate address detection failed)"
        return f"address {', '.join(found)} {text}; it is tried again, or configure another"

    def _say(self, name: str, state: State, reason: Reason, message: str) -> None:
        self.result.conditions[name] = condition(self.desired, name, state, reason, message)


def _tied(link: Link, peer: Link) -> bool:
    return link.kind == "veth" and link.peer_netns == peer.netns and link.peer_index == peer.index
