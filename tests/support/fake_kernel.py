"""A FAKE kernel behind netlink sockets: links, addresses and ids of a few namespaces.

It stands at the edge of the socket because a kernel that lies is not to be had; what the real one does is tested with
it (tests/kernel). It notes what is done to links that the agent did not create. `lie` and `stir` are what a test makes
of it: what becomes of each answer, and what happens in the kernel before each message.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns
from vppctl.reconcile.state import NetnsId

Address = tuple[int, int, bytes]
"""Family, prefix length and the address itself."""
Attributes = dict[int, bytes]


class FakeNetns(Netns):
    """A handle that no descriptor belongs to."""

    def __init__(self, number: int) -> None:
        self.fd, self.description, self.id = number, f"n{number}", NetnsId(4, 1000 + number)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(eq=False)
class FakeLink:
    """One link; that it is ours is a matter of who has created it, not of its marks."""

    index: int
    name: str
    kind: str = "veth"
    mac: bytes = b"\x02\0\0\0\0\1"
    mtu: int = 1500
    flags: int = wire.IFF_MULTICAST
    group: int = 0
    alias: bytes = b""
    ours: bool = False
    peer: tuple[Space, FakeLink] | None = field(default=None, repr=False)
    addresses: set[Address] = field(default_factory=set)


@dataclass(eq=False)
class Space:
    """A network namespace, the ids that it has for others, and its links by index."""

    handle: FakeNetns
    links: dict[int, FakeLink] = field(default_factory=dict)
    ids: dict[int, Space] = field(default_factory=dict)

    def id_of(self, other: Space) -> int:
        """The id of another namespace here, which it is given now if it has none."""
        for number, space in self.ids.items():
            if space is other:
                return number
        self.ids[len(self.ids)] = other
        return len(self.ids) - 1

    def named(self, name: str) -> FakeLink | None:
        return next((link for link in self.links.values() if link.name == name), None)


class FakeKernel:
    def __init__(self, count: int) -> None:
        self.spaces = [Space(FakeNetns(number)) for number in range(count)]
        self.current = self.spaces[0]
        """Where a socket is opened: the namespace of the calling thread."""
        self.next_index = 2
        self.lie: Callable[[list[bytes]], list[bytes]] = list
        self.stir: Callable[[], None] = lambda: None
        self.confirmed: dict[tuple[Space, int], FakeLink] = {}
        """What was last reported of an index that was asked for by its number, or created, until the next look."""
        self.unheard: set[int] = set()
        """Ids of the first namespace that have changed hands."""
        self.missed = 0
        self.touched: list[str] = []
        """What was done to links that are not ours."""

    # What a test does

    def add(self, space: Space, link: FakeLink) -> FakeLink:
        space.links[link.index] = link
        self.next_index = max(self.next_index, link.index + 1)
        return link

    def remove(self, space: Space, link: FakeLink) -> None:
        space.links.pop(link.index, None)
        if link.peer:
            link.peer[0].links.pop(link.peer[1].index, None)

    # What it does as the real one would

    def answer(self, space: Space, message: bytes) -> list[bytes]:
        """The messages that answer one; each is what a datagram may begin or end with."""
        _, kind, flags, sequence, _ = wire.HEADER.unpack_from(message)
        body = message[16:]
        dumps = flags & wire.NLM_F_DUMP == wire.NLM_F_DUMP and kind & 3 == 2
        try:
            found = list(_HANDLERS[kind](self, space, body, dumps=dumps))
        except Refusal as refusal:
            return [_packed(wire.NLMSG_ERROR, 0, sequence, wire.INT.pack(-refusal.number) + message[:16])]
        answers = [_packed(kind & ~3, 2 if dumps else 0, sequence, one) for one in found]
        if dumps:
            answers.append(_packed(wire.NLMSG_DONE, 2, sequence, wire.INT.pack(0)))
        elif flags & wire.NLM_F_ACK:
            answers.append(_packed(wire.NLMSG_ERROR, 0, sequence, wire.INT.pack(0) + message[:16]))
        return answers

    def _get_link(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        index, wanted = wire.IFINFO.unpack_from(body)[2], wire.attributes(body, 16)
        there = self._target(space, wanted.get(wire.IFLA_TARGET_NETNSID))
        if dumps:
            kind = wire.attributes(wanted.get(wire.IFLA_LINKINFO, b""), 0).get(wire.IFLA_INFO_KIND, b"")
            yield from (_link(space, there, k) for k in there.links.values() if kind in (b"", k.kind.encode() + b"\0"))
            return
        link = there.links.get(index) if index else there.named(wire.string(wanted.get(wire.IFLA_IFNAME, b"")))
        if link is None:
            raise Refusal(errno.ENODEV)
        if index:
            self.confirmed[there, index] = link
        yield _link(space, there, link)

    def _new_link(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        first = wire.attributes(body, 16)
        info = wire.attributes(wire.attributes(first[wire.IFLA_LINKINFO], 0)[wire.IFLA_INFO_DATA], 0)
        second = wire.attributes(info[wire.VETH_INFO_PEER], 16)
        places = [self.spaces[wire.UINT.unpack(end[wire.IFLA_NET_NS_FD])[0]] for end in (first, second)]
        names = [wire.string(end[wire.IFLA_IFNAME]) for end in (first, second)]
        if any(place.named(name) for place, name in zip(places, names, strict=True)):
            raise Refusal(errno.EEXIST)
        made = []
        for place, name, end in zip(places, names, (first, second), strict=True):
            link = self.add(place, FakeLink(self.next_index, name, ours=True))
            self._set(link, end)
            self.confirmed[place, link.index] = link
            made.append(link)
        made[0].flags |= wire.IFINFO.unpack_from(body)[3] & wire.IFF_UP
        made[0].peer, made[1].peer = (places[1], made[1]), (places[0], made[0])
        yield _link(space, places[0], made[0])

    def _set_link(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        _, _, index, flags, change = wire.IFINFO.unpack_from(body)
        link = self._at(space, index, "RTM_SETLINK")
        link.flags = link.flags & ~change | flags & change
        self._set(link, wire.attributes(body, 16))
        yield from ()

    def _del_link(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        index, wanted = wire.IFINFO.unpack_from(body)[2], wire.attributes(body, 16)
        there = self._target(space, wanted.get(wire.IFLA_TARGET_NETNSID))
        if index:
            self.remove(there, self._at(there, index, "RTM_DELLINK"))
            return
        group = wire.UINT.unpack(wanted[wire.IFLA_GROUP])[0]
        found = [link for link in there.links.values() if link.group == group]
        if not found:
            raise Refusal(errno.ENODEV)
        for link in found:
            if not link.ours:
                self.touched.append(f"RTM_DELLINK of the group of {link}")
            self.remove(there, link)
        yield from ()

    def _addresses(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        index, wanted = wire.IFADDR.unpack_from(body)[4], wire.attributes(body, 8)
        there = self._target(space, wanted.get(wire.IFA_TARGET_NETNSID))
        if index and index not in there.links:
            raise Refusal(errno.ENODEV)
        for link in [there.links[index]] if index else list(there.links.values()):
            for family, prefix, value in sorted(link.addresses):
                yield (
                    wire.IFADDR.pack(family, prefix, wire.IFA_F_PERMANENT, 0, link.index)
                    + wire.attribute(wire.IFA_ADDRESS, value)
                    + (wire.attribute(wire.IFA_LOCAL, value) if family == 2 else b"")
                    + (wire.text(wire.IFA_LABEL, link.name) if family == 2 else b"")
                    + wire.u32(wire.IFA_FLAGS, wire.IFA_F_PERMANENT)
                    + wire.attribute(wire.IFA_CACHEINFO, b"\xff" * 8 + bytes(8))
                )

    def _new_address(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        link, address = self._address(space, body, "RTM_NEWADDR")
        link.addresses.add(address)
        yield from ()

    def _del_address(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        link, address = self._address(space, body, "RTM_DELADDR")
        if address not in link.addresses:
            raise Refusal(errno.EADDRNOTAVAIL)
        link.addresses.remove(address)
        yield from ()

    def _address(self, space: Space, body: bytes, what: str) -> tuple[FakeLink, Address]:
        family, prefix, _, _, index = wire.IFADDR.unpack_from(body)
        return self._at(space, index, what), (family, prefix, wire.attributes(body, 8)[wire.IFA_LOCAL])

    def _new_nsid(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        space.id_of(self.spaces[wire.UINT.unpack(wire.attributes(body, 4)[wire.NETNSA_FD])[0]])
        yield from ()

    def _get_nsid(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        wanted = wire.attributes(body, 4)
        target = self._target(space, wanted.get(wire.NETNSA_TARGET_NSID))
        if dumps:
            for number, other in list(target.ids.items()):
                here = wire.i32(wire.NETNSA_CURRENT_NSID, space.id_of(other))
                yield bytes(4) + wire.i32(wire.NETNSA_NSID, number) + here
            return
        if wire.NETNSA_FD in wanted:
            other = self.spaces[wire.UINT.unpack(wanted[wire.NETNSA_FD])[0]]
        else:
            other = self._target(space, wanted[wire.NETNSA_NSID])
        number = next((n for n, known in target.ids.items() if known is other), -1)
        yield bytes(4) + wire.i32(wire.NETNSA_NSID, number)

    def _statistics(self, space: Space, body: bytes, *, dumps: bool) -> Iterator[bytes]:
        index = wire.IFSTATS.unpack_from(body)[1]
        if not dumps and index not in space.links:
            raise Refusal(errno.ENODEV)
        for link in space.links.values() if dumps else [space.links[index]]:
            yield wire.IFSTATS.pack(0, link.index, 1) + wire.attribute(wire.IFLA_STATS_LINK_64, bytes(200))

    def _target(self, space: Space, value: bytes | None) -> Space:
        if value is None:
            return space
        number = struct.unpack("=i", value)[0]
        if number not in space.ids:
            raise Refusal(errno.EINVAL)
        return space.ids[number]

    def _at(self, space: Space, index: int, what: str) -> FakeLink:
        link = space.links.get(index)
        if link is None:
            raise Refusal(errno.ENODEV)
        known = self.confirmed.get((space, index))
        if not link.ours and (known is None or not known.ours):
            self.touched.append(f"{what} of {link}")
        elif not link.ours:
            # It has taken the index since that was asked for, which no message can tell; it may have our marks now.
            link.ours, self.missed = True, self.missed + 1
        return link

    def _set(self, link: FakeLink, values: Attributes) -> None:
        if wire.IFLA_ADDRESS in values:
            link.mac = values[wire.IFLA_ADDRESS]
        if wire.IFLA_MTU in values:
            link.mtu = wire.UINT.unpack(values[wire.IFLA_MTU])[0]
        if wire.IFLA_GROUP in values:
            link.group = wire.UINT.unpack(values[wire.IFLA_GROUP])[0]
        link.alias = values.get(wire.IFLA_IFALIAS, link.alias)


_HANDLERS: dict[int, Callable[..., Iterator[bytes]]] = {
    wire.RTM_NEWLINK: FakeKernel._new_link,
    wire.RTM_DELLINK: FakeKernel._del_link,
    wire.RTM_GETLINK: FakeKernel._get_link,
    wire.RTM_SETLINK: FakeKernel._set_link,
    wire.RTM_NEWADDR: FakeKernel._new_address,
    wire.RTM_DELADDR: FakeKernel._del_address,
    wire.RTM_GETADDR: FakeKernel._addresses,
    wire.RTM_NEWNSID: FakeKernel._new_nsid,
    wire.RTM_GETNSID: FakeKernel._get_nsid,
    wire.RTM_GETSTATS: FakeKernel._statistics,
}


class Refusal(Exception):
    """The error number of an NLMSG_ERROR."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _packed(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return wire.HEADER.pack(16 + len(body), kind, flags, sequence, 77) + body + bytes(-len(body) % 4)


