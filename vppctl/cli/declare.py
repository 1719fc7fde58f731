"""apply and diff: the store is to hold exactly this, and what that changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vppctl.cli.completion import complete_files
from vppctl.cli.options import GIVEN, allow_dir_option, timeout_option, wait_option
from vppctl.cli.settings import Settings, duration
from vppctl.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item
    from vppctl.reconcile.changes import Change, Document, Name
    from vppctl.store.base import Entry, Guard, Operation, Store

sources_option = click.option(
    "-f",
    "--filename",
    "sources",
    metavar="FILE|DIR",
    type=GIVEN,
    multiple=True,
    required=True,
    shell_complete=complete_files,
    help="Files; of folders, *.json but not what begins with a dot.",
)
prune_option = click.option("--prune", is_flag=True, help="What is configured and in none of the files goes.")
output_option = click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", help="How to print.  [default: text]"
)


class _Plan(NamedTuple):
    """What is to be written, and what must not have changed meanwhile."""

    changes: list[Change]
    operations: list[Operation]
    guards: list[Guard]
    unchanged: int


@click.command("apply")
@sources_option
@prune_option
@allow_dir_option
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@output_option
@wait_option
@timeout_option
@click.pass_obj
def apply_command(
    options: dict[str, Any],
    /,
    sources: tuple[str, ...],
    *,
    prune: bool,
    allowed_dirs: tuple[str, ...],
    dry_run: bool,
    output: str,
    wait: bool,
    timeout: str,
) -> None:
    """Make the store hold exactly this.

    Writes what differs and nothing else, in one transaction that goes through only while nobody else has changed
    the same interfaces. Prints the changes, and what they mean for the links.

    \b
    Example:
      vppctl apply -f json/ --prune --dry-run
      vppctl apply -f json/veth1.json -f json/veth2.json --wait
    """
    from vppctl.cli.documents import load
    from vppctl.cli.entries import commit, in_words

    settings = Settings(options)
    seconds = duration(timeout, "--timeout")
    items = load(files_of(sources), settings.label, allowed_dirs=allowed_dirs)
    store = settings.open_store()
    try:
        plan = plan_apply(store, settings.label, items, prune=prune, allowed_dirs=allowed_dirs)
        _print(plan, output)
        if dry_run:
            return
        if plan.operations:
            try:
                revisions = commit(store, plan.operations, plan.guards)
            except ConflictError as error:
                raise ConflictError(f"apply: {error}; 'vppctl diff' shows what is different now") from None
            click.echo(f"applied ({in_words(revisions)})", err=True)
        if wait:
            _wait(store, plan, items, seconds)
    finally:
        store.close()


@click.command("diff")
@sources_option
@prune_option
@allow_dir_option
@output_option
@click.pass_obj
def diff_command(
    options: dict[str, Any], sources: tuple[str, ...], *, prune: bool, allowed_dirs: tuple[str, ...], output: str
) -> int:
    """Print what apply would change.

    Exits with 1 when there is anything, with 0 when the store holds it all already.

    \b
    Example:
      vppctl diff -f json/
    """
    from vppctl.cli.documents import load

    settings = Settings(options)
    items = load(files_of(sources), settings.label, allowed_dirs=allowed_dirs)
    store = settings.open_store()
    try:
        plan = plan_apply(store, settings.label, items, prune=prune, allowed_dirs=allowed_dirs)
    finally:
        store.close()
    _print(plan, output)
    return 1 if plan.changes else 0


def files_of(sources: Sequence[str]) -> list[str]:
    """The files that are meant, of folders those with .json, in order. Raises InvalidInputError."""
    from pathlib import Path

    files: list[str] = []
    for source in sources:
        if not Path(source).is_dir():
            files.append(source)
            continue
        # An editor's own files begin with a dot, as in a shell's own *.json.
        found = sorted(str(p) for p in Path(source).glob("*.json") if p.is_file() and not p.name.startswith("."))
        if not found:
            raise InvalidInputError([f"{source}: holds no file that ends with .json; name the files themselves"])
        files += found
    return files


def plan_apply(
    store: Store, label: str, items: Sequence[Item], *, prune: bool, allowed_dirs: Sequence[str] = ()
) -> _Plan:
    """Hold the files against the store as it is now."""
    from vppctl.model.document import decode_bytes
    from vppctl.model.keys import Kind, config_key, config_prefix
    from vppctl.reconcile.changes import Action, changes
    from vppctl.store.base import DOCUMENTS, Delete, Guard, Put

    entries: dict[Name, Entry] = {}
    for kind in Kind:
        prefix = config_prefix(label, kind)
        entries.update({(kind, e.key.removeprefix(prefix)): e for e in store.list(prefix, bounds=DOCUMENTS).entries})
    before: dict[Name, Document] = {
        key: decode_bytes(
            entry.value or b"", kind=key[0], name=key[1], tolerant=True, allowed_dirs=allowed_dirs
        ).interface
        for key, entry in entries.items()
    }
    wanted = {(item.key.kind, item.key.name): item for item in items}
    after: dict[Name, Document] = {} if prune else dict(before)
    for key, item in wanted.items():
        after[key] = item.interface
    # A document with errors that nobody mends stays as it is.
    found = [c for c in changes(before, after) if c.action is Action.DELETE or (c.kind, c.name) in wanted]
    operations: list[Operation] = []
    guards = []
    for change in found:
        name = change.kind, change.name
        path = config_key(label, change.name, change.kind)
        operations.append(Delete(path) if change.action is Action.DELETE else Put(path, wanted[name].value))
        guards.append(Guard(path, entries[name].mod_revision if name in entries else 0))
    return _Plan(found, operations, guards, len(wanted.keys() - {(c.kind, c.name) for c in found}))


def _wait(store: Store, plan: _Plan, items: Sequence[Item], seconds: float) -> None:
    import time

    from vppctl.cli.waiting import wait_absent, wait_applied
    from vppctl.model.keys import ConfigKey
    from vppctl.reconcile.changes import Action

    deadline = time.monotonic() + seconds
    wait_applied(store, [(item.key,) for item in items], seconds)
    label = items[0].key.label
    if gone := [(ConfigKey(label, c.kind, c.name),) for c in plan.changes if c.action is Action.DELETE]:
        wait_absent(store, gone, max(0.01, deadline - time.monotonic()))


def _print(plan: _Plan, output: str) -> None:
    from vppctl.cli.render import clean, print_objects

    if output == "json":
        print_objects([_as_json(change) for change in plan.changes], "json")
        return
    for line in _lines(plan):
        click.echo(clean(line))


def _as_json(change: Change) -> dict[str, Any]:
    fields = [dict(zip(field._fields, _masked(*field), strict=True)) for field in change.fields]
    return {**change._asdict(), "fields": fields, "touches": list(change.touches)}


_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_EFFECTS = {"none": "nothing to do", "in-place": "in place", "re-create": "re-created", "create": "", "delete": ""}


def _lines(plan: _Plan) -> list[str]:
    from vppctl.cli.escaping import word

    lines = []
    for change in plan.changes:
        name = word(f"vpp:{change.name}" if change.kind == "vpp" else change.name)
        touches = f"touches {', '.join(map(word, change.touches))}" if change.touches else ""
        rest = ", ".join(part for part in (_EFFECTS[change.effect], touches) if part)
        lines.append(f"{_SIGNS[change.action]} {name}{': ' if rest else ''}{rest}")
        if change.action == "update":
            lines += [f"    {line}" for field in change.fields for line in _field(*_masked(*field))]
    counts = [(a, sum(1 for c in plan.changes if c.action == a)) for a in ("create", "update", "delete")]
    lines.append(", ".join(f"{count} to {action}" for action, count in counts) + f", {plan.unchanged} unchanged")
    return lines


def _masked(name: str, before: Any, after: Any) -> tuple[str, Any, Any]:
    """A secret is told to have changed, and no more."""
    if name.rpartition(".")[2] != "secret":
        return name, before, after
    return name, before and "(old)", after and "(new)"


def _field(name: str, before: Any, after: Any) -> list[str]:
    import json

    if isinstance(before, list) or isinstance(after, list):
        old, new = before or [], after or []
        if set(old) != set(new):
            gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
            return [f"{name}: - {x}" for x in gone] + [f"{name}: + {x}" for x in come]
    shown = ["(unset)" if value is None else json.dumps(value, ensure_ascii=False) for value in (before, after)]
    return [f"{name}: {shown[0]} -> {shown[1]}"]
