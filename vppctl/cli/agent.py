"""agent: run it in this process, ask how it is, remove what it made, print its unit."""

from __future__ import annotations

from typing import Any

import click

from vppctl import __version__
from vppctl.cli.completion import complete_files
from vppctl.cli.options import (
    GIVEN,
    allow_dir_option,
    create_namespaces_option,
    docker_host_option,
    resync_option,
    takeover_option,
    vpp_socket_option,
)
from vppctl.cli.settings import Settings, duration
from vppctl.errors import UsageError, VppctlError


@click.group("agent")
def agent_command() -> None:
    """The agent: makes the kernel look like the configuration.

    \b
    Example:
      vppctl agent run
    """


@agent_command.command("run")
@click.argument("files", metavar="[FILE...]", nargs=-1, shell_complete=complete_files)
@click.option("--once", is_flag=True, help="Reconcile once, print the states, exit with 0 if all are applied.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what a start would delete, take over, create and adopt, and change nothing, also not the store.",
)
@resync_option
@takeover_option
@create_namespaces_option
@allow_dir_option
@docker_host_option
@vpp_socket_option
@click.option(
    "--stats-interval",
    metavar="TIME",
    default="10s",
    help="Between readings of counters; 0: never.  [default: 10s]",
)
@click.option(
    "--http", metavar="ADDR", type=GIVEN, help="Serve /healthz, /readyz, /metrics at 127.0.0.1:PORT or unix:PATH."
)
@click.option(
    "-o",
    "output",
    type=click.Choice(["table", "wide", "json", "yaml", "name"]),
    help="How --once and --dry-run print.  [default: table]",
)
@click.option(
    "--http-host",
    "http_hosts",
    metavar="NAME",
    multiple=True,
    type=GIVEN,
    help="One more name of this host in requests to --http, beside loopback's.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="[default: text]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="[default: info]"
)
@click.pass_obj
def run_agent(options: dict[str, Any], /, files: tuple[str, ...], **choices: Any) -> int:
    """Run the agent in this process.

    FILEs are put into the store first. Runs until SIGTERM or SIGINT, and leaves links up. SIGHUP compares all again,
    SIGUSR1 logs more, SIGUSR2 less.

    A pair that no agent has marked is taken over when both of its ends stand in their configured namespaces, under
    their configured names, and are tied to each other; each is logged by name first. With --dry-run the FILEs are not
    put but count as if they were, and an agent of the label may be running.

    \b
    Example:
      vppctl --store embedded agent run --once json/veth1.json json/veth2.json
      vppctl agent run --dry-run --resync adopt
    """
    from vppctl.agent.launch import run
    from vppctl.agent.settings import AgentSettings
    from vppctl.agent.stderr import never_wait
    from vppctl.cli.documents import load
    from vppctl.cli.entries import write
    from vppctl.cli.render import print_status
    from vppctl.linux.privileges import TO_CHANGE, TO_FOLLOW, give_up, require

    if choices["http"]:
        from vppctl.agent.web import check_host, parse

        parse(choices["http"])
        for host in choices["http_hosts"]:
            check_host(host)
    elif choices["http_hosts"]:
        raise UsageError("--http-host goes with --http; give an address to listen at, such as --http 127.0.0.1:9090")
    interval = choices.pop("stats_interval")
    choices["stats_interval"] = 0.0 if interval in ("0", "0s") else duration(interval, "--stats-interval")
    settings = Settings(options)
    output, dry_run = choices.pop("output"), choices.pop("dry_run")
    if dry_run:
        return _dry_run(settings, files, output or "table", choices)
    if output and not choices["once"]:
        raise UsageError("-o is for --once and --dry-run; an agent that stays prints nothing but its log")
    require(TO_CHANGE if choices["once"] else TO_FOLLOW)
    # What needs more privileges: standard error may belong to the user who became root.
    stderr = never_wait()
    # Before the store makes threads.
    give_up()
    if files:
        items = load(files, settings.label, allowed_dirs=choices["allowed_dirs"])
        store = settings.open_store()
        try:
            write(store, items)
        finally:
            store.close()
    where = settings.store()
    settings.warn(where)
    return run(
        AgentSettings(
            store=where,
            label=settings.label,
            version=__version__,
            reread=lambda: Settings(options).store(),
            on_status=lambda reports: print_status(reports, output or "table", settings.color),
            **choices,
        ),
        stderr,
    )


