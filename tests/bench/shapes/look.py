"""What the kernel has of a shape: a cheap look while something is measured, and a thorough one after it."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import kernel
from tests.support.netns import wait_until
from tests.support.shapes import Document, kernel_name

DEFAULT_MTU = 1500
SIOCGIFMTU = 0x8921
PATIENCE = 300.0
"""Seconds after which a change counts as lost."""
SHARE = 0.04
"""Part of the time so far until the kernel is looked at again, so that looking costs little."""
PAUSE = 0.003
"""Seconds between two looks, at least."""
SAMPLE = 24
"""Namespaces that `ip -j` is asked about after a measurement: it takes 3 ms each."""
ADDRESS, INDEX, SCOPE, FLAGS, NAME = 0, 1, 3, 4, 5
"""Columns of /proc/net/if_inet6."""
GLOBAL, TENTATIVE = "00", 0x40


class Space(NamedTuple):
    """A network namespace as documents name it; without name and PID the one of this process."""

    name: str = ""
    pid: int = 0

    @property
    def path(self) -> str:
        if self.pid:
            return f"/proc/{self.pid}/ns/net"
        return f"/run/netns/{self.name}" if self.name else "/proc/self/ns/net"


class Seen(NamedTuple):
    """A link, as far as a cheap look goes."""

    index: int  # type: ignore[assignment]
    mtu: int
    addresses: frozenset[str]
    """The global IPv6 addresses, which are added last, as 32 hexadecimal digits."""


class Wanted(NamedTuple):
    """A link as it should be."""

    document: Document
    mtu: int
    addresses: frozenset[str]


Links = dict[Space, dict[str, Seen]]


def space_of(document: Document) -> Space:
    namespace = document.get("namespace") or {}
    return Space(namespace.get("name", ""), namespace.get("pid", 0))


def spaces_of(documents: Iterable[Document]) -> tuple[Space, ...]:
    return tuple(dict.fromkeys(space_of(document) for document in documents))


def whole(documents: Sequence[Document]) -> list[Document]:
    """Those whose peer is there and names them, so that the kernel has to have them."""
    peers = {document["name"]: document["veth"]["peer_if_name"] for document in documents}
    return [d for d in documents if peers.get(d["veth"]["peer_if_name"]) == d["name"]]


def wanted(documents: Sequence[Document], spaces: Iterable[Space]) -> dict[Space, dict[str, Wanted]]:
    """The links that these namespaces should have, by name."""
    found: dict[Space, dict[str, Wanted]] = {space: {} for space in spaces}
    for document in whole(documents):
        addresses = frozenset(
            socket.inet_pton(socket.AF_INET6, address.partition("/")[0]).hex()
            for address in document["ip_addresses"]
            if ":" in address
        )
        link = Wanted(document, document.get("mtu") or DEFAULT_MTU, addresses)
        found.setdefault(space_of(document), {})[kernel_name(document)] = link
    return found


@contextlib.contextmanager
def inside(space: Space) -> Iterator[None]:
    if space == Space():
        yield
    else:
        with kernel.entered(space.path):
            yield


def seen(space: Space) -> dict[str, Seen]:
    """The links of a namespace but for lo, none when it is not there; takes no lock that whoever is measured needs."""
    try:
        with inside(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
            names = [name for line in lines if (name := line.partition(":")[0].strip()) != "lo"]
            addresses, indexes, _ = _ipv6()
            return {
                name: Seen(indexes.get(name, 0), _mtu(probe, name), frozenset(addresses.get(name, ())))
                for name in names
            }
    except OSError:
        # Its file comes before the namespace is mounted on it, a process ends, and a link goes between two looks.
        return {}


def _ipv6() -> tuple[dict[str, set[str]], dict[str, int], int]:
    """Global addresses and indexes by the link's name, and how many addresses are tentative."""
    addresses: dict[str, set[str]] = {}
    indexes: dict[str, int] = {}
    tentative = 0
    for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        columns = line.split()
        indexes[columns[NAME]] = int(columns[INDEX], 16)
        tentative += bool(int(columns[FLAGS], 16) & TENTATIVE)
        if columns[SCOPE] == GLOBAL:
            addresses.setdefault(columns[NAME], set()).add(columns[ADDRESS])
    return addresses, indexes, tentative


def _mtu(probe: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(probe, SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
    return int(struct.unpack_from("16si", answer)[1])


def wait_for(
    links: Mapping[Space, Mapping[str, Wanted]], before: Links | None = None, fresh: Collection[str] = ()
) -> None:
    """Until the kernel has just these links in these namespaces; of interfaces in `fresh` not those that were `before`.

    Namespace by namespace: one that was once as it should be is not looked at again.
    """
    start = time.monotonic()
    for space, those in links.items():
        old = (before or {}).get(space, {})
        while not _is_so(seen(space), those, old, fresh):
            passed = time.monotonic() - start
            assert passed < PATIENCE, f"{space}: {list(seen(space).items())[:3]}, not {list(those.items())[:3]}"
            time.sleep(max(PAUSE, SHARE * passed))


def _is_so(
    found: Mapping[str, Seen], those: Mapping[str, Wanted], old: Mapping[str, Seen], fresh: Collection[str]
) -> bool:
    return found.keys() == those.keys() and all(
        link.mtu == those[name].mtu
        and link.addresses == those[name].addresses
        and not (those[name].document["name"] in fresh and name in old and link.index == old[name].index)
        for name, link in found.items()
    )


def verify(links: Mapping[Space, Mapping[str, Wanted]]) -> None:
    """A sample of these namespaces is asked for by `ip -j`: links, MTU, addresses, up, and which ends are tied."""
    chosen = [space for space in links if space.pid == 0 or Path(space.path).exists()][:SAMPLE]
    by_space = {space: kernel.identity(space.path) for space in chosen if Path(space.path).exists()}
    found = kernel.look({number: space.path for space, number in by_space.items()})
    ends = {
        link.document["name"]: found.get((by_space[space], name))
        for space in by_space
        for name, link in links[space].items()
    }
    for space, number in by_space.items():
        names = {name for where, name in found if where == number} - {"lo"}
        assert names == links[space].keys(), f"{space}: {sorted(names ^ links[space].keys())[:5]}"
        for name, link in links[space].items():
            one = found[number, name]
            other = ends.get(link.document["veth"]["peer_if_name"])
            assert one.up, f"{name} of {space} is down"
            assert one.mtu == link.mtu, f"{name} of {space}: MTU {one.mtu}"
            addresses = {str(ipaddress.ip_interface(address)) for address in link.document["ip_addresses"]}
            assert one.addresses == addresses, f"{name} of {space}: {one.addresses}, not {addresses}"
            assert other is None or one.peer == other.key, f"{name} of {space} is tied to {one.peer}"


def without_detection(spaces: Iterable[Space]) -> None:
    """Links that come from now on have their addresses at once: duplicate address detection takes two seconds.

    What it does in the meantime would be counted as part of the next change.
    """
    for space in spaces:
        with inside(space):
            for folder in Path("/proc/sys/net/ipv6/conf").iterdir():
                (folder / "accept_dad").write_text("0")


def wait_for_detection(spaces: Iterable[Space]) -> None:
    """Until no address is tentative any more."""
    for space in spaces:
        wait_until(lambda: not _tentative(space), f"addresses of {space} to be unique", PATIENCE)  # noqa: B023


def _tentative(space: Space) -> int:
    with inside(space):
        return _ipv6()[2]


def named() -> list[str]:
    return sorted(os.listdir("/run/netns"))