def _link(asker: Space, space: Space, link: FakeLink) -> bytes:
    """The body of an RTM_NEWLINK."""
    body = wire.IFINFO.pack(0, 1, link.index, link.flags, 0) + wire.text(wire.IFLA_IFNAME, link.name)
    body += wire.attribute(wire.IFLA_OPERSTATE, b"\6") + wire.u32(wire.IFLA_MTU, link.mtu)
    body += wire.u32(wire.IFLA_GROUP, link.group) + wire.attribute(wire.IFLA_ADDRESS, link.mac)
    body += wire.attribute(wire.IFLA_STATS64, bytes(200))
    if link.alias:
        body += wire.attribute(wire.IFLA_IFALIAS, link.alias + b"\0")
    body += wire.attribute(wire.IFLA_PROP_LIST | wire.NLA_F_NESTED, wire.text(wire.IFLA_ALT_IFNAME, f"alt{link.index}"))
    body += wire.attribute(wire.IFLA_LINKINFO | wire.NLA_F_NESTED, wire.text(wire.IFLA_INFO_KIND, link.kind))
    if link.peer:
        body += wire.u32(wire.IFLA_LINK, link.peer[1].index)
        if link.peer[0] is not space:
            body += wire.i32(wire.IFLA_LINK_NETNSID, asker.id_of(link.peer[0]))
    return body
