"""The shipped unit without systemd as the first process: read by its own tools, held against what the agent does."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth
from tests.support.netns import ip, wait_until
from vppctl.agent.unit import unit
from vppctl.errors import VppctlError
from vppctl.linux.privileges import NEEDED

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "vppctl/agent/vppctl-agent.service"
OF_A_MOUNT_NAMESPACE = (
    "Private",
    "Protect",
    "ReadOnly",
    "ReadWrite",
    "Inaccessible",
    "MountFlags",
    "Bind",
    "Temporary",
)
"""What gives a unit a mount namespace of its own, which keeps its mounts from the host (systemd.exec(5))."""

analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (Debian: systemd)")


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_its_capabilities_are_those_that_the_agent_keeps() -> None:
    """Once, the unit lacked one without which the agent cannot start."""
    assert set(settings()["CapabilityBoundingSet"].split()) == set(NEEDED)


def test_mounts_made_under_it_reach_the_host() -> None:
    assert [name for name in settings() if name.startswith(OF_A_MOUNT_NAMESPACE)] == []


def test_what_it_may_use_up_is_bounded_and_the_page_says_so() -> None:
    page = (ROOT / "vppctl/SECURITY.md").read_text()
    for name in ("MemoryMax", "TasksMax", "LimitCORE", "LimitNOFILE", "WatchdogSec"):
        assert f"| `{name}` | {settings()[name]} |" in page


@analyze
def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/vppctl", "/bin/true"))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@analyze
@pytest.mark.parametrize(
    "folder", ["plain", "a b", "100%n", "a  'b", 'a"b', "a$HOME", "a;b", "a\\b", "@x", "é", "a\tb"]
)
def test_a_program_wherever_it_is_installed(tmp_path: Path, folder: str) -> None:
    """systemd looks whether the program is there, so a path that it reads as another one is not understood."""
    program = tmp_path / folder / "vppctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    if set(folder) & set("'\"\\\t"):
        with pytest.raises(VppctlError, match="systemd runs no program with quotes, backslashes or control"):
            unit(str(program))
        return
    file = tmp_path / UNIT.name
    file.write_text(unit(str(program)))
    command = ["systemd-analyze", "verify", "--man=no", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_command_prints_the_unit_of_its_own_program(vppctl: Vppctl) -> None:
    program = vppctl.command("vppctl", [])[0]
    assert vppctl("agent", "unit") == unit(program)
    assert f"ExecStart={program} agent run --resync adopt\n" in unit(program)


@analyze
@pytest.mark.kernel
@pytest.mark.etcd
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_its_filter_lets_through_what_the_agent_calls(on_etcd: Vppctl, tmp_path: Path) -> None:
    allowed = {word for word in settings()["SystemCallFilter"].split() if not word.startswith("@")}
    groups = [word for word in settings()["SystemCallFilter"].split() if word.startswith("@")]
    while groups:
        shown = subprocess.run(
            ["systemd-analyze", "syscall-filter", groups.pop()], capture_output=True, text=True, check=True
        )
        names = [line.strip() for line in shown.stdout.splitlines()[1:] if not line.strip().startswith("#")]
        groups += [name for name in names if name.startswith("@")]
        allowed.update(names)
    trace = tmp_path / "trace"
    command = on_etcd.command("vppctl", ["agent", "run", "--http", f"unix:{tmp_path}/http.sock"])
    tracer = ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(trace), *command]
    with subprocess.Popen(tracer, env=on_etcd.environment, stderr=subprocess.DEVNULL) as process:
        on_etcd.put(veth("a", "b", "one", ip_addresses=["2001:db8::1/64"]), veth("b", "a", "two"), wait=True)
        ip("-n", "one", "link", "del", "dev", "a")
        on_etcd.put(veth("a", "b", "one", mtu=1400), wait=True)
        # strace hands the signal on when it is of its whole group; the agent itself is its child.
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        subprocess.run(["kill", f"-{signal.SIGTERM.value}", child], check=True)
        wait_until(lambda: process.poll() is not None, "the agent to end", 20)
    called = {line.split(None, 1)[1].split("(")[0] for line in trace.read_text().splitlines() if "(" in line}
    called = {name for name in called if name.isidentifier()}
    assert {"setns", "mount", "openat2", "capset"} <= called
    assert called - allowed == set()
