"""Files below /run and /tmp: what another user has put there is believed by nobody."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Vppctl
from tests.support.numbers import OTHER, as_other

pytestmark = pytest.mark.kernel
ATTACKER = 1234
LOCKS = "/vppctl/agent-vpp1.lock"
HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
os.chmod(sys.argv[1], 0o666)
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


class OfAnotherUser(Vppctl):
    """The command line of a user who is not root."""

    def command(self, program: str, arguments: object) -> list[str]:
        return as_other(*super().command(program, arguments))  # type: ignore[arg-type]


@pytest.fixture
def user(tmp_path: Path) -> OfAnotherUser:
    """With a store of his own, and /tmp of the test."""
    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, OTHER, OTHER)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o011)
    return OfAnotherUser({"VPPCTL_STORE": f"sqlite:{store}/store.db", "HOME": str(store)}, tmp_path)


@pytest.fixture
def shared() -> Iterator[Path]:
    """The folder below /tmp that is the user's by its name alone."""
    folder = Path(f"/tmp/vppctl-{OTHER}")
    assert not os.path.lexists(folder)
    yield folder
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def held(lock: Path) -> subprocess.Popen[str]:
    """A process of an attacker's that has the lock and keeps it young."""
    command = ["setpriv", f"--reuid={ATTACKER}", f"--regid={ATTACKER}", "--clear-groups"]
    process = subprocess.Popen(
        [*command, sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("whose", [(ATTACKER, ATTACKER), (OTHER, ATTACKER), (OTHER, OTHER)])
def test_health_believes_no_lock_of_another_user(user: OfAnotherUser, shared: Path, whose: tuple[int, int]) -> None:
    """Once, it said that the agent was alive: whoever was first in /tmp could say so."""
    (shared / "vppctl").mkdir(parents=True, mode=0o777)
    for folder, owner in zip((shared, shared / "vppctl"), whose, strict=True):
        os.chown(folder, owner, owner)
        folder.chmod(0o777)
    attacker = held(Path(f"{shared}{LOCKS}"))
    try:
        result = user.run("agent", "health")
        assert (result.returncode, result.stdout) == (1, "")
        assert "no agent of label vpp1 has a heartbeat" in result.stderr
        started = user.run("status", "nothing")
        assert "internal error" not in started.stderr
    finally:
        attacker.communicate("go\n")
        assert attacker.stdout


def test_nor_in_a_runtime_folder_of_another_user(user: OfAnotherUser) -> None:
    """As XDG_RUNTIME_DIR is after `su` without a dash."""
    folder = Path("/tmp/vppctl-x")
    (folder / "vppctl").mkdir(parents=True)
    for path in (folder, folder / "vppctl"):
        os.chown(path, ATTACKER, ATTACKER)
        path.chmod(0o777)
    user.environment["XDG_RUNTIME_DIR"] = str(folder)
    attacker = held(Path(f"{folder}{LOCKS}"))
    try:
        result = user.run("agent", "health")
        assert (result.returncode, result.stdout) == (1, "")
    finally:
        attacker.communicate("go\n")
        shutil.rmtree(folder)


def test_a_link_to_a_file_of_ones_own_is_no_lock(user: OfAnotherUser, shared: Path, tmp_path: Path) -> None:
    own = tmp_path / "store" / "vppctl"
    own.mkdir()
    (own / "agent-vpp1.lock").touch()
    os.chown(own, OTHER, OTHER)
    os.chown(own / "agent-vpp1.lock", OTHER, OTHER)
    os.symlink(own.parent, shared)
    with (own / "agent-vpp1.lock").open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert user.run("agent", "health").returncode == 1


def test_an_agent_says_who_is_in_its_place(user: OfAnotherUser, shared: Path) -> None:
    shared.mkdir()
    os.chown(shared, ATTACKER, ATTACKER)
    code = "from vppctl.agent.lock import AgentLock; AgentLock('vpp1')"
    result = subprocess.run(as_other(sys.executable, "-c", code), capture_output=True, text=True, check=False)
    said = f"{shared}{LOCKS}: cannot be made: {shared} belongs to user {ATTACKER}; set XDG_RUNTIME_DIR to a folder"
    assert said in result.stderr


def test_root_believes_no_folder_of_another_user(vppctl: Vppctl) -> None:
    folder = Path("/run/vppctl")
    os.chown(folder, ATTACKER, ATTACKER)
    try:
        result = vppctl.run("agent", "run", "--once")
        assert result.returncode == 1
        assert "/run/vppctl belongs to user 1234; remove it" in result.stderr
        assert vppctl.run("agent", "health").returncode == 1
    finally:
        os.chown(folder, 0, 0)
    assert vppctl.run("agent", "run", "--once").returncode == 0
