"""What makes a link that stands what it should be, in place; and what no change in place can give to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vppctl.model.interface import Interface
from vppctl.reconcile.operations import AddAddress, DelAddress, End, SetChecksum, SetLink, Setting
from vppctl.reconcile.state import Link, PairId


def settings(pair: PairId, link: Link, end: End) -> Iterator[Setting]:
    """The changes that make an existing link what it should be; addresses that go, go first."""
    where = (pair, link.netns, link.index, link.name)
    # What every new link has, and without which nobody is reached through it, is the end of both.
    wanted = (end.up, end.mac, end.mtu, end.group, end.alias, True, True)
    found = (link.up, link.mac, link.mtu, link.group, link.alias, link.arp, link.multicast)
    if found != wanted:
        named = zip(("up", "mac", "mtu", "group", "alias", "arp", "multicast"), wanted, found, strict=True)
        yield SetLink(*where, **{name: value for name, value, present in named if value != present})  # type: ignore[arg-type]
    if link.checksum not in (None, end.checksum):
        yield SetChecksum(*where, end.checksum)
    for address in link.addresses:
        if address not in end.addresses and address not in link.implied:
            yield DelAddress(*where, address)
    for address in end.addresses:
        if address not in link.addresses:
            yield AddAddress(*where, address)


def clash(first: Interface, second: Interface) -> str:
    """What there is to say about two ends that are up with one IPv6 address; one of them will not get it."""
    if not (first.enabled and second.enabled):
        return ""
    hosts = {address.partition("/")[0] for address in first.ip_addresses if ":" in address}
    both = [address for address in second.ip_addresses if hosts and address.partition("/")[0] in hosts]
    return f"address {', '.join(both)} is configured at both ends of the pair; configure another at one" if both else ""


def again(pair: PairId, link: Link, end: End) -> Iterator[Setting]:
    """What has the kernel look for duplicates anew."""
    for address in link.duplicates:
        if address in end.addresses:
            yield DelAddress(pair, link.netns, link.index, link.name, address)
            yield AddAddress(pair, link.netns, link.index, link.name, address)


def duplicate(interface: Interface, link: Link, *, doubtful: bool) -> str:
    """What there is to say about addresses that the kernel does not use, for others at this link have them.

    `doubtful`: there were such addresses at the last look.
    """
    # On a link that is down, or whose peer is, the kernel does not look.
    unused = link.tentative if doubtful and link.running else link.duplicates
    if not (found := [address for address in unused if address in interface.ip_addresses]):
        return ""
    text = "is in use by another interface (duplicate address detection failed)"
    return f"address {', '.join(found)} {text}; it is tried again, or configure another"
