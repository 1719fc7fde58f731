"""Ownership marks: how the agent knows its own links from everybody else's.

Two marks stand on each end of a pair: `IFLA_GROUP`, which the kernel sets atomically when it creates the link and
which is derived from the agent's label, and `IFLA_IFALIAS`, `vppctl:<label>:<name>`, which a person can read and
which tells the name. The group alone is there after a crash between creation and alias.
"""

from __future__ import annotations

import zlib

from vppctl.reconcile.state import Link

ALIAS_LIMIT = 255
"""Octets of an alias that the kernel keeps (IFALIASZ - 1, linux/if.h)."""

GROUP_BASE = 0x76000000
"""Groups of ours are 0x76000000 to 0x76ffffff: far from the small numbers that people choose, below 2^31."""

HOST_BITS, NAME_BITS = 18, 28
"""How a chosen MAC is divided; the other two bits are fixed (local, unicast)."""


class Marks:
    """The marks of one label."""

    __slots__ = ("group", "label", "prefix")

    def __init__(self, label: str) -> None:
        self.label = label
        self.group = GROUP_BASE | (zlib.crc32(label.encode()) & 0xFFFFFF)
        """The link group of this label."""
        self.prefix = f"vppctl:{label}:"
        """What every alias of this label starts with."""

    def alias(self, name: str) -> str:
        """The alias for the link of this interface; a name too long for it is replaced by its digest."""
        alias = self.prefix + name
        octets = len(alias) if alias.isascii() else len(alias.encode(errors="surrogateescape"))
        if octets <= ALIAS_LIMIT:
            return alias
        room = ALIAS_LIMIT - 20
        head = f"vppctl:{self.label}".encode()[:room].decode(errors="ignore")
        return f"{head}:#{_digest(name, 8).hex()}"

    def owns(self, link: Link) -> bool:
        """Whether this label made the link; an alias that names another label outweighs the group."""
        if link.alias.startswith("vppctl:"):
            return link.alias.startswith(self.prefix) or ("#" in link.alias and link.group == self.group)
        return link.group == self.group


def stable_mac(host: str, label: str, name: str) -> str:
    """A locally administered unicast address (IEEE 802, bit 1 of the first octet) for a link without a configured one.

    Its upper 18 free bits are the part of the host, the lower 28 a digest of that part, the label and the name: two
    hosts with one label can be bridged, and whether an address was chosen for a name can be seen from the address.
    Set when none is configured, so that nobody else (udev's MACAddressPolicy) sets one later.
    """
    part = int.from_bytes(_digest(host, 4, b"vppctl mac"), "big") >> 32 - HOST_BITS
    value = part << NAME_BITS | _name_bits(part, label, name)
    return ((value >> 40 << 2 | 2) << 40 | value & (1 << 40) - 1).to_bytes(6, "big").hex(":")


def is_stable_mac(mac: str, label: str, name: str) -> bool:
    """Whether `stable_mac` gives this address to this name on any host, or an earlier version did."""
    if len(mac) != len("02:00:00:00:00:01"):
        # A tunnel's may have 4 or 16 octets.
        return False
    number = int(mac.replace(":", ""), 16)
    value = number >> 42 << 40 | number & (1 << 40) - 1
    if number >> 40 & 3 == 2 and value & (1 << NAME_BITS) - 1 == _name_bits(value >> NAME_BITS, label, name):
        return True
    # Before hosts had a part.
    return mac == (b"\x02" + _digest(f"{label}/{name}", 5)).hex(":")


def _name_bits(part: int, label: str, name: str) -> int:
    digest = _digest(f"{label}/{name}", 4, part.to_bytes(4, "big"))
    return int.from_bytes(digest, "big") >> 32 - NAME_BITS


def _digest(text: str, size: int, key: bytes = b"") -> bytes:
    # Loads OpenSSL, which a configuration of every address never needs.
    import hashlib

    return hashlib.blake2s(text.encode(errors="surrogateescape"), digest_size=size, key=key).digest()
