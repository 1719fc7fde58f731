"""Reads the counters of the agent's links beside the deciding thread, which ten thousand namespaces would hold up."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from vppctl.agent.resolver import Resolver
from vppctl.errors import cause, shortage
from vppctl.linux.counters import read_counters
from vppctl.linux.namespaces import Netns
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.state import NetnsId, Statistics

log = logging.getLogger("vppctl.agent")

SHARE = 0.01
"""Of the time at most so much is spent on reading: with very many namespaces it is done less often."""

AGAIN = 1.0
"""Seconds after which a reading that could not begin is tried again, at least."""


class Counted(NamedTuple):
    """What has been counted by now, by interface name."""

    counters: Mapping[str, Statistics]


class CounterReader:
    """One reading at a time."""

    def __init__(self, resolver: Resolver, interval: float, deliver: Callable[[Counted], None]) -> None:
        self._resolver, self._interval, self._deliver = resolver, interval, deliver
        # Agents that were started together do not all speak at once.
        self.due = time.monotonic() + random.uniform(0.5, 1.0) * interval if interval else float("inf")
        """When the next reading is to begin (time.monotonic)."""

    def begin(self, references: Iterable[NamespaceRef], names: dict[NetnsId, dict[int, str]]) -> None:
        """Read the counters of these links, given by namespace and index, in a thread of its own."""
        self.due = float("inf")
        thread = threading.Thread(target=self._read, args=(list(references), names), name="counters", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            log.warning("counters cannot be read: %s", cause(error))
            self.due = time.monotonic() + max(self._interval, AGAIN)

    def _read(self, references: list[NamespaceRef], names: dict[NetnsId, dict[int, str]]) -> None:
        started = time.monotonic()
        found: dict[str, Statistics] = {}
        failed: dict[str, NamespaceRef] = {}
        try:
            for reference in references:
                # One that cannot be read is nobody else's concern.
                try:
                    self._read_one(reference, names, found)
                except OSError as error:
                    failed.setdefault(cause(error), reference)
            for why, reference in failed.items():
                log.warning("counters of namespace %s cannot be read: %s", reference, why)
        except Exception as error:
            log.warning("counters cannot be read: %s", cause(error), exc_info=None if shortage(error) else error)
        finally:
            self._deliver(Counted(found))
            now = time.monotonic()
            self.due = max(started + self._interval, now + (now - started) / SHARE)

    def _read_one(
        self, reference: NamespaceRef, names: dict[NetnsId, dict[int, str]], found: dict[str, Statistics]
    ) -> None:
        space = self._resolver.open(reference)
        if isinstance(space, Netns):
            with space:
                if own := names.pop(space.id, None):
                    counters = read_counters(space, own)
                    found.update((own[index], value) for index, value in counters.items())
