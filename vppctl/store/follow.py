"""Follows a store for ever: asks what the mirror wants asked, and feeds it the answers. The body of a thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from vppctl.errors import StoreError
from vppctl.reconcile.mirror import Alive, Batch, Broken, ListRequest, Message, Mirror, WatchRequest
from vppctl.store.base import Store

PATIENCE = 0.5
"""Seconds that a stop may go unnoticed."""
SETTLED = 1.0
"""Seconds after which a watch that has nothing to report counts as one that works."""


def follow(
    store: Store,
    prefix: str,
    mirror: Mirror,
    stop: threading.Event,
    deliver: Callable[[Batch], None],
    on_state: Callable[[bool, str], None],
) -> None:
    """Deliver what changes below `prefix` until `stop` is set, through breaks, restarts and compactions.

    `on_state(ready, error)` is called whenever the store can be followed again, or not any more.
    """
    told: tuple[bool, str] | None = None

    def feed(message: Message) -> None:
        nonlocal told
        batch = mirror.feed(message)
        if batch is not None:
            deliver(batch)
        state = mirror.ready and not mirror.error, mirror.error
        # A compaction is not worth a word: the next list follows at once.
        if state != told and any(state):
            told = state
            on_state(*state)

    while not stop.is_set():
        try:
            match mirror.request():
                case ListRequest(delay):
                    # Ten thousand agents that have lost one store do not come back in step.
                    if delay and stop.wait(delay * random.uniform(0.5, 1.5)):
                        return
                    feed(store.list(prefix))
                case WatchRequest(revision):
                    _watch(store, prefix, revision, mirror, stop, feed)
        except StoreError as error:
            feed(Broken(str(error)))


def _watch(
    store: Store, prefix: str, revision: int, mirror: Mirror, stop: threading.Event, feed: Callable[[Message], None]
) -> None:
    watch = store.watch(prefix, revision)
    settled = time.monotonic() + SETTLED
    try:
        while not stop.is_set():
            message: Message | None = watch.next(PATIENCE)
            if message is None and time.monotonic() >= settled:
                message, settled = Alive(), float("inf")
            if message is not None:
                feed(message)
                if not mirror.ready:
                    return
    finally:
        watch.close()
