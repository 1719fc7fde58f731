"""completion: the shell's script, and what it asks for."""

from __future__ import annotations

from typing import Any

import click

from vppctl.errors import VppctlError


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of configured interfaces; none when the store is away, for a key press is no place for errors."""
    from vppctl.cli.settings import Settings
    from vppctl.model.keys import Kind, config_prefix

    options: dict[str, Any] = dict(ctx.find_root().params)
    options["command_timeout"] = options.get("command_timeout") or "300ms"
    try:
        settings = Settings(options)
        store = settings.open_store()
        prefixes = [config_prefix(settings.label, kind) for kind in Kind]
        names = [e.key[len(p) :] for p in prefixes for e in store.list(p + incomplete, keys_only=True).entries]
        store.close()
    except VppctlError:
        return []
    return sorted(names)


def complete_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of presets."""
    from vppctl.model.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def complete_commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of commands, and of those below the ones that are typed already."""
    command: click.Command | None = ctx.find_root().command
    for word in ctx.params.get(param.name or "") or ():
        command = command.get_command(ctx, word) if isinstance(command, click.Group) else None
    names = command.list_commands(ctx) if isinstance(command, click.Group) else []
    return [name for name in names if name.startswith(incomplete)]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    \b
    Example:
      vppctl completion bash > /etc/bash_completion.d/vppctl
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root().command
    for program in ("vppctl", "vpp-agent-ctl"):
        variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
        click.echo(found(root, {}, program, variable).source())
