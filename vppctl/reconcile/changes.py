"""What a new configuration changes: interface by interface, field by field, and whom it disturbs. Pure.

For `diff` and `apply`. It speaks of documents alone: whether a pair exists at present is the planner's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from vppctl.model.document import encode
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import Kind

Name = tuple[Kind, str]
Document = Interface | VppInterface | None
"""None: a document that is there and cannot be read as an interface."""
Documents = Mapping[Name, Document]

IN_PLACE = frozenset({"enabled", "phys_address", "mtu", "ip_addresses"})
"""Fields that change on an existing link; `description` and `type` change nothing outside the store."""
SILENT = frozenset({"description", "type"})


class Action(StrEnum):
    """What happens to a document."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Effect(StrEnum):
    """What happens to the interface that the document is about."""

    NONE = "none"
    IN_PLACE = "in-place"
    RECREATE = "re-create"
    CREATE = "create"
    DELETE = "delete"


class FieldChange(NamedTuple):
    """A field before and after; None where it is absent."""

    field: str
    before: Any
    after: Any


class Change(NamedTuple):
    """What becomes of one interface."""

    kind: Kind
    name: str
    action: Action
    effect: Effect
    fields: tuple[FieldChange, ...]
    touches: tuple[str, ...]
    """Other interfaces that are made again or removed with it: peers, and AF_PACKET users as `vpp:NAME`."""


def changes(before: Documents, after: Documents) -> list[Change]:
    """What turns `before` into `after`, by kind and name; unchanged documents are left out."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after and before[key] == after[key] and before[key] is not None:
            continue
        fields = tuple(_compare(before.get(key), after.get(key)))
        action = Action.CREATE if key not in before else Action.UPDATE if key in after else Action.DELETE
        effect = _effect(action, fields, readable=before.get(key) is not None)
        touches = () if effect in (Effect.NONE, Effect.IN_PLACE) else tuple(sorted(set(_touched(key, before, after))))
        found.append(Change(*key, action, effect, fields, touches))
    return found


def _effect(action: Action, fields: tuple[FieldChange, ...], *, readable: bool) -> Effect:
    if action is not Action.UPDATE:
        return Effect.CREATE if action is Action.CREATE else Effect.DELETE
    if not readable:
        return Effect.RECREATE
    names = {field.field for field in fields} - SILENT
    if not names:
        return Effect.NONE
    return Effect.IN_PLACE if names <= IN_PLACE else Effect.RECREATE


def _compare(before: Document, after: Document) -> Iterator[FieldChange]:
    old, new = _flat(before), _flat(after)
    for name in dict.fromkeys((*old, *new)):
        if name != "name" and old.get(name) != new.get(name):
            yield FieldChange(name, old.get(name), new.get(name))


def _flat(document: Document) -> dict[str, Any]:
    """The fields as they are stored, with dots between the levels."""
    if document is None:
        return {}
    found: dict[str, Any] = {}
    for name, value in json.loads(encode(document)).items():
        if isinstance(value, dict):
            found.update((f"{name}.{inner}", content) for inner, content in value.items())
        else:
            found[name] = value
    return found


def _touched(key: Name, before: Documents, after: Documents) -> Iterator[str]:
    """The peers, old and new, that name it back; and who is attached to either side."""
    if key[0] is Kind.VPP:
        return
    for documents in (before, after):
        interface = documents.get(key)
        if not isinstance(interface, Interface):
            continue
        peer = documents.get((Kind.LINUX, interface.peer))
        sides = [interface]
        if isinstance(peer, Interface) and peer.peer == interface.name:
            sides.append(peer)
            yield peer.name
        hosts = {side.kernel_name for side in sides if side.namespace.is_default}
        for user in documents.values():
            if isinstance(user, VppInterface) and user.host_if_name in hosts:
                yield f"vpp:{user.name}"
