"""check: this host's kernel against the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names
from vppctl.cli.escaping import word
from vppctl.cli.options import allow_dir_option, docker_host_option, output_option, vpp_socket_option
from vppctl.cli.settings import Settings

if TYPE_CHECKING:
    from vppctl.cli.render import Columns


_COLUMNS: Columns = {
    "NAME": lambda r: r["name"],
    "ATTRIBUTE": lambda r: r["attribute"],
    "CONFIGURED": lambda r: r["configured"],
    "FOUND": lambda r: r["found"],
}


@click.command("check")
@click.argument("names", metavar="[NAME...]", nargs=-1, shell_complete=complete_names)
@allow_dir_option
@docker_host_option
@vpp_socket_option
@output_option("table")
@click.pass_obj
def check_command(
    options: dict[str, Any],
    /,
    names: tuple[str, ...],
    *,
    allowed_dirs: tuple[str, ...],
    docker_host: str | None,
    vpp_socket: str | None,
    output: str,
) -> int:
    """Compare this host's kernel with the store.

    Read-only, and needs no agent, but root. Prints every difference, attribute by attribute, and exits with 1 when
    there is one. What waits for its peer or its namespace, and is not there, is as it should be.

    \b
    Example:
      vppctl check
      vppctl check veth1 veth2 -o json
    """
    from vppctl.agent.check import CheckSettings, check
    from vppctl.agent.logs import set_up_logging
    from vppctl.cli.entries import not_found
    from vppctl.cli.observe import refuse_keys
    from vppctl.cli.render import print_records, progress
    from vppctl.model.keys import Kind, config_prefix
    from vppctl.store.base import DOCUMENTS

    set_up_logging("text", "warning")
    refuse_keys(names)
    settings = Settings(options)
    store = settings.open_store()
    try:
        prefixes = [config_prefix(settings.label, kind) for kind in Kind]
        entries = [entry for prefix in prefixes for entry in store.list(prefix, bounds=DOCUMENTS).entries]
    finally:
        store.close()
    configured: dict[str, list[str]] = {}
    for entry in entries:
        configured.setdefault(entry.key.rpartition("/")[2], []).append(entry.key)
    if missing := [name for name in names if name not in configured]:
        raise not_found(settings.label, missing)
    with progress(f"comparing {len(configured)} interfaces"):
        drift = check(CheckSettings(settings.label, allowed_dirs, docker_host, vpp_socket), entries)
    chosen = [difference._asdict() for difference in drift if not names or difference.name in names]
    if chosen or output in ("json", "yaml"):
        beside: Columns = {"KEY": lambda r: ", ".join(map(word, configured.get(r["name"], ())))}
        print_records(chosen, output, settings.color, (_COLUMNS, beside))
    else:
        click.echo(f"{len(names or configured)} interfaces, no difference", err=True)
    return 1 if chosen else 0
