"""How things look: tables on a terminal, plain columns otherwise, JSON, YAML. The only owner of rich.

What comes from the store is never markup, and control characters never reach a terminal.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

_COLORS = {"APPLIED": "green", "PENDING": "yellow", "FAILED": "red", "INVALID": "magenta", "UNKNOWN": "dim"}
PATIENCE = 1.0
"""Seconds that something may take until a terminal is told how far it is."""
_Column = Callable[[dict[str, Any]], str]
_COLUMNS: dict[str, _Column] = {
    "NAME": lambda r: r.get("name", ""),
    "STATE": lambda r: r.get("state", ""),
    "REASON": lambda r: r.get("reason", ""),
    "NAMESPACE": lambda r: r.get("namespace", ""),
    "PEER": lambda r: " - ".join(r.get("chain", ())[1:]) or r.get("peer", ""),
    "ADDRESSES": lambda r: ", ".join(r.get("ip_addresses") or ()),
}
_WIDE: dict[str, _Column] = {
    "HOST NAME": lambda r: r.get("host_if_name", ""),
    "LINK": lambda r: f"{r.get('admin_status', '')}/{r.get('oper_status', '')}".strip("/"),
    "MAC": lambda r: r.get("phys_address", ""),
    "MTU": lambda r: str(r.get("mtu") or ""),
    "RETRIES": lambda r: str(r.get("retries") or ""),
    "SINCE": lambda r: r.get("last_change", ""),
    "MESSAGE": lambda r: r.get("message", ""),
}


def clean(value: object) -> str:
    """A value on one line, without what could steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def print_objects(value: Any, output: str) -> None:
    """A value as JSON or YAML on standard output."""
    if output == "yaml":
        import yaml  # type: ignore[import-untyped,unused-ignore]

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=not _is_plain(value)))


def _is_plain(value: Any) -> bool:
    """Whether all of it may go to a terminal as it is; otherwise it is escaped."""
    return json.dumps(value, ensure_ascii=False).isprintable()


def print_status(reports: Sequence[dict[str, Any]], output: str, color: str) -> None:
    """The reports of interfaces, on standard output."""
    if output in ("json", "yaml"):
        print_objects(list(reports), output)
    elif output == "name":
        for report in reports:
            click.echo(clean(report["name"]))
    else:
        columns = {**_COLUMNS, **(_WIDE if output == "wide" else {})}
        rows = [[value(report) for value in columns.values()] for report in reports]
        messages = output == "table"
        print_table(list(columns), rows, color)
        for report in reports:
            # A terminal of 80 columns has no room for the message in the table.
            if messages and report.get("message") and report.get("state") != "APPLIED":
                click.echo(clean(f"{report['name']}: {report['message']}"), err=True)


def print_change(report: dict[str, Any], output: str) -> None:
    """One report on a line of its own, at once."""
    if output in ("json", "yaml"):
        click.echo(json.dumps(report))
    else:
        values = [clean(value(report)) for value in _COLUMNS.values()]
        click.echo("  ".join(values).rstrip())
    sys.stdout.flush()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], color: str) -> None:
    """Rows under a header: a table on a terminal, plain columns otherwise; control characters stripped."""
    rows = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() or color == "always":
        _print_rich(header, rows, color)
        return
    if not rows:
        return
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(header: Sequence[str], rows: Sequence[Sequence[str]], color: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        markup=False,
        emoji=False,
        highlight=False,
        no_color=color == "never",
        force_terminal=True if color == "always" else None,
    )
    if not rows:
        console.print(Text("nothing is configured"))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(Text(name), overflow="fold", no_wrap=name not in ("ADDRESSES", "MESSAGE"))
    for row in rows:
        style = _COLORS.get(row[1], "")
        cells = [Text(cell.replace(", ", "\n") if header[i] == "ADDRESSES" else cell) for i, cell in enumerate(row)]
        cells[1].stylize(style)
        table.add_row(*cells)
    console.print(table)


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
