"""Reads what VPP's API answers; nothing in it is taken for granted.

Neighbour: `vpp.py`, which asks. What is missing, of another type or there twice raises OddError: an interface that is
taken for another one could be deleted in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vppctl.model.interface import Memif, VppInterfaceType
from vppctl.reconcile.vpp import VppLink

ADMIN_UP, LINK_UP = 1, 2
"""vl_api_if_status_flags_t (interface_types.api)."""


class OddError(ValueError):
    """VPP's answer is not what its API says."""


def number(details: Any, name: str) -> int:
    """A member that is a number, or an enumeration. Raises OddError."""
    found = _member(details, name)
    if not isinstance(found, int):
        raise OddError(f"{name} is a {type(found).__name__}, not a number")
    return int(found)


def text(details: Any, name: str) -> str:
    """A member that is a string. Raises OddError."""
    found = _member(details, name)
    if isinstance(found, bytes):
        found = found.decode(errors="replace")
    if not isinstance(found, str):
        raise OddError(f"{name} is a {type(found).__name__}, not a string")
    return found.rstrip("\0")


def by_number(dump: Iterable[Any], name: str) -> dict[int, Any]:
    """The details of a dump by the number that tells them apart. Raises OddError."""
    found: dict[int, Any] = {}
    for details in dump:
        key = number(details, name)
        if key in found:
            raise OddError(f"{name} {key} is there twice")
        found[key] = details
    return found


def address_of(details: Any) -> str:
    """The address of an ip_address_details as `address/prefix`. Raises OddError."""
    return _shown(details, "prefix")


def link_of(details: Any, addresses: Iterable[str], host_if_name: str, memif: Memif | None) -> VppLink:
    """An interface from a sw_interface_details. Raises OddError."""
    mtu, flags = _member(details, "mtu"), number(details, "flags")
    if not isinstance(mtu, Sequence) or not mtu or not isinstance(mtu[0], int):
        raise OddError("mtu is not a list of numbers")
    return VppLink(
        sw_if_index=number(details, "sw_if_index"),
        internal_name=text(details, "interface_name"),
        type=VppInterfaceType.MEMORY_INTERFACE if memif else VppInterfaceType.AF_PACKET_INTERFACE,
        mac=_shown(details, "l2_address").lower(),
        mtu=mtu[0],
        up=bool(flags & ADMIN_UP),
        running=bool(flags & LINK_UP),
        addresses=tuple(sorted(addresses)),
        tag=text(details, "tag"),
        host_if_name=host_if_name,
        memif=memif,
    )


def memif_of(details: Any, sockets: Mapping[int, str]) -> Memif:
    """What a memif_details says, without the secret and the queues, which VPP does not tell. Raises OddError."""
    return Memif(
        id=number(details, "id"),
        master=number(details, "role") == 0,
        mode=number(details, "mode"),
        socket_filename=sockets.get(number(details, "socket_id"), ""),
        ring_size=number(details, "ring_size"),
        buffer_size=number(details, "buffer_size"),
    )


def _member(details: Any, name: str) -> Any:
    try:
        return getattr(details, name)
    except AttributeError:
        raise OddError(f"it has no {name}") from None


def _shown(details: Any, name: str) -> str:
    """A member that is an object of the library with a textual form."""
    found = _member(details, name)
    if found is None or isinstance(found, bool | int | float | list | dict | bytes):
        raise OddError(f"{name} is a {type(found).__name__}, not an address")
    return str(found)
