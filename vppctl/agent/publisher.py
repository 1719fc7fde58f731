"""Publishes reports: JSON under a lease, so that they vanish when the agent does.

A thread of its own with a store of its own: a store that is away delays nobody, and of several news about one
interface the newest wins. What the store refuses is reported and tried again, under the same lease as long as that is
held; a single report that it refuses keeps no other waiting.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice

from vppctl.agent.status import Report
from vppctl.errors import StoreError, TooLargeError
from vppctl.model.keys import agent_key
from vppctl.store.base import Delete, Lease, Operation, Put, Store

log = logging.getLogger("vppctl.agent.status")

LEASE_TTL = 15
"""Seconds after the agent's death until its states vanish."""
REFRESH = 5.0
"""Seconds between refreshes of the lease, at most: two may fail. By chance up to a fifth less, so that agents that were
started together do not all refresh at once."""
BACKOFF_LAST = 5.0
"""Seconds between attempts while the store is away, at most."""
BATCH = 100
"""Operations in one transaction; etcd takes 128."""
BATCH_OCTETS = 1 << 20
"""Of one transaction; etcd takes 1.5 MiB (--max-request-bytes)."""

TRIES = 3
"""How often in a row the store takes the heartbeat and not a report, until it counts as one that refuses the report."""
LENGTH = 200
"""Characters of a text, and entries of a list, that are published of a report that the store refuses for its size."""


