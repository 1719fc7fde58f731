"""Reads links and addresses of the namespaces that are asked about, and nothing else.

A dump proves what it shows. It ends early where the kernel has no room for what comes next, and looks whole: what it
does not show is asked for by name or index before it counts as absent.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.addresses import Address, all_addresses
from vppctl.linux.counters import statistics
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.offload import read_checksums
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import AnswersTooLargeError, DumpInterruptedError, Rtnl
from vppctl.reconcile.state import Link, NetnsId, ObservedState

MANY = 128
"""More links than this are read by a dump, which costs a third of as many questions."""
LIMIT, LIMIT_A_LINK = 16 << 20, 64 << 10
"""Bytes that are read of one namespace in one look, and how many more for each link that is asked for."""
LIMIT_OF_DUMP, LIMIT_OF_DUMP_A_LINK = 4 << 20, 4 << 10
"""Bytes after which a dump is given up: all others' links are in it, too."""
_VETH = wire.text(wire.IFLA_INFO_KIND, "veth")
_WANTED = frozenset(
    {
        wire.IFLA_ADDRESS,
        wire.IFLA_IFNAME,
        wire.IFLA_MTU,
        wire.IFLA_LINK,
        wire.IFLA_OPERSTATE,
        wire.IFLA_LINKINFO,
        wire.IFLA_IFALIAS,
        wire.IFLA_STATS64,
        wire.IFLA_GROUP,
        wire.IFLA_LINK_NETNSID,
        wire.IFLA_PROP_LIST,
    }
)
_ALTNAME = frozenset({wire.IFLA_ALT_IFNAME})
_DEAD = (errno.EINVAL, errno.ENODEV, errno.ENONET)
"""What the kernel says of a namespace's id when the namespace is no more."""
_UP = bytes((wire.IF_OPER_UP,))


class Raw(NamedTuple):
    """A link as it was read, before its addresses and its peer's namespace are known."""

    netns: NetnsId
    index: int  # type: ignore[assignment]
    flags: int
    name: str
    alias: str
    attributes: dict[int, bytes]

    def number(self, kind: int) -> int:
        """An attribute that is a number; 0 when it is not there."""
        value = self.attributes.get(kind)
        return wire.UINT.unpack_from(value)[0] if value else 0

    @property
    def kind(self) -> str:
        """IFLA_INFO_KIND; empty when it has none."""
        info = self.attributes.get(wire.IFLA_LINKINFO, b"")
        return "veth" if info.startswith(_VETH) else wire.string(wire.attributes(info, 0).get(wire.IFLA_INFO_KIND, b""))


def observe(
    spaces: Mapping[NetnsId, Netns], wanted: Mapping[NetnsId, Mapping[str, Collection[str]]], nsids: NsidTable
) -> ObservedState:
    """The links with these names in these namespaces, with everything that is known about them.

    With each name come the addresses that the link is to have; one that a dump does not show is asked for once more.
    A namespace that is not in `spaces` is reached by its id; when it has died, its links are absent. One that cannot be
    asked concerns nobody else: it is among the `unseen`. Raises OSError when the agent's own cannot be entered.
    """
    links: list[Link] = []
    unseen: dict[NetnsId, OSError] = {}
    with Rtnl() as own:
        peers = Peers(nsids, own, {*wanted, nsids.own})
        for netns, names in wanted.items():
            space = spaces.get(netns)
            nsid = nsids.nsid(netns)
            # What was left of what another one may answer.
            own.allow()
            try:
                if space is not None:
                    with Rtnl(space) as rtnl:
                        links += _with_checksums(_read(rtnl, peers, netns, names), space, nsids.own)
                elif nsid is not None:
                    links += _read(own, peers, netns, names, nsid)
            except OSError as error:
                # Of one that is reached by its id: it died between the last event and now.
                if space is not None or error.errno not in _DEAD:
                    unseen[netns] = error
                    if nsid is not None and error.errno in _DEAD:
                        # The id was another one's, whose inode number this one has got; its end was not heard.
                        nsids.forget(nsid)
    return replace(ObservedState.of(links), reached=frozenset(spaces), unseen=unseen)


class Peers(NamedTuple):
    """Finds the namespaces of peers."""

    nsids: NsidTable
    own: Rtnl
    """A socket in the agent's own namespace."""
    others: Collection[NetnsId]
    """Where peers may be that are of interest."""

    def of(self, netns: NetnsId, raw: Iterable[Raw], nsid: int | None = None) -> Mapping[int, NetnsId]:
        """The namespaces of the peers of these links of a namespace, which were read by its id or from inside.

        The id of a peer's namespace is one of those of the namespace that asks (rtnl_fill_link_netnsid,
        net/core/rtnetlink.c), which is the agent's own when the links are reached by an id.
        """
        values = {r.attributes[wire.IFLA_LINK_NETNSID] for r in raw if wire.IFLA_LINK_NETNSID in r.attributes}
        if not values:
            return {}
        if nsid is not None:
            return self.nsids.known()
        with Reading():
            ids = {wire.INT.unpack(v)[0] for v in values}
        return self.nsids.seen_from(netns, ids, self.own, self.others)


