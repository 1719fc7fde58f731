"""Completion, as a shell asks for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.support.agent import Vppctl
from tests.support.etcd import Etcd, free_port
from vppctl.cli.main import COMMANDS, LazyGroup, cli

KEY = "/vnf-agent/vpp1/linux/config/v1/interface/"
EXAMPLES = Path(__file__).parents[2] / "json"


@pytest.fixture(params=["embedded", pytest.param("etcd", marks=pytest.mark.etcd)])
def vppctl(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vppctl]:
    """The command line on a store that has veth1, veth2 and, in VPP, afpacket1."""
    found = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)
    with contextlib.ExitStack() as stack:
        if request.param == "etcd":
            found.environment["VPPCTL_STORE"] = f"etcd://{stack.enter_context(Etcd(tmp_path)).endpoint}"
        found("preset", "put", "veth1", "veth2", "afpacket1")
        yield found


@pytest.fixture
def away(tmp_path: Path) -> Vppctl:
    """One whose store cannot be reached."""
    return Vppctl({"VPPCTL_STORE": f"etcd://127.0.0.1:{free_port()}"}, tmp_path)


def ask(vppctl: Vppctl, line: str) -> list[str]:
    """What completes the last word of the line: kind and word."""
    words = line.split(" ")
    asked = {"_VPPCTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = subprocess.run(
        vppctl.command("vppctl", []), env={**vppctl.environment, **asked}, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    return result.stdout.split()


def test_names_keys_labels(vppctl: Vppctl) -> None:
    names = ["plain,afpacket1", "plain,veth1", "plain,veth2"]
    for command in ("get", "del", "status", "describe", "history", "edit", "check", "wait"):
        assert ask(vppctl, f"vppctl {command} ") == names
    assert ask(vppctl, f"vppctl status {KEY}") == [], "which takes names"
    assert ask(vppctl, "vppctl get ve") == names[1:]
    assert ask(vppctl, "vppctl get veth1 ve") == names[2:], "what is typed already is not offered again"
    assert ask(vppctl, "vppctl -l other get ") == []
    assert ask(vppctl, f"vppctl get {KEY}v") == [f"plain,{KEY}veth1", f"plain,{KEY}veth2"]
    assert ask(vppctl, "vppctl dump ") == ["plain,/"]
    assert ask(vppctl, "vppctl dump /vnf-agent/vpp1/") == ["plain,/vnf-agent/vpp1/linux/", "plain,/vnf-agent/vpp1/vpp/"]
    assert ask(vppctl, f"vppctl dump {KEY}v") == [f"plain,{KEY}veth1", f"plain,{KEY}veth2"]
    assert ask(vppctl, "vppctl --label v") == ["plain,vpp1"]


def test_what_a_shell_would_not_take_for_a_word_is_not_offered(vppctl: Vppctl) -> None:
    file = vppctl.folder / "raw"
    file.write_text("{}")
    names = ["x;reboot", "a$(id)", "a`id`", "a b", "a*", "'x", "\u65e5", "a\x1b[1m"]
    for name in names:
        vppctl("put", "--raw", f"{KEY}{name}", str(file))
        vppctl("put", "--raw", f"/vnf-agent/{name}/linux/config/v1/interface/fine", str(file))
    vppctl("put", "--raw", f"{KEY}--prune", str(file))
    for line in ("get ", "dump ", "--label ", f"get {KEY}", f"dump {KEY}", "dump /vnf-agent/"):
        offered = "".join(ask(vppctl, f"vppctl {line}"))
        assert [name for name in names if name in offered] == []
    assert ask(vppctl, "vppctl get ") == ["plain,afpacket1", "plain,veth1", "plain,veth2"]
    assert ask(vppctl, "vppctl --label ") == ["plain,vpp1"]


def test_a_key_press_makes_no_store(tmp_path: Path) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/folder/store.db"}, tmp_path)
    assert ask(vppctl, "vppctl get ") == []
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("vppctl st", ["plain,status"], id="command"),
        pytest.param("vppctl agent r", ["plain,run"], id="command below"),
        pytest.param("vppctl put --dr", ["plain,--dry-run"], id="option"),
        pytest.param("vppctl status -o w", ["plain,wide"], id="choice"),
        pytest.param("vppctl wait x --for a", ["plain,applied", "plain,absent"], id="condition"),
        pytest.param("vppctl preset show memif", ["plain,memif1", "plain,memif2"], id="preset"),
        pytest.param("vppctl preset put veth1 ve", ["plain,veth2"], id="preset not again"),
        pytest.param("vppctl put js", ["file,js"], id="put file"),
        pytest.param("vppctl apply -f js", ["file,js"], id="apply file"),
        pytest.param("vppctl validate js", ["file,js"], id="validate file"),
        pytest.param("vppctl --config x", ["file,x"], id="global file"),
        pytest.param("vppctl --password-file x", ["file,x"], id="password file"),
        pytest.param("vppctl check --allow-dir x", ["dir,x"], id="folder"),
        pytest.param("vppctl put --allow-dir x", ["dir,x"], id="put folder"),
        pytest.param("vppctl man agent c", ["plain,cleanup"], id="page"),
        pytest.param("vppctl get ", [], id="no store"),
        pytest.param("vppctl --store nonsense get ", [], id="bad store"),
    ],
)
def test_what_needs_no_store(away: Vppctl, line: str, expected: list[str]) -> None:
    assert ask(away, line) == expected


def test_every_argument_of_every_command_completes() -> None:
    def bare(command: click.Command, path: str) -> list[str]:
        if isinstance(command, click.Group):
            ctx = click.Context(command)
            below = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
            return [found for name, sub in below if sub for found in bare(sub, f"{path} {name}")]
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        return [
            f"{path} {p.name}"
            for p in arguments
            if p._custom_shell_complete is None and not isinstance(p.type, click.Choice)
        ]

    assert isinstance(cli, LazyGroup)
    assert bare(cli, "vppctl") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(away: Vppctl, shell: str) -> None:
    script = away("completion", shell)
    assert "_VPPCTL_COMPLETE" in script
    assert "_VPP_AGENT_CTL_COMPLETE" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""


def test_bash_itself(vppctl: Vppctl) -> None:
    """As when the Tab key is pressed after `vppctl get v`."""
    script = """
        source <(vppctl completion bash)
        COMP_WORDS=(vppctl get v) COMP_CWORD=2
        $(complete -p vppctl | sed 's/.*-F \\([^ ]*\\).*/\\1/') vppctl v vppctl
        echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", script], env={**vppctl.environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert "veth1 veth2" in result.stdout, result.stderr


def test_a_key_press_loads_nothing_that_it_does_not_need(vppctl: Vppctl) -> None:
    program = (
        "import sys, os; from vppctl.cli.main import cli\n"
        "try: cli.main(prog_name='vppctl')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('jsonschema', 'rich', 'yaml', 'docker') if m in sys.modules])"
    )
    asked = {"_VPPCTL_COMPLETE": "bash_complete", "COMP_WORDS": "vppctl get veth", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env={**vppctl.environment, **asked}, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert "plain,veth1" in result.stdout


def test_the_list_of_commands_completes(away: Vppctl) -> None:
    assert [f"plain,{name}" for name in COMMANDS] == ask(away, "vppctl ")
