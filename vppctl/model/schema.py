"""JSON Schema (2020-12) of documents, from the protobuf descriptors and the constraints.

It says as much as a schema can; what it cannot (unicast, no duplicates in other spelling, peers) `document.py`
says. Loads protobuf, and `explain` loads jsonschema, so they are for `schema` and `validate` alone.
"""

from __future__ import annotations

from typing import Any

from vppctl.model import rules
from vppctl.model.fields import camel
from vppctl.model.keys import Kind
from vppctl.model.problem import Problem
from vppctl.model.structure import MAX_MEMBERS, UINT32
from vppctl.model.text import shown

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_CONSTRAINTS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "minLength": 1, "maxLength": rules.MAX_NAME, "pattern": "^[^/\\x00-\\x1f\\x7f]+$"},
    "phys_address": {"pattern": "^([0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5})?$"},
    "mtu": {"anyOf": [{"enum": [0, "0"]}, {"minimum": rules.MIN_MTU, "maximum": rules.MAX_MTU}]},
    "ip_addresses": {"maxItems": MAX_MEMBERS},
    "host_if_name": {
        "maxLength": rules.MAX_KERNEL_NAME,
        "pattern": "^([A-Za-z0-9_.@+=,][A-Za-z0-9_.@+=,-]*)?$",
        "not": {"enum": [*rules.RESERVED_NAMES, rules.LOOPBACK]},
    },
    "namespace.pid": {"maximum": rules.MAX_PID},
    "namespace.name": {"maxLength": rules.MAX_NAME, "pattern": "^[^/]*$"},
    "namespace.microservice": {"maxLength": rules.MAX_NAME},
    "namespace.filepath": {"maxLength": rules.MAX_PATH, "pattern": "^(/.*)?$"},
    "veth": {"type": "object"},
    "veth.peer_if_name": {"type": "string", "minLength": 1, "maxLength": rules.MAX_NAME, "pattern": "^[^/]+$"},
    "afpacket.host_if_name": {"maxLength": rules.MAX_KERNEL_NAME, "not": {"enum": [*rules.RESERVED_NAMES]}},
}
_ADDRESS = {"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"}
_REQUIRED = {Kind.LINUX: {"": ["name", "veth"], "veth": ["peer_if_name"]}, Kind.VPP: {"": ["name", "type"]}}


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema of one interface."""
    return {"$schema": DIALECT, "title": f"{kind} interface", **_message(_descriptor(kind), kind, "")}


def file_schema(kind: Kind) -> dict[str, Any]:
    """The schema of a file: one interface, or `{"interface": [...]}`."""
    one = _message(_descriptor(kind), kind, "")
    many = {
        "type": "object",
        "properties": {"interface": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/interface"}}},
        "required": ["interface"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": f"{kind} interfaces",
        "$defs": {"interface": one, "list": many},
        "if": {"type": "object", "required": ["interface"]},
        "then": {"$ref": "#/$defs/list"},
        "else": {"$ref": "#/$defs/interface"},
    }


def explain(document: object, kind: Kind) -> list[Problem]:
    """What jsonschema finds against the schema, each place once."""
    from jsonschema import Draft202012Validator

    found: dict[str, Problem] = {}
    for error in Draft202012Validator(json_schema(kind)).iter_errors(document):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        text = shown(error.message)[1:-1]
        found.setdefault(path.lstrip("."), Problem(path.lstrip("."), text))
    return list(found.values())


def _descriptor(kind: Kind) -> Any:
    if kind is Kind.LINUX:
        from vppctl.model import linux_interfaces_pb2

        return linux_interfaces_pb2.LinuxInterfaces.Interface.DESCRIPTOR
    from vppctl.model import vpp_interfaces_pb2

    return vpp_interfaces_pb2.Interfaces.Interface.DESCRIPTOR


def _message(descriptor: Any, kind: Kind, path: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    spellings: list[dict[str, Any]] = []
    required = _REQUIRED[kind].get(path, [])
    for field in descriptor.fields:
        schema = _field(field, kind, f"{path}.{field.name}".lstrip("."))
        properties[field.name] = schema
        if camel(field.name) != field.name:
            properties[camel(field.name)] = schema
        if field.name in required:
            names = dict.fromkeys((field.name, camel(field.name)))
            spellings.append({"anyOf": [{"required": [name]} for name in names]})
    kinds = "object" if not path or path in required else ["object", "null"]
    schema = {"type": kinds, "properties": properties, "additionalProperties": False}
    return {**schema, "allOf": spellings} if spellings else schema


def _field(field: Any, kind: Kind, path: str) -> dict[str, Any]:
    constraints = _CONSTRAINTS.get(path, {})
    if field.message_type is not None and not field.is_repeated:
        return {**_message(field.message_type, kind, path), **constraints}
    if field.is_repeated:
        return {"type": ["array", "null"], "items": _ADDRESS, **constraints}
    if field.enum_type is not None:
        values = [v for value in field.enum_type.values for v in (value.name, value.number, str(value.number))]
        return {"enum": [*values, None]}
    if field.type == field.TYPE_BOOL:
        return {"type": ["boolean", "null"]}
    if field.type == field.TYPE_UINT32:
        number = {"type": ["integer", "string", "null"], "minimum": 0, "maximum": UINT32, "pattern": "^[0-9]{1,10}$"}
        return {**number, **constraints}
    return {"type": ["string", "null"], **constraints}
