"""One pass, the story on one page: keys, resolve, observe, plan, execute, observe again, conditions.

Runs in one thread and starts none. It is level-triggered: events only say which pairs to look at, so that a missed
or doubled one is harmless. A pair is APPLIED only when a plan made from a fresh observation is empty.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from vppctl.agent.memory import Memory
from vppctl.agent.resolver import Resolver
from vppctl.linux.executor import Executor
from vppctl.linux.named import discover
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe, observe_marked
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.backlog import Backlog
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.judge import Blocked, condition, judge
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import CreateNamespace, DeleteLinks, Doomed, Failure, Operation, summary
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Condition, NetnsId, ObservedState, PairId, Reason, State

log = logging.getLogger("vppctl.agent")

ROUNDS = 6
"""Plans made in one pass before what still does not hold is called a failure: namespaces, links, what the kernel
took away as a side effect (IPv6 addresses on link down), and verification, with some to spare."""


@dataclass(slots=True)
class _Pass:
    """What one pass has found so far."""

    scope: set[PairId]
    policy: Policy
    conditions: dict[str, Condition] = field(default_factory=dict)
    failures: dict[PairId, Failure] = field(default_factory=dict)
    spaces: dict[NetnsId, Netns] = field(default_factory=dict)
    done: dict[PairId, list[str]] = field(default_factory=dict)


class Reconciler:
    """Holds the desired state and makes the kernel look like it, pass by pass."""

    def __init__(
        self,
        label: str,
        resolver: Resolver,
        nsids: NsidTable,
        *,
        adopt: bool = False,
        on_progress: Callable[[], None] = lambda: None,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self.desired = DesiredState(Marks(label), nsids.own)
        self.backlog = Backlog()
        self.memory = Memory()
        self.resolver = resolver
        self._adopt = adopt
        self.nsids = nsids
        self.executor = Executor(nsids)
        self.done: dict[PairId, list[str]] = {}
        """What the last pass did about each pair, in words."""
        self.results: Counter[str] = Counter()
        """Operations carried out so far: how many are `ok`, how many `failed`."""
        self._on_progress, self._on_look = on_progress, on_look
        self.started = False
        """Whether everything was looked at once."""
        self._sweep = True

    def sweep(self) -> None:
        """Have the next pass look for our marks in every namespace: links may have been moved unheard."""
        self._sweep = True

    def all_pairs(self) -> set[PairId]:
        """Everything that is configured or was ever made."""
        return self.desired.all_pairs() | {self.desired.pair_of(name) for name in self.memory.places}

    def enqueue(self, names: Iterable[str], now: float, delay: float) -> None:
        """Look at the pairs of these names within `delay` seconds."""
        self.backlog.soon((self.desired.pair_of(name) for name in names), now, delay)

    def refresh_namespaces(self, references: Iterable[NamespaceRef] | None = None) -> None:
        """Look where these references (None: all) lead to now; pairs whose namespace is another one are enqueued."""
        for reference in self.desired.references() if references is None else references:
            try:
                found = self.resolver.open(reference)
            except OSError as error:
                # Nothing is known of where it leads; the passes and the audit ask again.
                log.warning("namespace %s cannot be looked for: %s", reference, error.strerror or error)
                continue
            if isinstance(found, Netns):
                with found:
                    self.backlog.add(self.desired.resolve(reference, found.id))
            else:
                self.backlog.add(self.desired.resolve(reference, found))

    def run(self, now: float) -> dict[str, Condition | None]:
        """Do all that is due at `now`; returns the news by interface name, None for one that is no more."""
        scope = self.backlog.due(now)
        self.done = {}
        if not self.started:
            scope |= self.desired.all_pairs()
        elif not scope and not self._sweep:
            return {}
        work = _Pass(scope, Policy(start=not self.started, adopt=self._adopt))
        with ExitStack() as stack:
            try:
                if self._sweep:
                    self._find_orphans(stack, work)
                self._rounds(stack, work)
                self.started, self._sweep = True, False
            except OSError as error:
                self._give_up(error, work)
        self.done = work.done
        return self._conclude(work, now)

    def survey(self) -> tuple[ObservedState, Plan]:
        """Look at everything and plan, and stop there."""
        work = _Pass(self.desired.all_pairs(), Policy())
        with ExitStack() as stack:
            self._find_orphans(stack, work)
            observed, scope = self._look(stack, work.scope, work)
            return observed, plan(self.desired, observed, scope)

    def _find_orphans(self, stack: ExitStack, work: _Pass) -> None:
        """What an earlier run of this agent left, or somebody has moved, anywhere on the host comes into the scope."""
        spaces = {netns.id: stack.enter_context(netns) for netns in discover()}
        marks = self.desired.marks
        links = observe_marked(spaces, marks.group, marks.prefix, self.nsids)
        links = [link for link in links if not self.memory.knows(link)]
        work.spaces.update((link.netns, spaces[link.netns]) for link in links)
        self.nsids.assign_many(list(work.spaces.values()))
        work.scope |= {self.desired.pair_of(n) for n in self.memory.note(self.desired, ObservedState.of(links))}

    def _give_up(self, error: OSError, work: _Pass) -> None:
        """The kernel could not be asked: nothing is known of these pairs but that they are to be looked at again."""
        text = f"the kernel cannot be asked: {error.strerror or error}"
        log.warning("%s", text)
        work.conditions.clear()
        for pair in work.scope:
            work.failures[pair] = Failure(error.errno or 0, text)
            match judge(self.desired, pair):
                case Blocked(conditions):
                    work.conditions.update(conditions)
                case _:
                    for name in self.desired.members(pair):
                        work.conditions[name] = condition(self.desired, name, State.FAILED, Reason.KERNEL_ERROR, text)

    def _rounds(self, stack: ExitStack, work: _Pass) -> None:
        scope = work.scope.copy()
        for _ in range(ROUNDS):
            observed, scope = self._look(stack, scope, work)
            active = scope - work.failures.keys()
            result = plan(self.desired, observed, active, work.policy)
            work.conditions.update(result.conditions)
            work.policy = Policy()
            following = self._execute(result, work)
            if work.failures:
                # The kernel refused something: what stands in the way is told by a plan that is not carried out.
                failed = scope & work.failures.keys()
                observed, seen = self._look(stack, failed, work)
                work.conditions.update(plan(self.desired, observed, failed).conditions)
                # That others have moved is news once, and to be acted on.
                following |= seen - scope
            scope = following - work.failures.keys()
            if not scope:
                return
        for pair in scope:
            work.failures[pair] = Failure(0, "it does not stay as configured; something else keeps changing it")

    def _look(self, stack: ExitStack, scope: set[PairId], work: _Pass) -> tuple[ObservedState, set[PairId]]:
        """Observe the pairs in scope, and those whose links turn out to be in their way."""
        while True:
            # What has happened by now, our own changes among it, is seen by the look that follows.
            self._on_look()
            self.backlog.looked_at(scope)
            names = {name for pair in scope for name in (pair.first, pair.second)}
            # Whether a link is frozen, its other end tells, whatever the two are configured as now.
            names |= self.memory.partners(names)
            concerned = self._open(stack, names, work)
            observed = observe(work.spaces, self._wanted(names), self.nsids)
            self.memory.forget(names)
            found = self.memory.note(self.desired, observed)
            wider = scope | (concerned - work.failures.keys()) | {self.desired.pair_of(name) for name in found - names}
            if wider == scope:
                return observed, scope
            work.scope |= wider
            scope = wider

    def _open(self, stack: ExitStack, names: Iterable[str], work: _Pass) -> set[PairId]:
        """Resolve the namespaces of these interfaces; the handles stay open, and pinned, for this pass alone."""
        concerned: set[PairId] = set()
        references = {interface.namespace for name in names if (interface := self.desired.interface(name))}
        for reference in references:
            found = self.resolver.open(reference)
            if isinstance(found, Netns):
                if found.id in work.spaces:
                    found.close()
                else:
                    work.spaces[found.id] = stack.enter_context(found)
                concerned |= self.desired.resolve(reference, found.id)
            else:
                concerned |= self.desired.resolve(reference, found)
        # Before anything is looked at: from here on the monitor hears what happens there. All of them, for the end of
        # another one that had the same id may have taken it away since the last look.
        self.nsids.assign_many(list(work.spaces.values()))
        return concerned

    def _wanted(self, names: Iterable[str]) -> Mapping[NetnsId, frozenset[str]]:
        wanted: dict[NetnsId, set[str]] = {}
        for name in names:
            for netns, kernel_name in self.memory.places.get(name, ()):
                wanted.setdefault(netns, set()).add(kernel_name)
            interface = self.desired.interface(name)
            if interface and (claim := self.desired.claim(interface)):
                wanted.setdefault(claim[0], set()).add(claim[1])
        return {netns: frozenset(kernel_names) for netns, kernel_names in wanted.items()}

    def _execute(self, result: Plan, work: _Pass) -> set[PairId]:
        """Carry out the stages in order; returns the pairs that something was done about."""
        touched: set[PairId] = set()
        for stage in (result.deletes, result.namespaces, result.creates, result.settings):
            if not stage:
                continue
            self._on_progress()
            operations: list[Operation] = list(stage)
            for outcome in self.executor.execute(operations, work.spaces):
                self.results["failed" if outcome.failure else "ok"] += 1
                parts = _parts(outcome.operation)
                pairs = parts.keys()
                touched |= pairs
                failed = f": {outcome.failure.message}" if outcome.failure else ""
                for pair, part in parts.items():
                    work.done.setdefault(pair, []).append(summary(part) + failed)
                if outcome.failure:
                    log.warning("%s", outcome.failure.message)
                    work.failures.update((pair, outcome.failure) for pair in pairs if pair not in work.failures)
        return touched

    def _conclude(self, work: _Pass, now: float) -> dict[str, Condition | None]:
        news: dict[str, Condition | None] = {}
        for pair in work.scope:
            failure = work.failures.get(pair)
            members = self.desired.members(pair)
            for name in members:
                condition = work.conditions.get(name)
                if condition is None:
                    continue
                if failure and condition.reason is Reason.NONE:
                    condition = Condition(
                        name, State.FAILED, Reason.KERNEL_ERROR, failure.message, condition.revision, condition.link
                    )
                news[name] = condition
            if failure or any(c.state is State.FAILED for n in members if (c := news.get(n))):
                self.backlog.failed(pair, now)
            else:
                self.backlog.succeeded(pair)
            for name in (pair.first, pair.second):
                # What is left of one that is not configured is what a document with errors freezes.
                if name not in self.desired.configured and not (failure and name in self.memory.places):
                    news[name] = None
        return news


def _parts(operation: Operation) -> dict[PairId, Operation]:
    """The operation by the pairs that it was for; of a deletion of many, what it was for each."""
    match operation:
        case DeleteLinks(netns=netns, links=links):
            doomed: dict[PairId, tuple[Doomed, ...]] = {}
            for link in links:
                if link.pair:
                    doomed[link.pair] = (*doomed.get(link.pair, ()), link)
            return {pair: DeleteLinks(netns, own) for pair, own in doomed.items()}
        case CreateNamespace(pairs=pairs):
            return dict.fromkeys(pairs, operation)
        case _:
            return {operation.pair: operation}
