"""status and wait: what the agent says."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.completion import complete_names, complete_names_and_keys
from vppctl.cli.options import output_option
from vppctl.cli.settings import Settings, duration
from vppctl.cli.streams import stop_when_lost
from vppctl.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from vppctl.cli.presence import Absence
    from vppctl.reconcile.mirror import Entry
    from vppctl.store.base import Store

PROBLEMS = ("FAILED", "INVALID")
_CHANGING = frozenset(["statistics", "config_revision", "history", "errors"])
"""What a report may say anew while the interface stays as it is."""
ByKey = dict[tuple[str, str], dict[str, Any]]
Choose = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]


@click.command("status")
@click.argument("names", metavar="[NAME...]", nargs=-1, shell_complete=complete_names)
@click.option("-w", "--watch", is_flag=True, help="Go on printing what changes, until interrupted.")
@click.option("--problems", is_flag=True, help="Only interfaces that are FAILED or INVALID.")
@output_option("table")
@click.pass_obj
def status_command(
    options: dict[str, Any], names: tuple[str, ...], *, watch: bool, problems: bool, output: str
) -> None:
    """Show the state of every interface as the agent reports it.

    With -w also whatever changes, at once, counters excepted; with -o json one object a line.

    \b
    Example:
      vppctl status
      vppctl status veth1 -o json
    """
    from vppctl.cli.render import print_change, print_status

    settings = Settings(options)
    store = settings.open_store()
    try:
        reports = report_of_each(store, settings.label)
        choose = partial(_choose, names=names, problems=problems)
        chosen = choose(named(reports, names))
        show = partial(print_change, output=output, color=settings.color)
        if watch and output in ("json", "yaml"):
            # One object after the other from the first on, so that a reader needs no other rule for the beginning.
            for report in chosen:
                show(report)
        else:
            print_status(chosen, output, settings.color)
            if not reports and output in ("table", "wide"):
                text = f"nothing is configured under label {settings.label}; 'vppctl list' shows what is under others"
                click.echo(text, err=True)
        if watch:
            stop_when_lost()
            _follow(store, settings, by_key(chosen), choose, show)
    finally:
        store.close()


def read_reports(settings: Settings) -> list[dict[str, Any]]:
    """One report for each interface of the label, as the store has them now. Raises StoreError."""
    store = settings.open_store()
    try:
        return report_of_each(store, settings.label)
    finally:
        store.close()


def report_of_each(store: Store, label: str) -> list[dict[str, Any]]:
    """The reports of this label's interfaces. Raises StoreError."""
    from vppctl.model.keys import ROOT
    from vppctl.store.base import REPORTS

    return reader(store, label)(store.list(f"{ROOT}{label}/", bounds=REPORTS).entries)


def reader(store: Store, label: str) -> Callable[[Sequence[Entry]], list[dict[str, Any]]]:
    """`join` for the entries of this store."""
    from vppctl.cli.presence import absence, hindrance

    return partial(join, label=label, absent=lambda: absence(store, label), hindered=lambda: hindrance(label))


def join(
    entries: Sequence[Entry],
    label: str,
    absent: Callable[[], Absence] | None = None,
    hindered: Callable[[], str] = str,
) -> list[dict[str, Any]]:
    """Configuration and status keys of a label, as one report for each interface.

    `absent` says why there is no heartbeat, `hindered` what keeps an agent that has one from reporting; they are asked
    when that matters.
    """
    from vppctl.cli.presence import no_heartbeat
    from vppctl.cli.reports import as_of, configuration, read, unreported
    from vppctl.model.keys import Kind, agent_key, config_prefix, status_prefix

    by_prefix: dict[tuple[Kind, str], dict[str, Entry]] = {}
    for kind in Kind:
        for prefix in (config_prefix(label, kind), status_prefix(label, kind)):
            by_prefix[kind, prefix] = {e.key[len(prefix) :]: e for e in entries if e.key.startswith(prefix)}
    silence: dict[str, Any] = {}
    hindrance: str | None = None
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind in Kind:
        configured, reported = by_prefix[kind, config_prefix(label, kind)], by_prefix[kind, status_prefix(label, kind)]
        for name in configured.keys() | reported.keys():
            entry, status = configured.get(name), reported.get(name)
            if status:
                report = as_of(read(status.value), entry.mod_revision if entry else 0)
                if report.get("reason") == "NotReported":
                    hindrance = hindered() if hindrance is None else hindrance
                    report["message"] += f"; {hindrance}" if hindrance else ""
            elif entry:
                if not silence:
                    alive = any(e.key == agent_key(label) for e in entries)
                    silence = unreported(None if alive else absent() if absent else no_heartbeat(label, "the store"))
                report = {**silence, **configuration(kind, name, entry.value)}
            found[name, kind] = {**report, "name": name, "kind": str(kind)}
    reports = [found[name] for name in sorted(found)]
    attached = [report for report in reports if report["kind"] == Kind.VPP]
    if attached:
        from vppctl.cli.graph import Ties, chain

        ties = Ties(reports)
        for report in attached:
            report["chain"] = chain(report, ties)
    return reports


