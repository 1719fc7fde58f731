"""Somebody with CAP_NET_ADMIN in a namespace speaks to our netlink sockets there, as the kernel does."""

from __future__ import annotations

import queue
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.netns import ip, wait_until
from vppctl.linux import wire
from vppctl.linux.monitor import KernelEvent, LinkMonitor, LinksChanged
from vppctl.linux.nsids import NsidTable
from vppctl.linux.rtnl import Rtnl

pytestmark = pytest.mark.kernel
RTNLGRP_LINK = 1
FORGED = wire.message(wire.RTM_NEWLINK, 0, wire.IFINFO.pack(0, 0, 777, 0, 0) + wire.text(wire.IFLA_IFNAME, "forged"))
ENDLESS = bytes(16)
"""A header whose length is 0."""
CUT = struct.pack("=IHHII", 18, wire.NLMSG_ERROR, 0, 1, 0) + b"\0\0"


@pytest.fixture
def forger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as forger:
        yield forger


@pytest.mark.parametrize("datagram", [FORGED, ENDLESS, CUT], ids=["forged", "endless", "cut"])
def test_answers_come_from_the_kernel_alone(forger: socket.socket, datagram: bytes) -> None:
    """Once, whoever had CAP_NET_ADMIN in a container could answer in the kernel's place, or hang the agent."""
    with Rtnl() as rtnl:
        port = rtnl._socket.getsockname()[0]
        with pytest.raises(ConnectionRefusedError):
            forger.sendto(datagram, (port, 0))
        answer = rtnl.batch([wire.get_link("lo")])[0]
    assert [wire.link_name(body) for _, body in answer.bodies] == ["lo"]


def test_events_come_from_the_kernel_alone(forger: socket.socket) -> None:
    events: queue.SimpleQueue[KernelEvent] = queue.SimpleQueue()
    monitor = LinkMonitor(NsidTable(), events.put)
    for datagram in (FORGED, ENDLESS, CUT):
        forger.sendto(datagram, (0, RTNLGRP_LINK))
    ip("link", "add", "name", "real", "type", "veth")
    names: set[str] = set()

    def heard() -> bool:
        monitor.flush()
        while not events.empty():
            event = events.get()
            assert isinstance(event, LinksChanged)
            names.update(link.name for link in event.links)
        return "real" in names

    wait_until(heard, "the kernel's own event")
    assert "forged" not in names


def test_what_is_no_message_ends_a_datagram() -> None:
    assert list(wire.messages(FORGED + ENDLESS + FORGED)) == list(wire.messages(FORGED))
