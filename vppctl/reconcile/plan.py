"""The planner: desired state and observed links in, operations and conditions out. Pure.

`plan` is level-triggered and idempotent: applied to a kernel that does what it is told, its operations make the
next plan empty. What is not marked as ours is never touched, with the one exception that the contract asks for: at
start, a whole pair that stands as it is configured (`takeover.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from vppctl.model.interface import Interface
from vppctl.reconcile.deletion import deletes
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.judge import Awaiting, Blocked, Ready, condition, judge
from vppctl.reconcile.operations import (
    CreateNamespace,
    CreateVeth,
    DeleteLinks,
    End,
    LinkToDelete,
    Setting,
)
from vppctl.reconcile.ownership import is_frozen, owned
from vppctl.reconcile.settling import again, clash, duplicate, settings
from vppctl.reconcile.state import Condition, Link, LinkKey, NetnsId, ObservedState, PairId, Reason, State
from vppctl.reconcile.takeover import TakeOver, is_free

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
    takeover: bool = True
    """At start take over unmarked pairs that stand as they are configured."""

    def later(self) -> Policy:
        """For what is planned after the first round of a pass, or not to be carried out."""
        return Policy(doubtful=self.doubtful, takeover=self.takeover)


@dataclass(slots=True)
class Plan:
    """What to do, in stages, and what to say. Stages: deletes, namespaces, creates, settings."""

    deletes: list[DeleteLinks] = field(default_factory=list)
    namespaces: list[CreateNamespace] = field(default_factory=list)
    creates: list[CreateVeth] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    conditions: dict[str, Condition] = field(default_factory=dict)
    """Of every configured name in the scope; APPLIED only for a pair that needs no operation."""
    kept: dict[PairId, tuple[Link, Link]] = field(default_factory=dict)
    """Pairs that stay as they are, or are changed in place."""
    takeovers: dict[PairId, TakeOver] = field(default_factory=dict)
    """Unmarked pairs that become ours: those of `kept` are marked, the others are deleted and created again."""
    leaving: frozenset[LinkKey] = frozenset()
    """Both ends of what `deletes` names one end of."""

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
        self.to_delete: dict[tuple[NetnsId, int], LinkToDelete] = {}
        self.by_index = {link.key: link for link in observed.links.values()}
        self.ours = owned(desired, observed.links.values())
        self.macs: dict[str, str] = {}  # of links that are replaced, by interface name
        self.holders: dict[Place, str] = {}
        self.awaited: dict[str, list[PairId]] = {}
        self.verdicts = {pair: judge(desired, pair) for pair in scope}

    def run(self) -> Plan:
        kept = self.result.kept
        for pair, verdict in self.verdicts.items():
            if isinstance(verdict, Ready) and (ends := self._standing(verdict)):
                kept[pair] = ends
        self._mark_strays({link.key for ends in kept.values() for link in ends})
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
        self.result.deletes = list(deletes(self.to_delete, self.by_index, self.observed.reached))
        self.result.leaving = frozenset(self.to_delete)
        self.result.namespaces = [CreateNamespace(name, tuple(pairs)) for name, pairs in self.awaited.items()]
        return self.result

    # What stands

    def _whole(self, ready: Ready) -> tuple[Link, Link] | None:
        """Both ends of the pair when they are where they belong, and tied to each other."""
        first, second = self.observed.links.get(ready.first_at), self.observed.links.get(ready.second_at)
        if first is None or second is None or not (first.is_tied_to(second) and second.is_tied_to(first)):
            return None
        return first, second

    def _standing(self, ready: Ready) -> tuple[Link, Link] | None:
        """The whole pair, when it may be kept."""
        if not (ends := self._whole(ready)):
            return None
        first, second = ends
        ours = self._is(first, ready.first.name) and self._is(second, ready.second.name)
        pair = PairId.of(ready.first.name, ready.second.name)
        if not self._starts(pair):
            return (first, second) if ours else None
        if not ours:
            if not self._may_be_taken(ready, first, second):
                return None
            self.result.takeovers[pair] = TakeOver(first, second)
        return (first, second) if self.policy.adopt else None

    def _may_be_taken(self, ready: Ready, first: Link, second: Link) -> bool:
        """Whether these two, which are the ends of one pair and in the places of this one, may become it."""
        sides = ((ready.first.name, ready.first_at, first), (ready.second.name, ready.second_at, second))
        return self.policy.takeover and all(
            self._holder(place) == name and (self._is(link, name) or is_free(self.marks, link, name))
            for name, place, link in sides
        )

    def _starts(self, pair: PairId) -> bool:
        """Whether this is the first look at the pair since the agent started."""
        return self.policy.start and (self.policy.only is None or pair in self.policy.only)

    def _is(self, link: Link, name: str) -> bool:
        """Whether the link is ours and was made for this name; one without an alias is what its place says."""
        return link.key in self.ours and (not self.marks.names(link) or self.desired.name_of(link.alias) == name)

    def _mark_strays(self, kept: set[tuple[NetnsId, int]]) -> None:
        """All that is ours and not where it belongs goes, but for what an invalid document freezes."""
        for key, link in self.by_index.items():
            if key in kept or key not in self.ours:
                continue
            name = self.desired.owner(link)
            pair = self.desired.pair_of(name)
            concerned = self._concerned(link, name, pair)
            if name in self.desired.configured and self.scope.isdisjoint((pair, concerned)):
                continue
            if not is_frozen(self.desired, link, self.ours, self.by_index):
                self._mark(link, concerned)
                self.macs.setdefault(name, link.mac)

    def _concerned(self, link: Link, name: str, pair: PairId) -> PairId | None:
        """The pair whose affair it is that this link goes: its own, or the one in whose place it stands."""
        claimants = self.desired.claimants((link.netns, link.name))
        if not claimants or name in claimants:
            return pair
        # None: that pair is not looked at now, and this one has nothing to do with it.
        return min(self.scope.intersection(map(self.desired.pair_of, claimants)), default=None)

    # What goes

    def _mark(self, link: Link, pair: PairId | None) -> None:
        self.to_delete[link.key] = LinkToDelete(link.index, link.name, pair)

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
            if (problem := self._obstacle(ready, interface, place))
        ]
        if problems:
            for name in (ready.first.name, ready.second.name):
                whose, reason, text = next((p for p in problems if p[0] == name), problems[0])
                message = text if whose == name else f"peer {whose!r}: {text}"
                state = State.PENDING if reason is Reason.PEER_INVALID else State.FAILED
                self._say(name, state, reason, message)
            return
        for link in self.result.takeovers.get(pair, ()):
            if link.key not in self.to_delete:
                self._mark(link, pair)
        macs, fresh = self.macs, self.marks.fresh
        first = self._end(ready.first, ready.first_at, macs.get(ready.first.name, ""), fresh[0])
        second = self._end(ready.second, ready.second_at, macs.get(ready.second.name, ""), fresh[1])
        self.result.creates.append(CreateVeth(pair, first, second))
        for name in (ready.first.name, ready.second.name):
            self._say(name, State.PENDING, Reason.NONE, "being created")

    def _obstacle(self, ready: Ready, interface: Interface, place: Place) -> tuple[Reason, str] | None:
        """What stands in the way of making this end here; what is to be deleted does not."""
        winner = self._holder(place)
        if winner != interface.name:
            text = f"name {place[1]!r} in namespace {interface.namespace} is configured for {winner!r} too"
            return Reason.NAME_CONFLICT, f"{text}; set another host_if_name"
        where = f"{place[1]!r} in namespace {interface.namespace}"
        link = self.observed.links.get(place)
        if link is None and (link := self.observed.altnames.get(place)) and not self._goes(link):
            mend = f"'ip link property del dev {link.word} altname {place[1]}' there, or set another host_if_name"
            return Reason.NAME_TAKEN, f"{where} is an alternative name of {link.name!r}; {mend}"
        if link is None or self._goes(link) or self.desired.pair_of(interface.name) in self.result.takeovers:
            return None
        if link.key in self.ours:
            return Reason.PEER_INVALID, f"{where} is held by a pair that a document with errors freezes"
        what = f"a {link.kind}" if link.kind else "an interface"
        mend = "remove it or set another host_if_name"
        if (ends := self._whole(ready)) and self._may_be_taken(ready, *ends):
            # Whoever reads this is not to learn by the next upgrade that it would have been taken over.
            mend += "; the pair is as configured, and the agent takes it over when it is started again"
        return Reason.NAME_TAKEN, f"{where} is taken by {what} that this agent did not make; {mend}"

    def _goes(self, link: Link) -> bool:
        """Whether the link is to be deleted, by itself or with its other end."""
        if link.key in self.to_delete:
            return True
        peer = self.by_index.get((link.peer_netns, link.peer_index)) if link.peer_netns else None
        return peer is not None and peer.is_tied_to(link) and peer.key in self.to_delete

    def _holder(self, place: Place) -> str:
        """Of several interfaces that want one name: the one that has it, else the one that was configured first."""
        if place not in self.holders:
            since = {name: self.desired.configured[name].revision for name in self.desired.claimants(place)}
            names = sorted((n for n in since if self._is_ready(n)), key=lambda n: (since[n], n))
            link = self.observed.links.get(place)
            has = [n for n in names if link and self.marks.names(link) and self._is(link, n)]
            self.holders[place] = (has or names)[0]
        return self.holders[place]

    def _is_ready(self, name: str) -> bool:
        pair = self.desired.pair_of(name)
        return isinstance(self.verdicts.get(pair) or judge(self.desired, pair), Ready)

    def _end(self, interface: Interface, place: Place, mac: str, fresh: int = 0) -> End:
        """What the link is to be like; `mac` is what it, or the one that it replaces, has; `fresh` is for a new one."""
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
            fresh=fresh,
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
            if text := shared or duplicate(interface, link, doubtful=pair in self.policy.doubtful):
                state, reason = State.FAILED, Reason.DUPLICATE_ADDRESS
            self.result.conditions[interface.name] = Condition(interface.name, state, reason, text, revision, link)

    def _say(self, name: str, state: State, reason: Reason, message: str) -> None:
        self.result.conditions[name] = condition(self.desired, name, state, reason, message)
