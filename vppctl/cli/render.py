"""How things look: tables on a terminal, plain columns otherwise, JSON, YAML. The only owner of rich.

What comes from the store is never markup, and control characters never reach a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from vppctl.cli.escaping import clean as clean
from vppctl.cli.escaping import spaced, word
from vppctl.cli.streams import stop_when_lost

_STYLES: dict[str, dict[str, Any]] = {
    "APPLIED": {"fg": "green"},
    "PENDING": {"fg": "yellow"},
    "FAILED": {"fg": "red"},
    "INVALID": {"fg": "magenta"},
    "UNKNOWN": {"dim": True},
    "HEADER": {"bold": True},
}
TOLD = 20
"""Lines of messages, and of a table without a count below."""
PATIENCE = 1.0
"""Seconds that something may take until a terminal is told how far it is."""
_TEXTS = ("PEER", "ADDRESSES", "KEY", "MESSAGE", "CONFIGURED", "FOUND", "OPERATIONS", "DESCRIPTION")
"""Columns of texts and lists; in all others there is one word."""
Columns = dict[str, Callable[[dict[str, Any]], str]]
"""What stands under each title, made from the object of a row."""
Look = tuple[Columns, Columns]
"""The columns of a table, and what a wide one has beside them."""
_COLUMNS: Columns = {
    "NAME": lambda r: r.get("name", ""),
    "STATE": lambda r: r.get("state", ""),
    "REASON": lambda r: r.get("reason", ""),
    "NAMESPACE": lambda r: r.get("namespace", ""),
    "PEER": lambda r: _way(r.get("chain", ())[1:]) or word(r.get("peer", "")),
    "ADDRESSES": lambda r: ", ".join(map(word, r.get("ip_addresses") or ())),
}
_WIDE: Columns = {
    "HOST NAME": lambda r: r.get("host_if_name", ""),
    "LINK": lambda r: f"{r.get('admin_status', '')}/{r.get('oper_status', '')}".strip("/"),
    "MAC": lambda r: r.get("phys_address", ""),
    "MTU": lambda r: str(r.get("mtu") or ""),
    "RETRIES": lambda r: str(r.get("retries") or ""),
    "SINCE": lambda r: r.get("last_change", ""),
    "MESSAGE": lambda r: r.get("message", ""),
}


def _way(chain: Sequence[str]) -> str:
    """Names one behind the other; the last one is that of a namespace."""
    if not chain:
        return ""
    kind, _, space = chain[-1].partition(" ")
    return " - ".join([*map(word, chain[:-1]), f"{kind} {word(space)}"])


def print_objects(value: Any, output: str) -> None:
    """A value as JSON or YAML on standard output."""
    if output == "yaml":
        import yaml  # type: ignore[import-untyped,unused-ignore]

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=_is_plain(value)), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=not _is_plain(value)))


def _is_plain(value: Any) -> bool:
    """Whether all of it may go to a terminal as it is; otherwise it is escaped."""
    return json.dumps(value, ensure_ascii=False).isprintable()


def print_records(records: Iterable[dict[str, Any]], output: str, color: str, look: Look, value: Any = None) -> None:
    """Objects as `-o` asks for: those of `value` in JSON and YAML if it is given, a name once, or a table."""
    if output in ("json", "yaml"):
        print_objects(list(records) if value is None else value, output)
    elif output == "name":
        for name in dict.fromkeys(record["name"] for record in records):
            click.echo(clean(name))
    else:
        columns = {**look[0], **look[1]} if output == "wide" else look[0]
        print_table(list(columns), [[cell(record) for cell in columns.values()] for record in records], color)


def print_status(reports: Sequence[dict[str, Any]], output: str, color: str, value: Any = None) -> None:
    """The reports of interfaces, on standard output, and on a table's standard error why they are as they are."""
    print_records(reports, output, color, (_COLUMNS, _WIDE), value)
    if output in ("table", "wide"):
        if len(reports) > TOLD and is_terminal(color):
            click.echo(_counted(reports), err=True)
        if output == "table":
            # A terminal of 80 columns has no room for the message in the table.
            for line in _messages(reports):
                click.echo(clean(line), err=True)


def _counted(reports: Sequence[dict[str, Any]]) -> str:
    states = Counter(clean(report.get("state", "")) for report in reports)
    return f"{len(reports)} interfaces: {', '.join(f'{count} {state}' for state, count in states.most_common())}"


