"""The root of the command line: global options, exit codes, and the only broad except.

Commands are loaded when they are used; the list of commands needs none of them, so that `--help` stays quick.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from typing import Any

import click

from vppctl import __version__
from vppctl.cli import legacy, streams
from vppctl.cli.completion import complete_files, complete_labels
from vppctl.cli.options import GIVEN
from vppctl.errors import VppctlError

COMMANDS: dict[str, tuple[str, str]] = {
    "put": ("config", "Validate interfaces and write them to the store."),
    "get": ("config", "Print the stored JSON of interfaces."),
    "del": ("config", "Delete interfaces."),
    "list": ("config", "List every key of every agent."),
    "dump": ("config", "Print keys and their values."),
    "apply": ("declare", "Make the store hold exactly this."),
    "diff": ("declare", "Print what apply would change."),
    "edit": ("edit", "Change one interface in $EDITOR."),
    "validate": ("offline", "Check files without a store."),
    "schema": ("offline", "Print the JSON Schema of interfaces."),
    "preset": ("preset", "The built-in example interfaces."),
    "status": ("observe", "Show the state of every interface as the agent reports it."),
    "describe": ("describe", "Show one interface: configuration, state, namespace, addresses, counters, history."),
    "history": ("describe", "Show what the agent did last about each interface."),
    "wait": ("observe", "Wait until interfaces are applied or absent."),
    "check": ("check", "Compare this host's kernel with the store."),
    "graph": ("graph", "Draw who is connected to whom, through which namespaces."),
    "agent": ("agent", "The agent: makes the kernel look like the configuration."),
    "completion": ("completion", "Print the shell's completion script."),
    "man": ("man", "Print a manual page, or install all."),
}
"""Module and one-line help of each command; a test holds the help against the commands themselves."""


class LazyGroup(click.Group):
    """A group that imports a command when it is used, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, its module imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"vppctl.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The old spellings are commands too."""
        with formatter.section("Old spellings (vpp-agent-ctl)"):
            formatter.write_dl(legacy.HELP)
        super().format_epilog(ctx, formatter)


EPILOG = """\b
Example:
  vppctl --store embedded put json/veth1.json json/veth2.json
  vppctl --store embedded agent run
"""


@click.group(
    cls=LazyGroup, invoke_without_command=True, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--store",
    metavar="URL",
    type=GIVEN,
    help="etcd://HOST:PORT[,...], https://..., unix:PATH, sqlite:PATH or embedded.  [env: VPPCTL_STORE; default: etcd://127.0.0.1:2379]",
)
@click.option("--endpoints", metavar="HOST:PORT,...", type=GIVEN, help="Members of etcd.  [env: ETCDCTL_ENDPOINTS]")
@click.option(
    "--cacert",
    metavar="FILE",
    type=GIVEN,
    shell_complete=complete_files,
    help="Certificates that the server's is checked with.  [env: ETCDCTL_CACERT]",
)
@click.option(
    "--cert", metavar="FILE", type=GIVEN, shell_complete=complete_files, help="Client certificate.  [env: ETCDCTL_CERT]"
)
@click.option(
    "--key",
    metavar="FILE",
    type=GIVEN,
    shell_complete=complete_files,
    help="Key of the client certificate.  [env: ETCDCTL_KEY]",
)
@click.option("--user", metavar="NAME[:PASSWORD]", type=GIVEN, help="User of etcd.  [env: ETCDCTL_USER]")
@click.option(
    "--password", metavar="PASSWORD", help="Password of the user; better in the environment.  [env: ETCDCTL_PASSWORD]"
)
@click.option(
    "--password-file",
    metavar="FILE",
    type=GIVEN,
    shell_complete=complete_files,
    help="Its first line is the password of the user.",
)
@click.option(
    "--command-timeout",
    metavar="TIME",
    type=GIVEN,
    help="For one request, as 5s or 500ms.  [env: ETCDCTL_COMMAND_TIMEOUT; default: 5s]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=GIVEN,
    shell_complete=complete_files,
    help="YAML as cn-infra's etcd.conf.  [env: ETCDV3_CONFIG]",
)
@click.option(
    "-l",
    "--label",
    metavar="LABEL",
    type=GIVEN,
    shell_complete=complete_labels,
    help="The agent's label.  [env: MICROSERVICE_LABEL; default: vpp1]",
)
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), help="[env: NO_COLOR, FORCE_COLOR; default: auto]"
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Configure VETH pairs across network namespaces through etcd, and run the agent that makes them."""
    ctx.obj = options
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: list[str], program: str = "vppctl") -> int:
    """Run one command line; returns the exit code."""
    try:
        result = cli.main(legacy.translate(arguments), prog_name=program, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes one line and an exit code
        if "--debug" in arguments:
            import traceback

            traceback.print_exception(error)
        return _tell(error, program)


def _tell(error: Exception, program: str) -> int:
    """Say on standard error what went wrong; returns the exit code."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return 2
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else program
            # click breaks lines to list choices.
            text = re.sub(r"\s*[\n\t]\s*", " ", error.format_message()).rstrip(".")
            _complain(f"{program}: {text}; see '{path} --help'")
            return 2
        case click.ClickException():
            _complain(f"{program}: {error.format_message()}")
            return 1
        case VppctlError():
            for line in str(error).splitlines():
                _complain(line)
            return error.exit_code
    _complain(f"{program}: internal error: {type(error).__name__}: {error}; run with --debug and report it")
    return 1


def _complain(line: str) -> None:
    from vppctl.cli.render import clean

    click.echo(clean(line), err=True)


def main() -> None:
    """Entry point of `vppctl` and `vpp-agent-ctl`."""
    # A command is over before there is anything to collect; what runs for long switches it on again.
    gc.disable()
    streams.take_over()
    code = streams.settle(run(sys.argv[1:], os.path.basename(sys.argv[0]) or "vppctl"))
    # Taking gRPC and the interpreter down in good order costs more than a put; everything is closed already.
    os._exit(code)
