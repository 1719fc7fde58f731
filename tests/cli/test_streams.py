"""Standard input, output and error in any condition: closed, full, without a reader, in another encoding."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth

VETH1 = str(Path(__file__).parents[2] / "json" / "veth1.json")


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    found = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db", "TMPDIR": str(tmp_path)}, tmp_path)
    found.put(veth("a", "b"), veth("b", "a"))
    return found


def redirected(vppctl: Vppctl, redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run by a shell with these redirections."""
    command = f'exec "$0" "$@" {redirections}'
    return vppctl.run("-c", command, *vppctl.command("vppctl", arguments), program="/bin/sh")


@pytest.mark.parametrize(
    ("redirections", "why"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
@pytest.mark.parametrize(
    "arguments", [["get", "a"], ["list"], ["dump"], ["status"], ["status", "-w"], ["--help"]], ids=" ".join
)
def test_data_that_cannot_be_written_is_an_error(
    vppctl: Vppctl, redirections: str, why: str, arguments: Sequence[str]
) -> None:
    result = redirected(vppctl, redirections, *arguments)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"standard output: cannot be written: {why}"
    assert "internal error" not in result.stderr


@pytest.mark.parametrize(
    "redirections", [">&-", "<&-", "2>&-", "2>/dev/full", ">/dev/full", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"]
)
def test_work_that_has_nothing_to_print_is_done(vppctl: Vppctl, redirections: str) -> None:
    result = redirected(vppctl, redirections, "put", VETH1)
    assert (result.returncode, result.stdout) == (0, "")
    assert ("put /vnf-agent" in result.stderr) == ("2>" not in redirections)
    assert "/veth1\n" in vppctl("list"), "the store's file was never one of the three"


def test_standard_input_that_is_closed_is_empty(vppctl: Vppctl) -> None:
    result = redirected(vppctl, "<&-", "validate", "-")
    assert (result.returncode, result.stderr) == (4, "standard input: is empty; write one JSON object\n")


@pytest.mark.parametrize("redirections", [">/dev/full", ">&-"])
def test_what_was_asked_for_is_done_though_the_report_is_lost(vppctl: Vppctl, redirections: str) -> None:
    result = redirected(vppctl, redirections, "apply", "-f", VETH1)
    assert result.returncode == 1
    assert result.stderr.startswith("applied (revision ")
    assert redirected(vppctl, redirections, "get", "nobody").returncode == 3


def without_reader(vppctl: Vppctl, *arguments: str, messages: bool = False) -> int:
    """The exit code of a command whose output, and perhaps its messages, nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    errors = theirs if messages else subprocess.DEVNULL
    command = vppctl.command("vppctl", arguments)
    try:
        return subprocess.run(command, env=vppctl.environment, stdout=theirs, stderr=errors, check=False).returncode
    finally:
        os.close(theirs)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        *((arguments, 141) for arguments in (["get", "a"], ["list"], ["dump"], ["status"], ["status", "-w"])),
        (["put", VETH1], 0),
        (["del", "a"], 0),
        (["get", "nobody"], 3),
        (["put"], 2),
        (["put", "nofile"], 4),
        (["validate", VETH1, "nofile"], 4),
        (["diff", "-f", VETH1], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_reader_that_went_away(vppctl: Vppctl, arguments: list[str], code: int) -> None:
    assert without_reader(vppctl, *arguments, messages=True) == code
    if code == 141:
        assert without_reader(vppctl, *arguments) == code


def test_another_encoding_escapes_what_it_does_not_have(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b", description="\u00e4 \u65e5"))
    vppctl.environment["PYTHONIOENCODING"] = "latin-1"
    command = vppctl.command("vppctl", ["dump"])
    result = subprocess.run(command, env=vppctl.environment, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b'"description":"\xe4 \\u65e5"' in result.stdout


@pytest.mark.parametrize("group", ["agent", "preset"])
def test_a_group_alone_prints_its_help_as_help(vppctl: Vppctl, group: str) -> None:
    result = vppctl.run(group)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == vppctl(group, "--help")


def test_a_usage_error_is_one_line(vppctl: Vppctl) -> None:
    result = vppctl.run("wait", "a")
    assert result.returncode == 2
    assert result.stderr == "vppctl: Missing option '--for'. Choose from: applied, absent; see 'vppctl wait --help'\n"


@pytest.mark.parametrize("editor", ["false", "/nowhere/editor"])
def test_an_editor_that_fails_is_no_usage_error(vppctl: Vppctl, editor: str) -> None:
    vppctl.environment["EDITOR"] = editor
    result = vppctl.run("edit", "a")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Editing failed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(["get", "nobody"], 3), (["get"], 2), (["put", "nofile"], 4), (["list"], 0)]
)
def test_debug_shows_where_and_changes_no_exit_code(vppctl: Vppctl, arguments: list[str], code: int) -> None:
    result = vppctl.run("--debug", *arguments)
    assert result.returncode == code
    assert result.stderr.startswith("Traceback") == bool(code)
    assert result.stderr.endswith(vppctl.run(*arguments).stderr)
