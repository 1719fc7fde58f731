"""Links of the agent's own namespace by name: what VPP's AF_PACKET interfaces are attached to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

from vppctl.linux import wire
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import Rtnl


class Host(NamedTuple):
    """A host interface; the address in six lower-case octets with colons."""

    index: int  # type: ignore[assignment]
    mac: str


def find_hosts(names: Iterable[str]) -> dict[str, Host]:
    """Those of these links that exist. Raises OSError."""
    wanted = list(dict.fromkeys(names))
    found = {}
    with Rtnl() as rtnl:
        for name, answer in zip(wanted, rtnl.ask([wire.get_link(name) for name in wanted]), strict=True):
            if answer.errno not in (0, errno.ENODEV):
                # That is not absence.
                raise OSError(answer.errno, answer.text or os.strerror(answer.errno))
            for _, body in answer.bodies:
                found[name] = _host(body)
    return found


def set_mac(name: str, host: Host) -> None:
    """Give a link its address back, if it still has this name and index. Raises OSError."""
    with Rtnl() as rtnl:
        bodies = rtnl.ask([wire.get_link(host.index)])[0].bodies
        with Reading():
            same = any((_host(body).index, wire.link_name(body)) == (host.index, name) for _, body in bodies)
        if same:
            rtnl.batch([wire.set_link(host.index, mac=host.mac)])


def _host(body: bytes) -> Host:
    with Reading():
        address = wire.attributes(body, wire.IFINFO.size).get(wire.IFLA_ADDRESS, b"")
        return Host(wire.IFINFO.unpack_from(body)[2], address.hex(":"))
