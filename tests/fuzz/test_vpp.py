"""A VPP whose replies are odd: there is no exception that ends its thread, and nothing is done to others' interfaces.

The short form is a part of every run. The long one: see README.md in this folder.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import struct
import sys
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.strategies import VALUES
from tests.support.vpp import StandIn, modules
from vppctl import vpp as vpp_adapter
from vppctl.agent import vpp_worker
from vppctl.agent.vpp_worker import VppWorker
from vppctl.linux.hosts import Host
from vppctl.model.interface import Memif, VppInterface, VppInterfaceType
from vppctl.reconcile.state import State
from vppctl.reconcile.vpp import VppConfigured, VppMarks

TOTAL = int(os.environ.get("VPPCTL_TEST_FUZZ", "200"))
"""Examples of each test."""
SEED = int(os.environ.get("VPPCTL_TEST_SEED", "6"))
LONG = TOTAL > 1_000
DUMPS = ("sw_interface_dump", "af_packet_dump", "memif_dump", "memif_socket_filename_dump", "ip_address_dump")
HOSTS = {"h1": Host(5, "02:00:00:00:00:01"), "h2": Host(6, "02:00:00:00:00:02")}
counts: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Any:
    """What was tried, for the record."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if LONG and capture:
        with capture.global_and_fixture_disabled():
            print(f"\nfuzz: seed {SEED}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")


class Liar:
    """A FAKE VPP that is a `StandIn` whose replies are spoiled, and in which others are at work, too."""

    def __init__(self, random: Random, *, true: bool) -> None:
        self.held, self._random, self._true = StandIn(), random, true
        self.often = self.stirred = 0.0
        self._last = ""
        for name, tag in (("host-eth0", ""), ("host-eth1", "by hand"), ("memif7/7", VppMarks("other").tag("m", 1))):
            memif = {"id": 7, "role": 0, "mode": 0, "socket_id": 0, "ring_size": 1024, "buffer_size": 2048}
            self.add(name, tag, memif=None if name.startswith("host") else memif)

    def add(self, name: str, tag: str, **more: Any) -> None:
        """An interface of somebody else."""
        host = name.removeprefix("host-") if name.startswith("host-") else ""
        index = self.held.new(name, "02:fe:00:00:00:09", host_if_name=host, theirs=True, **more).sw_if_index
        self.held.interfaces[index].tag = tag

    def swap(self) -> None:
        """One of ours goes, and somebody creates one that is given its index."""
        ours = [i for i in self.held.interfaces.values() if not hasattr(i, "theirs")]
        if ours:
            gone = self._random.choice(ours)
            del self.held.interfaces[gone.sw_if_index]
            self.held.next, before = gone.sw_if_index, self.held.next
            name, tag = self._random.choice(
                ((f"host-x{before}", ""), (gone.interface_name, VppMarks("other").tag("m", 1)))
            )
            self.add(name, tag)
            self.held.next = before
            counts["swaps"] += 1

    def theirs(self) -> list[tuple[Any, ...]]:
        found = [i for i in self.held.interfaces.values() if hasattr(i, "theirs")]
        return [(i.sw_if_index, i.interface_name, i.tag, i.flags, i.mtu, i.l2_address, *i.addresses) for i in found]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.held, name)
        if not callable(found):
            return found

        def call(**arguments: Any) -> Any:
            # What changes between a question about one interface and its change is beyond reach.
            questions = name in DUMPS and not (
                arguments.get("sw_if_index") and self._last.startswith(("af", "memif_c"))
            )
            if questions and self._random.random() < self.stirred:
                self.swap()
            self._last = name
            before = self.theirs()
            reply = copy.deepcopy(found(**arguments))
            assert self.theirs() == before, f"{name} {arguments}"
            return self._spoiled(name, reply) if self._random.random() < self.often else reply

        return call

    def af_packet_create_v3(self, host_if_name: str, **_: Any) -> Any:
        taken = any(i.host_if_name == host_if_name for i in self.held.interfaces.values())
        self._last = "af_packet_create_v3"
        if taken:
            return SimpleNamespace(retval=-66, sw_if_index=0)
        reply = self.held.new(f"host-{host_if_name}", "02:fe:00:00:00:01", host_if_name=host_if_name)
        return self._spoiled(self._last, reply) if self._random.random() < self.often else reply

    def _spoiled(self, name: str, reply: Any) -> Any:
        counts["replies spoiled"] += 1
        random = self._random
        if random.random() < 0.1:
            error = random.choice((OSError(2, "read failed"), ValueError("x"), struct.error("x"), KeyError("x")))
            raise random.choice((error, error, RuntimeError("x"), IndexError("x"), AttributeError("x")))
        if random.random() < 0.1:
            return copy.deepcopy(random.choice(VALUES))
        if isinstance(reply, list):
            match random.randrange(5):
                case 0 if reply:
                    reply.append(copy.deepcopy(random.choice(reply)))
                case 1 if reply:
                    reply.remove(random.choice(reply))
                case 2:
                    return random.choice((tuple(reply), (SimpleNamespace(retval=-1), reply), iter(reply), (reply,)))
                case _ if reply:
                    self._member(random.choice(reply))
            return reply
        self._member(reply)
        return reply

    def _member(self, details: Any) -> None:
        """A member of a reply is missing, of another type, or another one."""
        name = self._random.choice(list(vars(details)))
        value = copy.deepcopy(self._random.choice((*VALUES, -1, -(2**31), [None], [[]], [1.5], b"\xff", "x" * 300)))
        if self._random.random() < 0.3:
            delattr(details, name)
        elif not self._true or not isinstance(value, str | int) or isinstance(value, bool):
            setattr(details, name, value)
        elif name == "retval":
            details.retval = value


