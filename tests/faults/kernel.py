"""What the kernel has, through `ip -j -d` and nothing of the agent's: all links of all namespaces of a test."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
RTM_GETNSID, NETNSA_NSID, NETNSA_FD = 90, 1, 3
"""linux/rtnetlink.h, linux/net_namespace.h"""
SIDE_BY_SIDE = 8
"""Namespaces that are looked at the same time."""
_libc = ctypes.CDLL(None, use_errno=True)

Space = int
"""Identity of a namespace: the inode number of its nsfs file."""
Place = tuple[Space, str]
Key = tuple[Space, int]


@dataclass(frozen=True, slots=True)
class Link:
    """One link, as far as the agent may set it or must not touch it."""

    space: Space
    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    addresses: frozenset[str]
    group: int
    alias: str
    peer: Key | None
    """Of a VETH: where its other end is; None when that is in none of the namespaces looked at."""

    @property
    def key(self) -> Key:
        return self.space, self.index


Snapshot = dict[Place, Link]
_NEIGHBOURS: dict[Space, tuple[Space, ...]] = {}
"""Where the peers of a namespace's links were found the last time: asked about first, and believed in nothing."""


def identity(path: str) -> Space:
    """The namespace behind a path. Raises OSError."""
    return os.stat(path).st_ino


@contextlib.contextmanager
def entered(path: str) -> Iterator[None]:
    """The calling thread inside the namespace behind `path`. Raises OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {path}")
        finally:
            os.close(there)
        yield
    finally:
        assert _libc.setns(home, CLONE_NEWNET) == 0, "this thread is lost"
        os.close(home)


def run_in(path: str, *command: str) -> bool:
    """Run a program in a namespace; whether it succeeded."""
    with entered(path):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def look(spaces: Mapping[Space, str]) -> Snapshot:
    """Every link but lo of these namespaces, given by identity and a path to each. Raises OSError when one has gone."""
    ids: dict[Space, dict[int, Space]] = {}
    fds = {space: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for space, path in spaces.items()}
    try:
        # On a busy machine most of a look is waiting for one `ip` after the other.
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            raw = dict(zip(spaces, pool.map(_links, spaces.values()), strict=True))
        ends = {(link["ifindex"], link.get("link_index")): set[Space]() for found in raw.values() for link in found}
        for space, found in raw.items():
            for link in found:
                ends[link["ifindex"], link.get("link_index")].add(space)
        for space, path in spaces.items():
            # The other end of a link is one that names it: with many namespaces this leaves few to be asked about.
            asked = {
                link["link_netnsid"]: ends.get((link.get("link_index"), link["ifindex"]), set())
                for link in raw[space]
                if "link_netnsid" in link
            }
            if asked:
                candidates = set[Space]().union(*asked.values())
                likely = [other for other in _NEIGHBOURS.get(space, ()) if other in candidates]
                with entered(path):
                    ids[space] = _ids({other: fds[other] for other in (*likely, *candidates)}, asked.keys())
                _NEIGHBOURS[space] = tuple(ids[space].values())
    finally:
        for fd in fds.values():
            os.close(fd)
    indexes = {(space, link["ifname"]): link["ifindex"] for space, found in raw.items() for link in found}
    return {
        (space, link["ifname"]): _link(space, link, ids.get(space, {}), indexes)
        for space, found in raw.items()
        for link in found
    }


def _links(path: str) -> list[dict[str, Any]]:
    """What `ip` shows of one namespace."""
    with entered(path):
        result = subprocess.run(["ip", "-j", "-d", "addr", "show"], capture_output=True, check=True)
    return [link for link in json.loads(result.stdout) if link and link["ifname"] != "lo"]


def _link(space: Space, raw: Mapping[str, Any], ids: Mapping[int, Space], indexes: Mapping[Place, int]) -> Link:
    peer: Key | None = None
    if "link_netnsid" in raw:
        where = ids.get(raw["link_netnsid"])
        peer = (where, raw["link_index"]) if where is not None else None
    elif "link_index" in raw or raw.get("link"):
        # A link may go between its listing and its naming: then it is no more than a number, such as `if17`.
        index = raw["link_index"] if "link_index" in raw else indexes.get((space, raw["link"]))
        peer = (space, index) if index is not None else None
    group = str(raw.get("group", "0"))
    return Link(
        space=space,
        index=raw["ifindex"],
        name=raw["ifname"],
        kind=raw.get("linkinfo", {}).get("info_kind", ""),
        mac=raw.get("address", ""),
        mtu=raw["mtu"],
        up="UP" in raw["flags"],
        # The kernel makes link-local ones by itself; the stream configures none.
        addresses=frozenset(
            f"{a['local']}/{a['prefixlen']}" for a in raw["addr_info"] if a and not a["local"].startswith("fe80:")
        ),
        group=0 if group == "default" else int(group),
        alias=raw.get("ifalias", ""),
        peer=peer,
    )


def _ids(fds: Mapping[Space, int], wanted: Collection[int]) -> dict[int, Space]:
    """Whose ids these are in the calling thread's namespace: each of those behind the descriptors is asked for
    (RTM_GETNSID) until all are known.
    """
    found: dict[int, Space] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.bind((0, 0))
        for space, fd in fds.items():
            netlink.send(struct.pack("=IHHII4xHHI", 28, RTM_GETNSID, 1, 1, 0, 8, NETNSA_FD, fd))
            answer = netlink.recv(4096)
            at = 20
            if struct.unpack_from("=H", answer, 4)[0] != RTM_GETNSID - 2:
                continue
            while at + 8 <= len(answer):
                size, kind, value = struct.unpack_from("=HHi", answer, at)
                if kind == NETNSA_NSID and value in wanted:
                    found[value] = space
                at += (size + 3) & ~3
            if len(found) == len(wanted):
                break
    return found
