"""rtnetlink messages as bytes, and back. Pure.

Just the messages that are needed here, packed by hand: a general encoder costs more than the kernel's own work.
Layouts: struct nlmsghdr (linux/netlink.h), struct ifinfomsg and rtattr (linux/rtnetlink.h), struct ifaddrmsg
(linux/if_addr.h), attributes from linux/if_link.h, linux/veth.h and linux/net_namespace.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from vppctl.linux.reading import UnreadableError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP = 0x01, 0x04, 0x08, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NLMSGERR_ATTR_MSG, MAX_ERRNO = 1, 4095

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90
RTM_GETSTATS = 94

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64 = 16, 18, 20, 23
IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 27, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 37, 46
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_STATS_LINK_64 = 1
VETH_INFO_PEER = 1
EXT_MASK = 1 << 4
"""RTEXT_FILTER_MRP, which is about dumps of bridges: it adds nothing to other dumps, but it is a mask."""
IF_OPER_UP = 6
IFF_UP, IFF_NOARP, IFF_MULTICAST = 0x01, 0x80, 0x1000

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO = 1, 2, 3, 4, 6
IFA_FLAGS, IFA_RT_PRIORITY, IFA_TARGET_NETNSID, IFA_PROTO = 8, 9, 10, 11
IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_OPTIMISTIC, IFA_F_DADFAILED = 0x01, 0x02, 0x04, 0x08
IFA_F_HOMEADDRESS, IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x10, 0x20, 0x40, 0x80
IFA_F_MANAGETEMPADDR, IFA_F_NOPREFIXROUTE, IFA_F_MCAUTOJOIN, IFA_F_STABLE_PRIVACY = 0x100, 0x200, 0x400, 0x800
IFAPROT_KERNEL_LL = 3
RT_SCOPE_LINK = 253

NETNSA_NSID, NETNSA_PID, NETNSA_FD, NETNSA_TARGET_NSID, NETNSA_CURRENT_NSID = 1, 2, 3, 4, 5
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

ALL = frozenset(range(256))
"""Attribute types; none beyond is in use (linux/if_link.h)."""

HEADER = struct.Struct("=IHHII")
IFINFO = struct.Struct("=BxHiII")
IFADDR = struct.Struct("=BBBBI")
IFSTATS = struct.Struct("=BxxxII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=HHI")
UINT = struct.Struct("=I")
INT = struct.Struct("=i")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, value: bytes) -> bytes:
    """One rtattr, padded to four octets."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + _PAD[len(value) & 3]


def u32(kind: int, value: int) -> bytes:
    """An rtattr that holds an unsigned 32 bit number."""
    return _U32.pack(8, kind, value)


def i32(kind: int, value: int) -> bytes:
    """An rtattr that holds a signed 32 bit number."""
    return u32(kind, value & 0xFFFFFFFF)


def text(kind: int, value: str) -> bytes:
    """An rtattr that holds a string, zero-terminated; what is no UTF-8 is as `string` keeps it."""
    return attribute(kind, value.encode(errors="surrogateescape") + b"\0")


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A whole message with sequence number 0; the socket numbers it."""
    return HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def mac_bytes(mac: str) -> bytes:
    """The six octets of `02:00:00:00:00:01`."""
    return bytes.fromhex(mac.replace(":", ""))


def create_veth(first: bytes, second: bytes, *, up: bool) -> bytes:
    """RTM_NEWLINK of a pair; `first` and `second` are attributes made by `end`.

    IFF_UP works for the first end alone: veth_open of the peer would run before the pair is tied.
    """
    flags = IFF_UP if up else 0
    peer = attribute(VETH_INFO_PEER | NLA_F_NESTED, IFINFO.pack(0, 0, 0, 0, 0) + second)
    info = text(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA | NLA_F_NESTED, peer)
    body = IFINFO.pack(0, 0, 0, flags, flags) + first + attribute(IFLA_LINKINFO | NLA_F_NESTED, info)
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, body)


_ONE_QUEUE = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
"""As many as the kernel uses by default: it makes one for each CPU and then switches all but the first off, for which
it waits for two RCU grace periods, half of a pair's whole cost (veth_init_queues, drivers/net/veth.c)."""


