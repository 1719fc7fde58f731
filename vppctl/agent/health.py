"""Tells how the agent is: the service manager (sd_notify(3)), and whoever looks at the lock file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from vppctl.agent.lock import PULSE, STALE, AgentLock


class Pulse:
    """The deciding thread lives, and says so: a hung one is for the service manager to start again."""

    def __init__(self, lock: AgentLock) -> None:
        self._lock, self._last = lock, 0.0
        self.interval = min(PULSE, watchdog_interval() or PULSE)
        """Seconds between two beats, at most."""

    @property
    def beats(self) -> bool:
        """Whether something was decided lately."""
        return time.monotonic() - self._last < STALE

    def beat(self, status: Callable[[], str] | None = None) -> None:
        """To be called often; does something when it is time. `status` is one line about everything."""
        now = time.monotonic()
        if now - self._last >= self.interval / 2:
            self._last = now
            self._lock.beat()
            if notify("WATCHDOG=1") and status:
                notify(f"STATUS={status()}")


def watchdog_interval() -> float:
    """Seconds between two WATCHDOG=1 that the service manager asks for (sd_watchdog_enabled(3)), halved; 0: none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 2e6


def notify(message: str) -> bool:
    """Send `READY=1`, `STOPPING=1` or the like to systemd; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError:
        return False
    return True
