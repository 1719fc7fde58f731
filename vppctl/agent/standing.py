"""How the agent stands, in words: what does not work at present, for the log, the lock file, the store and systemd."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vppctl.agent.health import Pulse
from vppctl.agent.status import rfc3339
from vppctl.agent.supervisor import Supervisor, Trouble
from vppctl.agent.trials import Trials

log = logging.getLogger("vppctl.agent")


class Standing:
    """Puts the troubles of sources into words. `lines` and `troubles` may be called from any thread."""

    def __init__(
        self,
        supervisor: Supervisor,
        pulse: Pulse,
        trials: Trials,
        summary: Callable[[], str],
        lost: Callable[[], str],
    ) -> None:
        """`summary` is one line about all interfaces; `lost` gives what could not be logged, once it can be again."""
        self._supervisor, self._pulse, self._trials = supervisor, pulse, trials
        self._summary, self._lost = summary, lost
        self._logged: dict[str, Trouble] = {}
        self.known = False
        """Whether the configuration is known."""

    def beat(self, *, now: bool = False) -> None:
        """The main loop goes on. One whose turns fail reports that once, and does not count as alive for long."""
        if self._trials.failures > 1 or not self._pulse.beat(self._status, self.troubles, now=now):
            return
        if text := self._lost():
            log.warning("%s", text)

    def lines(self) -> list[str]:
        """What does not work, a line a source."""
        found = sorted(self._supervisor.troubles().items())
        return [f"{name}: {trouble.why} (since {rfc3339(trouble.since, 'seconds')})" for name, trouble in found]

    def troubles(self) -> str:
        """All of it on one line; empty when everything works."""
        return "; ".join(self.lines())

    def news(self) -> list[str]:
        """Log what has changed since the last time, and return what does not work now."""
        found = self._supervisor.troubles()
        for name, trouble in found.items():
            before = self._logged.get(name)
            if not trouble.ended and (before is None or before.why != trouble.why):
                log.warning("%s", trouble.why)
        for name in sorted(self._logged.keys() - found.keys()):
            log.info("source %s works again", name)
        self._logged = found
        return self.lines()

    def _status(self) -> str:
        known = self._summary() if self.known else "waits for the configuration from the store"
        return "; ".join([known, *self.lines()])