def end(name: str, mac: str, mtu: int, group: int, netns_fd: int) -> bytes:
    """The attributes of one end of a new pair, the namespace that it goes straight into among them."""
    return (
        _ONE_QUEUE
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, mac_bytes(mac))
        + u32(IFLA_MTU, mtu)
        + u32(IFLA_GROUP, group)
        + u32(IFLA_NET_NS_FD, netns_fd)
    )


def set_link(
    index: int,
    *,
    up: bool | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    group: int | None = None,
    alias: str | None = None,
    arp: bool | None = None,
    multicast: bool | None = None,
) -> bytes:
    """RTM_SETLINK of what is not None."""
    flags = change = 0
    for flag, on in ((IFF_UP, up), (IFF_NOARP, None if arp is None else not arp), (IFF_MULTICAST, multicast)):
        if on is not None:
            change |= flag
            flags |= flag if on else 0
    body = IFINFO.pack(0, 0, index, flags, change)
    if mac is not None:
        body += attribute(IFLA_ADDRESS, mac_bytes(mac))
    if mtu is not None:
        body += u32(IFLA_MTU, mtu)
    if group is not None:
        body += u32(IFLA_GROUP, group)
    if alias is not None:
        body += attribute(IFLA_IFALIAS, alias.encode())
    return message(RTM_SETLINK, 0, body)


def get_counters(index: int = 0) -> bytes:
    """RTM_GETSTATS of one link, or a dump of all: struct if_stats_msg, IFLA_STATS_LINK_64 alone (linux/if_link.h)."""
    flags = 0 if index else NLM_F_DUMP
    return message(RTM_GETSTATS, flags, IFSTATS.pack(0, index, 1 << (IFLA_STATS_LINK_64 - 1)))


def delete_link(index: int, nsid: int | None = None) -> bytes:
    """RTM_DELLINK of one link, here or in the namespace that has this id here."""
    target = b"" if nsid is None else i32(IFLA_TARGET_NETNSID, nsid)
    return message(RTM_DELLINK, 0, IFINFO.pack(0, 0, index, 0, 0) + target)


def delete_group(group: int) -> bytes:
    """RTM_DELLINK of a whole link group."""
    return message(RTM_DELLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + u32(IFLA_GROUP, group))


def address(kind: int, index: int, value: str) -> bytes:
    """RTM_NEWADDR or RTM_DELADDR of `address/prefix`; one that is there but would expire is made permanent.

    To remove, also of what is observed: `address peer ADDRESS/prefix`, and with other attributes behind, which have no
    part in it.
    """
    near, far = value, ""
    if " " in value:
        near, *words = value.split()
        far = words[1] if words[0] == "peer" else ""
    host, _, prefix = near.partition("/")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    local = remote = socket.inet_pton(family, host)
    if far:
        host, _, prefix = far.partition("/")
        remote = socket.inet_pton(family, host)
    flags = NLM_F_CREATE | NLM_F_REPLACE if kind == RTM_NEWADDR else 0
    body = IFADDR.pack(family, int(prefix), 0, 0, index)
    return message(kind, flags, body + attribute(IFA_LOCAL, local) + attribute(IFA_ADDRESS, remote))


def get_link(which: str | int, nsid: int | None = None) -> bytes:
    """RTM_GETLINK of one link by name or index."""
    target = b"" if nsid is None else i32(IFLA_TARGET_NETNSID, nsid)
    if isinstance(which, int):
        return message(RTM_GETLINK, 0, IFINFO.pack(0, 0, which, 0, 0) + target)
    return message(RTM_GETLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, which) + target)


def dump_links(*, kind: str = "", nsid: int | None = None) -> bytes:
    """A dump of all links, or of those of one kind.

    Only with a mask does the kernel make room for the largest link: without one, the first link that does not fit ends
    the dump, as if there were no more (rtnl_calcit, net/core/rtnetlink.c). It looks for the largest here, not where the
    id leads.
    """
    body = IFINFO.pack(0, 0, 0, 0, 0) + u32(IFLA_EXT_MASK, EXT_MASK)
    if kind:
        body += attribute(IFLA_LINKINFO | NLA_F_NESTED, text(IFLA_INFO_KIND, kind))
    if nsid is not None:
        body += i32(IFLA_TARGET_NETNSID, nsid)
    return message(RTM_GETLINK, NLM_F_DUMP, body)