class Publisher:
    """Keeps the store's view of this agent up to date until it is closed."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        label: str,
        version: str,
        on_trouble: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """`on_trouble` hears why nothing can be published; an empty text: all is."""
        self._open, self._label, self._version, self._on_trouble = open_store, label, version, on_trouble
        self._known: dict[str, Report] = {}
        self._news: dict[str, Report | None] = {}
        self._refused: dict[str, Report | None] = {}
        """Reports that the store does not take, each alone; tried again when they change, and under the next lease."""
        self._suspect = ""
        """The key of one that was refused alone, until it is known whether the store takes anything."""
        self._wake = threading.Condition()
        self._closing = self._running = self._renewing = False
        self._held = False
        """Whether reports may be about the revisions of another store."""
        self._started = self._changed = int(time.time())
        self._troubles: list[str] = []
        self._sign_due = True
        self._suspicions = 0
        """How often in a row a transaction with reports has failed."""
        self._due = 0.0
        """When the lease is to be refreshed (time.monotonic)."""
        self._failures = 0
        """In a row."""
        self._room = self._most = BATCH - 1
        """Reports that go into one transaction: fewer after one that was refused, and at most as many as the store
        takes operations (etcd's --max-txn-ops)."""

    def offer(self, key: str, content: Report | None) -> None:
        """Publish this report, which nobody changes any more, under its key; with None that there is none any more."""
        with self._wake:
            if content is None or key in self._news or self._known.get(key) != content:
                self._news[key] = content
                self._changed = int(time.time())
                self._wake.notify()

    def report_troubles(self, troubles: list[str]) -> None:
        """What does not work at present, for whoever asks the store how the agent is."""
        with self._wake:
            if troubles != self._troubles:
                self._troubles, self._sign_due = troubles, True
                self._wake.notify()

    def renew(self, *, elsewhere: bool) -> None:
        """Connect anew; what the old lease holds is published again before that ends.

        `elsewhere`: perhaps to another store, whose documents may have the same revisions. No report is published there
        until `release` says that all are about its own.
        """
        with self._wake:
            self._renewing, self._held = True, self._held or elsewhere
            self._wake.notify()

    def release(self) -> None:
        """All reports are about the store that is connected to."""
        if self._held:
            with self._wake:
                self._held = False
                self._wake.notify()

    def close(self, timeout: float) -> None:
        """Withdraw everything and stop; gives up after `timeout` seconds, for the lease ends by itself."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            self._wake.wait_for(lambda: not self._running, timeout)

    def run(self) -> None:
        """Publish until closed; the body of a thread, which may begin again after an error."""
        self._running = True
        try:
            while not self._closing:
                try:
                    self._publish()
                except StoreError as error:
                    self._pause(self._fail(error))
        finally:
            with self._wake:
                self._running = False
                self._wake.notify_all()

    def _fail(self, error: StoreError) -> float:
        """Report it; seconds until the next attempt."""
        self._failures += 1
        self._on_trouble(f"cannot publish states: {error}")
        return min(BACKOFF_LAST, 0.2 * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.5)

    def _publish(self) -> None:
        """Publish under one lease until it is lost, the store cannot be reached, or the agent stops."""
        store = self._open()
        try:
            lease = store.lease(LEASE_TTL)
            with self._wake:
                self._news = {**self._known, **self._refused, **self._news}
                self._known, self._refused = {}, {}
                self._renewing, self._sign_due = False, True
            self._due = _next_refresh()
            while not self._closing and not self._renewing:
                if not self._hold(lease):
                    return
                try:
                    more = self._commit(store, lease)
                except StoreError as error:
                    # The lease may well be held: a store that is full takes no state and forgets none.
                    self._due = 0.0
                    self._pause(self._fail(error))
                    continue
                if not more:
                    refused = len(self._refused)
                    self._on_trouble(f"the store refuses {refused} reports; the log has which" if refused else "")
                    self._failures = 0
                    self._pause(self._due - time.monotonic(), until_news=True)
            if self._closing:
                lease.revoke()
        finally:
            store.close()

    def _pause(self, seconds: float, *, until_news: bool = False) -> None:
        with self._wake:
            self._wake.wait_for(
                lambda: self._closing or self._renewing or (until_news and self._has_news()),
                max(0.0, seconds),
            )

    def _has_news(self) -> bool:
        return self._sign_due or (bool(self._news) and not self._held)

    def _hold(self, lease: Lease) -> bool:
        """Refresh the lease when it is time; False when it was lost.

        Between transactions, too: ten thousand reports may take longer than it lasts.
        """
        if time.monotonic() >= self._due:
            if not lease.refresh():
                return False
            self._due = _next_refresh()
        return True

    def _commit(self, store: Store, lease: Lease) -> bool:
        """Publish one transaction of news; whether there may be more."""
        with self._wake:
            # The heartbeat goes alone, so that a report that is refused next to it is refused for what it is.
            sign, self._sign_due = self._sign_due, False
            values = {} if sign or self._held else _fitting(self._news, self._room)
            batch = {key: self._news.pop(key) for key in values}
        if not batch and not sign:
            return False
        operations: list[Operation] = [
            Delete(key) if value is None else Put(key, value, lease.id) for key, value in values.items()
        ]
        operations.append(Put(agent_key(self._label), self._heartbeat(), lease.id))
        try:
            store.commit(operations)
        except Exception as error:
            if isinstance(error, TooLargeError) and len(batch) > 1:
                self._most = len(batch) // 2
            with self._wake:
                self._news = {**batch, **self._news}
                # Fewer at once next time, down to the one that the store does not take.
                self._room = max(1, len(batch) // 2)
                self._suspect = next(iter(batch)) if len(batch) == 1 else ""
                # A store that goes away in between refuses nothing; only its size is surely a report's own fault.
                self._suspicions = TRIES if isinstance(error, TooLargeError) else self._suspicions + bool(batch)
                self._sign_due = self._sign_due or sign or bool(self._suspect)
            if isinstance(error, TooLargeError) and batch:
                return True
            raise
        if sign and self._suspect:
            if self._suspicions >= TRIES:
                self._set_aside(self._suspect)
                self._suspicions = 0
            self._suspect = ""
        if batch:
            self._suspicions = 0
            self._room = min(self._most, 2 * self._room)
        for key, content in batch.items():
            self._refused.pop(key, None)
            if content is None:
                self._known.pop(key, None)
            else:
                self._known[key] = content
        return True

    def _set_aside(self, key: str) -> None:
        """The store takes the heartbeat and not this report: publish what matters of it, or nothing."""
        with self._wake:
            content = self._news.pop(key, None)
            short = content and _shortened(content)
            if short and short != content:
                self._news = {key: short, **self._news}
            else:
                self._refused[key] = content
        log.warning("the store refuses the report under %s%s", key, "; a shorter one follows" if short else "")

    def _heartbeat(self) -> bytes:
        """As ligato's agents write it (status.proto): state 1 is OK, times are Unix seconds."""
        content = {
            "build_version": self._version,
            "state": 1,
            "start_time": self._started,
            "last_change": self._changed,
            "last_update": int(time.time()),
        }
        return _encode({**content, "troubles": self._troubles} if self._troubles else content)


def _shortened(content: Report) -> Report:
    """What one must know of this report: without history, and of long texts and lists the beginning."""
    short = {key: value[:LENGTH] if isinstance(value, str | list) else value for key, value in content.items()}
    return {**short, "history": [], "errors": []}


def _fitting(news: Mapping[str, Report | None], room: int) -> dict[str, bytes | None]:
    """The first values that go into one transaction, beside the heartbeat; at least one."""
    size = 0
    found: dict[str, bytes | None] = {}
    for key, content in islice(news.items(), room):
        value = None if content is None else _encode(content)
        size += len(key.encode(errors="surrogateescape")) + len(value or b"")
        if found and size > BATCH_OCTETS:
            break
        found[key] = value
    return found


def _next_refresh() -> float:
    return time.monotonic() + REFRESH * random.uniform(0.8, 1.0)


def _encode(content: Report) -> bytes:
    # Octets of a key or of the kernel's that are no UTF-8 are question marks here.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