def _messages(reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Why interfaces are not applied, as far as it can be read: of many that say the same, the first."""
    told = [(word(r["name"]), r["message"]) for r in reports if r.get("message") and r.get("state") != "APPLIED"]
    if len(told) > TOLD:
        names: dict[str, list[str]] = {}
        for name, message in told:
            names.setdefault(message, []).append(name)
        told = [(n[0] if len(n) == 1 else f"{n[0]} and {len(n) - 1} more", message) for message, n in names.items()]
    for name, message in told[:TOLD]:
        yield f"{name}: {message}"
    if len(told) > TOLD:
        yield f"and {len(told) - TOLD} more; 'vppctl status -o wide' has every message"


def print_change(report: dict[str, Any], output: str, color: str) -> None:
    """One report on a line of its own, or as a document of its own in YAML, at once."""
    if output == "json":
        click.echo(json.dumps(report))
    elif output == "yaml":
        click.echo("---")
        print_objects(report, "yaml")
    elif output == "name":
        click.echo(clean(report["name"]))
    elif is_terminal(color):
        why = f"{report['reason']}: {report.get('message')}" if report.get("reason") else _COLUMNS["ADDRESSES"](report)
        now = f"{datetime.now():%H:%M:%S}"
        print_text(f"{report.get('state')}  {why}", color, first=f"{now}  {word(report['name'])}  ", hang=" " * 10)
    else:
        values = [_cell(title, value(report)) for title, value in _COLUMNS.items()]
        click.echo("  ".join(values).rstrip())
    sys.stdout.flush()
    stop_when_lost()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], color: str) -> None:
    """Rows under a header: a table on a terminal, plain columns otherwise."""
    rows = [[_cell(title, text) for title, text in zip(header, row, strict=True)] for row in rows]
    if is_terminal(color):
        from vppctl.cli.table import table

        lines = table(header, rows, terminal_width(), painter(color)) if rows else ["nothing is configured"]
        click.echo("\n".join(lines), color=True)
        return
    if not rows:
        return
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]
    click.echo("\n".join(lines))


def _cell(title: str, text: str) -> str:
    """Nothing in it can be taken for another column."""
    return spaced(text) if title in _TEXTS else word(text)


def print_text(text: str, color: str, *, first: str = "", hang: str = "") -> None:
    """One line; on a terminal as many as it needs, each after `hang` but the first after `first`."""
    text = clean(text)
    if not is_terminal(color):
        click.echo(first + text)
        return
    from vppctl.cli.table import wrapped

    lines = wrapped(text, max(24, terminal_width() - len(hang)))
    word, gap, rest = lines[0].partition(" ")
    click.echo(
        "\n".join([first + painter(color)(word, word) + gap + rest, *(hang + line for line in lines[1:])]), color=True
    )


def is_terminal(color: str) -> bool:
    """Whether standard output is looked at, or to be as if it were."""
    return sys.stdout.isatty() or color == "always"


def terminal_width() -> int:
    """Columns (COLUMNS, or the terminal's own)."""
    return shutil.get_terminal_size().columns


def painter(color: str) -> Callable[[str, str], str]:
    """Colours a text by what decides about it: the name of a state, or HEADER."""
    if color == "never" or (color == "auto" and (not sys.stdout.isatty() or os.environ.get("TERM") == "dumb")):
        return lambda text, _: text

    def paint(text: str, kind: str) -> str:
        return click.style(text, **_STYLES[kind]) if kind in _STYLES else text

    return paint


class Progress:
    """How far something is, on standard error; told from any place, shown only when it takes long."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._bar: Any = None
        self._done: Callable[[], int] = int
        self._told = 0.0

    def tell(self, done: Callable[[], int]) -> None:
        """So many are done; `done` is called when somebody sees it, perhaps by another thread."""
        self._done = done
        if self._bar is not None and time.monotonic() - self._told > 0.5:
            self._bar.update(self._bar.task_ids[0], completed=done())
            self._told = time.monotonic()

    def show(self) -> None:
        """From now on."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        count = [] if self._total is None else [BarColumn(), MofNCompleteColumn()]
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), *count, TimeElapsedColumn()]
        bar = Bar(*columns, console=Console(stderr=True), transient=True)
        bar.add_task(self._what, total=self._total, completed=self._done())
        bar.start()
        self._bar = bar

    def hide(self) -> None:
        """Nothing of it stays on the terminal."""
        if self._bar is not None:
            self._bar.stop()


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Progress]:
    """Shows how far the block is, once it takes longer than a second and somebody is there to see it."""
    shown = Progress(what, total)
    timer = threading.Timer(PATIENCE, shown.show)
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield shown
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        shown.hide()
