"""Documents: bytes in, an interface or every problem of them out; and back, as ligato writes them.

The same code reads for the command line, which takes no unknown fields, and for the agent, which trusts nothing it
reads and tolerates fields that a newer ligato may have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from vppctl.model import rules
from vppctl.model.fields import MESSAGES
from vppctl.model.interface import Interface, Memif, NamespaceRef, NamespaceType, VppInterface, VppInterfaceType
from vppctl.model.keys import Kind
from vppctl.model.problem import Problem
from vppctl.model.structure import Reader
from vppctl.model.text import MAX_DOCUMENT, InvalidDocument, parse, shown

__all__ = ["Decoded", "InvalidDocument", "decode", "decode_bytes", "documents", "encode", "guess_kind", "parse"]

_MAX_SECRET = 23
"""Octets of a memif secret (memif.api: string secret[24], of which the last is 0)."""
_MAX_SOCKET = 107
"""Octets of a socket's path (struct sockaddr_un, sys/un.h, less the 0)."""
_MAX_QUEUES = 255
"""Of a memif, each way (memif.api: u8)."""


class Decoded(NamedTuple):
    """What a document says; `interface` is None exactly when there are problems."""

    interface: Interface | VppInterface | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def documents(data: bytes) -> list[tuple[str, Any]]:
    """The interfaces of a file, one or `{"interface": [...]}`, each with the prefix of its paths.

    Raises InvalidDocument.
    """
    value = parse(data)
    if not isinstance(value, dict) or "interface" not in value:
        return [("", value)]
    members = value["interface"]
    if others := [key for key in value if key != "interface"]:
        text = "does not go with a list of interfaces; remove it"
        raise InvalidDocument(*(Problem(shown(other)[1:-1], text) for other in others))
    if not isinstance(members, list) or not members:
        raise InvalidDocument(Problem("interface", "is no list of interfaces; write [{...}, {...}]"))
    return [(f"interface[{number}].", member) for number, member in enumerate(members)]


def guess_kind(document: object) -> Kind:
    """Whether a document without a key is about Linux or about VPP."""
    if isinstance(document, dict) and (
        "afpacket" in document
        or "memif" in document
        or document.get("type") in (2, 4, "2", "4", "AF_PACKET_INTERFACE", "MEMORY_INTERFACE")
    ):
        return Kind.VPP
    return Kind.LINUX


def decode_bytes(
    data: bytes, *, kind: Kind, name: str | None = None, tolerant: bool = False, allowed_dirs: Sequence[str] = ()
) -> Decoded:
    """Read one stored document; any bytes give a result."""
    try:
        document = parse(data, MAX_DOCUMENT)
    except InvalidDocument as error:
        return Decoded(None, error.problems)
    return decode(document, kind=kind, name=name, tolerant=tolerant, allowed_dirs=allowed_dirs)


def decode(
    document: object, *, kind: Kind, name: str | None = None, tolerant: bool = False, allowed_dirs: Sequence[str] = ()
) -> Decoded:
    """Read one document; `name` is the last part of its key, when that is known."""
    reader = Reader(tolerant=tolerant)
    fields = reader.message(MESSAGES[kind], document)
    interface: Interface | VppInterface | None = None
    if isinstance(document, dict):
        interface = _linux(reader, fields, name, allowed_dirs) if kind is Kind.LINUX else _vpp(reader, fields, name)
    if reader.problems:
        return Decoded(None, tuple(reader.problems), tuple(reader.warnings))
    return Decoded(interface, (), tuple(reader.warnings))


def encode(interface: Interface | VppInterface) -> bytes:
    """The document as Go's encoding/json writes it: snake_case, numbers, defaults left out, in field order."""
    fields = _linux_fields(interface) if isinstance(interface, Interface) else _vpp_fields(interface)
    present = {name: value for name, value in fields.items() if value or name == "memif"}
    return json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode()


def _common(reader: Reader, fields: dict[str, Any], key_name: str | None) -> dict[str, Any]:
    """The fields that both kinds have, checked."""
    name = fields.get("name", "")
    seen = {problem.path for problem in reader.problems}
    if "name" not in seen and rules.check_name(reader, "name", name) and key_name is not None and name != key_name:
        reader.complain("name", f"{shown(name)} is not the last part of the key, {shown(key_name)}; make them equal")
    if mac := fields.get("phys_address"):
        rules.check_mac(reader, "phys_address", mac)
    rules.check_mtu(reader, "mtu", fields.get("mtu", 0))
    if not rules.is_clean(fields.get("description", "").replace("\n", " ")):
        reader.complain("description", f"{shown(fields['description'])} has control characters; remove them")
    return {
        "name": name,
        "description": fields.get("description", ""),
        "enabled": fields.get("enabled", False),
        "phys_address": fields.get("phys_address", "").lower(),
        "mtu": fields.get("mtu", 0),
        "ip_addresses": rules.addresses(reader, "ip_addresses", fields.get("ip_addresses", ())),
    }


def _linux(reader: Reader, fields: dict[str, Any], key_name: str | None, allowed_dirs: Sequence[str]) -> Interface:
    seen = {problem.path for problem in reader.problems}
    common = _common(reader, fields, key_name)
    host_if_name = fields.get("host_if_name", "")
    if host_if_name:
        rules.check_own_kernel_name(reader, "host_if_name", host_if_name)
    elif common["name"] and not any(p.path in ("name", "host_if_name") for p in reader.problems):
        rules.check_own_kernel_name(reader, "name", common["name"], implied=True)
    rules.check_mtu_for(reader, "mtu", common["mtu"], common["ip_addresses"])
    section = fields.get("namespace", {})
    reference = NamespaceRef(
        NamespaceType(section.get("type", 0)),
        section.get("pid", 0),
        section.get("microservice", ""),
        section.get("name", ""),
        section.get("filepath", ""),
    )
    if not any(path.startswith("namespace") for path in seen):
        rules.check_namespace(reader, "namespace", reference, allowed_dirs)
    peer = fields.get("veth", {}).get("peer_if_name", "")
    if not any(path.startswith("veth") for path in seen):
        _check_peer(reader, peer, common["name"])
    return Interface(
        peer=peer,
        host_if_name=host_if_name,
        namespace=NamespaceRef() if reference.is_default else reference,
        **common,
    )


