"""Follows a store for ever: asks what the mirror wants asked, and feeds it the answers. The body of a thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from vppctl.errors import StoreError
from vppctl.reconcile.mirror import Alive, Batch, Broken, ListRequest, Message, Mirror, WatchRequest
from vppctl.store.base import ALL, Bounds, Store, Watch

PATIENCE = 0.5
"""Seconds that a stop may go unnoticed."""
SETTLED = 1.0
"""Seconds after which a watch counts as one that works, whatever it has brought: a store that is none, or a broken one,
can bring something at once, and end each time."""


def follow(
    store: Store,
    prefix: str,
    mirror: Mirror,
    stop: threading.Event,
    deliver: Callable[[Batch], None],
    on_state: Callable[[bool, str], None],
    bounds: Bounds = ALL,
) -> None:
    """Deliver what changes below `prefix` until `stop` is set, through breaks, restarts and compactions.

    Beyond the number of keys of `bounds` the store counts as one that cannot be followed, and what is known stays.

    `on_state(ready, error)` is called whenever the store can be followed again, or not any more.
    """
    told: tuple[bool, str] | None = None

    def feed(message: Message) -> None:
        nonlocal told
        batch = mirror.feed(message)
        if batch is not None:
            deliver(batch)
        if bounds.keys and mirror.count > bounds.keys:
            # The list that follows fails, and says why.
            mirror.start_again()
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
                    feed(store.list(prefix, bounds=bounds))
                case WatchRequest(revision):
                    _watch(store.watch(prefix, revision, bounds), mirror, stop, feed)
        except StoreError as error:
            feed(Broken(str(error)))


def _watch(watch: Watch, mirror: Mirror, stop: threading.Event, feed: Callable[[Message], None]) -> None:
    settled = time.monotonic() + SETTLED
    try:
        while not stop.is_set():
            message = watch.next(PATIENCE)
            if time.monotonic() >= settled:
                feed(Alive())
                settled = float("inf")
            if message is not None:
                feed(message)
                if not mirror.ready:
                    return
    finally:
        watch.close()
