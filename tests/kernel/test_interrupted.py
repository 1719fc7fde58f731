"""Dumps that the kernel calls inconsistent, again and again, as it does while a busy host's links come and go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from vppctl.agent import reconciler as passes
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.counters import read_counters
from vppctl.linux.marked import observe_marked
from vppctl.linux.namespaces import open_own
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe
from vppctl.linux.processes import look_at
from vppctl.linux.rtnl import Rtnl
from vppctl.microservices import Microservices
from vppctl.model.interface import DEFAULT_NAMESPACE
from vppctl.model.keys import Kind
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.state import Condition, Configured, ObservedState, Reason, State

pytestmark = pytest.mark.kernel
COUNT = 12
GROUP = str(Marks("vpp1").group)


def test_what_cannot_be_dumped_is_asked_for_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(COUNT):
        ip("link", "add", "name", f"a{n}", "group", GROUP, "type", "veth", "peer", "name", f"b{n}")
        ip("addr", "add", f"10.0.{n}.1/24", "dev", f"a{n}")
        ip("addr", "add", f"2001:db8:{n}::1/64", "dev", f"b{n}", "nodad")
    names = {f"{side}{n}": () for n in range(COUNT) for side in "ab"}
    nsids = NsidTable()
    with open_own() as own:
        spaces = {own.id: own}
        expected = observe(spaces, {own.id: names}, nsids)
        indexes = [link.index for link in expected.links.values()]
        marked = observe_marked([(DEFAULT_NAMESPACE, own)], Marks("vpp1"), nsids)
        counters = read_counters(own, indexes)
        assert (len(expected.links), len(marked.links), len(counters)) == (2 * COUNT, COUNT, 2 * COUNT)
        parts = Rtnl.parts
        monkeypatch.setattr(Rtnl, "parts", lambda self, request: ((bodies, True) for bodies, _ in parts(self, request)))
        assert observe(spaces, {own.id: names}, nsids) == expected
        assert observe_marked([(DEFAULT_NAMESPACE, own)], Marks("vpp1"), nsids) == marked
        assert read_counters(own, indexes).keys() == counters.keys()


def test_a_kernel_that_cannot_be_asked_ends_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("link", "add", "name", "a", "type", "veth", "peer", "name", "b")
    before = links()["a"]["ifindex"]
    reconciler = Reconciler("vpp1", Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), NsidTable())
    for document in (veth("a", "b"), veth("b", "a"), veth("c", "d")):
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        reconciler.backlog.add(reconciler.desired.put(found))

    def refuse(*_: Any) -> ObservedState:
        raise OSError(105, "No buffer space available")

    with monkeypatch.context() as patch:
        patch.setattr(passes, "observe", refuse)
        failed = reconciler.run(0.0)
    assert {n: (c.state, c.reason) for n, c in failed.items() if isinstance(c, Condition)} == {
        "a": (State.FAILED, Reason.RESOURCE_EXHAUSTED),
        "b": (State.FAILED, Reason.RESOURCE_EXHAUSTED),
        "c": (State.PENDING, Reason.PEER_NOT_CONFIGURED),
    }
    assert links()["a"]["ifindex"] == before
    # It is still the first look: a whole pair in its places is taken over.
    again = reconciler.run(1.0)
    assert {n for n, c in again.items() if c and c.state is State.APPLIED} == {"a", "b"}
    assert set(links()) == {"a", "b"}
    assert links()["a"]["ifindex"] != before
