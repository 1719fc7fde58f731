"""What validation takes, the kernel takes: documents at the edges of what the kernel allows, applied to a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.agent import veth
from tests.support.netns import fresh
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.interface import Interface
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Configured, State

pytestmark = pytest.mark.kernel

HOSTS = [
    *("0.0.0.1", "10.0.0.0", "10.0.0.1", "10.0.0.255", "127.0.0.1", "169.254.0.1", "192.0.2.1", "223.255.255.255"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::1", "::2", "::1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::1", "100::1", "2001:db8::", "2001:db8::1", "2002::1"),
    *("fc00::1", "fe80::1", "fe80:0:0:1::1", "febf::1", "fec0::1", "ff02::1", "3fff::1"),
]
ADDRESSES = st.builds(
    lambda host, length: f"{host}/{min(length, 128 if ':' in host else 32)}",
    st.sampled_from(HOSTS),
    st.sampled_from([0, 1, 7, 8, 10, 24, 31, 32, 48, 63, 64, 65, 96, 127, 128]),
)
NAMES = ["", "all", "default", "lo", "eth0", "-x", ".", "...", "a.b", "a@b", "a+b=c,d", "bond0", "0", "x" * 15, "v%d"]
MACS = ["", "02:00:00:00:00:01", "02:00:00:00:00:02", "00:00:00:00:00:01", "fe:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"]
SIDES = st.fixed_dictionaries(
    {
        "enabled": st.booleans(),
        "mtu": st.sampled_from([0, 67, 68, 575, 576, 1279, 1280, 1500, 9000, 65535, 65536]),
        "host_if_name": st.sampled_from(NAMES),
        "phys_address": st.sampled_from(MACS),
        "ip_addresses": st.lists(ADDRESSES, max_size=3),
    }
)


def taken(*documents: dict[str, Any]) -> bool:
    """Whether validation takes all of these; then the kernel has to."""
    reconciler = Reconciler("vpp1", Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), NsidTable())
    for document in documents:
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        if not isinstance(found.content, Interface):
            return False
        reconciler.backlog.add(reconciler.desired.put(found))
    news = reconciler.run(0.0)
    conditions = [condition for condition in news.values() if condition]
    if any(condition.state is State.INVALID for condition in conditions):
        # Each is right, and the two do not go together.
        return False
    assert {c.state for c in conditions} == {State.APPLIED}, (documents, [c.message for c in conditions])
    return True


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SIDES, SIDES)
def test_what_validation_takes_the_kernel_takes(first: dict[str, Any], second: dict[str, Any]) -> None:
    with fresh():
        taken(veth("a", "b", "one", **first), veth("b", "a", "two", **second))


@pytest.mark.parametrize("host", HOSTS)
def test_each_address_that_validation_takes_the_kernel_takes(host: str) -> None:
    for length in (0, 64, 128) if ":" in host else (0, 24, 32):
        with fresh():
            taken(veth("a", "b", "one", ip_addresses=[f"{host}/{length}"]), veth("b", "a", "two"))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_that_validation_takes_the_kernel_takes(name: str) -> None:
    taken(veth("a", "b", "one", host_if_name=name), veth("b", "a", "two"))


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"mtu": 1279, "ip_addresses": ["2001:db8::1/64"]}, id="MTU too small for IPv6"),
        pytest.param({"ip_addresses": ["2001:db8::1/48", "2001:db8::1/64"]}, id="an address with two prefixes"),
        pytest.param({"ip_addresses": ["::1/128"]}, id="the loopback address"),
        pytest.param({"host_if_name": "all"}, id="a name that the kernel keeps"),
        pytest.param({"host_if_name": "lo"}, id="the loopback's name"),
    ],
)
def test_what_the_kernel_refuses_validation_refuses(more: dict[str, Any]) -> None:
    assert not taken(veth("a", "b", "one", **more), veth("b", "a", "two"))
