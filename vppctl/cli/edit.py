"""edit: one interface, in the editor of the user's choice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names
from vppctl.cli.settings import Settings
from vppctl.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item


@click.command("edit")
@click.argument("name", metavar="NAME|KEY", shell_complete=complete_names)
@click.pass_obj
def edit_command(options: dict[str, Any], name: str) -> None:
    """Change one interface in $EDITOR.

    It is validated before it is stored, and stored only while nobody else has changed it. What has errors is kept
    in a file, whose name is printed, so that no typing is lost.

    \b
    Example:
      vppctl edit veth1
    """
    import json

    from vppctl.cli.entries import commit, find, not_found, stored
    from vppctl.model.keys import parse_config_key
    from vppctl.store.base import Guard, Put

    settings = Settings(options)
    store = settings.open_store()
    try:
        entries, missing = find(store, settings.label, [name])
        key = parse_config_key(entries[0].key) if entries else None
        if missing or key is None:
            raise not_found(settings.label, [name])
        entry = entries[0]
        value = stored(entry)
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        edited = click.edit(text, extension=".json", require_save=False)
        if edited is None or edited == text:
            click.echo("nothing changed", err=True)
            return
        item = _checked(edited, settings.label, str(key))
        try:
            revision = commit(store, [Put(entry.key, item.value)], [Guard(entry.key, entry.mod_revision)])
        except ConflictError as error:
            raise ConflictError(f"{name}: {error}; your text is in {_keep(edited)}") from None
        click.echo(f"put {entry.key} (revision {revision})", err=True)
    finally:
        store.close()


def _checked(text: str, label: str, key: str) -> Item:
    """What was typed, as an interface. Raises InvalidInputError, and keeps the text."""
    from vppctl.cli.documents import load
    from vppctl.model.keys import parse_config_key

    file = _keep(text)
    try:
        item = load([file], label, parse_config_key(key))[0]
    except InvalidInputError as error:
        last = f"nothing was stored; mend {file} and 'vppctl put {key} {file}'"
        raise InvalidInputError([*error.lines, last]) from None
    os.unlink(file)
    return item


def _keep(text: str) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="vppctl-", suffix=".json", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name
