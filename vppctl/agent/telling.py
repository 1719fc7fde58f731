"""What the agent says about its interfaces: reports, their history, and to whom they go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from vppctl.agent.publisher import Publisher
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.status import Report, Reports, report, rfc3339, vpp_report
from vppctl.agent.vpp_worker import VppNews
from vppctl.model.interface import Interface
from vppctl.model.keys import Kind, status_key, status_prefix
from vppctl.reconcile.state import Condition, State, Statistics
from vppctl.reconcile.vpp import VppCondition

HISTORY = 10
"""Transactions that are kept of each interface."""
COUNTERS_A_SECOND = 10
"""Reports that are published anew in a second because of their counters alone. Ten thousand hosts share one store, and
an agent with ten thousand interfaces has one, too; probes read the newest ones from the agent itself (--http)."""
TOLD = 200
"""Characters of a result and operations that are kept of each: all must fit into one value of the store."""
NAME_LIMIT = 16 << 10
"""Characters of a name, which the store takes as a key, beyond which nothing is published: a report has it twice, and
one that the store refuses would keep all others waiting."""
ERRORS = 3
"""Different errors that are kept of each interface, also when they have left the history."""


@dataclass(slots=True)
class _Past:
    """What was done about one interface since the agent's start, and what went wrong."""

    history: list[Report] = field(default_factory=list)
    errors: list[Report] = field(default_factory=list)

    def remember(self, content: Report, operations: Sequence[str], seconds: float) -> None:
        """A transaction that took `seconds` has led to this report."""
        now, revision, result = rfc3339(), content["config_revision"], content["state"]
        text = f"{content['reason']}: {content['message']}"[:TOLD]
        duration = round(seconds * 1e3, 1)
        more = [f"{len(operations) - TOLD} more"] if len(operations) > TOLD else []
        entry = {"time": now, "revision": revision, "operations": [*operations[:TOLD], *more]}
        entry |= {"result": f"{result} {text}" if content["reason"] else result, "duration_ms": duration}
        # New lists, for the old ones are being published; and short ones, for there may be ten thousand.
        self.history = [*self.history[1 - HISTORY :], entry]
        if result not in (State.FAILED, State.INVALID):
            return
        times = 1
        if self.errors and self.errors[-1]["error"] == text:
            times += self.errors[-1]["times"]
            self.errors = self.errors[:-1]
        error = {"time": now, "revision": revision, "error": text, "times": times}
        self.errors = [*self.errors[1 - ERRORS :], error]


class Teller:
    """Keeps the newest report of every interface and hands it to the publisher, if there is one."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.reports = Reports()
        self.publisher: Publisher | None = None
        self._past: dict[str, _Past] = {}
        self._counters: dict[str, Statistics] = {}
        self._counted = time.monotonic()
        self._unpublished: dict[str, None] = {}
        """Keys of reports whose counters have changed since they were published, those that wait longest first."""

    def linux(
        self,
        condition: Condition,
        interface: Interface | None,
        retries: int,
        place: Report,
        operations: Sequence[str],
        seconds: float,
    ) -> None:
        """An interface of Linux was looked at; `operations` is what was done about it, in `seconds`.

        `place` is the resolver's part of the report.
        """
        key = status_key(self.label, condition.name, Kind.LINUX)
        content = report(condition, interface, retries, place)
        self._say(key, condition, content, operations, seconds)

    def passed(
        self, reconciler: Reconciler, news: Mapping[str, Condition | None], seconds: float, *, whole: bool
    ) -> None:
        """A pass over interfaces of Linux, in `seconds`, has led to these conditions; None: there is none any more.

        `whole`: all of the configuration is that of the store that is followed now.
        """
        for name, condition in news.items():
            if condition is None:
                self.gone(Kind.LINUX, name)
                continue
            interface, pair = reconciler.desired.interface(name), reconciler.desired.pair_of(name)
            place = reconciler.desired.place(interface) if interface else None
            told = reconciler.resolver.told(interface.namespace, place) if interface and place else {}
            done = reconciler.done.get(pair, ())
            self.linux(condition, interface, reconciler.backlog.retries(pair), told, done, seconds)
        self.reports.tell()
        if whole and self.publisher:
            self.publisher.release()

    def gone(self, kind: Kind, name: str) -> None:
        """There is nothing to be said about this one any more."""
        key = status_key(self.label, name, kind)
        said = self.reports.current.pop(key, None)
        self._past.pop(key, None)
        self._unpublished.pop(key, None)
        if kind is Kind.LINUX:
            self._counters.pop(name, None)
        # Of a link that only its marks speak of nothing was ever said, and its name may be no key.
        if said and self.publisher:
            self.publisher.offer(key, None)

    def vpp(self, news: VppNews) -> None:
        """VPP's thread has something to say."""
        for name, condition in news.conditions.items():
            if condition is None:
                self.gone(Kind.VPP, name)
            else:
                key = status_key(self.label, name, Kind.VPP)
                self._say(key, condition, vpp_report(condition, news.retries.get(name, 0)), (), 0.0)
        self.reports.tell()

    def count(self, counters: Mapping[str, Statistics]) -> None:
        """The counters of these interfaces of Linux were read; what has waited longest is published first."""
        now = time.monotonic()
        room = int((now - self._counted) * COUNTERS_A_SECOND)
        self._counted = now
        for name, statistics in counters.items():
            if self._counters.get(name) == statistics:
                continue
            key = status_key(self.label, name, Kind.LINUX)
            content = self.reports.current.get(key)
            if content is not None and content["if_index"]:
                self._counters[name] = statistics
                # A new one: whoever publishes may be reading the old one.
                self.reports.current[key] = {**content, "statistics": statistics._asdict()}
                self._unpublished[key] = None
        for key in list(islice(self._unpublished, room)):
            del self._unpublished[key]
            content = self.reports.current.get(key)
            if content is not None and self.publisher:
                self.publisher.offer(key, content)

    def all(self, kind: Kind) -> list[Report]:
        """The newest reports of this kind; from any thread."""
        prefix = status_prefix(self.label, kind)
        return [report for key, report in self.reports.current.copy().items() if key.startswith(prefix)]

    def summary(self) -> str:
        """One line about all interfaces."""
        states = Counter(str(content["state"]) for content in self.reports.current.values())
        total = sum(states.values())
        return ", ".join([f"{total} interfaces", *(f"{count} {state}" for state, count in sorted(states.items()))])

    def _say(
        self,
        key: str,
        condition: Condition | VppCondition,
        content: Report,
        operations: Sequence[str],
        seconds: float,
    ) -> None:
        before = self.reports.current.get(key)
        content = self.reports.update(key, condition, content)
        past = self._past.setdefault(key, _Past())
        if operations or before is None or before["last_change"] != content["last_change"]:
            past.remember(content, operations, seconds)
        content["history"], content["errors"] = past.history, past.errors
        self._unpublished.pop(key, None)
        if self.publisher and len(content["name"]) <= NAME_LIMIT:
            self.publisher.offer(key, content)
