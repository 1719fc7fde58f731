"""Which links are ours, where the links that a look has found are known with their peers. Pure.

A VETH with both marks is ours, whatever else there is to say about it. One that lacks a mark is ours only when
something else that no other label has shows it:

- its other end has both marks: the kernel creates both ends in one message, and nothing ties them to others later;
- both ends are in the groups of new pairs: the agent ended before it set their aliases;
- one end stands in its configured place, and each says for which of the two interfaces of a pair it was created, by
  its alias, or by the group of this label and the MAC: others have removed marks, or an earlier version has ended
  before it set them;
- an end without an alias is in the group of this label and has a MAC that was chosen for its name.

An alias that names another label outweighs all of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from vppctl.model.interface import Interface
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import ANY, is_deletion_group, is_stable_mac
from vppctl.reconcile.state import Link, LinkKey


def owned(desired: DesiredState, links: Iterable[Link]) -> set[LinkKey]:
    """Those of these links that are ours. Where one lacks a mark, its peer should be among them."""
    whole: set[LinkKey] = set()
    others: dict[LinkKey, Link] = {}
    owns, group, prefix = desired.marks.owns, desired.marks.group, desired.marks.prefix
    for link in links:
        if link.kind == "veth":
            key = link.netns, link.index
            # Nearly all that are looked at; to ask `owns` takes three times as long.
            if (link.group == group and link.alias.startswith(prefix)) or owns(link):
                whole.add(key)
            else:
                others[key] = link
    if not others:
        return whole
    found = whole.copy()
    for key, link in others.items():
        peer = link.peer_key
        if _is_of_another(desired, link):
            continue
        if peer in whole or _is_marked_in_part(desired, link, others.get(peer) if peer else None):
            found.add(key)
    return found


def is_frozen(desired: DesiredState, link: Link, ours: Collection[LinkKey], links: Mapping[LinkKey, Link]) -> bool:
    """A link is frozen while the document of either of its ends has errors (rule 10 of the contract)."""
    name = desired.owner(link)
    if desired.is_frozen(name):
        return True
    peer = links.get(link.peer_key) if link.peer_key else None
    if peer is not None and peer.key in ours:
        return desired.is_frozen(desired.owner(peer))
    interface = desired.interface(name)
    return interface is not None and desired.is_frozen(interface.peer)


def _is_of_another(desired: DesiredState, link: Link) -> bool:
    """Whether the alias names another label."""
    return link.alias.startswith(ANY) and not desired.marks.names(link)


def _is_marked_in_part(desired: DesiredState, link: Link, peer: Link | None) -> bool:
    """Whether a VETH that lacks a mark is ours all the same; `peer` lacks one, too, or was not found."""
    if peer is not None and _is_of_another(desired, peer):
        return False
    if peer is not None and link.is_tied_to(peer) and peer.is_tied_to(link):
        if _is_new(desired, link, peer) or _stands(desired, link, peer) or _stands(desired, peer, link):
            return True
        return _has_chosen_mac(desired, link) or _has_chosen_mac(desired, peer)
    return _has_chosen_mac(desired, link)


def _is_new(desired: DesiredState, link: Link, peer: Link) -> bool:
    """Whether both are as the message that creates them leaves them, or one of them as deleting it does."""
    fresh, groups = desired.marks.fresh, {link.group, peer.group}
    if link.alias or peer.alias:
        return False
    return groups == set(fresh) or (not groups.isdisjoint(fresh) and any(map(is_deletion_group, groups)))


def _stands(desired: DesiredState, link: Link, peer: Link) -> bool:
    """Whether the first one is where one of our interfaces belongs, and both are what it and its peer are to be."""
    for name in desired.claimants((link.netns, link.name)):
        interface = desired.interface(name)
        other = desired.interface(interface.peer) if interface else None
        if interface and other and other.peer == name and _says(desired, link, interface):
            return _says(desired, peer, other)
    return False


def _says(desired: DesiredState, link: Link, interface: Interface) -> bool:
    """Whether the mark that is left on a link says that it was created for this interface."""
    if desired.marks.names(link):
        return desired.name_of(link.alias) == interface.name
    return _is_in_our_group(desired, link) and desired.has_mac_of(link.mac, interface.name)


def _has_chosen_mac(desired: DesiredState, link: Link) -> bool:
    """Whether a link without an alias of any agent has a MAC that this label chooses for what its name stands for."""
    if desired.marks.names(link) or not _is_in_our_group(desired, link):
        return False
    names = (*desired.claimants((link.netns, link.name)), link.name)
    return any(is_stable_mac(link.mac, desired.marks.label, name) for name in names)


def _is_in_our_group(desired: DesiredState, link: Link) -> bool:
    return link.group in desired.marks.groups or is_deletion_group(link.group)