def _dry_run(settings: Settings, files: tuple[str, ...], output: str, choices: dict[str, Any]) -> int:
    """What a start with these choices would do."""
    from vppctl.agent.check import CheckSettings
    from vppctl.agent.logs import set_up_logging
    from vppctl.cli.documents import load
    from vppctl.cli.forecast import show, stored

    set_up_logging(choices["log_format"], "warning")
    allowed_dirs = choices["allowed_dirs"]
    items = load(files, settings.label, allowed_dirs=allowed_dirs) if files else ()
    where = (settings.label, allowed_dirs, choices["docker_host"], choices["vpp_socket"], choices["create_namespaces"])
    how = {"resync": choices["resync"], "takeover": choices["takeover"]}
    show(CheckSettings(*where), stored(settings, items), (), output, settings.color, **how)
    return 0


@agent_command.command("health")
@click.pass_obj
def agent_health(options: dict[str, Any]) -> None:
    """Exit with 0 while the agent of this label is alive.

    On the agent's host it must have decided something within the last minute; elsewhere the store must have its
    heartbeat. What does not work (a store, Docker or VPP that is away) is printed, and is no reason to start the agent
    again. For a container's HEALTHCHECK.

    \b
    Example:
      vppctl agent health
    """
    from vppctl.agent.lock import pulse, troubles
    from vppctl.cli.presence import absence
    from vppctl.cli.render import clean
    from vppctl.model.keys import agent_key

    settings = Settings(options)
    problem = pulse(settings.label)
    degraded = troubles(settings.label)
    if problem is None:
        store = settings.open_store()
        try:
            entry = store.get(agent_key(settings.label))
            problem = "" if entry else absence(store, settings.label).message
        finally:
            store.close()
        degraded = _reported(entry.value or b"") if entry else ""
    if problem:
        raise VppctlError(problem)
    click.echo(
        clean(f"the agent of label {settings.label} is alive{f', but degraded: {degraded}' if degraded else ''}")
    )


def _reported(heartbeat: bytes) -> str:
    """What does not work, as an agent reports it; what stands in the store may be anything."""
    import json

    try:
        found = json.loads(heartbeat)
        return "; ".join(str(line) for line in found.get("troubles", ()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""


@agent_command.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option(
    "--vpp-socket",
    metavar="PATH",
    type=GIVEN,
    shell_complete=complete_files,
    help="VPP's API socket.  [default: /run/vpp/api.sock, if it is there]",
)
@click.pass_obj
def agent_cleanup(options: dict[str, Any], *, dry_run: bool, vpp_socket: str | None) -> None:
    """Remove what the agent of this label made on this host.

    Its links in all namespaces and its interfaces in VPP; not the store's configuration, and not namespaces. The
    agent must have been stopped.

    \b
    Example:
      vppctl agent cleanup --dry-run
    """
    from vppctl.agent.cleanup import cleanup
    from vppctl.cli.render import clean

    for thing in cleanup(Settings(options).label, vpp_socket, dry_run=dry_run):
        click.echo(clean(f"{'would remove' if dry_run else 'removed'} {thing}"))


@agent_command.command("unit")
def agent_unit() -> None:
    """Print the systemd unit of the agent.

    \b
    Example:
      vppctl agent unit > /etc/systemd/system/vppctl-agent.service
    """
    import os
    import sys

    from vppctl.agent.unit import unit

    click.echo(unit(os.path.join(os.path.dirname(sys.executable), "vppctl")), nl=False)
