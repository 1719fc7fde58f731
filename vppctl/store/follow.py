"""Follows a store for ever: asks what the mirror wants asked, and feeds it the answers. The body of a thread."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from vppctl.errors import StoreError
from vppctl.reconcile.mirror import Batch, Broken, ListRequest, Message, Mirror, WatchRequest
from vppctl.store.base import Store

PATIENCE = 0.5
"""Seconds that a stop may go unnoticed."""


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
        state = mirror.ready, mirror.error
        # A compaction is not worth a word: the next list follows at once.
        if state != told and (mirror.ready or mirror.error):
            told = state
            on_state(*state)

    while not stop.is_set():
        request = mirror.request()
        # Ten thousand agents that have lost one store do not come back in step.
        if request.delay and stop.wait(request.delay * random.uniform(0.5, 1.5)):
            return
        try:
            match request:
                case ListRequest():
                    feed(store.list(prefix))
                case WatchRequest(revision):
                    _watch(store, prefix, revision, mirror, stop, feed)
        except StoreError as error:
            feed(Broken(str(error)))


def _watch(
    store: Store, prefix: str, revision: int, mirror: Mirror, stop: threading.Event, feed: Callable[[Message], None]
) -> None:
    watch = store.watch(prefix, revision)
    try:
        while not stop.is_set():
            message = watch.next(PATIENCE)
            if message is not None:
                feed(message)
                if not mirror.ready:
                    return
    finally:
        watch.close()