def _read(
    rtnl: Rtnl, peers: Peers, netns: NetnsId, names: Mapping[str, Collection[str]], nsid: int | None = None
) -> list[Link]:
    limit = LIMIT + LIMIT_A_LINK * len(names)
    raw: list[Raw] = []
    if len(names) > MANY:
        rtnl.allow(LIMIT_OF_DUMP + LIMIT_OF_DUMP_A_LINK * len(names))
        raw = _named(rtnl, netns, names, nsid)
    rtnl.allow(limit)
    shown, indexes = {link.name for link in raw}, {link.index for link in raw}
    # By an alternative name, one that the dump has shown comes again.
    more = [read_link(netns, body) for body in each_link(rtnl, [name for name in names if name not in shown], nsid)]
    raw += [link for link in more if link.index not in indexes]
    addresses = all_addresses(rtnl, raw, names, nsid)
    known = peers.of(netns, raw, nsid)
    with Reading():
        return [complete(r, addresses.get(r.index, ()), known) for r in raw]


def _named(rtnl: Rtnl, netns: NetnsId, names: Collection[str], nsid: int | None) -> list[Raw]:
    """Those of the links with these names that a dump shows: it takes no lock, and each question waits for one."""
    try:
        bodies = rtnl.dump(wire.dump_links(nsid=nsid))
    except (DumpInterruptedError, AnswersTooLargeError):
        return []
    return [link for link in (read_link(netns, body) for _, body in bodies) if link.name in names]


def each_link(rtnl: Rtnl, which: Collection[str | int], nsid: int | None) -> list[bytes]:
    """Those of these links that exist, asked for one by one.

    Raises OSError when the kernel says anything but that there is none: that is not absence.
    """
    # A name may be another link's name and an alternative one of a link that is asked for, too.
    found: dict[int, bytes] = {}
    for answer in rtnl.ask([wire.get_link(one, nsid) for one in which]):
        if answer.errno not in (0, errno.ENODEV):
            raise OSError(answer.errno, answer.text or os.strerror(answer.errno))
        with Reading():
            found.update((wire.IFINFO.unpack_from(body)[2], body) for _, body in answer.bodies)
    return list(found.values())


def _with_checksums(links: list[Link], space: Netns, own: NetnsId) -> list[Link]:
    """VPP runs in the agent's own namespace: elsewhere, with the peer elsewhere too, it makes no difference."""
    names = [link.name for link in links if link.kind == "veth" and own in (link.netns, link.peer_netns)]
    if not names:
        return links
    found = read_checksums(space, names)
    return [link._replace(checksum=found.get(link.name)) for link in links]


def read_link(netns: NetnsId, body: bytes) -> Raw:
    """A link from the body of an RTM_NEWLINK. Raises UnreadableError."""
    with Reading():
        _, _, index, flags, _ = wire.IFINFO.unpack_from(body)
        attributes = wire.attributes(body, wire.IFINFO.size, _WANTED)
        name, alias = attributes[wire.IFLA_IFNAME], attributes.get(wire.IFLA_IFALIAS)
    return Raw(netns, index, flags, wire.string(name), wire.string(alias) if alias else "", attributes)


def complete(raw: Raw, addresses: Iterable[Address], peers: Mapping[int, NetnsId]) -> Link:
    """The link with its addresses, and with its peer's namespace by the ids that `peers` explains."""
    attributes = raw.attributes
    peer_index = raw.number(wire.IFLA_LINK)
    peer_netns = raw.netns if peer_index else None
    if wire.IFLA_LINK_NETNSID in attributes:
        peer_netns = peers.get(wire.INT.unpack(attributes[wire.IFLA_LINK_NETNSID])[0])
    counters, properties = attributes.get(wire.IFLA_STATS64), attributes.get(wire.IFLA_PROP_LIST)
    name = attributes.get(wire.IFLA_IFNAME, b"")
    found = sorted([address.on(name) for address in addresses])
    special = [address for address in found if address.tentative or address.implied]
    return Link(
        netns=raw.netns,
        index=raw.index,
        name=raw.name,
        kind=raw.kind,
        mac=attributes.get(wire.IFLA_ADDRESS, b"").hex(":"),
        mtu=raw.number(wire.IFLA_MTU),
        up=bool(raw.flags & wire.IFF_UP),
        running=attributes.get(wire.IFLA_OPERSTATE) == _UP,
        addresses=tuple([address.text for address in found]),
        tentative=tuple([address.text for address in special if address.tentative]),
        duplicates=tuple([address.text for address in special if address.duplicate]),
        implied=tuple([address.text for address in special if address.implied]),
        group=raw.number(wire.IFLA_GROUP),
        alias=raw.alias,
        peer_index=peer_index,
        peer_netns=peer_netns,
        statistics=statistics(counters) if counters else None,
        arp=not raw.flags & wire.IFF_NOARP,
        multicast=bool(raw.flags & wire.IFF_MULTICAST),
        altnames=_altnames(properties) if properties else (),
    )


def _altnames(properties: bytes) -> tuple[str, ...]:
    """The strings of an IFLA_PROP_LIST: rtattrs of one type, of which `wire.attributes` keeps the last."""
    found: list[str] = []
    at = 0
    while at + 4 <= len(properties):
        length = int.from_bytes(properties[at : at + 2], sys.byteorder)
        if length < 4:
            break
        found += map(wire.string, wire.attributes(properties[at : at + length], 0, _ALTNAME).values())
        at += (length + 3) & ~3
    return tuple(found)
