"""Options that several commands have."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

import click

from vppctl.cli.completion import complete_files, complete_folders
from vppctl.errors import UsageError


class Given(click.types.StringParamType):
    """A text that is not empty: an empty one is a variable that a script has not set, never the default."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is. Raises UsageError."""
        if not value and param is not None:
            raise UsageError(f"{max(param.opts, key=len)} is empty; give it a value or leave it out")
        return super().convert(value, param, ctx)


class GivenFolder(Given):
    """A whole path: what is configured is compared with it as it stands."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is, normal. Raises UsageError."""
        path = super().convert(value, param, ctx)
        if not path.startswith("/"):
            raise UsageError(f"--allow-dir {path!r} is no whole path; write one that starts with a slash")
        return posixpath.normpath(path)


class GivenEngine(Given):
    """The URL of a container engine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is. Raises UsageError."""
        from vppctl import engine

        host = super().convert(value, param, ctx)
        if "://" not in host or engine.problem(host):
            raise UsageError(f"--docker-host {host!r} is no URL; write one such as {engine.DEFAULT_HOST}")
        return host


GIVEN = Given()

wait_option = click.option("--wait", is_flag=True, help="Wait until the agent has done it and read it back.")
timeout_option = click.option("--timeout", default="30s", metavar="TIME", help="How long to wait.  [default: 30s]")
allow_dir_option = click.option(
    "--allow-dir",
    "allowed_dirs",
    metavar="DIR",
    multiple=True,
    type=GivenFolder(),
    shell_complete=complete_folders,
    help="One more folder for namespace files; as the agent's.",
)
docker_host_option = click.option(
    "--docker-host",
    metavar="URL",
    type=GivenEngine(),
    help="The Docker engine for microservices.  [env: DOCKER_HOST, DOCKER_CONTEXT]",
)
vpp_socket_option = click.option(
    "--vpp-socket",
    metavar="PATH",
    type=GIVEN,
    shell_complete=complete_files,
    help="VPP's API socket.  [default: /run/vpp/api.sock]",
)
resync_option = click.option(
    "--resync",
    type=click.Choice(["recreate", "adopt"]),
    default="recreate",
    help="At start create interfaces that are there from scratch, or keep what matches.  [default: recreate]",
)
takeover_option = click.option(
    "--takeover/--no-takeover",
    default=True,
    help="At start take over pairs that no agent has marked and that stand as configured.  [default: takeover]",
)
create_namespaces_option = click.option(
    "--create-namespaces/--no-create-namespaces",
    default=True,
    help="Create missing named namespaces, or wait for them.  [default: create]",
)


def output_option(default: str, *own: str) -> Callable[[Any], Any]:
    """`-o` of what prints objects, with this default and forms of its own."""
    forms = click.Choice([*own, "table", "wide", "json", "yaml", "name"])
    return click.option("-o", "output", type=forms, default=default, help=f"How to print.  [default: {default}]")
