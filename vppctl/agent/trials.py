"""The main loop's own failures: each turn that fails is tried again, and the agent ends when none succeeds any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from vppctl.agent.lock import STALE
from vppctl.agent.supervisor import Supervisor
from vppctl.errors import cause, shortage

log = logging.getLogger("vppctl.agent")

PAUSE_FIRST, PAUSE_LAST = 0.05, 1.0
"""Seconds until the next turn: doubled from the first to the last. Signals are heard in between."""
NAME = "main loop"


class Trials:
    """Counts the turns that have failed in a row."""

    def __init__(self, supervisor: Supervisor, report: Callable[[], object] = lambda: None) -> None:
        """`report` is called when turns begin to fail: those that would report it fail themselves."""
        self._supervisor, self._report = supervisor, report
        self.failures = 0
        self.in_vain = False
        """Whether no turn has succeeded for as long as makes the agent count as hung: a new process may do better."""
        self._since = 0.0

    def failed(self, error: Exception) -> None:
        """A turn has ended by this error; returns when it is time for the next."""
        self.failures += 1
        if self.failures == 1:
            self._since = time.monotonic()
        # The first, the second, the fourth and so on: a log that is full of it helps nobody.
        if not self.failures & (self.failures - 1):
            text = "a turn of the main loop has failed, %d in a row: %s"
            log.error(text, self.failures, cause(error), exc_info=None if shortage(error) else error)
        self._supervisor.note(NAME, f"its turns fail: {cause(error)}")
        if self.failures == 1:
            self._report()
        time.sleep(min(PAUSE_LAST, PAUSE_FIRST * 2.0 ** min(self.failures - 1, 10)))
        self.in_vain = time.monotonic() - self._since > STALE
        if self.in_vain:
            log.error("the main loop cannot go on: no turn has succeeded for %g s", STALE)

    def succeeded(self) -> None:
        """A turn has done what was due."""
        if self.failures:
            self.failures, self.in_vain = 0, False
            self._supervisor.note(NAME, "")
