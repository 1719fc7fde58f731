"""Reads links and addresses of the namespaces that are asked about, and nothing else."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.offload import read_checksums
from vppctl.linux.rtnl import DumpInterruptedError, Rtnl
from vppctl.reconcile.state import Link, NetnsId, ObservedState, Statistics

log = logging.getLogger("vppctl.linux")

BY_NAME = 128
"""Up to so many links of a namespace are asked for one by one, each for the price of three in a dump of all."""
_STATISTICS = struct.Struct("=8Q")
"""The first fields of struct rtnl_link_stats64, in the order of `Statistics`."""


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
    }
)
_DEAD = (errno.EINVAL, errno.ENODEV, errno.ENONET)
"""What the kernel says of a namespace's id when the namespace is no more."""
_UP = bytes((wire.IF_OPER_UP,))
_KERNEL_LL = bytes((wire.IFAPROT_KERNEL_LL,))
_TELLS_ORIGIN = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (5, 18)
"""Whether the kernel tells which addresses are its own (IFA_PROTO)."""


class _Address(NamedTuple):
    """`address/prefix`, whether duplicate address detection is not done, and whether it may be the kernel's own."""

    text: str
    tentative: bool
    implied: bool


class _Raw(NamedTuple):
    """A link as it was read, before its addresses and its peer's namespace are known."""

    netns: NetnsId
    index: int  # type: ignore[assignment]
    flags: int
    name: str
    alias: str
    attributes: dict[int, bytes]

    def number(self, kind: int) -> int:
        value = self.attributes.get(kind)
        return wire.UINT.unpack_from(value)[0] if value else 0


def observe(
    spaces: Mapping[NetnsId, Netns], wanted: Mapping[NetnsId, frozenset[str] | None], nsids: NsidTable
) -> ObservedState:
    """The links with these names (None: all) in these namespaces, with everything that is known about them.

    A namespace that is not in `spaces` is reached by its id; when it has died, its links are absent. Raises OSError.
    """
    links: list[Link] = []
    with Rtnl() as own:
        peers = _Peers(nsids, own, {*wanted, nsids.own})
        for netns, names in wanted.items():
            space = spaces.get(netns)
            nsid = nsids.nsid(netns)
            if space is not None:
                with Rtnl(space) as rtnl:
                    links += _with_checksums(_read(rtnl, peers, netns, names), space, nsids.own)
            elif nsid is not None:
                try:
                    links += _read(own, peers, netns, names, nsid)
                except OSError as error:
                    # It died between the last event and now.
                    if error.errno not in _DEAD:
                        raise
    return ObservedState.of(links)


def observe_marked(spaces: Mapping[NetnsId, Netns], group: int, prefix: str, nsids: NsidTable) -> list[Link]:
    """The VETHs in `group`, or with an alias that starts with `prefix`, in those of these namespaces that let us in."""
    found: list[Link] = []
    with Rtnl() as own:
        peers = _Peers(nsids, own, spaces.keys())
        for netns, space in spaces.items():
            try:
                socket_there = Rtnl(space)
            except PermissionError as error:
                # Of another user namespace than an agent that is root in its own: nothing there can be ours.
                log.debug("namespace %s cannot be entered: %s", space.description, error.strerror)
                continue
            with socket_there as rtnl:
                raw = [_raw(netns, body) for body in _all_links(rtnl, wire.dump_links(kind="veth"))]
                marked = [r for r in raw if r.number(wire.IFLA_GROUP) == group or r.alias.startswith(prefix)]
                if marked:
                    nsids.assign_many([space])
                    found += _complete(rtnl, peers, netns, marked, None)
    return found


def read_counters(space: Netns) -> dict[int, Statistics]:
    """The counters of all links of a namespace, by index. Raises OSError."""
    at = wire.IFSTATS.size + 4
    with Rtnl(space) as rtnl:
        try:
            bodies = rtnl.dump(wire.dump_counters())
        except DumpInterruptedError as error:
            # Of each link the newest: none depends on another.
            bodies = error.bodies
    return {wire.IFSTATS.unpack_from(body)[1]: Statistics(*_STATISTICS.unpack_from(body, at)) for _, body in bodies}


class _Peers(NamedTuple):
    """Finds the namespaces of peers."""

    nsids: NsidTable
    own: Rtnl
    """A socket in the agent's own namespace."""
    others: Collection[NetnsId]
    """Where peers may be that are of interest."""

    def seen_from(self, netns: NetnsId) -> dict[int, NetnsId]:
        return self.nsids.seen_from(netns, self.own, self.others)


def _read(
    rtnl: Rtnl, peers: _Peers, netns: NetnsId, names: frozenset[str] | None, nsid: int | None = None
) -> list[Link]:
    if names is not None and len(names) <= BY_NAME:
        raw = [_raw(netns, body) for body in _each_link(rtnl, names, nsid)]
    else:
        raw = [_raw(netns, body) for body in _all_links(rtnl, wire.dump_links(nsid=nsid), nsid)]
        if names is not None:
            raw = [link for link in raw if link.name in names]
    return _complete(rtnl, peers, netns, raw, nsid)


def _each_link(rtnl: Rtnl, which: Iterable[str | int], nsid: int | None) -> list[bytes]:
    """Those of these links that exist, asked for one by one."""
    answers = rtnl.batch([wire.get_link(one, nsid) for one in which])
    return [body for answer in answers if answer.errno == 0 for _, body in answer.bodies]


