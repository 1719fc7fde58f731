"""How the command line is used wrongly, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent import Vppctl


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        *(
            pytest.param([f"--{name}", "", "list"], f"--{name}", id=name)
            for name in ("store", "endpoints", "cacert", "cert", "key", "user", "password-file", "config", "label")
        ),
        pytest.param(["--command-timeout=", "list"], "--command-timeout", id="command-timeout"),
        pytest.param(["-l", "", "put", "nofile"], "--label", id="-l"),
        pytest.param(["apply", "-f", ""], "--filename", id="apply -f"),
        pytest.param(["validate", "--allow-dir", "", "x"], "--allow-dir", id="allow-dir"),
        pytest.param(["check", "--docker-host", ""], "--docker-host", id="docker-host"),
        pytest.param(["agent", "run", "--http", ""], "--http", id="http"),
        pytest.param(["man", "--dir", ""], "--dir", id="dir"),
    ],
)
def test_an_option_that_is_empty_is_no_default(vppctl: Vppctl, arguments: list[str], option: str) -> None:
    result = vppctl.run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{option} is empty; give it a value or leave it out\n"


def test_an_empty_password_is_one(vppctl: Vppctl) -> None:
    assert vppctl.run("--user", "ann", "--password", "", "list").returncode == 0


def test_a_config_file_is_blamed_for_its_own_times(vppctl: Vppctl) -> None:
    file = vppctl.folder / "etcd.conf"
    file.write_text("dial-timeout: abc\n")
    result = vppctl.run("--config", str(file), "list")
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == f"{file}: dial-timeout: 'abc' is no time; write one such as 1s\n"
