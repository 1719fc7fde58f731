"""put, get, del, list, dump: the configuration in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_files, complete_keys, complete_names_and_keys
from vppctl.cli.escaping import word
from vppctl.cli.options import allow_dir_option, output_option, timeout_option, wait_option
from vppctl.cli.settings import Settings, duration
from vppctl.cli.streams import stop_when_lost
from vppctl.errors import UsageError

if TYPE_CHECKING:
    from vppctl.cli.documents import Item
    from vppctl.cli.render import Look
    from vppctl.model.keys import ConfigKey
    from vppctl.store.base import Store


@click.command("put")
@click.argument("arguments", metavar="[KEY] FILE...", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "--raw",
    is_flag=True,
    help="Store one FILE under KEY as it is, also where no schema knows the key; --wait is for interfaces.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@allow_dir_option
@wait_option
@timeout_option
@click.pass_obj
def put_command(
    options: dict[str, Any],
    arguments: tuple[str, ...],
    *,
    raw: bool,
    dry_run: bool,
    allowed_dirs: tuple[str, ...],
    wait: bool,
    timeout: str,
) -> None:
    """Validate interfaces and write them to the store.

    FILE is JSON: one interface, or {"interface": [...]}, or - for standard input. KEY follows from the name and the
    label when it is left out. All files are written in one transaction, or none.

    \b
    Example:
      vppctl put json/veth1.json json/veth2.json --wait
      vppctl put /vnf-agent/vpp1/linux/config/v1/interface/veth1 json/veth1.json
    """
    settings = Settings(options)
    patience = duration(timeout, "--timeout")
    seconds = patience if wait else None
    if raw:
        _put_raw(settings, arguments, seconds, dry_run=dry_run)
        return
    items = _items(arguments, settings.label, allowed_dirs)
    if dry_run:
        for item in items:
            _print_entry(str(item.key), item.value)
        return
    from vppctl.cli.entries import write

    store = settings.open_store()
    try:
        write(store, items)
        _wait(store, [item.key for item in items], seconds)
    finally:
        store.close()


def _wait(store: Store, keys: Sequence[ConfigKey], seconds: float | None) -> None:
    if seconds is not None:
        from vppctl.cli.waiting import wait_applied

        wait_applied(store, [(key,) for key in keys], seconds)


def _items(arguments: Sequence[str], label: str, allowed_dirs: Sequence[str]) -> list[Item]:
    """The interfaces that the arguments of put name. Raises UsageError and InvalidInputError."""
    from vppctl.cli.documents import load
    from vppctl.cli.entries import NO_INTERFACE, interface_key
    from vppctl.model.keys import ROOT

    if not arguments[0].startswith(ROOT):
        return load(arguments, label, allowed_dirs=allowed_dirs)
    key = interface_key(arguments[0], NO_INTERFACE)
    if len(arguments) != 2:
        raise UsageError(f"put KEY takes one FILE, not {len(arguments) - 1}")
    return load(arguments[1:], label, key, allowed_dirs)


def _put_raw(settings: Settings, arguments: Sequence[str], seconds: float | None, *, dry_run: bool) -> None:
    from vppctl.cli.documents import read
    from vppctl.cli.entries import interface_key
    from vppctl.cli.escaping import clean
    from vppctl.store.base import Put

    if len(arguments) != 2 or not arguments[0].startswith("/"):
        raise UsageError("put --raw takes KEY and FILE; KEY starts with a slash")
    awaited = [] if seconds is None else [interface_key(arguments[0], "leave out --wait")]
    key, value = arguments[0], read(arguments[1])
    if dry_run:
        _print_entry(key, value)
        return
    store = settings.open_store()
    try:
        revision = store.commit([Put(key, value)]).revision
        click.echo(clean(f"put {key} (revision {revision})"), err=True)
        _wait(store, awaited, seconds)
    finally:
        store.close()


def _print_entry(key: str, value: bytes) -> None:
    """Key, value, and an empty line: three lines, whatever the value is."""
    from vppctl.cli.escaping import clean, one_line

    click.echo(f"{clean(key)}\n{one_line(value)}\n")


@click.command("get")
@click.argument("names", metavar="NAME|KEY...", nargs=-1, required=True, shell_complete=complete_names_and_keys)
@output_option("json")
@click.pass_obj
def get_command(options: dict[str, Any], names: tuple[str, ...], *, output: str) -> None:
    """Print the stored JSON of interfaces.

    One gives its object, several give a list. A NAME means the interfaces in Linux and in VPP that have it, a KEY one.

    \b
    Example:
      vppctl get veth1
      vppctl get /vnf-agent/vpp1/linux/config/v1/interface/veth1
    """
    from vppctl.cli.entries import find, not_found, stored
    from vppctl.cli.looks import DOCUMENTS, read_record
    from vppctl.cli.render import print_records

    settings = Settings(options)
    store = settings.open_store()
    try:
        entries, missing = find(store, settings.label, names)
    finally:
        store.close()
    if missing:
        raise not_found(settings.label, missing)
    values = [stored(entry) for entry in entries]
    shown = values if len(names) > 1 or len(values) > 1 else values[0]
    print_records(map(read_record, entries), output, settings.color, DOCUMENTS, shown)


@click.command("del")
@click.argument("names", metavar="NAME|KEY...", nargs=-1, required=True, shell_complete=complete_names_and_keys)
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@wait_option
@timeout_option
@click.pass_obj
def del_command(
    options: dict[str, Any], names: tuple[str, ...], *, ignore_not_found: bool, wait: bool, timeout: str
) -> None:
    """Delete interfaces.

    Deletes exactly these, in one transaction; when one is missing, none. A NAME means the interfaces in Linux and in
    VPP that have it, a KEY one.

    \b
    Example:
      vppctl del veth1 veth2
    """
    from vppctl.cli.entries import delete, to_keys

    settings = Settings(options)
    seconds = duration(timeout, "--timeout")
    # Before anything is deleted: a key that no agent looks at cannot be waited for.
    wanted = to_keys(settings.label, names) if wait else []
    store = settings.open_store()
    try:
        delete(store, settings.label, names, ignore_not_found=ignore_not_found)
        if wait:
            from vppctl.cli.waiting import wait_absent

            wait_absent(store, wanted, seconds)
    finally:
        store.close()


_KEYS: Look = (
    {"KEY": lambda r: word(r["name"])},
    {"LABEL": lambda r: r["label"], "REVISION": lambda r: str(r["revision"])},
)


@click.command("list")
@output_option("text", "text")
@click.pass_obj
def list_command(options: dict[str, Any], *, output: str) -> None:
    """List every key of every agent.

    As 'key:  KEY', one a line, unless told otherwise.

    \b
    Example:
      vppctl list
    """
    from vppctl.cli.escaping import clean
    from vppctl.cli.render import print_records
    from vppctl.model.keys import ROOT

    settings = Settings(options)
    store = settings.open_store()
    try:
        if output == "text":
            for page in store.pages(ROOT, keys_only=True):
                click.echo("".join(clean(f"key:  {entry.key}") + "\n" for entry in page.entries), nl=False)
                stop_when_lost()
            return
        entries = store.list(ROOT, keys_only=True).entries
    finally:
        store.close()
    records = [{"name": e.key, "label": e.key.split("/")[2], "revision": e.mod_revision} for e in entries]
    print_records(records, output, settings.color, _KEYS, [entry.key for entry in entries])


@click.command("dump")
@click.argument("prefix", required=False, shell_complete=complete_keys)
@click.pass_obj
def dump_command(options: dict[str, Any], prefix: str | None) -> None:
    """Print keys and their values.

    Each key that starts with PREFIX, then its value on one line, then an empty line; without PREFIX, those of all
    agents. What a terminal would not print is escaped, also into a file; 'etcdctl get' shows the bytes.

    \b
    Example:
      vppctl dump /vnf-agent/vpp1/linux/config/
    """
    from vppctl.model.keys import ROOT

    store = Settings(options).open_store()
    try:
        for page in store.pages(prefix or ROOT):
            for entry in page.entries:
                _print_entry(entry.key, entry.value or b"")
            stop_when_lost()
    finally:
        store.close()