def _choose(reports: Sequence[dict[str, Any]], *, names: Sequence[str], problems: bool) -> list[dict[str, Any]]:
    return [r for r in reports if (not names or r["name"] in names) and (not problems or r.get("state") in PROBLEMS)]


def _follow(store: Store, settings: Settings, shown: ByKey, choose: Choose, show: Callable[[Any], None]) -> None:
    """Show each report that is new or changed; through breaks of the store, until interrupted."""
    from threading import Event

    from vppctl.model.keys import ROOT
    from vppctl.reconcile.mirror import Batch, Mirror
    from vppctl.store.base import REPORTS
    from vppctl.store.follow import follow

    view: dict[str, Entry] = {}
    read_all = reader(store, settings.label)

    def deliver(batch: Batch) -> None:
        nonlocal shown
        for entry in batch.entries:
            if entry.value is None:
                view.pop(entry.key, None)
            else:
                view[entry.key] = entry
        now = by_key(choose(read_all(list(view.values()))))
        for key, report in now.items():
            if _visible(shown.get(key)) != _visible(report):
                show(report)
        for key in shown.keys() - now.keys():
            show({"name": key[0], "kind": key[1], "state": "ABSENT"})
        shown = now

    def on_state(_ready: bool, error: str) -> None:
        if error:
            click.echo(f"{error}; trying again", err=True)

    gc.enable()
    follow(store, f"{ROOT}{settings.label}/", Mirror(), Event(), deliver, on_state, REPORTS)


def named(reports: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The reports with these names, all without any. Raises NotFoundError and UsageError."""
    refuse_keys(names)
    if missing := [name for name in names if name not in {r["name"] for r in reports}]:
        raise NotFoundError("\n".join(f"{name}: is not configured; 'vppctl list' shows what is" for name in missing))
    return [report for report in reports if not names or report["name"] in names]


def refuse_keys(names: Sequence[str]) -> None:
    """These are names of one label, in Linux and in VPP. Raises UsageError."""
    if keys := [name for name in names if name.startswith("/")]:
        raise UsageError(f"{keys[0]} is a key; write the name alone, and its label as --label")


def by_key(reports: Sequence[dict[str, Any]]) -> ByKey:
    """The reports by name and kind: an interface in VPP may have the name of one in Linux."""
    return {(r["name"], r["kind"]): r for r in reports}


def _visible(report: dict[str, Any] | None) -> dict[str, Any] | None:
    """A report without its counters, which change all the time."""
    return {k: v for k, v in report.items() if k not in _CHANGING} if report else None


@click.command("wait")
@click.argument("names", metavar="NAME|KEY...", nargs=-1, required=True, shell_complete=complete_names_and_keys)
@click.option("--for", "condition", type=click.Choice(["applied", "absent"]), required=True, help="What to wait for.")
@click.option("--timeout", default="30s", metavar="TIME", help="How long to wait.  [default: 30s]")
@click.pass_obj
def wait_command(options: dict[str, Any], names: tuple[str, ...], *, condition: str, timeout: str) -> None:
    """Wait until interfaces are applied or absent.

    Exits with 6 when it takes longer than the timeout, and says what is missing.

    \b
    Example:
      vppctl wait veth1 veth2 --for applied --timeout 10s
    """
    from vppctl.cli.entries import to_keys
    from vppctl.cli.waiting import wait_absent, wait_applied

    settings = Settings(options)
    seconds = duration(timeout, "--timeout")
    wanted = to_keys(settings.label, names)
    store = settings.open_store()
    try:
        (wait_applied if condition == "applied" else wait_absent)(store, wanted, seconds)
    finally:
        store.close()
