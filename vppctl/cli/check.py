"""check: this host's kernel against the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names
from vppctl.cli.escaping import word
from vppctl.cli.options import (
    allow_dir_option,
    create_namespaces_option,
    docker_host_option,
    output_option,
    resync_option,
    takeover_option,
    vpp_socket_option,
)
from vppctl.cli.settings import Settings
from vppctl.errors import UsageError

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
@click.option(
    "--start",
    is_flag=True,
    help="Print what the agent would delete, take over, create and adopt if it were started now.",
)
@resync_option
@takeover_option
@create_namespaces_option
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
    start: bool,
    resync: str,
    takeover: bool,
    create_namespaces: bool,
    allowed_dirs: tuple[str, ...],
    docker_host: str | None,
    vpp_socket: str | None,
    output: str,
) -> int:
    """Compare this host's kernel with the store.

    Read-only, and needs no agent, but root. Prints every difference, attribute by attribute, and exits with 1 when
    there is one. What waits for its peer or its namespace, and is not there, is as it should be.

    With --start it prints what the agent would do if it were started now, which may be running, with the options of
    'agent run' that decide that. It exits with 1 when anything differs: what would be created again although it is as
    configured does not.

    \b
    Example:
      vppctl check
      vppctl check veth1 veth2 -o json
      vppctl check --start --resync adopt
    """
    from vppctl.agent.check import CheckSettings, check
    from vppctl.agent.logs import set_up_logging
    from vppctl.cli.entries import not_found
    from vppctl.cli.forecast import show, stored
    from vppctl.cli.observe import refuse_keys
    from vppctl.cli.render import print_records, progress

    set_up_logging("text", "warning")
    refuse_keys(names)
    settings = Settings(options)
    if not start:
        _refuse_options_of_the_start()
    entries = stored(settings)
    configured: dict[str, list[str]] = {}
    for entry in entries:
        configured.setdefault(entry.key.rpartition("/")[2], []).append(entry.key)
    if missing := [name for name in names if name not in configured]:
        raise not_found(settings.label, missing)
    where = CheckSettings(settings.label, allowed_dirs, docker_host, vpp_socket, create_namespaces)
    if start:
        return int(show(where, entries, names, output, settings.color, resync=resync, takeover=takeover))
    with progress(f"comparing {len(configured)} interfaces"):
        drift = check(where, entries)
    chosen = [difference._asdict() for difference in drift if not names or difference.name in names]
    if chosen or output in ("json", "yaml"):
        beside: Columns = {"KEY": lambda r: ", ".join(map(word, configured.get(r["name"], ())))}
        print_records(chosen, output, settings.color, (_COLUMNS, beside))
    else:
        click.echo(f"{len(names or configured)} interfaces, no difference", err=True)
    return 1 if chosen else 0


def _refuse_options_of_the_start() -> None:
    """An option that nothing would come of is a misunderstanding. Raises UsageError."""
    ctx = click.get_current_context()
    for name in ("resync", "takeover", "create_namespaces"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is about the agent's start; add --start, or leave it out")
