"""preset: the built-in example interfaces, which are the files of json/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_presets
from vppctl.cli.options import output_option
from vppctl.cli.settings import Settings
from vppctl.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item

name_argument = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_presets)


def _load(name: str) -> bytes:
    from vppctl.model.presets import PRESETS, load

    try:
        return load(name)
    except KeyError:
        raise NotFoundError(f"{name}: there is no such preset; there are {', '.join(PRESETS)}") from None


def _items(names: Sequence[str], label: str) -> list[Item]:
    """The interfaces of these presets, under their own keys. Raises NotFoundError."""
    from vppctl.cli.documents import Item
    from vppctl.model.document import decode, documents, encode, guess_kind
    from vppctl.model.keys import ConfigKey

    items = []
    for name in names:
        for _, document in documents(_load(name)):
            kind = guess_kind(document)
            interface = decode(document, kind=kind).interface
            assert interface is not None, "a preset is valid"
            items.append(Item(name, ConfigKey(label, kind, interface.name), interface, encode(interface)))
    return items


@click.group("preset")
def preset_command() -> None:
    """The built-in example interfaces.

    \b
    Example:
      vppctl preset put veth1 veth2
    """


@preset_command.command("list")
@output_option("name")
@click.pass_obj
def list_presets(options: dict[str, Any], *, output: str) -> None:
    """List the presets, one a line.

    \b
    Example:
      vppctl preset list
    """
    from vppctl.cli.looks import DOCUMENTS, record_of
    from vppctl.cli.render import print_records
    from vppctl.model.document import parse
    from vppctl.model.presets import PRESETS

    settings = Settings(options)
    records = [record_of(str(item.key), item.interface) for item in _items(PRESETS, settings.label)]
    print_records(records, output, settings.color, DOCUMENTS, [parse(_load(name)) for name in PRESETS])


@preset_command.command("show")
@name_argument
def show_preset(names: tuple[str, ...]) -> None:
    """Print the JSON of a preset.

    \b
    Example:
      vppctl preset show veth1
    """
    for name in names:
        click.echo(_load(name).decode(), nl=False)


@preset_command.command("put")
@name_argument
@click.pass_obj
def put_preset(options: dict[str, Any], names: tuple[str, ...]) -> None:
    """Write presets to the store.

    \b
    Example:
      vppctl preset put veth1 veth2
    """
    from vppctl.cli.documents import doubles
    from vppctl.cli.entries import write

    settings = Settings(options)
    items = _items(names, settings.label)
    if errors := doubles(items):
        raise InvalidInputError(errors)
    store = settings.open_store()
    try:
        write(store, items)
    finally:
        store.close()


@preset_command.command("del")
@name_argument
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@click.pass_obj
def delete_preset(options: dict[str, Any], names: tuple[str, ...], *, ignore_not_found: bool) -> None:
    """Delete presets from the store.

    Only under the keys that 'preset put' writes: an interface of another kind that has such a name stays.

    \b
    Example:
      vppctl preset del veth1
    """
    from vppctl.cli.entries import delete

    settings = Settings(options)
    keys = [str(item.key) for item in _items(names, settings.label)]
    store = settings.open_store()
    try:
        delete(store, settings.label, keys, ignore_not_found=ignore_not_found)
    finally:
        store.close()
