"""Links of the agent's own namespace by name: what VPP's AF_PACKET interfaces are attached to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vppctl.linux import wire
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
            for _, body in answer.bodies:
                address = wire.attributes(body, wire.IFINFO.size).get(wire.IFLA_ADDRESS, b"")
                found[name] = Host(wire.IFINFO.unpack_from(body)[2], address.hex(":"))
    return found


def set_mac(host: Host) -> None:
    """Give a link its address back. Raises OSError."""
    with Rtnl() as rtnl:
        rtnl.batch([wire.set_link(host.index, mac=host.mac)])
