"""Threads that gRPC needs. Without them its C core waits for ever or ends the process, so they are tried first.

Excluded: threads that the C core adds when many calls are served at once; it goes on without those.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
import time

from vppctl.store.etcd_stubs import grpc

STREAM = 3
"""Threads of one stream: that of its channel, that of its requests, and its reader."""
PATIENCE = 1.0
"""Seconds that the C core gets to start its threads, and the kernel to let go of those that have ended."""

_core: grpc.Channel | None = None
"""A channel to nowhere: as long as it is open the C core keeps its threads, and all other channels share them."""
_lock = threading.Lock()


def start_core() -> None:
    """Have the C core start its threads, once per process. Raises RuntimeError when there are too few."""
    global _core
    if _core is not None:
        return
    if not _lock.acquire(timeout=PATIENCE):
        # Another thread of ours is at it, and waits: somebody took the threads after they had been tried.
        raise RuntimeError("can't start new thread")
    try:
        if _core is None:
            try_threads(_core_size())
            _core = grpc.insecure_channel("unix:/nonexistent")
    finally:
        _lock.release()


def try_threads(count: int) -> None:
    """Start and end this number of threads. Raises RuntimeError when they cannot be had."""
    ids: queue.SimpleQueue[int] = queue.SimpleQueue()
    started: list[int] = []
    gate = _thread.allocate_lock()

    def wait() -> None:
        ids.put(_thread.get_native_id())
        with gate:
            pass

    try:
        with gate:
            for _ in range(count):
                _thread.start_new_thread(wait, ())
                started.append(ids.get())
    finally:
        # A thread that has ended counts until the kernel has let go of it.
        deadline = time.monotonic() + PATIENCE
        while any(os.path.exists(f"/proc/self/task/{number}") for number in started) and time.monotonic() < deadline:
            time.sleep(0.0001)


def _core_size() -> int:
    """Threads of the C core: a pool of one per processor, 4 to 16, its guard and a timer (gRPC 1.85)."""
    return min(16, max(4, os.sysconf("SC_NPROCESSORS_ONLN"))) + 2
