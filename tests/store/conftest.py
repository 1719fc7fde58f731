"""Both stores behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.etcd import Etcd
from vppctl.store.base import Store
from vppctl.store.settings import StoreSettings, open_store, parse_store_url


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=[pytest.param("etcd", marks=pytest.mark.etcd), "sqlite"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    if request.param == "sqlite":
        return parse_store_url(f"sqlite:{tmp_path}/state/store.db")
    server: Etcd = request.getfixturevalue("etcd")
    server.ctl("del", "", "--prefix")
    return replace(parse_store_url(f"etcd://{server.endpoint}"), timeout=3.0)


@pytest.fixture
def connect(settings: StoreSettings) -> Iterator[Callable[[], Store]]:
    """Open the store again, as another process would."""
    opened: list[Store] = []

    def one() -> Store:
        opened.append(open_store(settings))
        return opened[-1]

    yield one
    for store in opened:
        store.close()


@pytest.fixture
def store(connect: Callable[[], Store]) -> Store:
    return connect()
