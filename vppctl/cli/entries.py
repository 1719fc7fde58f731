"""Names and keys on the way to the store and from it: what finds, writes and deletes for every command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vppctl.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item
    from vppctl.model.keys import ConfigKey
    from vppctl.store.base import Entry, Guard, Operation, Store


def write(store: Store, items: Sequence[Item]) -> None:
    """Write the interfaces in one transaction, or in several where the store takes no larger ones."""
    from vppctl.store.base import Put

    operations = [Put(str(item.key), item.value) for item in items]
    revision = commit(store, operations)
    for item in items[:20]:
        click.echo(f"put {item.key} (revision {revision})", err=True)
    if len(items) > 20:
        click.echo(f"put {len(items) - 20} more", err=True)


def commit(store: Store, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> int:
    """All operations in as few transactions as the store takes, said so when there are several; the last revision.

    Raises ConflictError when a guard does not hold; it says how much was written before.
    """
    from vppctl.cli.render import progress

    size = store.max_operations
    if len(operations) > size:
        parts = -(-len(operations) // size)
        text = f"{len(operations)} keys are more than one transaction takes: written in {parts} transactions"
        click.echo(f"{text} of at most {size}", err=True)
    revision = 0
    with progress("writing", len(operations)) as shown:
        for start in range(0, len(operations), size):
            part = operations[start : start + size]
            keys = {operation.key for operation in part}
            shown.tell(partial(int, start))
            try:
                revision = store.commit(part, [guard for guard in guards if guard.key in keys]).revision
            except ConflictError as error:
                if not start:
                    raise
                raise ConflictError(f"{start} of {len(operations)} keys are written; of the rest: {error}") from None
    return revision


def find(store: Store, label: str, arguments: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The entries that NAMEs and KEYs mean, and what of them is not there."""
    from vppctl.cli.documents import as_key
    from vppctl.model.keys import Kind, config_prefix

    entries: list[Entry] = []
    missing: list[str] = []
    # One list instead of many gets; a thousand names are one request.
    listed = {}
    if len(arguments) > 8:
        listed = {e.key: e for kind in Kind for e in store.list(config_prefix(label, kind)).entries}
    for argument in dict.fromkeys(arguments):
        keys = [argument] if argument.startswith("/") else [as_key(argument, label, kind) for kind in Kind]
        found = next(
            (e for key in keys if (e := listed.get(key) if listed and key in listed else store.get(key))), None
        )
        if found:
            entries.append(found)
        else:
            missing.append(argument)
    return entries, missing


def find_one(store: Store, label: str, argument: str) -> tuple[Entry, ConfigKey]:
    """The one entry that a NAME or KEY means, and its key in parts. Raises NotFoundError."""
    from vppctl.model.keys import parse_config_key

    entries, _ = find(store, label, [argument])
    key = parse_config_key(entries[0].key) if entries else None
    if key is None:
        raise not_found(label, [argument])
    return entries[0], key


def not_found(label: str, missing: Sequence[str]) -> NotFoundError:
    """One line for each name that is not there."""
    from vppctl.model.keys import config_prefix

    where = f" under {config_prefix(label)}"
    lines = [
        f"{name}: not found{'' if name.startswith('/') else where}; 'vppctl list' shows what is" for name in missing
    ]
    return NotFoundError("\n".join(lines))


def stored(entry: Entry) -> Any:
    """The stored value; what is no JSON is shown as the text that it is."""
    from vppctl.model.text import InvalidDocument, parse

    value = entry.value or b""
    try:
        return parse(value)
    except InvalidDocument:
        return value.decode(errors="backslashreplace")


def delete(store: Store, label: str, names: Sequence[str], *, ignore_not_found: bool = False) -> None:
    """Delete what these names mean, all or nothing. Raises NotFoundError."""
    from vppctl.cli.render import clean
    from vppctl.store.base import Delete

    entries, missing = find(store, label, names)
    if missing and not ignore_not_found:
        raise not_found(label, missing)
    if entries:
        commit(store, [Delete(entry.key) for entry in entries])
    for entry in entries[:20]:
        click.echo(clean(f"deleted {entry.key}"), err=True)
    if len(entries) > 20:
        click.echo(f"deleted {len(entries) - 20} more", err=True)
