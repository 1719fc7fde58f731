"""Manual pages: one for each command, that roff takes without a warning and that has all the help has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tests.support.agent import Vppctl
from vppctl import errors
from vppctl.cli.main import COMMANDS, cli
from vppctl.cli.man import EXIT_STATUS


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": "etcd://127.0.0.1:1"}, tmp_path)


@pytest.fixture
def pages(vppctl: Vppctl, tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "man1"
    assert vppctl("man", "--dir", str(folder)) == ""
    return folder


def commands(command: click.Command, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """All commands by the words that lead there."""
    found = {words: command}
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            found |= commands(below, (*words, name))
    return found


def test_every_command_has_a_page_with_every_option(pages: Path) -> None:
    every = commands(cli)
    names = {f"{'-'.join(('vppctl', *words))}.1" for words in every}
    assert {file.name for file in pages.iterdir()} == {*names, "vpp-agent-ctl.1"}
    assert len(every) > len(COMMANDS)
    for words, command in every.items():
        text = (pages / f"{'-'.join(('vppctl', *words))}.1").read_text().replace("\\-", "-")
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        assert [option for option in options if option not in text] == []
        assert ".SH EXAMPLES\n.nf\nvppctl" in text


def test_roff_takes_every_page_without_a_warning(pages: Path) -> None:
    if not shutil.which("groff"):
        pytest.skip("needs the program groff (Debian: groff-base)")
    for file in pages.iterdir():
        command = ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", str(file)]
        result = subprocess.run(command, cwd=pages.parent, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        assert "SYNOPSIS\n       vppctl" in result.stdout


def test_one_page_is_printed(vppctl: Vppctl, pages: Path) -> None:
    assert vppctl("man") == (pages / "vppctl.1").read_text()
    assert vppctl("man", "agent", "run") == (pages / "vppctl-agent-run.1").read_text()
    text = vppctl("man", "put").replace("\\-", "-")
    assert ".SH NAME\nvppctl-put - Validate interfaces and write them to the store\n" in text
    assert ".B vppctl put [OPTIONS] [KEY] FILE...\n" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["nonsense"], 2, "there is no command 'vppctl nonsense'", id="no command"),
        pytest.param(["put", "more"], 2, "there is no command 'vppctl put more'", id="no command below"),
        pytest.param(["put", "--dir", "x"], 2, "leave out COMMAND", id="both"),
        pytest.param(["--dir", "/proc/no/where"], 4, "/proc/no/where: cannot be written: No such file", id="no folder"),
    ],
)
def test_errors(vppctl: Vppctl, arguments: list[str], code: int, said: str) -> None:
    result = vppctl.run("man", *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr


def test_every_exit_code_is_told() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.VppctlError)]
    assert {str(c.exit_code) for c in classes} == EXIT_STATUS.keys() - {"0", "130", "141"}