@pytest.mark.timeout(14400 if LONG else 300)
@pytest.mark.parametrize("true", [True, False], ids=["what is said is true", "anything"])
def test_any_reply(monkeypatch: pytest.MonkeyPatch, true: bool) -> None:
    """Once, a reply without a member ended the thread, and what had taken an index of ours was deleted."""
    monkeypatch.setattr(vpp_worker, "find_hosts", lambda names: {n: HOSTS[n] for n in names if n in HOSTS})
    monkeypatch.setattr(vpp_worker, "set_mac", lambda *_: None)
    listening = contextlib.nullcontext(SimpleNamespace(settimeout=lambda _: None, connect=lambda _: None))
    monkeypatch.setattr(vpp_adapter, "socket", SimpleNamespace(AF_UNIX=0, socket=lambda _: listening))
    # What is changed again and again is let be for some seconds.
    clock = itertools.count(0, 100)
    monkeypatch.setattr(vpp_worker, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    logging.disable()

    @seed(SEED)
    @settings(
        max_examples=TOTAL,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.integers(1, 4))
    def holds(number: int, moves: int) -> None:
        counts["VPPs"] += 1
        random = Random(number)
        vpp: Any = Liar(random, true=true)
        said: dict[str, Any] = {}
        with pytest.MonkeyPatch.context() as patch:
            for name, module in modules(vpp).items():
                patch.setitem(sys.modules, name, module)
            worker = VppWorker("vpp1", "/nowhere", lambda news: said.update(news.conditions))
            desired = _desired(random)
            worker.configure(desired)
            worker.look()
            assert {condition.state for condition in said.values()} == {State.APPLIED}
            for _ in range(moves):
                vpp.often, vpp.stirred = random.choice((0.02, 0.2)), random.choice((0.0, 0.1)) if true else 0.0
                worker.configure({k: v for k, v in (desired | _desired(random)).items() if random.random() < 0.7})
                with contextlib.nullcontext() if true else contextlib.suppress(AssertionError):
                    worker.look()
            vpp.often = vpp.stirred = 0.0
            worker.configure(desired)
            for _ in range(3):
                worker.look()
        if true:
            # What others hold by now cannot be ours.
            places = {i.host_if_name for i in vpp.held.interfaces.values() if hasattr(i, "theirs")}
            free = {name for name, c in desired.items() if getattr(c.content, "host_if_name", "") not in places}
            assert [said[name].message for name in free if said[name].state is not State.APPLIED] == []

    holds()
    logging.disable(logging.NOTSET)


def _desired(random: Random) -> dict[str, VppConfigured]:
    ips = (f"10.0.{random.randrange(3)}.1/24",)
    memif = Memif(id=1, master=True, mode=0, socket_filename="/run/m.sock", ring_size=1024, buffer_size=2048)
    found = [
        *(
            VppInterface(f"af-{host}", VppInterfaceType.AF_PACKET_INTERFACE, enabled=True, host_if_name=host)
            for host in HOSTS
        ),
        VppInterface("m1", VppInterfaceType.MEMORY_INTERFACE, enabled=True, mtu=1400, memif=memif),
    ]
    return {i.name: VppConfigured(i.name, i._replace(ip_addresses=ips), 1) for i in found}
