"""Reads the addresses of links, with everything that they have: prefix, peer, flags, and what else can be given to one.

An address that is not as this agent adds it is another one than the configured one. What it has besides stands in its
text in the words of `ip address`, which is decoded where there is something to decode.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from vppctl.linux import wire
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import AnswersTooLargeError, DumpInterruptedError, Rtnl

MANY = 128
"""The addresses of more links than this are read by one dump: all others' are in it, too."""
LIMIT_OF_DUMP, LIMIT_OF_DUMP_A_LINK = 4 << 20, 4 << 10
"""Bytes after which a dump of all is given up."""
LIMIT, LIMIT_AN_ADDRESS = 16 << 10, 256
"""Bytes that are read of the addresses of one link, and how many more for each that it is to have. One that has more
is not as configured, whatever else it has: those that are seen are removed, and then it is looked at again."""
_KERNEL_LL = bytes((wire.IFAPROT_KERNEL_LL,))
_FOREVER = b"\xff\xff\xff\xff"
_AS_ADDED = frozenset(
    {
        wire.IFA_ADDRESS,
        wire.IFA_LOCAL,
        wire.IFA_LABEL,
        wire.IFA_CACHEINFO,
        wire.IFA_FLAGS,
        wire.IFA_TARGET_NETNSID,
    }
)
"""The attributes that the kernel reports of an address that this agent has added."""
_ASKED_FOR = ~(
    wire.IFA_F_SECONDARY
    | wire.IFA_F_OPTIMISTIC
    | wire.IFA_F_DADFAILED
    | wire.IFA_F_TENTATIVE
    | wire.IFA_F_STABLE_PRIVACY
)
"""All flags but those that the kernel sets and clears by itself."""
_FLAGS = {
    wire.IFA_F_NODAD: "nodad",
    wire.IFA_F_HOMEADDRESS: "home",
    wire.IFA_F_DEPRECATED: "deprecated",
    wire.IFA_F_MANAGETEMPADDR: "mngtmpaddr",
    wire.IFA_F_NOPREFIXROUTE: "noprefixroute",
    wire.IFA_F_MCAUTOJOIN: "autojoin",
}
"""Flags that whoever adds an address may ask for, as `ip address` calls them."""
_SCOPES = {200: "site", 253: "link", 254: "host"}
"""rt_scope_t (linux/rtnetlink.h)."""


class _Read(Protocol):
    """A link that was read."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...


class Address(NamedTuple):
    """An address as `Link.addresses` has it, with what duplicate address detection says of it."""

    text: str
    tentative: bool
    duplicate: bool
    implied: bool
    """It may be the kernel's own."""
    label: bytes
    """IFA_LABEL, which is the link's name by default; empty for IPv6."""

    def on(self, name: bytes) -> Address:
        """The address on the link of this name, where another label is one more attribute."""
        if self.label in (b"", name):
            return self
        return self._replace(text=f"{self.text} label {wire.string(self.label)}")


def all_addresses(
    rtnl: Rtnl, raw: Sequence[_Read], expected: Mapping[str, Collection[str]], nsid: int | None
) -> dict[int, list[Address]]:
    """The addresses of these links: of many by one dump, which proves what it shows and not what it does not show."""
    found: dict[int, list[Address]] = {}
    left: Iterable[_Read] = raw
    if len(raw) > MANY:
        rtnl.allow(LIMIT_OF_DUMP + sum(LIMIT_OF_DUMP_A_LINK + LIMIT_AN_ADDRESS * len(e) for e in expected.values()))
        # While duplicate address detection ends everywhere, the dump may be interrupted by each.
        with contextlib.suppress(DumpInterruptedError, AnswersTooLargeError):
            bodies = rtnl.dump(wire.dump_addresses(nsid=nsid))
            with Reading():
                _addresses(bodies, found)
            left = [link for link in raw if _lacks(found.get(link.index, ()), expected.get(link.name, ()))]
    for link in left:
        rtnl.allow(LIMIT + LIMIT_AN_ADDRESS * len(expected.get(link.name, ())))
        bodies, own = _addresses_of(rtnl, link.index, nsid), dict[int, list[Address]]()
        with Reading():
            _addresses(bodies, own)
        found[link.index] = own.get(link.index, [])
    return found


def _lacks(addresses: Iterable[Address], expected: Collection[str]) -> bool:
    return bool(expected) and not {address.text for address in addresses}.issuperset(expected)


def _addresses_of(rtnl: Rtnl, index: int, nsid: int | None) -> list[tuple[int, bytes]]:
    try:
        return rtnl.dump(wire.dump_addresses(index, nsid))
    except DumpInterruptedError as error:
        # Before Linux 6.10 even the end of a dump can tell of a change; an event follows, and another look.
        return list(dict.fromkeys(error.bodies))
    except AnswersTooLargeError as error:
        return error.bodies
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        # The link has gone since it was read.
        return []


