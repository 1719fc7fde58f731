"""agent run: the agent in this process."""

from __future__ import annotations

from typing import Any

import click

from vppctl import __version__
from vppctl.cli.settings import Settings
from vppctl.errors import UsageError


@click.group("agent")
def agent_command() -> None:
    """The agent: makes the kernel look like the configuration.

    \b
    Example:
      vppctl agent run
    """


@agent_command.command("run")
@click.argument("files", metavar="[FILE...]", nargs=-1)
@click.option("--once", is_flag=True, help="Reconcile once, print the states, exit with 0 if all are applied.")
@click.option(
    "--resync",
    type=click.Choice(["recreate", "adopt"]),
    default="recreate",
    help="At start create interfaces that are there from scratch, or keep what matches.  [default: recreate]",
)
@click.option(
    "--create-namespaces/--no-create-namespaces",
    default=True,
    help="Create missing named namespaces, or wait for them.  [default: create]",
)
@click.option("--allow-dir", "allowed_dirs", metavar="DIR", multiple=True, help="One more folder for namespace files.")
@click.option("--docker-host", metavar="URL", help="The Docker engine for microservices.  [env: DOCKER_HOST]")
@click.option("--vpp-socket", metavar="PATH", help="VPP's API socket.  [default: /run/vpp/api.sock]")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="[default: text]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="[default: info]"
)
@click.pass_obj
def run_agent(options: dict[str, Any], /, files: tuple[str, ...], **choices: Any) -> int:
    """Run the agent in this process.

    FILEs are put into the store first. Runs until SIGTERM or SIGINT, and leaves links up. SIGHUP compares all again.

    \b
    Example:
      vppctl --store embedded agent run --once json/veth1.json json/veth2.json
    """
    from vppctl.agent.runtime import AgentSettings, run
    from vppctl.cli.documents import load
    from vppctl.cli.entries import write
    from vppctl.cli.render import print_status

    host = choices["docker_host"]
    if host and not host.startswith(("unix://", "tcp://", "http://", "https://", "ssh://")):
        raise UsageError(f"--docker-host {host!r} is no URL; write one such as unix:///var/run/docker.sock")
    settings = Settings(options)
    if files:
        items = load(files, settings.label)
        store = settings.open_store()
        try:
            write(store, items)
        finally:
            store.close()
    return run(
        AgentSettings(
            store=settings.store(),
            label=settings.label,
            version=__version__,
            on_status=lambda reports: print_status(reports, "table", settings.color),
            **choices,
        )
    )
