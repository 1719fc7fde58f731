"""completion: the shell's script, and what it asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from vppctl.errors import VppctlError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_MOST = 20_000
"""Keys that are listed for a key press; beyond that none are offered."""


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of configured interfaces that are not typed yet."""
    from vppctl.model.keys import Kind, config_prefix

    keys = _listed(ctx, lambda label: [f"{config_prefix(label, kind)}{incomplete}" for kind in Kind])
    names = {key.rpartition("/")[2] for key in keys}
    typed = ctx.params.get(param.name or "") or ()
    return _offered(names.difference(typed))


def complete_names_and_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The same; of what starts with a slash, their keys."""
    from vppctl.model.keys import parse_config_key

    if incomplete.startswith("/"):
        return _offered(key for key in _listed(ctx, lambda _: [incomplete]) if parse_config_key(key))
    return complete_names(ctx, param, incomplete)


def complete_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys of all kinds, and their folders while many begin alike."""
    from vppctl.model.keys import ROOT

    listed = _listed(ctx, lambda _: [incomplete if incomplete.startswith(ROOT) else ROOT])
    ends = {(key, key.find("/", len(incomplete)) + 1) for key in listed}
    return _offered(key[:end] if end else key for key, end in ends if key.startswith(incomplete))


def complete_labels(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Labels of agents that something is configured for."""
    from vppctl.model.keys import ROOT

    return _offered(key[len(ROOT) :].partition("/")[0] for key in _listed(ctx, lambda _: [ROOT + incomplete]))


def _offered(words: Iterable[str]) -> list[str]:
    """Those of them, each once, that every shell takes for a word as it stands.

    click's script for bash expands and splits what it is handed, and what is chosen is typed onto the operator's
    command line: whoever may write to the store would write there, too. What begins like an option is one.
    """
    return sorted({word for word in words if re.fullmatch("[A-Za-z0-9_.@+=,:/][A-Za-z0-9_.@+=,:/-]*", word)})


def _listed(ctx: click.Context, prefixes: Callable[[str], list[str]]) -> list[str]:
    """The keys below these prefixes of a label; none when the store is away: a key press is no place for errors."""
    import logging

    from vppctl.cli.settings import Settings
    from vppctl.store.base import Bounds
    from vppctl.store.settings import open_store

    options: dict[str, Any] = dict(ctx.find_root().params)
    options["command_timeout"] = options.get("command_timeout") or "300ms"
    try:
        settings = Settings(options)
        where = settings.store()
        # A key press makes no store, nor its folder.
        if where.path and not os.path.exists(where.path):
            return []
        # Without the warnings: nothing but names goes to a prompt.
        logging.getLogger("vppctl").setLevel(logging.CRITICAL)
        store = open_store(where)
        try:
            bounds = Bounds(keys=_MOST)
            listed = (store.list(prefix, keys_only=True, bounds=bounds) for prefix in prefixes(settings.label))
            return [entry.key for found in listed for entry in found.entries]
        finally:
            store.close()
    except (VppctlError, UnicodeEncodeError):
        # The second of what was typed and is no UTF-8.
        return []


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell knows files itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell knows folders itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def complete_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of presets that are not typed yet."""
    from vppctl.model.presets import PRESETS

    typed = ctx.params.get(param.name or "") or ()
    return [name for name in PRESETS if name.startswith(incomplete) and name not in typed]


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
