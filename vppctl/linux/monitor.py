"""Kernel events of every namespace that has an id, on one socket. Says where to look, never what is there."""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.nsids import NsidTable
from vppctl.linux.reading import Reading, UnreadableError
from vppctl.linux.rtnl import ROOM, SOL_NETLINK, force_receive_buffer
from vppctl.reconcile.state import NetnsId

NETLINK_ADD_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID = 1, 8
"""Socket options, and the type of the ancillary data that tells the namespace; linux/netlink.h."""
GROUPS = (1, 5, 9, 28)
"""RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID; linux/rtnetlink.h."""
RECEIVE_BUFFER = 32 << 20
KERNEL = 0
"""Its port, the sender of its own messages (netlink(7))."""
BATCH = 10_000
"""Datagrams that are taken before what they say is handed on."""
PATIENCE_MS = 250
"""How long a stop may go unnoticed."""
_LINKS = (wire.RTM_NEWLINK, wire.RTM_DELLINK)
_ADDRESSES = (wire.RTM_NEWADDR, wire.RTM_DELADDR)


class LinkChanged(NamedTuple):
    """Something happened to a link or its addresses; `name` is empty where the event does not carry it."""

    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str


class LinksChanged(NamedTuple):
    """What has happened since the last time, each link once."""

    links: frozenset[LinkChanged]


class NamespaceGone(NamedTuple):
    """A namespace has died."""

    netns: NetnsId


class Overrun(NamedTuple):
    """Events were lost: look at everything."""


KernelEvent = LinksChanged | NamespaceGone | Overrun


class LinkMonitor:
    """Listens from its making on, in the namespace of the thread that makes it."""

    def __init__(self, nsids: NsidTable, deliver: Callable[[KernelEvent], None]) -> None:
        self._nsids, self._deliver = nsids, deliver
        self._reading, self._lost = threading.Lock(), False
        self._room = memoryview(bytearray(ROOM))
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        force_receive_buffer(self._socket, RECEIVE_BUFFER)
        self._socket.bind((0, 0))
        for group in GROUPS:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def run(self, stop: threading.Event) -> None:
        """Deliver events until `stop` is set; the body of a thread."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        with self._socket:
            while not stop.is_set():
                if poll.poll(PATIENCE_MS):
                    self.flush()

    def flush(self) -> None:
        """Deliver all that the kernel has told by now; from any thread."""
        with self._reading:
            changed: set[LinkChanged] = set()
            empty = False
            for _ in range(BATCH):
                if empty := not self._receive(changed):
                    break
            if changed:
                self._deliver(LinksChanged(frozenset(changed)))
            # The kernel says once that events are lost, and goes on losing them until its queue was empty
            # (NETLINK_S_CONGESTED, net/netlink/af_netlink.c): who looks before that may look too early.
            if empty and self._lost:
                self._lost = False
                self._deliver(Overrun())

    def _receive(self, changed: set[LinkChanged]) -> bool:
        """Take one datagram; False when there is none."""
        try:
            size, ancillary, _, sender = self._socket.recvmsg_into(
                [self._room], socket.CMSG_SPACE(4), socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._lost = True
            return True
        if sender[0] != KERNEL:
            # Who has CAP_NET_ADMIN in a namespace may send to its groups, too (netlink(7)).
            return True
        netns: NetnsId | None = self._nsids.own
        for level, kind, value in ancillary:
            if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                netns = self._nsids.netns(struct.unpack("=i", value[:4])[0])
        try:
            with Reading():
                self._read(bytes(self._room[:size]), netns, changed)
        except UnreadableError:
            # What it was about is not known.
            self._lost = True
        return True

    def _read(self, data: bytes, netns: NetnsId | None, changed: set[LinkChanged]) -> None:
        for kind, _, _, _, body in wire.messages(data):
            if kind == wire.RTM_DELNSID:
                # Ids of this namespace only; other namespaces number theirs themselves.
                if netns == self._nsids.own:
                    self._gone(body)
            elif netns is None:
                continue
            elif kind in _LINKS:
                changed.add(LinkChanged(netns, wire.IFINFO.unpack_from(body)[2], wire.link_name(body)))
            elif kind in _ADDRESSES:
                changed.add(LinkChanged(netns, wire.IFADDR.unpack_from(body)[4], ""))

    def _gone(self, body: bytes) -> None:
        value = wire.attributes(body, 4).get(wire.NETNSA_NSID)
        netns = self._nsids.forget(wire.INT.unpack(value)[0]) if value else None
        if netns is not None:
            self._deliver(NamespaceGone(netns))
