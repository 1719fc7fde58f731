"""Tells how the agent is: the service manager (sd_notify(3)), and whoever looks at the lock file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from vppctl.agent.lock import PULSE, STALE, AgentLock

EXTENSION = 90.0
"""Seconds that a start may take from each beat on (EXTEND_TIMEOUT_USEC, sd_notify(3))."""


SHORTEST = 0.05
"""Seconds between two beats, at least: whatever the service manager asks for, the loop does not spin."""


class Pulse:
    """The deciding thread lives, and says so: a hung one is for the service manager to start again."""

    def __init__(self, lock: AgentLock) -> None:
        self._lock, self._last, self._awaited = lock, 0.0, time.monotonic()
        self.announced = False
        """Whether the service manager counts the agent as started, or as reloaded."""
        self.interval = max(SHORTEST, min(PULSE, watchdog_interval() or PULSE))
        """Seconds between two beats, at most."""

    @property
    def beats(self) -> bool:
        """Whether something was decided lately."""
        return time.monotonic() - self._last < STALE

    def beat(self, status: Callable[[], str], troubles: Callable[[], str], *, now: bool = False) -> bool:
        """To be called often; does something when it is time, or `now`. One line each: about all, and what fails.

        Returns whether it was time.
        """
        moment = time.monotonic()
        if now or moment - self._last >= self.interval / 2:
            self._last = moment
            self._lock.beat(troubles())
            if notify("WATCHDOG=1"):
                # Before it is ready, and only then: what takes long is no reason to be ended as long as it goes on.
                extend = "" if self.announced else f"\nEXTEND_TIMEOUT_USEC={EXTENSION * 10**6:.0f}"
                # What others have said, as Docker does, may have line ends, and each line is a message of its own.
                notify(f"STATUS={' '.join(status().split())}{extend}")
            return True
        return False

    def announce(self, patience: float = 0.0) -> None:
        """The service manager may start what comes after this agent, once it has waited for `patience` seconds.

        A boot does not wait for a store that may be away for long.
        """
        if not self.announced and time.monotonic() >= self._awaited + patience:
            self.announced = True
            notify("READY=1")

    def reload(self) -> None:
        """The service manager waits until `announce`."""
        self.announced, self._awaited = False, time.monotonic()
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float:
    """Seconds between two WATCHDOG=1 that the service manager asks for (sd_watchdog_enabled(3)), halved; 0: none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isascii() or not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 2e6


def notify(message: str) -> bool:
    """Send `READY=1`, `STOPPING=1` or the like to systemd; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            # A manager that does not read is not waited for.
            notifier.settimeout(0)
            notifier.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError:
        return False
    return True
