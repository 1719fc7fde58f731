"""The agent with no more than the capabilities that it needs: in each thread, and enough for all that it does."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import addresses, ip, links, links_of, wait_until
from vppctl.linux.privileges import NEEDED, TO_CHANGE, TO_FOLLOW

pytestmark = pytest.mark.kernel

OTHER = 65534
MASK = sum(1 << number for number in NEEDED.values())


def capabilities(status: Path) -> dict[str, int]:
    """The sets of a thread, and whether it may get more."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {name: int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs")}


@pytest.mark.etcd
@pytest.mark.parametrize("store", ["vppctl", "on_etcd"])
def test_all_threads_have_given_them_up(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    vppctl: Vppctl = request.getfixturevalue(store)
    file = tmp_path / "first.json"
    file.write_text('{"name": "x", "veth": {"peer_if_name": "y"}}')
    with Agent(vppctl, str(file), "--http", f"unix:{tmp_path}/http.sock") as agent:
        vppctl.put(veth("a", "b", "one"), veth("b", "a"), wait=True)
        assert agent.process is not None
        threads = list(Path(f"/proc/{agent.process.pid}/task").iterdir())
        assert len(threads) > 5
        for thread in threads:
            assert capabilities(thread / "status") == {
                "CapPrm": MASK,
                "CapEff": MASK,
                "CapInh": 0,
                "CapBnd": MASK,
                "CapAmb": 0,
                "NoNewPrivs": 1,
            }
        assert stat.S_IMODE((tmp_path / "http.sock").stat().st_mode) == 0o600


def without(capability: str, *command: str) -> list[str]:
    """The command, as root that cannot have this capability."""
    return ["setpriv", f"--bounding-set=-{capability.removeprefix('CAP_').lower()}", *command]


@pytest.mark.parametrize(
    ("capability", "command"),
    [
        *((name, ["agent", "run", "--once", "pair.json"]) for name in TO_CHANGE),
        *((name, ["agent", "run", "pair.json"]) for name in TO_FOLLOW),
        ("CAP_SYS_ADMIN", ["check"]),
        ("CAP_SYS_ADMIN", ["agent", "cleanup"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    vppctl: Vppctl, tmp_path: Path, capability: str, command: list[str]
) -> None:
    """Once, an agent in a container without privileges wrote its files and ended with an internal error."""
    (tmp_path / "pair.json").write_text(json.dumps({"interface": [veth("a", "b"), veth("b", "a")]}))
    result = subprocess.run(
        without(capability, *vppctl.command("vppctl", command)),
        env=vppctl.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    how = f"run it as root, a container with --cap-add {capability.removeprefix('CAP_')}"
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"not permitted without {capability}; {how}\n"
    assert vppctl("list") == ""


@pytest.mark.parametrize("command", [["agent", "run", "pair.json"], ["agent", "run", "--once", "pair.json"], ["check"]])
def test_root_of_a_user_namespace_alone_is_refused(vppctl: Vppctl, tmp_path: Path, command: list[str]) -> None:
    """Once an internal error: it has all capabilities, but none that counts in the network namespace."""
    (tmp_path / "pair.json").write_text(json.dumps({"interface": [veth("a", "b"), veth("b", "a")]}))
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", *vppctl.command("vppctl", command)],
        env=vppctl.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("not permitted: root of a user namespace")
    assert vppctl("list") == ""


def test_less_reach_is_told(vppctl: Vppctl) -> None:
    command = without("CAP_SYS_PTRACE", *vppctl.command("vppctl", ["agent", "run", "--once"]))
    result = subprocess.run(command, env=vppctl.environment, capture_output=True, text=True, check=True)
    assert "warning without CAP_SYS_PTRACE: what belongs to other users may be out of reach\n" in result.stderr


@contextmanager
def process_of_another_user(before: str = "true") -> Iterator[int]:
    """Its PID; it has a network namespace of its own, in which root has run `before`."""
    other = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "sleep", "600"]
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", f"{before}; exec {' '.join(other)}"])
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}").stat().st_uid == OTHER, "the process to be of another user")
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def file_of_another_user(folder: Path) -> Iterator[Path]:
    """A file of a namespace, in a folder that is another user's alone."""
    folder.mkdir(mode=0o700)
    file = folder / "ns"
    file.touch(mode=0)
    os.chown(folder, OTHER, OTHER)
    ip("netns", "add", "one")
    subprocess.run(["mount", "--bind", "/run/netns/one", str(file)], check=True)
    try:
        yield file
    finally:
        subprocess.run(["umount", str(file)], check=True)


def put(vppctl: Vppctl, *documents: object) -> None:
    """With namespace files where the agent's `--allow-dir` has them."""
    file = vppctl.folder / "some.json"
    file.write_text(json.dumps({"interface": documents}))
    vppctl("put", "--allow-dir", str(vppctl.folder), str(file))


@pytest.mark.parametrize("capability", [None, *NEEDED])
def test_each_is_needed(vppctl: Vppctl, tmp_path: Path, capability: str | None) -> None:
    unchecked = (
        "from vppctl.linux import privileges; privileges.TO_CHANGE = privileges.TO_FOLLOW = ()\n"
        "from vppctl.cli.main import main; main()"
    )
    command = [sys.executable, "-c", unchecked, "agent", "run", "--allow-dir", str(tmp_path)]
    if capability != "CAP_NET_BROADCAST":
        # One that stays ends without it, and needs it for nothing else.
        command.append("--once")
    with process_of_another_user() as pid, file_of_another_user(tmp_path / "theirs") as file:
        both = veth("a", "b", {"type": 0, "pid": pid}), veth("b", "a", {"type": 3, "filepath": str(file)})
        put(vppctl, *both)
        result = subprocess.run(
            without(capability, *command) if capability else command,
            env=vppctl.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == (1 if capability else 0), result.stderr


def test_a_process_of_another_user_whose_namespace_has_no_ipv6(vppctl: Vppctl) -> None:
    off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
    with process_of_another_user(off) as pid, Agent(vppctl):
        both = (veth("a", "b", {"type": 0, "pid": pid}, ip_addresses=["2001:db8::1/64"]), veth("b", "a", "two"))
        vppctl.put(*both, wait=True)
        assert links_of(pid) == {"a"}


def test_a_namespace_file_in_a_folder_of_another_user(vppctl: Vppctl, tmp_path: Path) -> None:
    with file_of_another_user(tmp_path / "theirs") as file, Agent(vppctl, "--allow-dir", str(tmp_path)):
        vppctl.put(veth("b", "a", "two"))
        put(vppctl, veth("a", "b", {"type": 3, "filepath": str(file)}, ip_addresses=["10.0.0.1/24"]))
        vppctl.wait_state("a", "APPLIED")
        assert addresses("one", "a") == {"10.0.0.1/24"}
        ip("netns", "del", "two")
        wait_until(lambda: set(links("two")) == {"b"}, "the namespace to be made again", 20)
