"""An agent's surroundings: a store of each kind, and the command line that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Vppctl
from tests.support.etcd import Etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """In the network namespace of the test, so that agent and server find each other there."""
    with Etcd(tmp_path) as server:
        yield server


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    """The command line on an embedded store."""
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)


@pytest.fixture
def on_etcd(tmp_path: Path, etcd: Etcd) -> Vppctl:
    """The command line on a real etcd."""
    return Vppctl({"ETCDCTL_ENDPOINTS": etcd.endpoint, "ETCDCTL_API": "3"}, tmp_path)


@pytest.fixture(params=["embedded", pytest.param("etcd", marks=pytest.mark.etcd)])
def either(request: pytest.FixtureRequest) -> Vppctl:
    """The command line on each kind of store in turn."""
    found: Vppctl = request.getfixturevalue({"embedded": "vppctl", "etcd": "on_etcd"}[request.param])
    return found
