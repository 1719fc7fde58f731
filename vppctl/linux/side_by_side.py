"""Waits for the kernel in several threads at once, in as many as there can be."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from vppctl.errors import shortage
from vppctl.linux.namespaces import descriptors_left

THREADS = 32
"""So many deletes wait for the kernel's grace periods side by side."""
DESCRIPTORS = 4
"""That a thread may need at one time: its socket, two namespaces while it opens that, and one to spare."""
T = TypeVar("T")


def side_by_side(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Call `work` for each item, in up to THREADS threads, the calling one among them. Raises what `work` raises.

    Where threads or descriptors have run out there are fewer of them, down to the calling one alone.
    """
    left: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        left.put(item)
    errors: list[Exception] = []

    def body() -> None:
        with contextlib.suppress(queue.Empty):
            while not errors:
                item = left.get_nowait()
                try:
                    work(item)
                except Exception as error:  # noqa: BLE001
                    errors.append(error)

    threads: list[threading.Thread] = []
    wanted = min(THREADS, left.qsize())
    for _ in range(1, min(wanted, descriptors_left() // DESCRIPTORS) if wanted > 1 else 1):
        thread = threading.Thread(target=body, name="delete", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if not shortage(error):
                raise
            break
        threads.append(thread)
    body()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
