"""Ownership marks: how the agent knows its own links from everybody else's.

Two marks stand on each end of a pair: `IFLA_GROUP`, a number that is derived from the agent's label, and
`IFLA_IFALIAS`, `vppctl:<label>:<name>`, which a person can read. A link is ours when it is a VETH and has both. The
alias decides, because labels may have equal numbers. The kernel sets no alias when it creates a link, so that a new
pair is in two groups of its own until the next message. `ownership.py` has what counts where a mark is missing.
"""

from __future__ import annotations

import zlib

from vppctl.reconcile.state import Link

ALIAS_LIMIT = 255
"""Bytes of an alias that the kernel keeps (IFALIASZ - 1, linux/if.h)."""
DIGEST = 16
"""Bytes of the digest that stands for the rest of a text that was cut. It has twice as many characters."""
LABEL_ROOM = 140
"""Bytes of a label in an alias in which there is no room for the whole label and a digest."""
ANY = "vppctl:"
"""What the alias of every agent starts with, whatever its label."""

GROUP_BASE = 0x76000000
"""Groups of ours are 0x76000000 to 0x76ffffff: far from the small numbers that people choose, below 2^31."""
DELETION_BASE = 0x77000000
"""Groups of links that are being deleted are 0x77000000 to 0x77ffffff, a fresh one for each delete."""
FRESH_BASE = 0x60000000
"""Groups of new links that have no alias yet are 0x60000000 to 0x6fffffff."""

HOST_BITS, NAME_BITS = 18, 28
"""How a chosen MAC is divided; the other two bits are fixed (local, unicast)."""
TURNS = 4
"""MACs that may be chosen for one name: each but the first where another name has the one before."""


class Marks:
    """The marks of one label."""

    __slots__ = ("fresh", "group", "groups", "label", "prefix", "prefixes")

    def __init__(self, label: str) -> None:
        self.label = label
        self.group = GROUP_BASE | (zlib.crc32(label.encode()) & 0xFFFFFF)
        """The link group of this label."""
        new = digest(label, 8, b"vppctl new")
        first, second = (int.from_bytes(new[n : n + 4], "big") >> 4 for n in (0, 4))
        self.fresh = (FRESH_BASE | first, FRESH_BASE | second)
        """The groups of the two ends of a pair until their aliases are set."""
        self.groups = frozenset({self.group, *self.fresh})
        self.prefix = f"{ANY}{label}:"
        """What the alias of this label starts with."""
        self.prefixes: tuple[str, ...] = (self.prefix,)
        """The same, and what it starts with when a long label leaves no room for the name. No label has a slash."""
        if _size(self.prefix) + 1 + 2 * DIGEST > ALIAS_LIMIT:
            self.prefixes = (self.prefix, f"{ANY}{_cut(label, LABEL_ROOM)}:")

    def alias(self, name: str) -> str:
        """The alias for the link of this interface; one that is too long is cut, and ends with a slash and a digest.

        No name has a slash, so that no two names have one alias.
        """
        alias = self.prefix + name
        if _size(alias) <= ALIAS_LIMIT and "/" not in name:
            return alias
        prefix = self.prefixes[-1]
        return prefix + _cut(name, ALIAS_LIMIT - _size(prefix))

    def former_alias(self, name: str) -> str:
        """What earlier versions gave to a name that was too long; empty for others.

        Not for a label that was cut as well: such an alias does not tell labels apart.
        """
        if _size(self.prefix) + _size(name) <= ALIAS_LIMIT or _size(self.prefix) > ALIAS_LIMIT - 19:
            return ""
        return f"{self.prefix}#{digest(name, 8).hex()}"

    def names(self, link: Link) -> bool:
        """Whether the alias names this label."""
        return link.alias.startswith(self.prefixes)

    def owns(self, link: Link) -> bool:
        """Whether it is a VETH with both marks of this label; also one that was to be deleted when the agent ended."""
        return (
            link.alias.startswith(self.prefixes)
            and (link.group == self.group or is_deletion_group(link.group))
            and link.kind == "veth"
        )


def is_deletion_group(group: int) -> bool:
    """Whether it is a group of links that are being deleted."""
    return group >> 24 == DELETION_BASE >> 24


def is_unmarked(link: Link) -> bool:
    """Whether no agent, of whatever label, has left a mark on the link."""
    group = link.group
    grouped = group >> 24 == GROUP_BASE >> 24 or group >> 28 == FRESH_BASE >> 28 or is_deletion_group(group)
    return not grouped and not link.alias.startswith(ANY)


def stable_mac(host: str, label: str, name: str, turn: int = 0) -> str:
    """A locally administered unicast address (IEEE 802, bit 1 of the first octet) for a link without a configured one.

    Its upper 18 free bits are the part of the host, the lower 28 a digest of that part, the label and the name: two
    hosts with one label can be bridged, and whether an address was chosen for a name can be seen from the address.
    Two names may have one digest: there are TURNS addresses for each. Set when none is configured, so that nobody else
    (udev's MACAddressPolicy) sets one later.
    """
    part = int.from_bytes(digest(host, 4, b"vppctl mac"), "big") >> 32 - HOST_BITS
    value = part << NAME_BITS | _name_bits(part, label, name, turn)
    return ((value >> 40 << 2 | 2) << 40 | value & (1 << 40) - 1).to_bytes(6, "big").hex(":")


def is_stable_mac(mac: str, label: str, name: str) -> bool:
    """Whether `stable_mac` gives this address to this name on any host, or an earlier version did."""
    if len(mac) != len("02:00:00:00:00:01"):
        # A tunnel's may have 4 or 16 bytes.
        return False
    number = int(mac.replace(":", ""), 16)
    value = number >> 42 << 40 | number & (1 << 40) - 1
    part, bits = value >> NAME_BITS, value & (1 << NAME_BITS) - 1
    if number >> 40 & 3 == 2 and any(bits == _name_bits(part, label, name, turn) for turn in range(TURNS)):
        return True
    # Before hosts had a part.
    return mac == (b"\x02" + digest(f"{label}/{name}", 5)).hex(":")


def _name_bits(part: int, label: str, name: str, turn: int) -> int:
    # Neither label nor name has a slash.
    text = f"{label}/{name}/{turn}" if turn else f"{label}/{name}"
    return int.from_bytes(digest(text, 4, part.to_bytes(4, "big")), "big") >> 32 - NAME_BITS


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))


def _cut(text: str, room: int) -> str:
    """As much of the beginning as there is room for beside a digest of it all."""
    head = text.encode(errors="surrogateescape")[: room - 1 - 2 * DIGEST].decode(errors="ignore")
    return f"{head}/{digest(text, DIGEST).hex()}"


def digest(text: str, size: int, key: bytes = b"") -> bytes:
    """So many bytes that stand for a text."""
    # Loads OpenSSL, which no command but those of the agent needs.
    import hashlib

    return hashlib.blake2s(text.encode(errors="surrogateescape"), digest_size=size, key=key).digest()
