"""At rest nothing happens, and everybody who looks finds the same.

The agent sends nothing but what its clock asks for. When it is made to compare everything it finds nothing to do: no
message that changes anything, no operation, and every link is the one that it was, by its index. `vppctl check`, which
looks for itself, finds no difference but those that have a state.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping

from tests.faults.kernel import Key, Link, Snapshot
from tests.faults.oracle import Expected, owner
from tests.faults.process import AgentProcess, Violation

QUIET = 0.2
"""Seconds without a message after which an agent counts as being at rest."""
PASSES = "vppctl_reconcile_passes_total"
OPERATIONS = ('vppctl_operations_total{result="ok"}', 'vppctl_operations_total{result="failed"}')
PATIENCE = 20.0
"""Seconds until it has to be: duplicate address detection, whose ends are events, takes two."""


def stay(
    agents: Mapping[str, AgentProcess],
    expected: Mapping[str, Expected],
    before: Snapshot,
    look: Callable[[], Snapshot],
) -> None:
    """Raises Violation when something happens although nothing is to be done.

    `expected` is what should be, by label; `before` is the kernel, and `look` looks again, and raises Violation when
    anything is not as it should be.
    """
    for agent in agents.values():
        compare_all(agent, anything=bool(expected[agent.label].states))
        check(agent, expected[agent.label])
    after = look()
    for label, agent in agents.items():
        old, new = ours(label, before), ours(label, after)
        if gone := [link for key, link in sorted(old.items()) if new.get(key) != link]:
            now = [link for key, link in sorted(new.items()) if old.get(key) != link]
            lines = [f"{len(gone)} links changed at rest:", *map(str, gone[:5]), "became", *map(str, now[:5])]
            raise Violation("\n".join([*lines, agent.tail()]))


def ours(label: str, snapshot: Snapshot) -> dict[Key, Link]:
    """The links of a label."""
    return {link.key: link for link in snapshot.values() if owner(label, link) is not None}


def quiet(agent: AgentProcess) -> None:
    """Wait until the agent sends nothing for a while."""
    deadline = time.monotonic() + PATIENCE
    began, before = time.monotonic(), agent.control.messages
    last, since = before, began
    while (now := time.monotonic()) - since < QUIET:
        if (messages := agent.control.messages) != last:
            last, since = messages, now
        if now > deadline:
            rate = (messages - before) / (now - began)
            text = f"agent {agent.label} does not come to rest: {rate:.0f} netlink messages a second for {PATIENCE} s"
            raise Violation(f"{text}\n{agent.tail()}\n{agent.waits()}")
        time.sleep(0.005)


def compare_all(agent: AgentProcess, *, anything: bool) -> None:
    """SIGHUP, and the agent finds nothing to do; `anything` is whether there is a document to look at."""
    quiet(agent)
    before, writes = _metrics(agent), agent.control.kinds()
    agent.signal(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while anything:
        now = _metrics(agent)
        if now["vppctl_agent_ready"] == 1.0 and now[PASSES] > before[PASSES]:
            break
        if time.monotonic() > deadline:
            raise Violation(f"agent {agent.label} does not compare everything at SIGHUP:\n{agent.tail()}")
        time.sleep(0.01)
    quiet(agent)
    if more := agent.control.kinds() - writes:
        raise Violation(f"agent {agent.label} sent messages that change something, at rest: {more}\n{agent.tail()}")
    after = _metrics(agent)
    for name in OPERATIONS:
        if after[name] != before[name]:
            raise Violation(f"agent {agent.label}: {name} went from {before[name]} to {after[name]} at rest")


def _metrics(agent: AgentProcess) -> dict[str, float]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return agent.metrics()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Violation(f"agent {agent.label} does not answer at {agent.http}: {error}") from None
        time.sleep(0.01)


def check(agent: AgentProcess, expected: Expected) -> None:
    """`vppctl check` names those whose state says that something is wrong, and no others."""
    if not agent.creates:
        # What the agent leaves to others, `check` expects of it.
        return
    result = agent.run("check", "-o", "json", *agent.options)
    if result.returncode not in (0, 1) or "Traceback" in result.stderr:
        raise Violation(f"{agent.label}: check ended with {result.returncode}: {result.stderr}")
    found = json.loads(result.stdout)
    wrong = {name for name, (state, _) in expected.states.items() if state in ("FAILED", "INVALID")}
    named = {difference["name"] for difference in found}
    if named != wrong or result.returncode != bool(wrong):
        others = [difference for difference in found if difference["name"] not in wrong]
        text = f"{agent.label}: check exits with {result.returncode}, finds {others}"
        raise Violation(f"{text}, misses {sorted(wrong - named)}: {result.stderr}")