def _addresses(bodies: Iterable[tuple[int, bytes]], found: dict[int, list[Address]]) -> None:
    """Collect addresses by interface index, without what the kernel adds by itself."""
    for _, body in bodies:
        family, prefix, flags, scope, index = wire.IFADDR.unpack_from(body)
        attributes = wire.attributes(body, wire.IFADDR.size)
        local, remote = attributes.get(wire.IFA_LOCAL), attributes.get(wire.IFA_ADDRESS)
        packed = local or remote
        if wire.IFA_FLAGS in attributes:
            flags = wire.UINT.unpack(attributes[wire.IFA_FLAGS])[0]
        # Addresses from router advertisements expire; the link-local one is the kernel's own (IFAPROT_KERNEL_LL).
        own = attributes.get(wire.IFA_PROTO) == _KERNEL_LL
        if packed is None or own or not flags & wire.IFA_F_PERMANENT:
            continue
        if (
            flags & _ASKED_FOR == wire.IFA_F_PERMANENT
            and attributes.keys() <= _AS_ADDED
            and (local == remote or local is None or remote is None)
            and attributes.get(wire.IFA_CACHEINFO, _FOREVER).startswith(_FOREVER)
            and (scope == 0 or family == socket.AF_INET6)
        ):
            text = f"{_host(family, packed)}/{prefix}"
        else:
            text = _as_found(family, prefix, flags, scope, attributes)
        duplicate = bool(flags & wire.IFA_F_DADFAILED)
        tentative = duplicate or bool(flags & wire.IFA_F_TENTATIVE)
        link_local = family == socket.AF_INET6 and (prefix, scope) == (64, wire.RT_SCOPE_LINK)
        implied = link_local and wire.IFA_PROTO not in attributes and not _tells_origin()
        label = attributes.get(wire.IFA_LABEL, b"")
        found.setdefault(index, []).append(Address(text, tentative, duplicate, implied, label))


def _host(family: int, packed: bytes) -> str:
    host = socket.inet_ntop(family, packed)
    if family == socket.AF_INET6 and "." in host:
        host = str(ipaddress.IPv6Address(packed))
    return host


def _as_found(family: int, prefix: int, flags: int, scope: int, attributes: Mapping[int, bytes]) -> str:
    """An address with what this agent would not have given to it, in the words of `ip address`."""
    local, remote = attributes.get(wire.IFA_LOCAL), attributes.get(wire.IFA_ADDRESS)
    host = _host(family, local or remote or b"")
    peer = local and remote and local != remote
    words = [f"{host} peer {_host(family, remote)}/{prefix}" if peer and remote else f"{host}/{prefix}"]
    if broadcast := attributes.get(wire.IFA_BROADCAST):
        words.append(f"brd {_host(family, broadcast)}")
    if metric := attributes.get(wire.IFA_RT_PRIORITY):
        words.append(f"metric {wire.UINT.unpack(metric)[0]}")
    if scope and family == socket.AF_INET:
        words.append(f"scope {_SCOPES.get(scope, scope)}")
    words += [word for flag, word in _FLAGS.items() if flags & flag]
    if others := flags & _ASKED_FOR & ~(wire.IFA_F_PERMANENT | sum(_FLAGS)):
        words.append(f"flags {others:#x}")
    limited = attributes.get(wire.IFA_CACHEINFO, _FOREVER)[:4] != _FOREVER
    if limited and not flags & wire.IFA_F_DEPRECATED:
        words.append("preferred_lft limited")
    if proto := attributes.get(wire.IFA_PROTO):
        words.append(f"proto {proto[0]:#x}")
    if unknown := attributes.keys() - _AS_ADDED - {wire.IFA_BROADCAST, wire.IFA_RT_PRIORITY, wire.IFA_PROTO}:
        words.append(f"attributes {', '.join(map(str, sorted(unknown)))}")
    return " ".join(words)


@functools.cache
def _tells_origin() -> bool:
    """Whether the kernel reports which addresses it has made itself (IFA_PROTO, Linux 5.18).

    One that knows the attribute refuses an empty one before it looks for the link, which does not exist.
    """
    request = wire.message(
        wire.RTM_NEWADDR,
        0,
        wire.IFADDR.pack(socket.AF_INET6, 128, 0, 0, 0)
        + wire.attribute(wire.IFA_LOCAL, bytes(16))
        + wire.attribute(wire.IFA_PROTO, b""),
    )
    with Rtnl() as rtnl:
        return rtnl.ask([request])[0].errno == errno.ERANGE
