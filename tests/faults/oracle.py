"""What should be: from the documents, the namespaces that exist, and part 2 of the contract; nothing of vppctl's.

Where the contract leaves a choice, the kernel's answers: of two interfaces that want one name, the one that has it
keeps it. Otherwise what is in the kernel has no say.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.faults.documents import Document, Ref
from tests.faults.kernel import Key, Link, Place, Snapshot, Space

NEW, DELETING = range(0x60000000, 0x70000000), range(0x77000000, 0x78000000)
"""Groups of links that are being created and deleted: never to be seen at rest."""


class Missing(NamedTuple):
    """A namespace that is not there, and the reason that is to be told."""

    reason: str


class Creatable(NamedTuple):
    """A named namespace that is not there, and that the agent makes when both sides of a pair are."""

    name: str


Resolution = Space | Missing | Creatable
State = tuple[str, str]
APPLIED: State = ("APPLIED", "")


@dataclass(slots=True)
class Expected:
    """What should be the case about one label."""

    states: dict[str, State] = field(default_factory=dict)
    """State and reason of every document."""
    links: dict[Place, Document] = field(default_factory=dict)
    """The links that exist, but for what is frozen, and what they are like."""
    peers: dict[Place, Place] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    """Namespaces that should have been created."""


def group(label: str) -> int:
    """The link group that all links of a label are in."""
    return 0x76000000 | zlib.crc32(label.encode()) & 0xFFFFFF


def owner(label: str, link: Link) -> str | None:
    """The interface that a link of this label was made for; None for a link without both marks of this label."""
    prefix = f"vppctl:{label}:"
    marked = link.alias.startswith(prefix) and (link.group == group(label) or link.group in DELETING)
    return link.alias.removeprefix(prefix) if marked and link.kind == "veth" else None


def frozen(label: str, documents: Mapping[str, Document], snapshot: Snapshot) -> dict[Key, Link]:
    """The links of which an end belongs to a document with errors: they stay as they are."""
    by_key = {link.key: link for link in snapshot.values()}
    broken = {name for name, document in documents.items() if document.broken}
    return {
        link.key: link
        for link in snapshot.values()
        if owner(label, link) is not None
        and (owner(label, link) in broken or (link.peer in by_key and owner(label, by_key[link.peer]) in broken))
    }


def expect(
    label: str,
    documents: Mapping[str, Document],
    resolve: Callable[[Ref], Resolution],
    snapshot: Snapshot,
    revisions: Mapping[str, int],
) -> Expected:
    """What should be, given where references lead to.

    `snapshot` says who has a name that several want, and `revisions` who was first, where a frozen link has it.
    """
    expected = Expected()
    ready: dict[str, Place] = {}
    for name, document in documents.items():
        peer = documents.get(document.peer)
        if document.broken:
            expected.states[name] = ("INVALID", "InvalidConfig")
        elif peer is None:
            expected.states[name] = ("PENDING", "PeerNotConfigured")
        elif peer.broken:
            expected.states[name] = ("PENDING", "PeerInvalid")
        elif peer.peer != name:
            expected.states[name] = ("PENDING", "PeerMismatch")
        else:
            _pair(document, peer, resolve, expected, ready)
    held = frozen(label, documents, snapshot)
    claims: dict[Place, list[str]] = {}
    for name, place in ready.items():
        claims.setdefault(place, []).append(name)
    obstacles = {
        name: reason
        for place, names in claims.items()
        for name in names
        if (reason := _obstacle(label, name, sorted(names, key=revisions.__getitem__), snapshot.get(place), held))
    }
    for name, place in ready.items():
        peer_name = documents[name].peer
        if why := obstacles.get(name) or obstacles.get(peer_name):
            expected.states[name] = ("PENDING" if why == "PeerInvalid" else "FAILED", why)
        else:
            expected.states[name] = APPLIED
            expected.links[place] = documents[name]
            expected.peers[place] = ready[peer_name]
    return expected


def _pair(
    document: Document,
    peer: Document,
    resolve: Callable[[Ref], Resolution],
    expected: Expected,
    ready: dict[str, Place],
) -> None:
    """A document whose peer is there: what its namespaces say."""
    mine, other = resolve(document.ref), resolve(peer.ref)
    for found in (mine, other):
        if isinstance(found, Missing):
            expected.states[document.name] = ("PENDING", found.reason)
            return
    for found in (mine, other):
        if isinstance(found, Creatable):
            expected.wanted.add(found.name)
            expected.states[document.name] = ("PENDING", "NamespaceNotFound")
    if isinstance(mine, Space) and isinstance(other, Space):
        if (mine, document.kernel_name) == (other, peer.kernel_name):
            expected.states[document.name] = ("FAILED", "NameConflict")
        else:
            ready[document.name] = (mine, document.kernel_name)


def _obstacle(label: str, name: str, claimants: list[str], link: Link | None, held: Mapping[Key, Link]) -> str:
    """The reason why this interface cannot have the name that it wants, as the claimants do, the first of them first.

    Empty when it can.
    """
    has = owner(label, link) if link and link.alias else None
    if name != (has if has in claimants else claimants[0]):
        return "NameConflict"
    if link is None:
        return ""
    if link.key in held:
        return "PeerInvalid"
    return "NameTaken" if owner(label, link) is None else ""


def differences(
    label: str, expected: Expected, snapshot: Snapshot, still: Mapping[Key, Link], macs: Mapping[Place, str]
) -> Iterator[str]:
    """How the kernel differs from what should be.

    `still` are the frozen links as they have to stay, `macs` the addresses that the agent has chosen before.
    """
    for name in sorted(expected.wanted):
        yield f"namespace {name} is not created"
    by_key = {link.key: link for link in snapshot.values()}
    for key, link in still.items():
        if by_key.get(key) != link:
            yield f"frozen link changed: {link} is now {by_key.get(key)}"
    for place, link in snapshot.items():
        if link.group in DELETING or link.group in NEW:
            yield f"left over from a delete or a creation: {link}"
        if owner(label, link) is not None and place not in expected.links and link.key not in still:
            yield f"a link too many: {link}"
    for place, document in expected.links.items():
        found = snapshot.get(place)
        if found is None:
            yield f"{document.name}: no link {place}"
            continue
        wanted = _attributes(label, document, macs.get(place) or found.mac)
        yield from (
            f"{document.name}: {what} is {getattr(found, what)!r}, not {value!r}"
            for what, value in wanted.items()
            if getattr(found, what) != value
        )
        peer = by_key.get(found.peer) if found.peer else None
        if peer is None or (peer.space, peer.name) != expected.peers[place] or peer.peer != found.key:
            yield f"{document.name}: its peer is {peer}, not at {expected.peers[place]}"


def untrue(report: Mapping[str, Any], document: Document, link: Link | None, own: Link | None) -> Iterator[str]:
    """What a published state says that is not so.

    `link` is the one that the document asks for, where it should be; `own` is one that carries its mark, anywhere.
    """
    name = document.name
    if link is None:
        if report["if_index"] and (own is None or own.index != report["if_index"]):
            yield f"{name}: published if_index {report['if_index']}, it has {own}"
        return
    seen = {
        "if_index": link.index,
        "netns": f"net:[{link.space}]",
        "host_if_name": link.name,
        "peer": document.peer,
        "admin_status": "UP" if link.up else "DOWN",
        "phys_address": link.mac,
        "mtu": link.mtu,
        "ip_addresses": link.addresses,
    }
    said = {**report, "netns": report["netns"]["id"], "ip_addresses": frozenset(report["ip_addresses"])}
    for what, value in seen.items():
        if said[what] != value:
            yield f"{name}: published {what} {said[what]!r}, it is {value!r}"


def _attributes(label: str, document: Document, mac: str) -> dict[str, object]:
    return {
        "kind": "veth",
        # Without a configured one it is the agent's choice, local and unicast (IEEE 802).
        "mac": document.mac or (mac if int(mac[:2] or "0", 16) & 3 == 2 else "a local one"),
        "mtu": document.mtu or 1500,
        "up": document.enabled,
        "addresses": frozenset(document.addresses),
        "group": group(label),
        "alias": f"vppctl:{label}:{document.name}",
    }