def dump_addresses(index: int = 0, nsid: int | None = None) -> bytes:
    """A dump of all addresses, or of those of one link (needs NETLINK_GET_STRICT_CHK)."""
    body = IFADDR.pack(0, 0, 0, 0, index)
    if nsid is not None:
        body += i32(IFA_TARGET_NETNSID, nsid)
    return message(RTM_GETADDR, NLM_F_DUMP, body)


def new_nsid(fd: int) -> bytes:
    """RTM_NEWNSID: give the namespace behind `fd` an id of the kernel's choice in this namespace."""
    return message(RTM_NEWNSID, 0, b"\0\0\0\0" + i32(NETNSA_NSID, -1) + u32(NETNSA_FD, fd))


def get_nsid(fd: int) -> bytes:
    """RTM_GETNSID: the id that the namespace behind `fd` has in this namespace."""
    return message(RTM_GETNSID, 0, b"\0\0\0\0" + u32(NETNSA_FD, fd))


def get_nsid_in(target: int, nsid: int) -> bytes:
    """RTM_GETNSID: the id that the namespace with the id `nsid` here has in the one with the id `target` here."""
    return message(RTM_GETNSID, 0, b"\0\0\0\0" + i32(NETNSA_NSID, nsid) + i32(NETNSA_TARGET_NSID, target))


def dump_nsids(target: int) -> bytes:
    """A dump of the ids that the namespace with id `target` uses, each with the id of the same namespace here."""
    return message(RTM_GETNSID, NLM_F_DUMP, b"\0\0\0\0" + i32(NETNSA_TARGET_NSID, target))


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Type, flags, sequence number, port and body of every message of one datagram."""
    at, size = 0, len(data)
    while at + 16 <= size:
        length, kind, flags, sequence, port = HEADER.unpack_from(data, at)
        if not 16 <= length <= size - at:
            # NLMSG_OK (linux/netlink.h): what follows cannot be told apart.
            return
        yield kind, flags, sequence, port, data[at + 16 : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes, at: int, wanted: frozenset[int] = ALL) -> dict[int, bytes]:
    """The rtattrs of `data` from offset `at` on, by type; all of them, or the wanted ones. Raises UnreadableError."""
    found = {}
    length = 0
    # As 16 bit numbers: a struct's unpack costs three times as much, and a link has forty attributes.
    numbers = memoryview(data)[: len(data) & ~1].cast("H")
    here, end = at >> 1, len(numbers) - 1
    while here < end:
        length = numbers[here]
        if length < 4:
            raise UnreadableError
        kind = numbers[here + 1] & NLA_TYPE_MASK
        if kind in wanted:
            found[kind] = data[2 * here + 4 : 2 * here + length]
        here += (length + 3 >> 2) << 1
    # RTA_OK (linux/rtnetlink.h): only the last one can be longer than what is left. Its padding may be missing.
    if 2 * here - (-length & 3) > len(data):
        raise UnreadableError
    return found


def link_name(body: bytes) -> str:
    """The name in a link message; it is the first attribute (rtnl_fill_ifinfo, net/core/rtnetlink.c)."""
    length, kind = _ATTRIBUTE.unpack_from(body, IFINFO.size)
    if kind == IFLA_IFNAME:
        return string(body[IFINFO.size + 4 : IFINFO.size + length])
    return string(attributes(body, IFINFO.size).get(IFLA_IFNAME, b""))


def string(value: bytes) -> str:
    """A string attribute without its terminating zero; what is no UTF-8 is kept by surrogates."""
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def error(body: bytes, flags: int) -> tuple[int, str]:
    """The errno of an NLMSG_ERROR (0: done) and the kernel's explanation, if it gave one. Raises UnreadableError."""
    number = -INT.unpack_from(body)[0] if len(body) >= INT.size else -1
    if not 0 <= number <= MAX_ERRNO:
        raise UnreadableError
    if not flags & NLM_F_ACK_TLVS:
        return number, ""
    at = 4 + 16
    if not flags & NLM_F_CAPPED and len(body) >= at:
        at = 4 + ((UINT.unpack_from(body, 4)[0] + 3) & ~3)
    return number, string(attributes(body, at).get(NLMSGERR_ATTR_MSG, b""))
