"""Isolation for all tests: the run leaves the machine's namespaces before the first test starts."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import netns
from tests.support.etcd import PROGRAM

# How long something takes is measured in tests/bench, and asserted nowhere.
hypothesis.settings.register_profile("vppctl", deadline=None)
hypothesis.settings.load_profile("vppctl")


def pytest_configure(config: pytest.Config) -> None:
    # A job in the background of a script ignores it, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # In a parallel run each worker was started in namespaces of its own (tests/support/worker.py); the first process
    # runs no tests.
    worker = hasattr(config, "workerinput")
    if worker and "VPPCTL_TEST_WORKER" not in os.environ:
        raise pytest.UsageError("a worker would run in the machine's own namespaces; tests/run starts them in others")
    parallel = worker or config.getoption("dist", "no") != "no"
    if os.geteuid() == 0 and not config.option.collectonly and not parallel:
        netns.isolate()
    for name in list(os.environ):
        # Nothing of the caller's own set-up reaches a test.
        if name.startswith("VPPCTL_TEST_"):
            continue
        if name.startswith(("VPPCTL_", "ETCD", "DOCKER_")) or name in ("MICROSERVICE_LABEL", "NO_COLOR", "FORCE_COLOR"):
            del os.environ[name]


# Before xdist's own, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that get more time come first, so that no worker is left alone with them at the end.
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
    for item in items:
        if item.get_closest_marker("kernel") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("etcd") and not shutil.which(PROGRAM):
            item.add_marker(pytest.mark.skip(reason="needs the program etcd (Debian: etcd-server)"))
        if item.get_closest_marker("docker") and not (shutil.which("dockerd") and shutil.which("busybox")):
            item.add_marker(pytest.mark.skip(reason="needs dockerd and busybox (Debian: docker.io, busybox-static)"))
        for marker in ("docker", "machine"):
            if item.get_closest_marker(marker):
                # One worker has them all: one engine is started, and nobody else meets the limit that is reached.
                item.add_marker(pytest.mark.xdist_group(marker))


@pytest.fixture(autouse=True)
def own_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """A kernel test runs in a network namespace of its own."""
    if request.node.get_closest_marker("kernel"):
        _end_grpc()
        with netns.fresh():
            yield
            _end_grpc()
    else:
        yield


def _end_grpc() -> None:
    """Let gRPC's threads end, which stay in the network namespace that they were started in, and connect from there.

    They do so in the background, and a channel that is opened meanwhile would keep them.
    """
    threads: Any = sys.modules.get("vppctl.store.etcd_threads")
    if threads and threads._core:
        threads._core.close()
        threads._core = None
        gc.collect()
        deadline = time.monotonic() + 20.0
        while _grpc_runs() and time.monotonic() < deadline:
            time.sleep(0.01)
        # Tests of other namespaces would not reach their etcd: better here than there.
        assert not _grpc_runs(), "something of gRPC's was not closed"


def _grpc_runs() -> bool:
    names = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            names.add((task / "comm").read_text().strip())
    return bool(names & {"event_engine", "lifeguard"})
