"""Junk below the label's prefix: the agent hears its configuration, keeps its links, and its memory has a bound."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import links, wait_until
from vppctl.agent import intake
from vppctl.agent.intake import Intake
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.mirror import Batch, Entry
from vppctl.reconcile.state import Invalid
from vppctl.store.base import Delete, Put
from vppctl.store.settings import StoreSettings, open_store, parse_store_url

PREFIX = config_prefix("vpp1")
pytestmark = pytest.mark.kernel


@pytest.mark.etcd
def test_values_that_make_a_list_too_large(on_etcd: Vppctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, 385 values of 1.45 MB were more than an answer may have, and nothing was heard any more.

    Here an answer may have less, so that fewer do.
    """
    small = (
        "from vppctl.store import etcd_client; name = 'grpc.max_receive_message_length';"
        "etcd_client._OPTIONS = [(n, 4 << 20 if n == name else v) for n, v in etcd_client._OPTIONS];"
        "from vppctl.cli.main import main; main()"
    )
    store = open_store(StoreSettings((on_etcd.environment["ETCDCTL_ENDPOINTS"],), timeout=10))
    for number in range(8):
        store.commit([Put(f"{PREFIX}junk{number}", b"x" * 1_450_000)])
    store.close()
    on_etcd.put(veth("a", "b", "one"), veth("b", "a", "two"))
    monkeypatch.setattr(Vppctl, "command", _with(small))
    with Agent(on_etcd):
        on_etcd.wait_state("a", "APPLIED", timeout=20)
        message = on_etcd.wait_state("junk7", "INVALID", "InvalidConfig", timeout=20)["message"]
        assert message == "is 1450000 bytes long; write at most 65536"
        on_etcd.put(veth("a", "b", "one", mtu=1400))
        wait_until(lambda: links("one")["a"]["mtu"] == 1400, "a change to be heard", 20)


def test_more_keys_than_an_agent_takes(vppctl: Vppctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is applied stays, also over a restart, and the reason is told; deleting junk is enough."""
    code = (
        "from vppctl.store import base; from vppctl.agent import sources;"
        "sources.AGENT = base.Bounds(65536, 1 << 20, 10); from vppctl.cli.main import main; main()"
    )
    vppctl.put(veth("a", "b", "one"), veth("b", "a", "two"))
    store = open_store(parse_store_url(vppctl.environment["VPPCTL_STORE"]))
    monkeypatch.setattr(Vppctl, "command", _with(code))
    said = f"more than 10 keys are below {PREFIX}; delete those that nobody needs"
    with Agent(vppctl) as agent:
        vppctl.wait_state("a", "APPLIED")
        index = links("one")["a"]["ifindex"]
        store.commit([Put(f"{PREFIX}0junk{number}", b"{}") for number in range(20)])
        wait_until(lambda: said in agent.log.read_text(), "the log to name it", 20)
        result = vppctl.run("agent", "health")
        assert result.returncode == 0
        assert said in result.stdout
        assert links("one")["a"]["ifindex"] == index
    agent.log.unlink()
    with Agent(vppctl) as agent:
        wait_until(lambda: said in agent.log.read_text(), "the log to name it again", 20)
        assert links("one")["a"]["ifindex"] == index
        assert vppctl.run("del", *(f"0junk{number}" for number in range(20))).returncode == 0
        vppctl.put(veth("a", "b", "one", mtu=1400))
        wait_until(lambda: links("one").get("a", {}).get("mtu") == 1400, "the configuration to be heard", 20)
    store.close()


def test_more_keys_in_vpp_than_an_agent_takes(vppctl: Vppctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, only the watch of Linux was heard to fail."""
    code = (
        "from vppctl.store import base; from vppctl.agent import sources;"
        "sources.AGENT = base.Bounds(65536, 1 << 20, 10); from vppctl.cli.main import main; main()"
    )
    prefix = config_prefix("vpp1", Kind.VPP)
    store = open_store(parse_store_url(vppctl.environment["VPPCTL_STORE"]))
    store.commit([Put(f"{prefix}junk{number}", b"{}") for number in range(11)])
    vppctl.put(veth("a", "b", "one"), veth("b", "a", "two"))
    monkeypatch.setattr(Vppctl, "command", _with(code))
    with Agent(vppctl):
        vppctl.wait_state("a", "APPLIED")
        said = f"more than 10 keys are below {prefix}; delete those that nobody needs"
        wait_until(lambda: said in vppctl("agent", "health"), "health to report it", 20)
        store.commit([Delete(f"{prefix}junk{number}") for number in range(5)])
        wait_until(lambda: said not in vppctl("agent", "health"), "it to be followed", 20)
    store.close()


def _with(code: str):  # type: ignore[no-untyped-def]
    import sys

    return lambda _self, _program, arguments: [sys.executable, "-c", code, *arguments]


def test_problems_of_many_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, 20,000 documents with 60 problems each cost 470 MB."""
    monkeypatch.setattr(intake, "PROBLEMS", 1 << 16)
    resolver = Resolver(Microservices(None, look_at), create=True, allowed_dirs=())
    taker = Intake("vpp1", (), Reconciler("vpp1", resolver, NsidTable()), lambda: None)
    value = json.dumps(veth("a", "b", ip_addresses=[f"10.0.{number}.1" for number in range(60)])).encode()
    count = 300
    tracemalloc.start()
    try:
        for number in range(count):
            taker.take(Kind.LINUX, Batch(number + 1, (Entry(f"{PREFIX}junk{number}", value, number + 1),)))
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size < 2 << 20, "without a bound they are 7 MB"
    contents = [one.content for one in taker._reconciler.desired.configured.values()]
    assert all(isinstance(content, Invalid) for content in contents)
    assert str(contents[0]).count("has no prefix length") == 49
    assert str(contents[-1]).startswith("name: 'a' is not the last part of the key")
    assert str(contents[-1]).endswith("; and 60 more problems")
    assert sum(len(str(content)) for content in contents) < 2 * intake.PROBLEMS
    # There is room again for the problems of others.
    for number in range(count):
        taker.take(Kind.LINUX, Batch(count + 1, (Entry(f"{PREFIX}junk{number}", None, count + 1),)))
    taker.take(Kind.LINUX, Batch(count + 2, (Entry(f"{PREFIX}junk1", value, count + 2),)))
    assert str(taker._reconciler.desired.configured["junk1"].content).count("has no prefix length") == 49
    assert taker._kept == sum(taker._problems.values())
