"""validate and schema: what needs no store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_files
from vppctl.cli.options import allow_dir_option
from vppctl.errors import InvalidInputError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item


@click.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=complete_files)
@allow_dir_option
@click.pass_obj
def validate_command(options: dict[str, Any], files: tuple[str, ...], *, allowed_dirs: tuple[str, ...]) -> None:
    """Check files without a store.

    Prints every error of every file, and of all files together, and exits with 4 when there is one.

    \b
    Example:
      vppctl validate json/veth1.json json/veth2.json
    """
    from vppctl.cli.documents import doubles, load, shared_macs
    from vppctl.cli.settings import Settings

    label = Settings(options).label
    errors: list[str] = []
    items: list[Item] = []
    for file in files:
        try:
            found = load([file], label, allowed_dirs=allowed_dirs)
        except InvalidInputError as error:
            errors += error.lines
        else:
            items += found
            click.echo(f"{file}: ok" if len(found) == 1 else f"{file}: ok, {len(found)} interfaces")
    errors += doubles(items) + shared_macs(items)
    if errors:
        raise InvalidInputError(errors)


@click.command("schema")
@click.option(
    "--kind", type=click.Choice(["linux", "vpp"]), default="linux", help="Of which interfaces.  [default: linux]"
)
def schema_command(*, kind: str) -> None:
    """Print the JSON Schema of interfaces.

    JSON Schema 2020-12 of a file: one interface, or {"interface": [...]}.

    \b
    Example:
      vppctl schema > interface.schema.json
    """
    import json

    from vppctl.model.keys import Kind
    from vppctl.model.schema import file_schema

    click.echo(json.dumps(file_schema(Kind(kind)), indent=2))