def _check_peer(reader: Reader, peer: str, name: str) -> None:
    where = "veth.peer_if_name"
    if not peer:
        reader.complain(where, 'the peer is missing; write "veth": {"peer_if_name": "NAME"}')
    elif rules.check_name(reader, where, peer, "peer's name") and peer == name:
        reader.complain(where, f"{shown(peer)} is the interface itself; write the name of the other side")


def _vpp(reader: Reader, fields: dict[str, Any], key_name: str | None) -> VppInterface | None:
    seen = {problem.path for problem in reader.problems}
    common = _common(reader, fields, key_name)
    if len(common["ip_addresses"]) > 1 or any(a.startswith("fe") for a in common["ip_addresses"]):
        rules.check_addresses_in_vpp(reader, "ip_addresses", common["ip_addresses"])
    number = fields.get("type", 0)
    if number not in tuple(VppInterfaceType):
        if "type" not in seen:
            known = ", ".join(f"{int(t)} ({t.name})" for t in VppInterfaceType)
            reader.complain("type", f"{number} is not supported; write one of {known}")
        return None
    kind = VppInterfaceType(number)
    host_if_name = fields.get("afpacket", {}).get("host_if_name", "")
    memif = None
    if kind is VppInterfaceType.AF_PACKET_INTERFACE:
        _unwanted(reader, fields, "memif", kind)
        if host_if_name:
            rules.check_kernel_name(reader, "afpacket.host_if_name", host_if_name)
        elif not any(path.startswith("afpacket") for path in seen):
            reader.complain("afpacket.host_if_name", "is missing; write the host interface to attach to")
    else:
        _unwanted(reader, fields, "afpacket", kind)
        memif = _memif(reader, fields)
    return VppInterface(type=kind, host_if_name=host_if_name, memif=memif, **common)


def _unwanted(reader: Reader, fields: dict[str, Any], section: str, kind: VppInterfaceType) -> None:
    if fields.get(section):
        reader.complain(section, f"does not go with type {int(kind)} ({kind.name}); remove it")


def _memif(reader: Reader, fields: dict[str, Any]) -> Memif:
    memif = Memif(**fields.get("memif", {}))
    if "memif" not in fields and not any(p.path.startswith("memif") for p in reader.problems):
        reader.complain("memif", 'the section is missing; write "memif": {"id": 1, "socket_filename": "/run/x.sock"}')
    socket = memif.socket_filename
    if socket and not (socket.startswith("/") and rules.is_clean(socket)):
        reader.complain("memif.socket_filename", f"{shown(socket)} is no absolute path; write one")
    elif not socket.isascii() or len(socket) > _MAX_SOCKET:
        text = f"is not for VPP's API; write one of at most {_MAX_SOCKET} ASCII characters"
        reader.complain("memif.socket_filename", f"{shown(socket)} {text}")
    if len(memif.secret) > _MAX_SECRET or not memif.secret.isascii():
        reader.complain("memif.secret", f"is not for VPP's API; write one of at most {_MAX_SECRET} ASCII characters")
    for name, queues in (("rx_queues", memif.rx_queues), ("tx_queues", memif.tx_queues)):
        if queues > _MAX_QUEUES:
            reader.complain(f"memif.{name}", f"{queues} is too many; write at most {_MAX_QUEUES}")
    if memif.ring_size & (memif.ring_size - 1):
        reader.complain("memif.ring_size", f"{memif.ring_size} is no power of two; write one, such as 1024")
    if memif.buffer_size > 65535:
        reader.complain("memif.buffer_size", f"{memif.buffer_size} is too large; write at most 65535")
    return memif


def _linux_fields(interface: Interface) -> dict[str, Any]:
    reference = interface.namespace
    section = {} if reference.is_default else {"type": int(reference.type)}
    for name in ("pid", "microservice", "name", "filepath"):
        section[name] = getattr(reference, name)
    return {
        "name": interface.name,
        "description": interface.description,
        "enabled": interface.enabled,
        "phys_address": interface.phys_address,
        "mtu": interface.mtu,
        "host_if_name": interface.host_if_name,
        "ip_addresses": list(interface.ip_addresses),
        "namespace": {name: value for name, value in section.items() if value},
        "veth": {"peer_if_name": interface.peer},
    }


def _vpp_fields(interface: VppInterface) -> dict[str, Any]:
    memif = interface.memif
    fields = {
        "name": interface.name,
        "description": interface.description,
        "type": int(interface.type),
        "enabled": interface.enabled,
        "phys_address": interface.phys_address,
        "mtu": interface.mtu,
        "ip_addresses": list(interface.ip_addresses),
        "afpacket": {"host_if_name": interface.host_if_name} if interface.host_if_name else {},
    }
    if memif is not None:
        # One with nothing but defaults is a section all the same.
        section = {name: getattr(memif, name) for name in MESSAGES[Kind.VPP].fields["memif"].fields}  # type: ignore[union-attr]
        fields["memif"] = {name: value for name, value in section.items() if value}
    return fields
