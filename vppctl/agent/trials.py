"""The main loop's own failures: each turn that fails is tried again, and the agent ends when none succeeds any more."""

from __future__ import annotations

import logging
import time

from vppctl.agent.lock import STALE
from vppctl.agent.supervisor import Supervisor
from vppctl.errors import cause, shortage

log = logging.getLogger("vppctl.agent")

PAUSE_FIRST, PAUSE_LAST = 0.05, 1.0
"""Seconds until the next turn: doubled from the first to the last. Signals are heard in between."""
NAME = "main loop"


class Trials:
    """Counts the turns that have failed in a row."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.failures = 0
        self._since = 0.0

    @property
    def in_vain(self) -> bool:
        """Whether no turn has succeeded for as long as makes the agent count as hung: another one may do better."""
        return bool(self.failures) and time.monotonic() - self._since > STALE

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
        if self.in_vain:
            log.error("the main loop cannot go on; the agent ends, and links stay as they are")
        else:
            time.sleep(min(PAUSE_LAST, PAUSE_FIRST * 2.0 ** min(self.failures - 1, 10)))

    def succeeded(self) -> None:
        """A turn has done what was due."""
        if self.failures:
            self.failures = 0
            self._supervisor.note(NAME, "")
