"""Topologies of pairs, and what can be done to all of them: plain documents, the same ones each time.

It starts nothing and reads nothing, and knows nothing of vppctl. Campaign, kernel tests and bench draw from it, so that
all of them meet the same shapes. The two ends of pair N are called `aN` and `bN`.

    star = shape("star-named", 300)
    star.documents          both sides of all pairs: a0000, b0000, a0001, ...
    star.namespaces         the named namespaces that they are in
    moved(star.documents)   the same interfaces, all in other namespaces
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count, islice
from typing import Any

Document = dict[str, Any]
Namespace = dict[str, Any] | None
"""As it stands in a document; None is the agent's own."""

SHAPES = ("pairs", "star-default", "star-named", "star-process", "chain", "mesh", "one", "one-default", "own")
"""Pairs between two namespaces; a hub with spokes, each in a namespace of its own, the hub in the agent's namespace, in
a named one, in that of a process; a chain from each namespace to the next; a mesh of namespaces, each tied to each
other; all ends in one namespace, named or the agent's; each end in a namespace of its own."""
HOSTS = ("", "eth", "long")
"""Kernel names: that of the interface; eth0, eth1, ... in each namespace; of 15 bytes, the most that there can be."""


@dataclass(frozen=True)
class Shape:
    """A topology of a given size."""

    name: str
    documents: tuple[Document, ...]

    @property
    def pairs(self) -> int:
        return len(self.documents) // 2

    @property
    def names(self) -> tuple[str, ...]:
        """The interfaces, in the order of their documents."""
        return tuple(document["name"] for document in self.documents)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The named namespaces, in the order in which documents come to them."""
        return namespaces(self.documents)


def shape(
    name: str, pairs: int, *, pid: int = 0, hosts: str = "", addresses: int = 2, macs: bool = False, head: str = ""
) -> Shape:
    """The documents of a shape of so many pairs.

    `pid` is the process whose namespace is the hub of `star-process`; `hosts` one of HOSTS. `addresses` is how many an
    end has: 0, 1 (IPv4) or 2 (and IPv6); with `macs` their MAC addresses are configured. All names of interfaces and
    namespaces begin with `head`, so that two shapes can be there at the same time.
    """
    used: dict[str, Iterator[int]] = {}
    documents: list[Document] = []
    for number, ends in enumerate(islice(_ends(name, pairs, head, pid), pairs)):
        for side, other, place, space in (("a", "b", 1, ends[0]), ("b", "a", 2, ends[1])):
            document: Document = {
                "name": f"{head}{side}{number:04}",
                "enabled": True,
                "ip_addresses": _addresses(number, place)[:addresses],
                "veth": {"peer_if_name": f"{head}{other}{number:04}"},
            }
            if space is not None:
                document["namespace"] = space
            if macs:
                document["phys_address"] = f"06:{place:02x}:00:00:{number >> 8:02x}:{number & 255:02x}"
            match hosts:
                case "eth":
                    document["host_if_name"] = f"eth{next(used.setdefault(str(space), count()))}"
                case "long":
                    document["host_if_name"] = f"{document['name']:x<15}"
            documents.append(document)
    return Shape(name, tuple(documents))


def _ends(name: str, pairs: int, head: str, pid: int) -> Iterator[tuple[Namespace, Namespace]]:
    """At least so many pairs of namespaces."""

    def space(number: int) -> Namespace:
        return {"type": 2, "name": f"{head}s{number:04}"}

    hubs: dict[str, Namespace] = {
        "star-default": None,
        "star-named": {"type": 2, "name": f"{head}hub"},
        "star-process": {"type": 0, "pid": pid},
    }
    match name:
        case "pairs":
            return ((space(0), space(1)) for _ in count())
        case "star-default" | "star-named" | "star-process":
            return ((hubs[name], space(number)) for number in count())
        case "chain":
            return ((space(number), space(number + 1)) for number in count())
        case "mesh":
            size = next(n for n in count(2) if n * (n - 1) // 2 >= pairs)
            return ((space(one), space(two)) for one, two in combinations(range(size), 2))
        case "one":
            return ((space(0), space(0)) for _ in count())
        case "one-default":
            return ((None, None) for _ in count())
        case "own":
            return ((space(2 * number), space(2 * number + 1)) for number in count())
    raise ValueError(f"{name!r} is none of {', '.join(SHAPES)}")


def _addresses(number: int, place: int) -> list[str]:
    """The IPv4 and the IPv6 address of an end: a subnet for each pair."""
    subnet = number * 4 + place
    return [
        f"10.{subnet >> 16}.{subnet >> 8 & 255}.{subnet & 255}/30",
        f"2001:db8:{number + 1:x}::{place}/64",
    ]


def namespaces(documents: Sequence[Document]) -> tuple[str, ...]:
    """The named namespaces, in the order in which documents come to them."""
    found = (document.get("namespace") or {} for document in documents)
    return tuple(dict.fromkeys(space["name"] for space in found if space.get("type") == 2))


def kernel_name(document: Document) -> str:
    name: str = document.get("host_if_name") or document["name"]
    return name


# What can be done to all of them at once


def with_mtu(documents: Sequence[Document], mtu: int) -> list[Document]:
    return [{**document, "mtu": mtu} for document in documents]


def readdressed(documents: Sequence[Document]) -> list[Document]:
    """Each end has other addresses, and none of those before."""
    return [
        {**document, "ip_addresses": [_shifted(address) for address in document["ip_addresses"]]}
        for document in documents
    ]


def _shifted(address: str) -> str:
    """Another one for each that `_addresses` gives."""
    return "11" + address[2:] if address.startswith("10.") else address.replace("2001:db8:", "2001:db9:")


def renamed(documents: Sequence[Document]) -> list[Document]:
    """Each end has another kernel name, which nothing had before."""
    return [{**document, "host_if_name": f"r-{document['name']}"[:15]} for document in documents]


def rotated(documents: Sequence[Document]) -> list[Document]:
    """In each namespace each end gets the kernel name of the next one; what is alone there is as it was."""
    by_space: dict[str, list[Document]] = {}
    for document in documents:
        by_space.setdefault(str(document.get("namespace")), []).append(document)
    names: dict[str, str] = {}
    for found in by_space.values():
        for document, following in zip(found, [*found[1:], found[0]], strict=True):
            names[document["name"]] = kernel_name(following)
    return [{**document, "host_if_name": names[document["name"]]} for document in documents]


def moved(documents: Sequence[Document], where: str = "moved") -> list[Document]:
    """Each end is in another namespace, which has a name; those that shared one still do."""
    found = []
    for document in documents:
        old = (document.get("namespace") or {}).get("name", "")
        found.append({**document, "namespace": {"type": 2, "name": f"{where}{old and '-'}{old}"}})
    return found


def swapped(documents: Sequence[Document]) -> list[Document]:
    """Of two pairs a-b and c-d become a-d and c-b; the last one of an odd number is as it was."""
    found = list(documents)
    for at in range(0, len(found) - 3, 4):
        a, b, c, d = (document["name"] for document in documents[at : at + 4])
        for offset, peer in enumerate((d, c, b, a)):
            found[at + offset] = {**documents[at + offset], "veth": {"peer_if_name": peer}}
    return found
