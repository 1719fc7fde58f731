"""edit: one interface, in the editor of the user's choice."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names_and_keys
from vppctl.cli.options import allow_dir_option
from vppctl.cli.settings import Settings
from vppctl.errors import ConflictError, InvalidInputError, StoreError, UsageError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item
    from vppctl.model.keys import ConfigKey


@click.command("edit")
@click.argument("name", metavar="NAME|KEY", shell_complete=complete_names_and_keys)
@allow_dir_option
@click.pass_obj
def edit_command(options: dict[str, Any], name: str, *, allowed_dirs: tuple[str, ...]) -> None:
    """Change one interface in $EDITOR.

    It is validated before it is stored, and stored only while nobody else has changed it. What has errors is kept
    in a file, whose name is printed, so that no typing is lost.

    \b
    Example:
      vppctl edit veth1
    """
    import json

    from vppctl.cli.entries import commit, find_one, stored
    from vppctl.store.base import Guard, Put

    settings = Settings(options)
    _refuse_others()
    store = settings.open_store()
    try:
        entry, key = find_one(store, settings.label, name)
        value = stored(entry)
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        edited = click.edit(text, extension=".json", require_save=False)
        if edited is None or edited == text:
            click.echo("nothing changed", err=True)
            return
        item = _checked(edited, key, allowed_dirs)
        try:
            (revision,) = commit(store, [Put(entry.key, item.value)], [Guard(entry.key, entry.mod_revision)])
        except (ConflictError, StoreError) as error:
            raise type(error)(f"{name}: {error}; your text is in {_keep(edited)}") from None
        click.echo(f"put {entry.key} (revision {revision})", err=True)
    finally:
        store.close()


def _refuse_others() -> None:
    """The text is a file for as long as it is edited. Raises UsageError where another user may replace that."""
    import tempfile

    from vppctl.store.private import exposed

    # As of a file in a folder that we create: in a sticky one ours stays.
    if why := exposed(os.path.join(os.path.abspath(tempfile.gettempdir()), f"vppctl-{os.getpid()}.new", "file")):
        raise UsageError(f"{why}, and the text with it; set TMPDIR to a folder of your own")


def _checked(text: str, key: ConfigKey, allowed_dirs: Sequence[str]) -> Item:
    """What was typed, as an interface. Raises InvalidInputError, and keeps the text."""
    from vppctl.cli.documents import load

    file = _keep(text)
    try:
        item = load([file], key.label, key, allowed_dirs)[0]
    except InvalidInputError as error:
        last = f"nothing was stored; mend {file} and 'vppctl put {shlex.quote(str(key))} {shlex.quote(file)}'"
        raise InvalidInputError([*error.lines, last]) from None
    os.unlink(file)
    return item


def _keep(text: str) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="vppctl-", suffix=".json", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name
