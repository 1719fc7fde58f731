"""One pass, the story on one page: keys, resolve, observe, plan, execute, observe again, conditions.

Runs in one thread and starts none. It is level-triggered: events only say which pairs to look at, so that a missed
or doubled one is harmless. A pair is APPLIED only when a plan made from a fresh observation is empty.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial

from vppctl.agent.beginning import Beginning
from vppctl.agent.isolation import by_halves
from vppctl.agent.places import Places
from vppctl.agent.resolver import Resolver
from vppctl.agent.search import HostSearch
from vppctl.agent.strays import Strays
from vppctl.agent.work import Pass, as_failed, refused_to
from vppctl.errors import cause, shortage
from vppctl.linux.executor import Executor
from vppctl.linux.host import host_identity
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.backlog import Backlog
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.drift import drift_of
from vppctl.reconcile.judge import Awaiting, Blocked, condition, judge
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import Failure, Operation, by_pair, summary
from vppctl.reconcile.pacing import Looked, Pacing
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Condition, NetnsId, ObservedState, PairId, Reason, State

log = logging.getLogger("vppctl.agent")

ROUNDS = 6
"""Plans made in one pass before what still does not hold is called a failure: namespaces, links, what the kernel
took away as a side effect (IPv6 addresses on link down), and verification, with some to spare."""


class Reconciler:
    """Holds the desired state and makes the kernel look like it, pass by pass."""

    def __init__(
        self,
        label: str,
        resolver: Resolver,
        nsids: NsidTable,
        *,
        adopt: bool = False,
        takeover: bool = True,
        on_progress: Callable[[], None] = lambda: None,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self.desired = DesiredState(Marks(label), nsids.own, host_identity())
        self.backlog = Backlog()
        self.pacing = Pacing(self.desired, self.backlog)
        self.resolver = resolver
        self.places = Places(self.desired, resolver, nsids)
        self.memory = self.places.memory
        self.search = HostSearch(self.desired.marks, nsids)
        self._policy, self._beginning = Policy(adopt=adopt, takeover=takeover), Beginning()
        self.nsids = nsids
        self.executor = Executor(nsids)
        self._strays = Strays(self.desired, self.places, self.executor, self.search)
        self.done: dict[PairId, list[str]] = {}
        """What the last pass did about each pair, in words."""
        self.results: Counter[str] = Counter()
        """Operations carried out so far: how many are `ok`, how many `failed`."""
        self._on_progress, self._on_look = on_progress, on_look
        self.started = False
        """Whether everything that can be looked at was looked at once."""
        self._first: set[PairId] | None = None
        """Pairs of the start that were not looked at yet."""
        self._whole, self._looked_at = True, set[PairId]()
        """Whether the kernel has answered all of the present run, and what that has looked at."""

    def sweep(self) -> None:
        """Look for our marks in every namespace from the next pass on: links may have been moved unheard."""
        self.search.want()

    def wait(self, now: float) -> float | None:
        """Seconds until `run` has something to do; None when nothing is due."""
        return min((w for w in (self.backlog.wait(now), self.search.wait(now)) if w is not None), default=None)

    def compare(self, now: float, *, at_once: bool) -> None:
        """Look at everything, for what was not heard; if not `at_once`, what is put does not wait for that."""
        self.nsids.doubt()
        (self.backlog.add if at_once else partial(self.backlog.soon, now=now, delay=0.0))(self.all_pairs())
        self.sweep()

    def all_pairs(self) -> set[PairId]:
        """Everything that is configured or was ever made."""
        return self.desired.all_pairs() | {self.desired.pair_of(name) for name in self.memory.places}

    def enqueue(self, names: Iterable[str], now: float, delay: float) -> None:
        """Look at the pairs of these names within `delay` seconds."""
        self.backlog.soon((self.desired.pair_of(name) for name in names), now, delay)

    def refresh_namespaces(self, references: Iterable[NamespaceRef] | None = None) -> None:
        """Look where these references (None: all) lead to now; pairs whose namespace is another one are enqueued."""
        concerned = self.places.refresh(references)
        # Whoever removes a namespace that the agent creates may do so each time.
        awaiting = {pair for pair in concerned if isinstance(judge(self.desired, pair), Awaiting)}
        self.backlog.again(awaiting)
        self.backlog.add(concerned - awaiting)

    def run(self, now: float) -> dict[str, Condition | None]:
        """Do all that is due at `now`; returns the news by interface name, None for one that is no more."""
        scope = self.backlog.due(now)
        self.done = {}
        self._first = self.desired.all_pairs() if self._first is None else self._first
        if not self.started:
            scope |= self._first
        scope |= self._strays.search(now, started=self.started)
        news: dict[str, Condition | None] = {}
        self._whole, self._looked_at = True, set()
        for part in self.places.parts(scope):
            if not part <= self._looked_at:
                news |= by_halves(part, partial(self._pass, now))
        if self._whole and not self.started:
            self.started = True
            self._beginning.over(self.results["failed"])
        return news

    def _pass(self, now: float, scope: set[PairId], error: Exception | None = None) -> dict[str, Condition | None]:
        """One pass over those of these pairs that this run has not looked at; after an `error` what is said of them."""
        self._on_progress()
        first = self._first or set()
        retried, doubtful = self.pacing.retried(scope, now), self.pacing.doubtful()
        policy = self._policy._replace(start=bool(first), only=first, retried=retried, doubtful=doubtful)
        work = Pass(scope - self._looked_at, policy, retried=retried)
        if error is None:
            try:
                with ExitStack() as stack:
                    self._rounds(stack, work, now)
                self._first = first - (work.scope - work.blind)
            except OSError as refusal:
                error = refusal
        if error is not None:
            self._give_up(error, work)
        self._looked_at |= work.scope
        self.done.update(work.done)
        return self._conclude(work, now)

    def survey(self, policy: Policy | None = None) -> Iterator[tuple[ObservedState, Plan]]:
        """Look at everything and plan, and stop there; in as many parts as it takes."""
        self.search.restart()
        scope = self._strays.search(0.0, started=False) | self.all_pairs()
        for part in self.places.parts(scope):
            work = Pass(part, policy or Policy())
            with ExitStack() as stack:
                observed, pairs = self._look(stack, work.scope, work)
                result = plan(self.desired, observed, pairs - work.blind, work.policy)
                result.conditions.update(work.conditions)
                yield observed, result

    def _give_up(self, error: Exception, work: Pass) -> None:
        """The kernel could not be asked: nothing is known of these pairs but that they are to be looked at again."""
        number = shortage(error) or getattr(error, "errno", 0) or 0
        text = f"internal error: {type(error).__name__}; the log has where"
        if number or isinstance(error, OSError):
            text = f"the kernel cannot be asked: {cause(error)}"
            log.log(logging.WARNING if self._whole else logging.DEBUG, "%s", text)
            self._whole = False
        work.conditions.clear()
        for pair in work.scope:
            self._fail(pair, Failure(number, text), work)

    def _fail(self, pair: PairId, failure: Failure, work: Pass) -> None:
        """Nothing is known of what the kernel has of this pair, but what its documents say holds all the same."""
        work.failures[pair] = failure
        work.blind.add(pair)
        match judge(self.desired, pair):
            case Blocked(conditions, False):
                work.conditions.update(conditions)
            case _:
                for name in self.desired.members(pair):
                    work.conditions[name] = condition(self.desired, name, State.FAILED, failure.reason, failure.message)

    def _rounds(self, stack: ExitStack, work: Pass, now: float) -> None:
        scope = work.scope.copy()
        for number in range(ROUNDS):
            observed, scope = self._look(stack, scope, work)
            paused = self.pacing.paused(scope - work.failures.keys(), now)
            active = scope - work.failures.keys() - paused
            result = plan(self.desired, observed, active, work.policy)
            work.conditions.update(result.conditions)
            if paused:
                self._let_be(observed, paused, work)
            if result:
                known = active if number == ROUNDS - 1 else {pair for pair in active if self.pacing.is_known(pair)}
                self._note_drift(observed, result, known, work)
            if not self.started:
                self._beginning.planned(result, work.spaces)
            work.policy = work.policy.later()
            following = self._execute(result, observed, work)
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
            work.unsettled.add(pair)
            work.failures[pair] = Failure(0, "it does not stay as configured")

    def _let_be(self, observed: ObservedState, pairs: set[PairId], work: Pass) -> None:
        """Take note of what is to be done about these, and do not do it."""
        result = plan(self.desired, observed, pairs, work.policy.later())
        work.conditions.update(result.conditions)
        self._note_drift(observed, result, pairs, work)
        work.waiting |= pairs & work.drift.keys()

    def _note_drift(self, observed: ObservedState, result: Plan, pairs: set[PairId], work: Pass) -> None:
        if pairs := pairs - work.retried - work.drift.keys():
            work.drift.update(drift_of(pairs, self.desired, observed, result))

    def _look(self, stack: ExitStack, scope: set[PairId], work: Pass) -> tuple[ObservedState, set[PairId]]:
        """Observe the pairs in scope, and those whose links turn out to be in their way."""
        while True:
            # What has happened by now, our own changes among it, is seen by the look that follows.
            self._on_look()
            self.backlog.looked_at(scope)
            names = self.places.names(scope)
            concerned = self.places.open(stack, names, work.spaces)
            wanted = self.places.wanted(names)
            observed = observe(work.spaces, wanted, self.nsids)
            known = self.memory.forget(names, observed.unseen)
            observed, found = self.memory.note(self.desired, observed, known)
            wider = scope | (concerned - work.failures.keys()) | {self.desired.pair_of(name) for name in found - names}
            if wider != scope and not self.places.fit(wider):
                # The next pass is for them.
                self.backlog.add(wider - scope)
                wider = scope
            if wider == scope:
                self._note_unseen(observed, set(wanted), scope, work)
                return observed, scope
            work.scope |= wider
            scope = wider

    def _note_unseen(self, observed: ObservedState, asked: set[NetnsId], scope: Iterable[PairId], work: Pass) -> None:
        """A namespace that cannot be asked concerns the pairs that have to do with it, and no others."""
        texts = self.places.unseen(observed, asked, work.spaces)
        if not texts:
            return
        for pair in scope:
            names = {pair.first, pair.second}
            for netns in self.places.wanted(names | self.memory.partners(names)).keys() & texts.keys():
                self._fail(pair, Failure(observed.unseen[netns].errno or 0, texts[netns]), work)

    def _execute(self, result: Plan, observed: ObservedState, work: Pass) -> set[PairId]:
        """Carry out the stages in order; returns the pairs that something was done about."""
        touched, left = set[PairId](), set[NetnsId]()
        for stage in (result.deletes, result.namespaces, result.creates, result.settings):
            if not stage:
                continue
            self._on_progress()
            for outcome in self.executor.execute(list[Operation](stage), work.spaces, observed):
                self.results["failed" if outcome.failure else "ok"] += 1
                parts = by_pair(outcome.operation)
                pairs = parts.keys()
                touched |= pairs
                failed = f": {outcome.failure.message}" if outcome.failure else ""
                for pair, part in parts.items():
                    work.done.setdefault(pair, []).append(summary(part) + failed)
                if failure := outcome.failure:
                    log.warning("%s", failure.message)
                    refused = refused_to(self.desired, outcome.operation, failure)
                    work.failures.update((pair, failure) for pair in refused if pair not in work.failures)
                    left |= self._strays.note_refused(outcome.operation, failure)
        self.memory.drop(key for key in result.leaving if key[0] not in left)
        return touched

    def _conclude(self, work: Pass, now: float) -> dict[str, Condition | None]:
        news: dict[str, Condition | None] = {}
        for pair in work.scope:
            failure, unsettled = work.failures.get(pair), pair in work.unsettled
            said = [c for name in self.desired.members(pair) if (c := work.conditions.get(name))]
            # A namespace that could not be created, or is not for now, is not one that is awaited.
            awaiting = isinstance(judge(self.desired, pair), Awaiting)
            if refused := failure if not unsettled else None:
                said = [as_failed(c, refused.reason, refused.message, anyway=awaiting) for c in said]
            waiting, retried = pair in work.waiting, pair in work.retried
            found = work.drift.get(pair, ()), failure is not None, unsettled, waiting, retried, pair in work.blind
            if contest := self.pacing.conclude(pair, Looked(said, *found), now):
                said = [as_failed(c, Reason.KERNEL_ERROR, contest, anyway=awaiting and not refused) for c in said]
            news.update((condition.name, condition) for condition in said)
            for name in (pair.first, pair.second):
                # What is left of one that is not configured is what a document with errors freezes.
                if name not in self.desired.configured and not (failure and name in self.memory.places):
                    news[name] = None
        return news
