"""Single passes of the reconciler against the kernel, with what else happens put in between by hand."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import of_process, start_of
from vppctl.linux.resolve import resolve
from vppctl.microservices import Microservices
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Configured, Reason, State

pytestmark = pytest.mark.kernel


@pytest.fixture
def reconciler() -> Reconciler:
    return Reconciler("vpp1", Resolver(Microservices(None, start_of), create=True, allowed_dirs=()), NsidTable())


def put(reconciler: Reconciler, *documents: dict[str, Any]) -> None:
    for document in documents:
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        reconciler.backlog.add(reconciler.desired.put(found))


def test_who_moves_while_another_is_refused(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the look after a refusal took note that others had moved, and nobody did anything about it."""
    put(reconciler, veth("a1", "a2", "x"), veth("a2", "a1"), veth("b1", "b2", "x"), veth("b2", "b1"))
    news = reconciler.run(0.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    # IPv6 needs an MTU of 1280, and the kernel refuses an address below it.
    put(reconciler, veth("a1", "a2", "x", mtu=1000, ip_addresses=["2001:db8::1/64"]))
    execute = reconciler.executor.execute
    moved: list[bool] = []

    def and_then_move(*arguments: Any) -> Any:
        outcomes = execute(*arguments)
        if not moved:
            moved.append(True)
            ip("netns", "del", "x")
            ip("netns", "add", "x")
        return outcomes

    monkeypatch.setattr(reconciler.executor, "execute", and_then_move)
    news = reconciler.run(1.0)
    assert news["a1"] is not None
    assert news["a1"].reason is Reason.KERNEL_ERROR
    assert news["b1"] is not None
    assert news["b1"].state is State.APPLIED
    assert set(links("x")) >= {"b1"}


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    opened = []
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        for fd in opened[len(opened) - count :]:
            os.close(fd)
        del opened[len(opened) - count :]
        yield
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("left", range(5))
def test_what_cannot_be_opened_is_not_gone(left: int) -> None:
    """Once, a process without descriptors was told that namespaces had gone, and removed their links."""
    ip("netns", "add", "x")
    with descriptors_left(left):
        for way in (
            lambda: of_process(os.getpid(), "own"),
            lambda: resolve(NamespaceRef(NamespaceType.NAMED_NS, name="x"), create=False),
        ):
            said = 0
            try:
                found = way()
            except OSError as error:
                said = error.errno or -1
            else:
                assert isinstance(found, Netns), found
                found.close()
            assert said in (0, errno.EMFILE)


@pytest.mark.parametrize("left", range(0, 16, 3))
def test_a_pass_without_descriptors_changes_nothing(reconciler: Reconciler, left: int) -> None:
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    reconciler.run(0.0)
    before = links("x")["a"]["ifindex"]
    reconciler.backlog.add(reconciler.all_pairs())
    reconciler.sweep()
    with descriptors_left(left):
        reconciler.refresh_namespaces()
        news = reconciler.run(1.0)
    assert {condition.state for condition in news.values() if condition} <= {State.APPLIED, State.FAILED}
    assert links("x")["a"]["ifindex"] == before
    news = reconciler.run(100.0)
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(200.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    assert links("x")["a"]["ifindex"] == before
