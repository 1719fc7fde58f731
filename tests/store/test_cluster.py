"""A cluster of three members, and the one that the watch is on is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.etcd import Etcd
from vppctl.errors import StoreError
from vppctl.store.settings import StoreSettings, open_store

pytestmark = pytest.mark.etcd


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Etcd]]:
    found = []
    for name in ("m0", "m1", "m2"):
        (tmp_path / name).mkdir()
        found.append(Etcd(tmp_path / name, f"--name={name}"))
    cluster = ",".join(f"m{n}=http://127.0.0.1:{member.peer_port}" for n, member in enumerate(found))
    with ExitStack() as stack:
        for member in found:
            member.options += (f"--initial-cluster={cluster}", "--heartbeat-interval=50", "--election-timeout=500")
            # The first to listen would wait for a second one.
            member.launch()
            stack.callback(member.kill)
        for member in found:
            member.wait()
        yield found


def test_a_member_that_its_peers_have_left_ends_the_watch(members: list[Etcd]) -> None:
    """Once, the agent went on listening to a member that would not hear of any change."""
    store = open_store(StoreSettings((members[0].endpoint,), timeout=5.0))
    watch = store.watch("/", store.list("/").revision + 1)
    assert watch.next(0.5) is None
    for other in members[1:]:
        other.kill()
    with pytest.raises(StoreError, match="etcd"):
        watch.next(20.0)
    watch.close()
    store.close()
