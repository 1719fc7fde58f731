"""man: manual pages, made from the commands themselves (man(7) for the format)."""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from vppctl import __version__
from vppctl.cli import legacy
from vppctl.cli.completion import complete_commands, complete_folders
from vppctl.cli.options import GIVEN
from vppctl.errors import InvalidInputError, UsageError

EXIT_STATUS = {
    "0": "Done.",
    "1": "Failed, or differences found by diff and check.",
    "2": "Usage.",
    "3": "Not found.",
    "4": "Invalid input.",
    "5": "Store unreachable or refused.",
    "6": "Timed out.",
    "130": "Interrupted.",
    "141": "Nobody reads the output any more, and nothing else went wrong.",
}


@click.command("man")
@click.argument("words", metavar="[COMMAND...]", nargs=-1, shell_complete=complete_commands)
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=GIVEN,
    shell_complete=complete_folders,
    help="Write the pages of all commands there, as vppctl.1, vppctl-put.1 and so on.",
)
@click.pass_context
def man_command(ctx: click.Context, words: tuple[str, ...], folder: str | None) -> None:
    """Print a manual page, or install all.

    \b
    Example:
      vppctl man --dir /usr/local/share/man/man1 && man vppctl-put
      vppctl man agent run | man -l -
    """
    program = ctx.find_root().command
    root = click.Context(program, info_name="vppctl", **program.context_settings)
    if folder is None:
        click.echo(page(_find(root, words)), nl=False)
        return
    if words:
        raise UsageError("man --dir writes the pages of all commands; leave out COMMAND")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for found in _walk(root):
            _write(Path(folder, f"{_title(found)}.1"), page(found))
        _write(Path(folder, "vpp-agent-ctl.1"), ".so man1/vppctl.1\n")
    except OSError as error:
        raise InvalidInputError([f"{folder}: cannot be written: {error.strerror}; choose another --dir"]) from None


def _write(path: Path, text: str) -> None:
    """In the place of what has this name, and never into it: a link there leads elsewhere, a FIFO waits."""
    umask = os.umask(0)
    os.umask(umask)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".vppctl-", encoding="utf-8", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~umask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def page(ctx: click.Context) -> str:
    """The page of one command, in the order of man-pages(7)."""
    title, command = _title(ctx), ctx.command
    first, *paragraphs = _paragraphs(command.help or "")
    examples = [p for p in [*paragraphs, *_paragraphs(command.epilog or "")] if _is_example(p)]
    text = [p for p in paragraphs if not _is_example(p)]
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = [
        f'.TH {title.upper()} 1 "" "vppctl {__version__}" "vppctl"',
        *(".SH NAME", f"{_escape(title)} \\- {_escape(first.rstrip('.'))}"),
        *(".SH SYNOPSIS", f".B {_escape(usage)}"),
        *(".SH DESCRIPTION", *_line(first)),
    ]
    for paragraph in text:
        lines += [".PP", *_line(paragraph)]
    lines += _definitions("OPTIONS", _options(ctx))
    if isinstance(command, click.Group):
        lines += _definitions(
            "COMMANDS", [(f"{_title(c)}(1)", c.command.get_short_help_str(200)) for c in _children(ctx)]
        )
    if ctx.parent is None:
        lines += _definitions("OLD SPELLINGS", legacy.HELP)
    lines += _definitions("EXIT STATUS", list(EXIT_STATUS.items()))
    if examples:
        lines += [".SH EXAMPLES", ".nf", *(_escape(row) for e in examples for row in _rows(e)), ".fi"]
    if ctx.parent is not None:
        lines += [".SH SEE ALSO", f".BR {_escape(_title(ctx.parent))} (1)"]
    return "\n".join(lines) + "\n"


def _find(ctx: click.Context, words: tuple[str, ...]) -> click.Context:
    """The command that these words name. Raises UsageError."""
    for word in words:
        found = next((child for child in _children(ctx) if child.info_name == word), None)
        if found is None:
            raise UsageError(f"there is no command '{ctx.command_path} {word}'; 'vppctl --help' lists them")
        ctx = found
    return ctx


def _walk(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    for child in _children(ctx):
        yield from _walk(child)


def _children(ctx: click.Context) -> Iterator[click.Context]:
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            assert command is not None, "it was listed"
            yield click.Context(command, parent=ctx, info_name=name)


def _options(ctx: click.Context) -> list[tuple[str, str]]:
    options = [parameter for parameter in ctx.command.get_params(ctx) if isinstance(parameter, click.Option)]
    return [record for option in options if (record := option.get_help_record(ctx))]


def _title(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _definitions(title: str, items: list[tuple[str, str]]) -> list[str]:
    lines = [f".SH {title}"] if items else []
    for term, text in items:
        lines += [".TP", f".B {_escape(term)}", *_line(text)]
    return lines


def _paragraphs(text: str) -> list[str]:
    return [paragraph for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()) if paragraph]


def _is_example(paragraph: str) -> bool:
    """What click is told not to wrap; see its `\\b`."""
    return paragraph.startswith("\b")


def _rows(paragraph: str) -> list[str]:
    return [row.strip() for row in paragraph.splitlines() if row.strip("\b ") not in ("", "Example:")]


def _line(text: str) -> list[str]:
    return [_escape(" ".join(text.split()))] if text.strip() else []


def _escape(text: str) -> str:
    """Text as it is: roff's escape is the backslash, its requests start a line, and a bare hyphen is no minus."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
