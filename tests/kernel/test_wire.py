"""Our netlink messages against pyroute2's codec, which somebody else wrote, and against what `ip` sees."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from tests.support.netns import ip, links
from vppctl.linux import wire
from vppctl.linux.namespaces import open_own
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe

names = st.from_regex(r"[a-z][a-z0-9_.-]{0,14}", fullmatch=True)
macs = st.binary(min_size=5, max_size=5).map(lambda octets: (b"\x02" + octets).hex(":"))
mtus = st.integers(68, 65535)
numbers = st.integers(0, 2**31 - 1)


def decoded(message: Any) -> Any:
    message.decode()
    return message


@given(names, macs, mtus, numbers, numbers, st.booleans())
def test_a_pair_reads_as_written(name: str, mac: str, mtu: int, group: int, fd: int, up: bool) -> None:
    first, second = wire.end(name, mac, mtu, group, fd), wire.end(f"{name[:14]}x", mac, 1500, group, fd)
    read = decoded(ifinfmsg(wire.create_veth(first, second, up=up)))
    info = read.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    for end, wanted in ((read, (name, mtu)), (info, (f"{name[:14]}x", 1500))):
        assert (end.get_attr("IFLA_IFNAME"), end.get_attr("IFLA_MTU")) == wanted
        assert end.get_attr("IFLA_ADDRESS") == mac
        assert (end.get_attr("IFLA_GROUP"), end.get_attr("IFLA_NET_NS_FD")) == (group, fd)
        assert (end.get_attr("IFLA_NUM_TX_QUEUES"), end.get_attr("IFLA_NUM_RX_QUEUES")) == (1, 1)
    assert read.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    assert (read["flags"] & 1, read["change"] & 1) == ((1, 1) if up else (0, 0))


@given(
    numbers,
    st.none() | st.booleans(),
    st.none() | macs,
    st.none() | mtus,
    st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
)
def test_a_change_reads_as_written(index: int, up: bool | None, mac: str | None, mtu: int | None, alias: Any) -> None:
    read = decoded(ifinfmsg(wire.set_link(index, up=up, mac=mac, mtu=mtu, alias=alias)))
    assert read["index"] == index
    assert (read["flags"] & 1, read["change"] & 1) == (0 if not up else 1, 0 if up is None else 1)
    assert (read.get_attr("IFLA_ADDRESS"), read.get_attr("IFLA_MTU")) == (mac, mtu)
    assert read.get_attr("IFLA_IFALIAS") == alias


@given(numbers, st.ip_addresses(), st.data())
def test_an_address_reads_as_written(index: int, address: Any, data: Any) -> None:
    prefix = data.draw(st.integers(0, address.max_prefixlen))
    read = decoded(ifaddrmsg(wire.address(wire.RTM_NEWADDR, index, f"{address}/{prefix}")))
    assert (read["index"], read["prefixlen"]) == (index, prefix)
    assert ipaddress.ip_address(read.get_attr("IFA_LOCAL")) == address


@pytest.mark.kernel
def test_links_are_read_as_ip_reads_them() -> None:
    ip("link", "add", "name", "a", "mtu", "1400", "group", "7", "type", "veth", "peer", "name", "b")
    ip("link", "set", "dev", "a", "up", "alias", "what it is for")
    ip("link", "add", "name", "d", "type", "bridge")
    ip("addr", "add", "10.0.0.1/24", "dev", "a")
    ip("addr", "add", "2001:db8::1/64", "dev", "a")
    with open_own() as own:
        observed = observe({own.id: own}, {own.id: dict.fromkeys(links(), ())}, NsidTable())
        for name, seen in links().items():
            link = observed.links[own.id, name]
            assert (link.index, link.mac, link.mtu) == (seen["ifindex"], seen["address"], seen["mtu"])
            assert (link.kind, link.alias) == (seen["linkinfo"]["info_kind"], seen.get("ifalias", ""))
            assert str(link.group) == {"default": "0"}.get(seen["group"], seen["group"])
            assert link.up == ("UP" in seen["flags"])
        assert observed.links[own.id, "a"].addresses == ("10.0.0.1/24", "2001:db8::1/64")
        a, b = observed.links[own.id, "a"], observed.links[own.id, "b"]
        assert (a.peer_index, a.peer_netns, b.peer_index) == (b.index, own.id, a.index)
