"""One engine for the whole run, and an agent's surroundings that point to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Vppctl
from tests.support.docker import Engine


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Stays up between tests; its own network namespace is the run's."""
    with Engine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The engine, without containers."""
    yield shared_engine
    for container in shared_engine.client.containers.list(all=True):
        container.remove(force=True)


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[Engine]:
    """One that a test may stop and start; it lives in the network namespace of the test."""
    with Engine(tmp_path) as engine:
        yield engine


@pytest.fixture
def vppctl(tmp_path: Path, engine: Engine) -> Vppctl:
    """The command line on an embedded store; its agent asks the shared engine."""
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db", "DOCKER_HOST": engine.host}, tmp_path)
