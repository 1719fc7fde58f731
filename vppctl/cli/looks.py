"""The columns of documents, for those who want to see many at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppctl.cli.escaping import word
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import parse_config_key

if TYPE_CHECKING:
    from vppctl.cli.render import Look
    from vppctl.store.base import Entry


def record_of(key: str, interface: Interface | VppInterface | None) -> dict[str, Any]:
    """What a column may show of what is configured under a key; without an interface that is the key alone."""
    found = parse_config_key(key)
    record: dict[str, Any] = {} if interface is None else interface._asdict()
    # Where it leads: a VETH to its peer, an interface of VPP to its host interface.
    record.setdefault("peer", record.get("host_if_name", ""))
    return {**record, "name": key.rpartition("/")[2], "kind": str(found.kind) if found else "", "key": key}


def read_record(entry: Entry) -> dict[str, Any]:
    """The same of what stands in the store, whether it can be read or not."""
    from vppctl.model.document import decode_bytes

    key = parse_config_key(entry.key)
    if key is None:
        return record_of(entry.key, None)
    # Where an agent may find namespace files is the agent's to say: here all is shown.
    decoded = decode_bytes(entry.value or b"", kind=key.kind, name=key.name, tolerant=True, allowed_dirs=("/",))
    return record_of(entry.key, decoded.interface)


DOCUMENTS: Look = (
    {
        "NAME": lambda r: r["name"],
        "KIND": lambda r: r["kind"],
        "NAMESPACE": lambda r: str(r.get("namespace", "")),
        "PEER": lambda r: word(r.get("peer", "")),
        "ADDRESSES": lambda r: ", ".join(map(word, r.get("ip_addresses", ()))),
    },
    {
        "ENABLED": lambda r: str(r.get("enabled", "")).lower(),
        "HOST NAME": lambda r: r.get("host_if_name", "") if r["kind"] == "linux" else "",
        "MAC": lambda r: r.get("phys_address", ""),
        "MTU": lambda r: str(r.get("mtu") or ""),
        "DESCRIPTION": lambda r: r.get("description", ""),
        "KEY": lambda r: word(r["key"]),
    },
)
