"""The fields of the messages as a table: what decoding, encoding and the schema share.

Kept by hand because reading a document must not load protobuf, which costs more than the whole of `vppctl put`
otherwise does; a test holds it against the descriptors that protoc made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vppctl.model.keys import Kind


class Enum(NamedTuple):
    """The values of an enumeration by their names."""

    values: Mapping[str, int]


class Message(NamedTuple):
    """The fields of a message by their names, in the order of their numbers."""

    fields: Mapping[str, FieldType]


FieldType = str | Enum | Message
"""`string`, `strings`, `bool`, `uint32`, an enumeration or a message."""

LINUX_TYPE = Enum({"VETH": 0})
NAMESPACE_TYPE = Enum({"PID_REF_NS": 0, "MICROSERVICE_REF_NS": 1, "NAMED_NS": 2, "FILE_REF_NS": 3})
VPP_TYPE = Enum(
    {
        "SOFTWARE_LOOPBACK": 0,
        "ETHERNET_CSMACD": 1,
        "MEMORY_INTERFACE": 2,
        "TAP_INTERFACE": 3,
        "AF_PACKET_INTERFACE": 4,
        "VXLAN_TUNNEL": 5,
    }
)
MEMIF_MODE = Enum({"ETHERNET": 0, "IP": 1, "PUNT_INJECT": 2})

_COMMON: dict[str, FieldType] = {"enabled": "bool", "phys_address": "string", "mtu": "uint32"}

LINUX = Message(
    {
        "name": "string",
        "description": "string",
        "type": LINUX_TYPE,
        **_COMMON,
        "host_if_name": "string",
        "ip_addresses": "strings",
        "namespace": Message(
            {
                "type": NAMESPACE_TYPE,
                "pid": "uint32",
                "microservice": "string",
                "name": "string",
                "filepath": "string",
            }
        ),
        "veth": Message({"peer_if_name": "string"}),
    }
)
VPP = Message(
    {
        "name": "string",
        "description": "string",
        "type": VPP_TYPE,
        **_COMMON,
        "ip_addresses": "strings",
        "memif": Message(
            {
                "master": "bool",
                "mode": MEMIF_MODE,
                "id": "uint32",
                "socket_filename": "string",
                "secret": "string",
                "ring_size": "uint32",
                "buffer_size": "uint32",
                "rx_queues": "uint32",
                "tx_queues": "uint32",
            }
        ),
        "afpacket": Message({"host_if_name": "string"}),
    }
)
MESSAGES: Mapping[Kind, Message] = {Kind.LINUX: LINUX, Kind.VPP: VPP}
"""The interface message of each kind."""


def camel(name: str) -> str:
    """The other spelling that proto JSON accepts: `host_if_name` is `hostIfName`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
