"""One policy for all that feeds the agent: a source that fails is reported, started again, and ends nobody else.

Each source has a thread of its own, at whose edge every error is caught. The main loop starts it again after a pause
that doubles, which needs no thread: also where there is none left for the source, the loop tries again. A source that
runs and cannot reach its peer (a store, Docker, VPP that is away) reports that by `note`, and tries again by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vppctl.errors import cause, shortage

log = logging.getLogger("vppctl.agent")

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 60.0
"""Seconds until a source that has failed is started again: doubled from the first to the last."""
SETTLED = 5.0
"""Seconds that a source must have run until it counts as one that works again, at least: as long as the last pause."""
SOUND = 60.0
"""Seconds that a source must have run until its next failure begins with the first pause again."""

SOON = 0.1
"""Seconds until a chore that is not done is gone on with."""


class Trouble(NamedTuple):
    """A source does not do its work."""

    why: str
    since: float
    """Unix time."""
    ended: bool = False
    """Whether the source itself has ended, which is logged with its place where it happens."""


class SourceChanged(NamedTuple):
    """A source has failed, or works again."""


@dataclass(slots=True)
class _Source:
    body: Callable[[], None]
    thread: threading.Thread | None = None
    failures: int = 0
    """In a row."""
    began: float = 0.0
    due: float = 0.0
    """When it is to be started (time.monotonic)."""

    @property
    def pause(self) -> float:
        return min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(self.failures - 1, 16))


class Supervisor:
    """Starts sources and knows how they are. `tend` and `wait` are the main loop's; all else is for any thread."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called, in any thread, when there is something to tend or to report."""
        self._on_change = on_change
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._failed: dict[str, Trouble] = {}
        self._away: dict[str, Trouble] = {}
        self._stopping = False
        """Whether a source that ends now was asked to."""
        self._chores: list[Callable[[], bool]] = []
        self._soon = False
        self.failures: Counter[str] = Counter()
        """How often each source has failed, or lost its peer, so far."""

    def start(self, name: str, body: Callable[[], None]) -> None:
        """Run this in a thread from now on, again and again when it fails."""
        with self._lock:
            self._sources[name] = _Source(body)
        self.tend(time.monotonic())

    def add_chore(self, chore: Callable[[], bool]) -> None:
        """Call this whenever sources are tended, and soon again while it gives True."""
        self._chores.append(chore)

    def tend(self, now: float) -> None:
        """Start what is due, and let go of the troubles of what has run well since."""
        self._soon = False
        for chore in self._chores:
            self._soon = chore() or self._soon
        for name, source in list(self._sources.items()):
            if source.thread is None and now >= source.due and not self._stopping:
                self._begin(name, source, now)
            elif name in self._failed and source.thread is not None and now >= self._settled(source):
                with self._lock:
                    del self._failed[name]
                self._on_change()

    def wait(self, now: float) -> float:
        """Seconds until there is something to tend."""
        waits = [SOON] if self._soon else []
        waits += [source.due - now for source in self._sources.values() if source.thread is None]
        waits += [self._settled(source) - now for name, source in self._sources.items() if name in self._failed]
        return max(0.0, min(waits, default=float("inf")))

    def note(self, name: str, why: str) -> None:
        """A source runs, and cannot do its work because of `why`; empty: it can."""
        with self._lock:
            before = self._away.get(name)
            if why == (before.why if before else ""):
                return
            if why:
                self.failures[name] += before is None
                self._away[name] = Trouble(why, before.since if before else time.time())
            else:
                del self._away[name]
        self._on_change()

    def troubles(self) -> dict[str, Trouble]:
        """What does not work at present, by the name of the source."""
        with self._lock:
            return {**self._away, **self._failed}

    def up(self) -> dict[str, bool]:
        """Of each source whether it does its work."""
        troubles = self.troubles()
        return {name: name not in troubles for name in sorted({*self._sources, *self.failures})}

    def end(self) -> None:
        """Start nothing any more: a source that ends from now on has done so for good."""
        self._stopping = True

    def stop(self, timeout: float) -> None:
        """Wait for the threads to end; those that take longer end with the process."""
        self.end()
        deadline = time.monotonic() + timeout
        for source in list(self._sources.values()):
            if (thread := source.thread) is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, name: str, source: _Source, now: float) -> None:
        thread = threading.Thread(target=self._run, args=(name, source), name=name, daemon=True)
        source.thread, source.began = thread, now
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._fail(name, source, error)

    def _run(self, name: str, source: _Source) -> None:
        try:
            source.body()
            error: Exception | None = None
        except Exception as caught:  # noqa: BLE001 - whatever it is, it ends nobody else
            error = caught
        if not self._stopping:
            self._fail(name, source, error)

    def _fail(self, name: str, source: _Source, error: Exception | None) -> None:
        now = time.monotonic()
        why = cause(error) if error else "it has ended"
        with self._lock:
            self.failures[name] += 1
            source.failures = 1 if now - source.began >= SOUND else source.failures + 1
            source.due = now + source.pause
            before = self._failed.get(name)
            self._failed[name] = Trouble(f"has failed: {why}", before.since if before else time.time(), ended=True)
            source.thread = None
        text = f"source {name} has failed: {why}; it is started again in {source.pause:g} s"
        log.warning(text, exc_info=error if error and not shortage(error) else None)
        self._on_change()

    def _settled(self, source: _Source) -> float:
        return source.began + max(SETTLED, source.pause) if source.thread else float("inf")
