"""Options that several commands have."""

from __future__ import annotations

import click

from vppctl.cli.completion import complete_files, complete_folders

wait_option = click.option("--wait", is_flag=True, help="Wait until the agent has done it and read it back.")
timeout_option = click.option("--timeout", default="30s", metavar="TIME", help="How long to wait.  [default: 30s]")
allow_dir_option = click.option(
    "--allow-dir",
    "allowed_dirs",
    metavar="DIR",
    multiple=True,
    shell_complete=complete_folders,
    help="One more folder for namespace files; as the agent's.",
)
docker_host_option = click.option(
    "--docker-host", metavar="URL", help="The Docker engine for microservices.  [env: DOCKER_HOST]"
)
vpp_socket_option = click.option(
    "--vpp-socket",
    metavar="PATH",
    shell_complete=complete_files,
    help="VPP's API socket.  [default: /run/vpp/api.sock]",
)
