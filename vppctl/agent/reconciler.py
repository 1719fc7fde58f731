"""One pass, the story on one page: keys, resolve, observe, plan, execute, observe again, conditions.

Runs in one thread and starts none. It is level-triggered: events only say which pairs to look at, so that a missed
or doubled one is harmless. A pair is APPLIED only when a plan made from a fresh observation is empty.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from vppctl.agent.isolation import by_halves
from vppctl.agent.places import Places
from vppctl.agent.resolver import Resolver
from vppctl.errors import cause, shortage
from vppctl.linux.executor import Executor
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.backlog import Backlog
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.judge import Awaiting, Blocked, condition, judge
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import Failure, Operation, by_pair, summary
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Condition, NetnsId, ObservedState, PairId, Reason, State

log = logging.getLogger("vppctl.agent")

ROUNDS = 6
"""Plans made in one pass before what still does not hold is called a failure: namespaces, links, what the kernel
took away as a side effect (IPv6 addresses on link down), and verification, with some to spare."""
SEARCH_PAUSE = 5.0
"""Seconds until a search of all namespaces that could not be made is tried again."""


@dataclass(slots=True)
class _Pass:
    """What one pass has found so far."""

    scope: set[PairId]
    policy: Policy
    conditions: dict[str, Condition] = field(default_factory=dict)
    failures: dict[PairId, Failure] = field(default_factory=dict)
    spaces: dict[NetnsId, Netns] = field(default_factory=dict)
    done: dict[PairId, list[str]] = field(default_factory=dict)
    blind: set[PairId] = field(default_factory=set)
    """Those of `failures` of which nothing is known: a namespace of theirs could not be looked at."""


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
        self.resolver = resolver
        self.places = Places(self.desired, resolver, nsids)
        self.memory = self.places.memory
        self._adopt = adopt
        self.nsids = nsids
        self.executor = Executor(nsids)
        self.done: dict[PairId, list[str]] = {}
        """What the last pass did about each pair, in words."""
        self.results: Counter[str] = Counter()
        """Operations carried out so far: how many are `ok`, how many `failed`."""
        self._on_progress, self._on_look = on_progress, on_look
        self.started = False
        """Whether everything that can be looked at was looked at once."""
        self._first: set[PairId] | None = None
        """Pairs of the start that were not looked at yet."""
        self._sweep, self._sweep_at = True, 0.0
        self._whole, self._looked_at = True, set[PairId]()
        """What the present run has looked at, and whether the kernel has answered all of it."""

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
        self.backlog.add(self.places.refresh(references))

    def run(self, now: float) -> dict[str, Condition | None]:
        """Do all that is due at `now`; returns the news by interface name, None for one that is no more."""
        scope = self.backlog.due(now)
        self.done = {}
        if self._first is None:
            self._first = self.desired.all_pairs()
        if not self.started:
            scope |= self._first
        if self._sweep and now >= self._sweep_at:
            scope |= self._search(now)
        news: dict[str, Condition | None] = {}
        self._whole, self._looked_at = True, set()
        for part in self.places.parts(scope):
            if not part <= self._looked_at:
                news |= by_halves(part, partial(self._pass, now))
        self.started = self.started or self._whole
        return news

    def _pass(self, now: float, scope: set[PairId], error: Exception | None = None) -> dict[str, Condition | None]:
        """One pass over those of these pairs that this run has not looked at; after an `error` what is said of them."""
        self._on_progress()
        work = _Pass(scope - self._looked_at, Policy(start=bool(self._first), adopt=self._adopt, only=self._first))
        if error is None:
            try:
                with ExitStack() as stack:
                    self._rounds(stack, work)
                self._first = (self._first or set()) - (work.scope - work.blind)
            except OSError as refusal:
                error = refusal
        if error is not None:
            self._give_up(error, work)
        self._looked_at |= work.scope
        self.done.update(work.done)
        return self._conclude(work, now)

    def survey(self) -> Iterator[tuple[ObservedState, Plan]]:
        """Look at everything and plan, and stop there; in as many parts as it takes."""
        scope = self.desired.all_pairs() | self._search(0.0)
        for part in self.places.parts(scope):
            work = _Pass(part, Policy())
            with ExitStack() as stack:
                observed, pairs = self._look(stack, work.scope, work)
                result = plan(self.desired, observed, pairs - work.blind)
                result.conditions.update(work.conditions)
                yield observed, result

    def _search(self, now: float) -> set[PairId]:
        """The pairs of links of ours that were not known, wherever on the host they are."""
        try:
            found = self.places.search()
        except OSError as error:
            # What is configured has its places, which are looked at all the same.
            log.warning("namespaces cannot be searched for links of this label: %s", cause(error))
            self._sweep_at = now + SEARCH_PAUSE
            return set()
        self._sweep = False
        return found

    def _give_up(self, error: Exception, work: _Pass) -> None:
        """The kernel could not be asked: nothing is known of these pairs but that they are to be looked at again."""
        number = shortage(error) or getattr(error, "errno", 0) or 0
        text = f"internal error: {type(error).__name__}; the log has where"
        if number or isinstance(error, OSError):
            text = f"the kernel cannot be asked: {cause(error)}"
            log.warning("%s", text)
            self._whole = False
        work.conditions.clear()
        for pair in work.scope:
            self._fail(pair, Failure(number, text), work)

    def _fail(self, pair: PairId, failure: Failure, work: _Pass) -> None:
        """Nothing is known of what the kernel has of this pair, but what its documents say holds all the same."""
        work.failures[pair] = failure
        work.blind.add(pair)
        match judge(self.desired, pair):
            case Blocked(conditions):
                work.conditions.update(conditions)
            case _:
                for name in self.desired.members(pair):
                    work.conditions[name] = condition(self.desired, name, State.FAILED, failure.reason, failure.message)

    def _rounds(self, stack: ExitStack, work: _Pass) -> None:
        scope = work.scope.copy()
        for _ in range(ROUNDS):
            observed, scope = self._look(stack, scope, work)
            active = scope - work.failures.keys()
            result = plan(self.desired, observed, active, work.policy)
            work.conditions.update(result.conditions)
            work.policy = Policy()
            following = self._execute(result, work)
            if failed := scope & (work.failures.keys() - work.blind):
                # The kernel refused something: what stands in the way is told by a plan that is not carried out.
                observed, seen = self._look(stack, failed, work)
                work.conditions.update(plan(self.desired, observed, failed - work.blind).conditions)
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
            concerned = self.places.open(stack, names, work.spaces)
            wanted = self.places.wanted(names)
            observed = observe(work.spaces, wanted, self.nsids)
            self.memory.forget(names, observed.unseen)
            found = self.memory.note(self.desired, observed)
            wider = scope | (concerned - work.failures.keys()) | {self.desired.pair_of(name) for name in found - names}
            if wider != scope and not self.places.fit(wider):
                # The next pass is for them.
                self.backlog.add(wider - scope)
                wider = scope
            if wider == scope:
                self._note_unseen(observed, scope, work)
                return observed, scope
            work.scope |= wider
            scope = wider

    def _note_unseen(self, observed: ObservedState, scope: Iterable[PairId], work: _Pass) -> None:
        """A namespace that cannot be asked concerns the pairs that have to do with it, and no others."""
        if not observed.unseen:
            return
        texts: dict[NetnsId, str] = {}
        for netns, error in observed.unseen.items():
            where = space.description if (space := work.spaces.get(netns)) else f"net:[{netns.ino}]"
            texts[netns] = f"namespace {where} cannot be asked: {cause(error)}"
            log.warning("%s", texts[netns])
        for pair in scope:
            names = {pair.first, pair.second}
            for netns in self.places.wanted(names | self.memory.partners(names)).keys() & texts.keys():
                self._fail(pair, Failure(observed.unseen[netns].errno or 0, texts[netns]), work)

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
                parts = by_pair(outcome.operation)
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
                # A namespace that could not be created is not one that is awaited.
                if failure and (condition.reason is Reason.NONE or isinstance(judge(self.desired, pair), Awaiting)):
                    condition = Condition(
                        name, State.FAILED, failure.reason, failure.message, condition.revision, condition.link
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
