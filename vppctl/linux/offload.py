"""TX checksum offload of links, by ethtool's ioctl: what a VETH leaves unfinished reaches AF_PACKET as it is."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterable

from vppctl.linux.namespaces import Netns, inside

SIOCETHTOOL = 0x8946
"""linux/sockios.h"""
ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x16, 0x17
"""linux/ethtool.h"""
_VALUE = struct.Struct("=II")
_REQUEST = struct.Struct("@16sP16x")


def read_checksums(netns: Netns, names: Iterable[str]) -> dict[str, bool]:
    """Whether the kernel leaves checksums to these links. Those that vanish meanwhile are left out."""
    found = {}
    with _socket(netns) as probe:
        for name in names:
            try:
                found[name] = bool(_ask(probe, name, ETHTOOL_GTXCSUM))
            except OSError:
                continue
    return found


def set_checksum(netns: Netns, name: str, *, on: bool) -> None:
    """Leave checksums to a link, or compute them before. Raises OSError."""
    with _socket(netns) as probe:
        _ask(probe, name, ETHTOOL_STXCSUM, int(on))


def _socket(netns: Netns) -> socket.socket:
    with inside(netns):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _ask(probe: socket.socket, name: str, command: int, value: int = 0) -> int:
    buffer = ctypes.create_string_buffer(_VALUE.pack(command, value), _VALUE.size)
    fcntl.ioctl(probe, SIOCETHTOOL, _REQUEST.pack(os.fsencode(name), ctypes.addressof(buffer)))
    answer: int = _VALUE.unpack(buffer.raw)[1]
    return answer
