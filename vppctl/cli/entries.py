"""Names and keys on the way to the store and from it: what finds, writes and deletes for every command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vppctl.errors import ConflictError, NotFoundError, StoreError, TooLargeError, UsageError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item
    from vppctl.model.keys import ConfigKey
    from vppctl.store.base import Entry, Guard, Operation, Store

    Wanted = tuple[ConfigKey, ...]
    """The keys that one name may mean."""


def write(store: Store, items: Sequence[Item]) -> None:
    """Write the interfaces in one transaction, or in several where the store takes no larger ones."""
    from vppctl.store.base import Put

    operations = [Put(str(item.key), item.value) for item in items]
    revisions = commit(store, operations)
    for item, revision in list(zip(items, revisions, strict=True))[:20]:
        click.echo(f"put {item.key} (revision {revision})", err=True)
    if len(items) > 20:
        click.echo(f"put {len(items) - 20} more ({in_words(revisions[20:])})", err=True)


def in_words(revisions: Sequence[int]) -> str:
    """The revisions of several operations."""
    first, last = revisions[0], revisions[-1]
    return f"revision {first}" if first == last else f"revisions {first} to {last}"


def commit(store: Store, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> list[int]:
    """All operations in as few transactions as the store takes, said so when there are several; the revision of each.

    Raises ConflictError when a guard does not hold, and StoreError; they say how much was written before.
    """
    from vppctl.cli.render import progress

    size = said = store.max_operations
    count = len(operations)
    revisions: list[int] = []
    if count > size:
        text = f"{count} keys are more than one transaction takes: written in {-(-count // size)} transactions"
        click.echo(f"{text} of at most {size}", err=True)
    with progress("writing", count) as shown:
        while (start := len(revisions)) < count:
            part = operations[start : start + size]
            keys = {operation.key for operation in part}
            shown.tell(partial(int, start))
            try:
                revision = store.commit(part, [guard for guard in guards if guard.key in keys]).revision
            except TooLargeError as error:
                if len(part) > 1:
                    size = len(part) // 2
                    continue
                text = f"{part[0].key}: {error}; write less, or raise etcd's --max-request-bytes"
                raise TooLargeError(_so_far(text, start, count)) from None
            except (ConflictError, StoreError) as error:
                raise type(error)(_so_far(str(error), start, count)) from None
            if size < said:
                text = f"{count} keys are more than one transaction of this store takes: written in several"
                click.echo(f"{text}, of at most {size}", err=True)
                said = size
            revisions += [revision] * len(part)
    return revisions


def _so_far(text: str, done: int, count: int) -> str:
    return f"{done} of {count} keys are written; of the rest: {text}" if done else text


def find(store: Store, label: str, arguments: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The entries that KEYs and NAMEs mean, a NAME in Linux and in VPP, each once; and what of them is not there."""
    from vppctl.model.keys import Kind, config_key, config_prefix

    listed: dict[str, Entry] | None = None
    prefixes = tuple(config_prefix(label, kind) for kind in Kind)
    # One list instead of many gets; a thousand names are one request.
    if len(arguments) > 8:
        listed = {entry.key: entry for prefix in prefixes for entry in store.list(prefix).entries}

    def look(key: str) -> Entry | None:
        if listed is not None and key.startswith(prefixes):
            return listed.get(key)
        return store.get(key)

    entries: dict[str, Entry] = {}
    missing: list[str] = []
    for argument in dict.fromkeys(arguments):
        keys = [argument] if argument.startswith("/") else [config_key(label, argument, kind) for kind in Kind]
        found = [entry for key in keys if (entry := look(key))]
        entries.update({entry.key: entry for entry in found})
        if not found:
            missing.append(argument)
    return list(entries.values()), missing


def find_one(store: Store, label: str, argument: str) -> tuple[Entry, ConfigKey]:
    """The one interface that a NAME or KEY means, and its key in parts. Raises NotFoundError and UsageError."""
    entries, _ = find(store, label, [argument])
    if not entries:
        raise not_found(label, [argument])
    if len(entries) > 1:
        raise UsageError(f"{argument} is in Linux and in VPP; write {' or '.join(entry.key for entry in entries)}")
    return entries[0], interface_key(entries[0].key)


NO_INTERFACE = "to store something else there use 'put --raw KEY FILE'"
_AN_INTERFACE = "those of interfaces are /vnf-agent/LABEL/linux/config/v1/interface/NAME, or vpp for linux"


def interface_key(key: str, mend: str = _AN_INTERFACE) -> ConfigKey:
    """The parts of a KEY of an interface. Raises UsageError, with this mend when it is none."""
    from vppctl.cli.settings import check_label
    from vppctl.model.keys import parse_config_key

    found = parse_config_key(key)
    if found is None:
        raise UsageError(f"{key} is no key of an interface; {mend}")
    check_label(found.label, f"{key}:")
    return found


def to_keys(label: str, names: Sequence[str]) -> list[Wanted]:
    """What NAMEs and KEYs of interfaces mean: a key itself, or a name in Linux and in VPP. Raises UsageError."""
    from vppctl.model.keys import ConfigKey, Kind

    return [
        (interface_key(name),) if name.startswith("/") else tuple(ConfigKey(label, kind, name) for kind in Kind)
        for name in names
    ]


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
