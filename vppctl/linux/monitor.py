"""Kernel events of every namespace that has an id, on one socket. Says where to look, never what is there."""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
import time
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
BATCH = 1000
"""Datagrams that are taken before what they say is handed on, and others may take some."""
GATHER = 0.01
"""Seconds for which events gather until they are taken: whoever causes very many wakes the agent so often."""
PATIENCE_MS = 250
"""How long a stop may go unnoticed."""
OVERRUN_FIRST, OVERRUN_LAST = 0.5, 8.0
"""Seconds between two looks at everything because events were lost: doubled from the first to the last ..."""
OVERRUN_QUIET = 10.0
"""... and begun anew after so many without any."""
_ANCILLARY = socket.CMSG_SPACE(4)
_HEAD = struct.Struct("=IH14xi")
"""Length and type of a message, and the index in a struct ifinfomsg or ifaddrmsg, which is at one place in both."""
_NAME = slice(32, 52)
"""Where a link message has its name: the first attribute (rtnl_fill_ifinfo, net/core/rtnetlink.c)."""
_LINKS = (wire.RTM_NEWLINK, wire.RTM_DELLINK)
_ADDRESSES = (wire.RTM_NEWADDR, wire.RTM_DELADDR)
_OF_LINKS = frozenset((*_LINKS, *_ADDRESSES))


_Key = tuple[NetnsId, int, bytes]


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
        self._overran, self._pause = float("-inf"), 0.0
        self._buffer = bytearray(ROOM)
        self._view = memoryview(self._buffer)
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
                if poll.poll(PATIENCE_MS) or self._lost:
                    while not self.flush() and not stop.is_set():
                        pass
                    stop.wait(GATHER)

    def flush(self) -> bool:
        """Deliver what the kernel has told by now, or a batch of it; from any thread. Whether that was all."""
        with self._reading:
            changed: set[LinkChanged] = set()
            heard: set[_Key] = set()
            empty = False
            for _ in range(BATCH):
                if empty := not self._receive(changed, heard):
                    break
            if changed:
                self._deliver(LinksChanged(frozenset(changed)))
            # The kernel says once that events are lost, and goes on losing them until its queue was empty
            # (NETLINK_S_CONGESTED, net/netlink/af_netlink.c): who looks before that may look too early.
            if empty and self._lost:
                self._overrun(time.monotonic())
            return empty

    def _overrun(self, now: float) -> None:
        """Have everything looked at, ever more seldom while events are lost again and again."""
        if now < self._overran + self._pause:
            return
        quiet = now > self._overran + max(self._pause, OVERRUN_QUIET)
        self._pause = OVERRUN_FIRST if quiet else min(OVERRUN_LAST, self._pause * 2.0)
        self._overran, self._lost = now, False
        self._deliver(Overrun())

    def _receive(self, changed: set[LinkChanged], heard: set[_Key]) -> bool:
        """Take one datagram; False when there is none. `heard` are those of which another one says nothing new."""
        try:
            size, ancillary, _, sender = self._socket.recvmsg_into([self._buffer], _ANCILLARY, socket.MSG_DONTWAIT)
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
                netns = self._nsids.netns(wire.INT.unpack_from(value)[0])
        try:
            with Reading():
                if netns is not None and self._is_news(netns, size, heard):
                    self._understand(netns, bytes(self._view[:size]), changed)
        except UnreadableError:
            # What it was about is not known.
            self._lost = True
        return True

    def _is_news(self, netns: NetnsId, size: int, heard: set[_Key]) -> bool:
        """Most of what somebody causes who changes one link without end goes no further than this."""
        if size < _NAME.stop:
            return True
        length, kind, index = _HEAD.unpack_from(self._buffer)
        if not length <= size <= length + 3 or kind not in _OF_LINKS:
            return True
        key = (netns, index, bytes(self._view[_NAME]) if kind in _LINKS else b"")
        if key in heard:
            return False
        heard.add(key)
        return True

    def _understand(self, netns: NetnsId, data: bytes, changed: set[LinkChanged]) -> None:
        for kind, _, _, _, body in wire.messages(data):
            if kind == wire.RTM_DELNSID:
                # Ids of this namespace only; other namespaces number theirs themselves.
                if netns == self._nsids.own:
                    self._gone(body)
            elif kind in _LINKS:
                changed.add(LinkChanged(netns, wire.IFINFO.unpack_from(body)[2], wire.link_name(body)))
            elif kind in _ADDRESSES:
                changed.add(LinkChanged(netns, wire.IFADDR.unpack_from(body)[4], ""))

    def _gone(self, body: bytes) -> None:
        value = wire.attributes(body, 4).get(wire.NETNSA_NSID)
        netns = self._nsids.forget(wire.INT.unpack(value)[0]) if value else None
        if netns is not None:
            self._deliver(NamespaceGone(netns))
