"""Documents that nobody meant: whatever they are, there is an answer, and nothing that was not allowed.

The short form is a part of every run. The long one: see README.md in this folder.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from vpp_papi.vpp_serializer import VPPMessage

from tests.fuzz.strategies import documents, mutants
from tests.support.simkernel import netns
from vppctl.linux.namespaces import Netns
from vppctl.linux.resolve import resolve
from vppctl.linux.watcher import NamespaceWatcher
from vppctl.model.document import Decoded, decode_bytes, encode
from vppctl.model.interface import Interface, NamespaceType, VppInterface
from vppctl.model.keys import Kind
from vppctl.model.rules import KERNEL_NAME, MAX_NAME
from vppctl.model.schema import json_schema
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.operations import DeleteLinks
from vppctl.reconcile.plan import Policy, plan
from vppctl.reconcile.state import Configured, Creatable, Link, NetnsId, ObservedState, Resolution
from vppctl.reconcile.vpp import VppMarks

TOTAL = int(os.environ.get("VPPCTL_TEST_FUZZ", "3000"))
"""Documents to try."""
SEED = int(os.environ.get("VPPCTL_TEST_SEED", "6"))
EACH = 9
"""Spoiled documents from a good one."""
LONG = TOTAL > 10_000
VALIDATORS = {kind: Draft202012Validator(json_schema(kind)) for kind in Kind}
MEND = re.compile(
    r"[;,] (for it )?(write|remove|keep|save|did you mean|the fields are|make|choose|set|leave out|use)"
    "|line [0-9]+ column"
)
PACKED = VPPMessage(
    "all_that_depends_on_a_document",
    [
        *(["string", name, size] for name, size in (("tag", 64), ("host_if_name", 64), ("secret", 24))),
        ["string", "socket_filename", 108],
        *(["u32", name] for name in ("id", "ring_size")),
        ["u16", "buffer_size"],
        *(["u8", name] for name in ("mode", "rx_queues", "tx_queues")),
    ],
)
WATCHER = NamespaceWatcher()
counts: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Any:
    """What was tried, for the record: figures without their seed prove nothing."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if LONG and capture:
        figures = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        with capture.global_and_fixture_disabled():
            print(f"\nfuzz: seed {SEED}: {figures}")


def judged(data: bytes, kind: Kind, *, tolerant: bool) -> Decoded:
    """What the decoder says, held against everything that is promised of it."""
    decoded = decode_bytes(data, kind=kind, tolerant=tolerant)
    assert (decoded.interface is None) == bool(decoded.problems)
    for problem in decoded.problems:
        line = str(problem)
        assert line.isprintable(), line
        assert len(line) < 4000, line
        assert MEND.search(line), line
    assert all(warning.isprintable() for warning in decoded.warnings)
    if decoded.interface:
        stored = encode(decoded.interface)
        again = decode_bytes(stored, kind=kind, name=decoded.interface.name)
        assert again._replace(warnings=()) == Decoded(decoded.interface), stored
        if not tolerant:
            assert VALIDATORS[kind].is_valid(json.loads(data)), data
    return decoded