def _all_links(rtnl: Rtnl, request: bytes, nsid: int | None = None) -> list[bytes]:
    """All links of a dump; where it cannot be had in one piece, each that was seen is asked for."""
    try:
        return [body for _, body in rtnl.dump(request)]
    except DumpInterruptedError as error:
        indexes = {wire.IFINFO.unpack_from(body)[2] for _, body in error.bodies}
        return _each_link(rtnl, sorted(indexes), nsid)


def _complete(rtnl: Rtnl, peers: _Peers, netns: NetnsId, raw: list[_Raw], nsid: int | None) -> list[Link]:
    addresses = _all_addresses(rtnl, [link.index for link in raw], nsid)
    known: Mapping[int, NetnsId] = {}
    if any(wire.IFLA_LINK_NETNSID in r.attributes for r in raw):
        # The id of a peer's namespace is one of those of the namespace that asks (rtnl_fill_link_netnsid,
        # net/core/rtnetlink.c), which is the agent's own when the links are reached by an id.
        known = peers.seen_from(netns) if nsid is None else peers.nsids.known()
    return [_link(r, addresses.get(r.index, ()), known) for r in raw]


def _all_addresses(rtnl: Rtnl, indexes: Sequence[int], nsid: int | None) -> dict[int, list[_Address]]:
    """The addresses of these links: of many by one dump, unless it is interrupted by what changes meanwhile."""
    found: dict[int, list[_Address]] = {}
    if len(indexes) > BY_NAME:
        try:
            _addresses(rtnl.dump(wire.dump_addresses(nsid=nsid)), found)
        except DumpInterruptedError:
            found.clear()
        else:
            return found
    for index in indexes:
        try:
            bodies = rtnl.dump(wire.dump_addresses(index, nsid))
        except DumpInterruptedError as error:
            # Before Linux 6.10 even the end of a dump can tell of a change; an event follows, and another look.
            bodies = list(dict.fromkeys(error.bodies))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            # The link has gone since it was read.
            continue
        _addresses(bodies, found)
    return found


def _with_checksums(links: list[Link], space: Netns, own: NetnsId) -> list[Link]:
    """VPP runs in the agent's own namespace: elsewhere, with the peer elsewhere too, it makes no difference."""
    names = [link.name for link in links if link.kind == "veth" and own in (link.netns, link.peer_netns)]
    if not names:
        return links
    found = read_checksums(space, names)
    return [link._replace(checksum=found.get(link.name)) for link in links]


def _raw(netns: NetnsId, body: bytes) -> _Raw:
    _, _, index, flags, _ = wire.IFINFO.unpack_from(body)
    attributes = wire.attributes(body, wire.IFINFO.size, _WANTED)
    name, alias = attributes.get(wire.IFLA_IFNAME, b""), attributes.get(wire.IFLA_IFALIAS)
    return _Raw(netns, index, flags, wire.string(name), wire.string(alias) if alias else "", attributes)


def _link(raw: _Raw, addresses: Iterable[_Address], peers: Mapping[int, NetnsId]) -> Link:
    attributes = raw.attributes
    info = attributes.get(wire.IFLA_LINKINFO, b"")
    kind = "veth" if info.startswith(_VETH) else wire.string(wire.attributes(info, 0).get(wire.IFLA_INFO_KIND, b""))
    peer_index = raw.number(wire.IFLA_LINK)
    peer_netns = raw.netns if peer_index else None
    if wire.IFLA_LINK_NETNSID in attributes:
        peer_netns = peers.get(wire.INT.unpack(attributes[wire.IFLA_LINK_NETNSID])[0])
    statistics = attributes.get(wire.IFLA_STATS64)
    found = sorted(addresses)
    return Link(
        netns=raw.netns,
        index=raw.index,
        name=raw.name,
        kind=kind,
        mac=attributes.get(wire.IFLA_ADDRESS, b"").hex(":"),
        mtu=raw.number(wire.IFLA_MTU),
        up=bool(raw.flags & wire.IFF_UP),
        running=attributes.get(wire.IFLA_OPERSTATE) == _UP,
        addresses=tuple([address.text for address in found]),
        tentative=tuple([address.text for address in found if address.tentative]),
        implied=tuple([address.text for address in found if address.implied]),
        group=raw.number(wire.IFLA_GROUP),
        alias=raw.alias,
        peer_index=peer_index,
        peer_netns=peer_netns,
        statistics=Statistics(*_STATISTICS.unpack_from(statistics)) if statistics else None,
    )


def _addresses(bodies: Iterable[tuple[int, bytes]], found: dict[int, list[_Address]]) -> None:
    """Collect addresses by interface index, without what the kernel adds by itself."""
    for _, body in bodies:
        family, prefix, flags, scope, index = wire.IFADDR.unpack_from(body)
        attributes = wire.attributes(body, wire.IFADDR.size)
        packed = attributes.get(wire.IFA_LOCAL) or attributes.get(wire.IFA_ADDRESS)
        if wire.IFA_FLAGS in attributes:
            flags = wire.UINT.unpack(attributes[wire.IFA_FLAGS])[0]
        # Addresses from router advertisements expire; the link-local one is the kernel's own (IFAPROT_KERNEL_LL).
        own = attributes.get(wire.IFA_PROTO) == _KERNEL_LL
        if packed is None or own or not flags & wire.IFA_F_PERMANENT:
            continue
        host = socket.inet_ntop(family, packed)
        if family == socket.AF_INET6 and "." in host:
            host = str(ipaddress.IPv6Address(packed))
        tentative = bool(flags & (wire.IFA_F_TENTATIVE | wire.IFA_F_DADFAILED))
        implied = not _TELLS_ORIGIN and family == socket.AF_INET6 and (prefix, scope) == (64, wire.RT_SCOPE_LINK)
        found.setdefault(index, []).append(_Address(f"{host}/{prefix}", tentative, implied))
