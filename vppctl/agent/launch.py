"""The agent as a process: what holds for all of it, and its beginning."""

from __future__ import annotations

import gc
import logging
from contextlib import ExitStack

from vppctl.agent.lock import AgentLock
from vppctl.agent.logs import set_up_logging
from vppctl.agent.runtime import Agent
from vppctl.agent.settings import AgentSettings
from vppctl.agent.sources import hold_signals
from vppctl.agent.stderr import Stderr
from vppctl.linux.namespaces import raise_file_limit
from vppctl.linux.privileges import NEEDED, TO_FOLLOW, lacking

log = logging.getLogger("vppctl.agent")


def run(settings: AgentSettings, stderr: Stderr | None = None) -> int:
    """Run the agent until it is told to stop, or with `once` until everything was looked at once.

    Returns the exit code: 0, or 1 when `once` and not all interfaces are applied. Raises StoreError when `once`
    and the store cannot be reached, VppctlError when an agent of this label runs on this host already.
    """
    if not settings.once:
        hold_signals()
    set_up_logging(settings.log_format, settings.log_level)
    raise_file_limit()
    if missing := lacking(sorted(NEEDED.keys() - TO_FOLLOW)):
        log.warning("without %s: what belongs to other users may be out of reach", ", ".join(missing))
    # What is loaded by now stays; and a pass over thousands of pairs makes many objects, but hardly any cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    if not settings.once:
        gc.enable()
    with AgentLock(settings.label) as lock, ExitStack() as stack:
        agent = Agent(settings, lock, stderr.dropped if stderr else str)
        if stderr:
            stack.callback(stderr.finish)
            agent.sources.supervisor.add_chore(stderr.pending)
        if settings.http:
            from vppctl.agent.web import listen

            supervisor = agent.sources.supervisor
            serve, end = listen(
                settings.http, agent.facts, lambda why: supervisor.note("http", why), settings.http_hosts
            )
            stack.callback(end)
            supervisor.start("http", serve)
        return agent.run()
