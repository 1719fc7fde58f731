"""describe and history: everything about one interface on one page, and what was done about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names, complete_names_and_keys
from vppctl.cli.escaping import word
from vppctl.cli.options import output_option
from vppctl.cli.settings import Settings

if TYPE_CHECKING:
    from vppctl.cli.render import Look


@click.command("describe")
@click.argument("name", metavar="NAME|KEY", shell_complete=complete_names_and_keys)
@output_option("text", "text")
@click.pass_obj
def describe_command(options: dict[str, Any], name: str, *, output: str) -> None:
    """Show one interface: configuration, state, namespace, addresses, counters, history.

    \b
    Example:
      vppctl describe veth1
    """
    from vppctl.cli.entries import find_one, stored
    from vppctl.cli.graph import Ties, chain
    from vppctl.cli.observe import by_key, report_of_each
    from vppctl.cli.render import print_status
    from vppctl.model.text import without_secrets

    settings = Settings(options)
    store = settings.open_store()
    try:
        entry, key = find_one(store, settings.label, name)
        reports = report_of_each(store, key.label)
    finally:
        store.close()
    known = by_key(reports)
    report = known[key.name, str(key.kind)]
    peer = known.get((report.get("peer", ""), "linux")) if key.kind == "linux" else None
    configuration = without_secrets(stored(entry))
    found = {"key": str(key), "configuration": configuration, "chain": chain(report, Ties(reports)), "status": report}
    found["peer_state"] = peer.get("state", "") if peer else ""
    if output == "text":
        _print(found, settings.color)
    else:
        print_status([report], output, settings.color, found)


def _print(found: dict[str, Any], color: str) -> None:
    from vppctl.cli.render import print_objects, print_text

    for title, text in _lines(found):
        if text:
            print_text(text, color, first=f"{title + ':':<15}", hang=" " * 15)
    if errors := found["status"].get("errors"):
        click.echo("Last errors:")
        for error in errors:
            times = f"  ({error.get('times')} times)" if error.get("times", 1) > 1 else ""
            text = f"{error.get('time')}  revision {error.get('revision')}  {error.get('error')}{times}"
            print_text(text, color, first="  ", hang="    ")
    if history := found["status"].get("history"):
        click.echo("History:")
        for line in history_lines(history):
            print_text(line, color, first="  ", hang="    ")
    click.echo("Configuration:")
    print_objects(found["configuration"], "json")


_TRANSACTIONS: Look = (
    {
        "NAME": lambda r: r["name"],
        "TIME": lambda r: r.get("time", ""),
        "REVISION": lambda r: str(r.get("revision", "")),
        "RESULT": lambda r: r.get("result", ""),
        "OPERATIONS": lambda r: "; ".join(r.get("operations") or ()),
    },
    {"KIND": lambda r: r["kind"], "MS": lambda r: str(r.get("duration_ms", ""))},
)


@click.command("history")
@click.argument("names", metavar="[NAME...]", nargs=-1, shell_complete=complete_names)
@output_option("text", "text")
@click.pass_obj
def history_command(options: dict[str, Any], names: tuple[str, ...], *, output: str) -> None:
    """Show what the agent did last about each interface.

    Time, revision of the configuration, duration, result, operations; the last ten since the agent's start.

    \b
    Example:
      vppctl history veth1
    """
    from vppctl.cli.observe import named, read_reports
    from vppctl.cli.render import print_records, print_text

    settings = Settings(options)
    reports = named(read_reports(settings), names)
    if output != "text":
        records = [{k: r.get(k, []) for k in ("name", "kind", "history")} for r in reports]
        rows = [{**entry, **record} for record in records for entry in record["history"]]
        print_records(rows, output, settings.color, _TRANSACTIONS, records)
        return
    for report in reports:
        for line in history_lines(report.get("history") or ()):
            print_text(f"{word(report['name'])}  {line}", settings.color, hang="    ")


def history_lines(history: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One line for each transaction."""
    for entry in history:
        operations = "; ".join(entry.get("operations") or ())
        head = f"{entry.get('time')}  revision {entry.get('revision')}  {entry.get('duration_ms')} ms"
        yield (f"{head}  {entry.get('result')}{f'  ({operations})' if operations else ''}")


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Titles and texts, in the order of the questions: what, how it is, where, what it has."""
    report, links = found["status"], found["chain"]
    counters = report.get("statistics") or {}
    container = report.get("container") or {}
    tentative = report.get("tentative") or ()
    since = f" since {report['last_change']}" if report.get("last_change") else ""
    own_name = report.get("internal_name") or report.get("host_if_name", "")
    link = f"{own_name}, index {report.get('if_index', 0)}" if own_name and report.get("admin_status") else ""
    addresses = [f"{a} (tentative)" if a in tentative else a for a in report.get("ip_addresses") or ()]
    return [
        ("Name", report["name"]),
        ("Key", found["key"]),
        ("State", f"{report.get('state', '')}{since}"),
        ("Reason", report.get("reason", "")),
        ("Message", report.get("message", "")),
        ("Retries", str(report.get("retries") or "")),
        ("Peer", f"{report.get('peer', '')} {found['peer_state']}".strip()),
        ("Chain", " - ".join(links) if len(links) > 1 else ""),
        ("Namespace", report.get("namespace", "")),
        ("Resolved to", _resolved(report.get("netns") or {})),
        (
            "Container",
            f"{container.get('name')}, id {container.get('id')}, PID {container.get('pid')}" if container else "",
        ),
        ("Link", link),
        ("Admin / oper", f"{report.get('admin_status')} / {report.get('oper_status')}" if link else ""),
        ("MAC", report.get("phys_address", "")),
        ("MTU", str(report.get("mtu") or "")),
        ("Addresses", ", ".join(addresses)),
        ("Received", _traffic(counters, "in") if link else ""),
        ("Sent", _traffic(counters, "out") if link else ""),
    ]


def _resolved(netns: dict[str, str]) -> str:
    """The namespace as the kernel names it, and the way there."""
    if not netns:
        return ""
    started = f", process started {netns['process_start']}" if netns.get("process_start") else ""
    return f"{netns.get('id')}, {netns.get('path') or 'the own one of the agent'}{started}"


def _traffic(counters: dict[str, Any], way: str) -> str:
    return ", ".join(f"{counters.get(f'{way}_{what}', 0)} {what}" for what in ("packets", "bytes", "errors", "dropped"))
