"""Every shape made and taken away by single passes: at once and one by one, one side and both.

What the kernel has is judged by the campaign's oracle, which looks with `ip`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from tests.faults import oracle
from tests.faults.kernel import Snapshot
from tests.faults.places import Places
from tests.faults.ways import document
from tests.support.shapes import SHAPES, Document, shape
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Configured, State

pytestmark = pytest.mark.kernel
LABEL = "vpp1"
SMALL = 3
BEYOND = 120
"""Spokes of a hub: more than the ids of namespaces that the kernel tells in one datagram."""


class Host:
    """A reconciler, what was put into it, and what there is."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.reconciler = Reconciler(
            LABEL, Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), NsidTable()
        )
        self.documents: dict[str, Document] = {}
        self.now = 0.0

    def put(self, documents: Sequence[Document]) -> None:
        for values in documents:
            found = configured(Kind.LINUX, values["name"], json.dumps(values).encode(), 1, ())
            assert isinstance(found, Configured)
            self.reconciler.backlog.add(self.reconciler.desired.put(found))
            self.documents[values["name"]] = values
        self.run()

    def delete(self, documents: Sequence[Document]) -> None:
        for values in documents:
            self.reconciler.backlog.add(self.reconciler.desired.delete(values["name"]))
            del self.documents[values["name"]]
        self.run()

    def run(self) -> None:
        """One pass; later than any backoff of the one before."""
        self.now += 1000.0
        news = self.reconciler.run(self.now)
        failed = [condition for condition in news.values() if condition and condition.state is State.FAILED]
        assert failed == []

    def look(self) -> Snapshot:
        """What the kernel has, which has to be what was put."""
        snapshot = self.places.look()
        documents = {name: document(values) for name, values in self.documents.items()}
        resolve, revisions = partial(self.places.resolve, creates=True), dict.fromkeys(documents, 1)
        expected = oracle.expect(LABEL, documents, resolve, snapshot, revisions)
        assert list(oracle.differences(LABEL, expected, snapshot, {}, {})) == []
        assert {state for state, _ in expected.states.values()} <= {"APPLIED", "PENDING"}
        return snapshot

    def rest(self) -> Snapshot:
        """What the kernel has; a full comparison finds nothing to do, and leaves it."""
        before, done = self.look(), self.reconciler.results.copy()
        self.reconciler.backlog.add(self.reconciler.all_pairs())
        self.reconciler.sweep()
        self.run()
        assert self.look() == before
        assert self.reconciler.results == done
        return before


@pytest.fixture
def host() -> Iterator[Host]:
    places = Places((LABEL,))
    try:
        yield Host(places)
    finally:
        places.clear()


def documents_of(host: Host, name: str, pairs: int, hosts: str = "") -> tuple[Document, ...]:
    if name == "star-process":
        host.places.start_process("hub")
    pid = host.places.processes["hub"].pid if name == "star-process" else os.getpid()
    return shape(name, pairs, pid=pid, hosts=hosts).documents


Step = Callable[[Sequence[Document]], None]


def one_by_one(step: Step) -> Step:
    def steps(documents: Sequence[Document]) -> None:
        for values in documents:
            step([values])

    return steps


@pytest.mark.parametrize("singly", [False, True], ids=["at once", "one by one"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_comes_and_goes(host: Host, name: str, singly: bool) -> None:
    documents = documents_of(host, name, SMALL, hosts="eth" if singly else "")
    put, delete = (one_by_one(host.put), one_by_one(host.delete)) if singly else (host.put, host.delete)
    put(documents)
    for gone in (documents[::2], documents[1::2]):
        delete(gone)
        assert len(host.look()) == 0
        put(gone)
    assert len(host.rest()) == 2 * SMALL
    delete(documents)
    assert len(host.look()) == 0


@pytest.mark.parametrize("name", ["star-default", "star-named", "star-process"])
def test_a_hub_with_more_spokes_than_a_datagram_has_ids(host: Host, name: str) -> None:
    """Once, the peers beyond the first datagram counted as lost: half of the pairs were created anew, again and again.

    After a restart, too, all is found where it is.
    """
    documents = documents_of(host, name, BEYOND)
    host.put(documents)
    before = host.rest()
    assert len(before) == 2 * BEYOND
    restarted(host, documents)
    assert host.look() == before
    host.delete(documents)
    assert len(host.look()) == 0


def test_a_restart_finds_all_of_a_mesh_where_it_is(host: Host) -> None:
    documents = documents_of(host, "mesh", BEYOND)
    host.put(documents)
    before = host.look()
    restarted(host, documents)
    assert host.look() == before


def restarted(host: Host, documents: Sequence[Document]) -> None:
    """Another agent adopts what is there, and does nothing."""
    resolver = Resolver(Microservices(None, look_at), create=True, allowed_dirs=())
    host.reconciler = Reconciler(LABEL, resolver, NsidTable(), adopt=True)
    host.put(documents)
    assert sum(host.reconciler.results.values()) == 0
