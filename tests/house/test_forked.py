"""The commands of the tests that are forked do what the installed programs do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.agent import Vppctl

DOCUMENT = '{"name": "a", "veth": {"peer_if_name": "b"}}'


@pytest.fixture
def vppctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vppctl:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").write_text(DOCUMENT.replace('"a"', '"ä"'))
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db", "MICROSERVICE_LABEL": "one"}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--version", 0),
        ("", 0),
        ("put - --dry-run", 0),
        ("put here.json missing.json", 4),
        ("validate here.json", 4),
        ("del nothing", 3),
        ("nonsense", 2),
        ("list", 0),
        ("--endpoints 127.0.0.1:1 list", 5),
        ("wait a --for absent", 0),
        ("wait a --for applied --timeout 1ms", 6),
        ("check a", 3),
        ("agent health", 1),
    ],
)
@pytest.mark.parametrize("program", forked.PROGRAMS)
def test_they_print_and_end_as_processes_of_their_own(vppctl: Vppctl, program: str, arguments: str, code: int) -> None:
    command = vppctl.command(program, arguments.split())
    assert forked.suits(command, vppctl.environment)
    found = forked.run(command, vppctl.environment, DOCUMENT, 20)
    real = subprocess.run(
        command, env=vppctl.environment, input=DOCUMENT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (real.returncode, real.stdout, real.stderr)
    assert found.returncode == code


def test_one_does_not_see_another(vppctl: Vppctl) -> None:
    for label in ("one", "two"):
        environment = {**vppctl.environment, "MICROSERVICE_LABEL": label}
        found = forked.run(vppctl.command("vppctl", ["put", "-", "--dry-run"]), environment, DOCUMENT, 20)
        assert f"/vnf-agent/{label}/" in found.stdout


def test_one_that_takes_too_long_is_ended(vppctl: Vppctl) -> None:
    before = _children()
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(vppctl.command("vppctl", ["status", "-w"]), vppctl.environment, "", 0.3)
    # The server answers the next one after it has taken leave of the last one.
    assert forked.run(vppctl.command("vppctl", ["--version"]), vppctl.environment, "", 20).returncode == 0
    assert _children() <= before


def _children() -> set[str]:
    """All processes that are forked from the server."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, ValueError):
            continue
        if "tests.support.forked" in words and parent != str(os.getpid()):
            found.add(folder.name)
    return found


def test_what_needs_an_interpreter_of_its_own_gets_one(vppctl: Vppctl) -> None:
    command = vppctl.command("vppctl", ["list"])
    assert not forked.suits(["unshare", "--net", *command], vppctl.environment)
    assert not forked.suits([sys.executable, "-c", "", *command], vppctl.environment)
    assert not forked.suits(["/usr/bin/vppctl", "list"], vppctl.environment)
    for variable in ("PYTHONIOENCODING", "LC_ALL", "LD_PRELOAD"):
        assert not forked.suits(command, {**vppctl.environment, variable: "x"})
