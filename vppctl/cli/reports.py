"""Reads what an agent has published, and holds it to its shape: whoever may write to the store may have written it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vppctl.cli.presence import Absence
    from vppctl.model.keys import Kind

Shape = Callable[[Any], Any]


def read(value: bytes | None) -> dict[str, Any] | None:
    """A report whose fields have the types they should have, without those that have others; None when it is none."""
    from vppctl.model.text import InvalidDocument, parse

    try:
        found = parse(value or b"")
    except InvalidDocument:
        return None
    return _members(_REPORT, found) if isinstance(found, dict) else None


def as_of(report: dict[str, Any] | None, revision: int) -> dict[str, Any]:
    """A report as it is to be shown while `revision` is stored (0: nothing is); one about another is no state of it."""
    if report is None:
        return {"state": "UNKNOWN", "reason": "NotReported", "message": "the report cannot be read"}
    reported = report.get("config_revision", revision)
    if reported == revision:
        return report
    now = f"revision {revision} is stored" if revision else "nothing is stored any more"
    text = f"the agent has reported {report.get('state', 'no state')} of revision {reported:.0f}; {now}"
    return {**report, "state": "UNKNOWN", "reason": "NotReported", "message": text}


def unreported(absence: Absence | None) -> dict[str, Any]:
    """What stands for a report that is not there, while the agent has a heartbeat or without one."""
    reason, message = absence or ("NotReported", "the agent has not reported it")
    return {"state": "UNKNOWN", "reason": reason, "message": message}


def configuration(kind: Kind, name: str, value: bytes | None) -> dict[str, Any]:
    """What a report has from the document, for one that has no report yet; nothing when the document is invalid."""
    from vppctl.model.document import decode_bytes
    from vppctl.model.interface import Interface

    # Where an agent may find namespace files is the agent's to say: here all is shown.
    found = decode_bytes(value or b"", kind=kind, name=name, tolerant=True, allowed_dirs=("/",)).interface
    if found is None:
        return {}
    common = {"phys_address": found.phys_address, "mtu": found.mtu, "ip_addresses": list(found.ip_addresses)}
    if isinstance(found, Interface):
        place = {"host_if_name": found.kernel_name, "namespace": str(found.namespace), "peer": found.peer}
        return {**place, **common}
    peer = found.memif.socket_filename if found.memif else found.host_if_name
    place = {"type": found.type.name, "host_if_name": found.host_if_name, "namespace": "vpp", "peer": peer}
    return {**place, **common}


def _members(shapes: dict[str, Shape], value: Any) -> dict[str, Any]:
    """The members that have their shape; of names that are not known here, all."""
    if not isinstance(value, dict):
        return {}
    read = {name: shapes[name](member) if name in shapes else member for name, member in value.items()}
    return {name: member for name, member in read.items() if member is not None}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _texts(value: Any) -> list[str] | None:
    return [member for member in value if isinstance(member, str)] if isinstance(value, list) else None


def _state(value: Any) -> str:
    """A word, also one that is not known here yet."""
    return value if isinstance(value, str) and value.isascii() and value.isalpha() else "UNKNOWN"


def _statistics(value: Any) -> dict[str, Any]:
    return {k: v for k, v in value.items() if _number(v) is not None} if isinstance(value, dict) else {}


def _each(shapes: dict[str, Shape]) -> Shape:
    """A list of objects with these members."""
    return lambda value: [_members(shapes, member) for member in value] if isinstance(value, list) else None


_TRANSACTION: dict[str, Shape] = {
    "time": _text,
    "revision": _number,
    "duration_ms": _number,
    "result": _text,
    "operations": _texts,
}
_ERROR: dict[str, Shape] = {"time": _text, "revision": _number, "error": _text, "times": _number}
_NETNS: dict[str, Shape] = dict.fromkeys(("id", "path", "process_start"), _text)
_CONTAINER: dict[str, Shape] = {"name": _text, "id": _text, "pid": _number}
_REPORT: dict[str, Shape] = {
    **dict.fromkeys(("reason", "message", "namespace", "peer", "host_if_name", "internal_name", "type"), _text),
    **dict.fromkeys(("admin_status", "oper_status", "phys_address", "last_change"), _text),
    **dict.fromkeys(("if_index", "mtu", "retries", "config_revision"), _number),
    **dict.fromkeys(("ip_addresses", "tentative"), _texts),
    "state": _state,
    "statistics": _statistics,
    "container": lambda value: _members(_CONTAINER, value),
    "netns": lambda value: _members(_NETNS, value),
    "history": _each(_TRANSACTION),
    "errors": _each(_ERROR),
    # Found out here, never read.
    "chain": lambda _: None,
}