@pytest.mark.timeout(7200 if LONG else 60)
@pytest.mark.parametrize("kind", Kind)
def test_any_document_has_an_answer(kind: Kind) -> None:
    @seed(SEED)
    @settings(
        max_examples=TOTAL // (EACH + 1) // len(Kind),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents(kind), st.integers(0, 2**32))
    def holds(document: dict[str, Any], number: int) -> None:
        accepted: list[Interface | VppInterface] = []
        for data in mutants(document, Random(number), EACH):
            counts["documents"] += 1
            decoded = judged(data, kind, tolerant=False)
            if decoded.interface:
                counts["accepted"] += 1
                accepted.append(decoded.interface)
            else:
                counts["problems"] += len(decoded.problems)
                judged(data, kind, tolerant=True)
        for interface in accepted:
            if isinstance(interface, VppInterface):
                carried(interface)
            else:
                led(interface)
        if kind is Kind.LINUX:
            nothing_outside([i for i in accepted if isinstance(i, Interface)], Random(number))

    holds()


def led(interface: Interface) -> None:
    """Where its namespace leads to can be found out, on this very host."""
    WATCHER.follow([interface.namespace])
    if interface.namespace.type is not NamespaceType.MICROSERVICE_REF_NS:
        found = resolve(interface.namespace, create=True)
        if isinstance(found, Netns):
            found.close()


def carried(interface: VppInterface) -> None:
    """VPP's own library can pack it (layouts: af_packet.api, memif.api, interface.api)."""
    PACKED.pack({"tag": VppMarks("vpp1").tag(interface.name, 0), "host_if_name": interface.host_if_name})
    if memif := interface.memif:
        PACKED.pack({name: value for name, value in memif._asdict().items() if name != "master"})


def nothing_outside(interfaces: list[Interface], random: Random) -> None:
    """The plan for these, with namespaces and foreign links as chance has it, stays within what is allowed."""
    marks = Marks("vpp1")
    desired = DesiredState(marks)
    spaces = [netns(n) for n in range(3)]
    for interface in interfaces:
        desired.put(Configured(interface.name, interface, 1))
        # The peer as its document would be, so that pairs come about.
        peer = interface._replace(name=interface.peer, peer=interface.name, host_if_name="p", phys_address="")
        desired.put(Configured(peer.name, peer._replace(namespace=random.choice(interfaces).namespace), 1))
    for reference in desired.references():
        creatable = reference.name and random.random() < 0.3
        place: Resolution = Creatable(reference.name) if creatable else random.choice(spaces)
        desired.resolve(reference, place)
    observed = _observed(interfaces, spaces, random)
    policy = Policy(start=random.random() < 0.5, adopt=random.random() < 0.5)
    result = plan(desired, observed, desired.all_pairs(), policy)
    links = {(link.netns, link.index): link for link in observed.links.values()}
    kernel_names = {i.kernel_name for i in (desired.interface(n) for n in desired.configured) if i}
    for space in result.namespaces:
        assert space.name not in (".", "..", "")
        assert "/" not in space.name
        assert len(space.name.encode()) <= MAX_NAME
    for create in result.creates:
        counts["pairs planned"] += 1
        for end in (create.first, create.second):
            assert KERNEL_NAME.fullmatch(end.name)
            assert end.name in kernel_names
            assert end.netns in spaces
            assert end.group == marks.group
            assert end.alias.startswith(marks.prefix)
            assert len(end.alias.encode()) <= 255
    for setting in result.settings:
        assert marks.owns(links[setting.netns, setting.index]) or policy.adopt
    _allowed(result.deletes, links, marks, policy)


def _observed(interfaces: list[Interface], spaces: list[NetnsId], random: Random) -> ObservedState:
    """Links of ours, of nobody and of another agent, under names that are asked for and others."""
    names = [*(i.kernel_name for i in interfaces), "p", "eth0"]
    kinds = ["veth", "veth", "dummy", ""]
    owners = [("", 0), ("", 0), ("vppctl:other:x", Marks("other").group), ("vppctl:vpp1:gone", Marks("vpp1").group)]
    found = []
    for number in range(random.randrange(6)):
        alias, group = random.choice(owners)
        name, kind = random.choice(names), random.choice(kinds)
        found.append(Link(random.choice(spaces), 10 + number, name, kind, group=group, alias=alias))
    return ObservedState.of(found)


def _allowed(deletes: list[DeleteLinks], links: dict[tuple[NetnsId, int], Link], marks: Marks, policy: Policy) -> None:
    """Only what is ours goes; and at start a whole pair of nobody's, in its configured places."""
    for delete in deletes:
        for to_delete in delete.links:
            link = links[delete.netns, to_delete.index]
            taken_over = policy.start and link.kind == "veth" and not link.alias and link.peer_netns is not None
            assert marks.owns(link) or taken_over, link
