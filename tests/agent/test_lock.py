"""One agent of a label on a host, also when each has a /run of its own, as containers have."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import links, wait_until

pytestmark = pytest.mark.kernel
OTHER = 65534
PAIR = (veth("a", "b"), veth("b", "a", "one"))


class Contained(Vppctl):
    """The command line with a /run/vppctl of its own, in the network namespace of the test."""

    options: tuple[str, ...] = ("--mount",)

    def command(self, program: str, arguments: object) -> list[str]:
        command = super().command(program, arguments)  # type: ignore[arg-type]
        script = 'mount -t tmpfs tmpfs /run/vppctl && exec "$@"'
        return ["unshare", *self.options, "sh", "-c", script, "sh", *command]


@pytest.fixture
def contained(tmp_path: Path) -> Contained:
    return Contained({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)


@pytest.fixture
def agent(vppctl: Vppctl) -> Iterator[Agent]:
    """One that runs and has made a pair."""
    with Agent(vppctl) as agent:
        vppctl.put(*PAIR, wait=True)
        yield agent


@pytest.mark.parametrize("label", ["vpp1", "long-" * 40, "odd label é"])
@pytest.mark.parametrize("command", [["agent", "run", "--once"], ["agent", "cleanup"]], ids=["run", "cleanup"])
def test_another_run_folder_hides_no_agent(
    vppctl: Vppctl, contained: Contained, label: str, command: list[str]
) -> None:
    for cli in (vppctl, contained):
        cli.environment["MICROSERVICE_LABEL"] = label
    with Agent(vppctl) as agent:
        vppctl.put(*PAIR, wait=True)
        before = links()["a"]["ifindex"]
        second = contained.run(*command)
        assert agent.process is not None
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1] == (
            f"an agent of label {label} is already running on this host, as PID {agent.process.pid}, with a /run of its"
            " own; stop it, or give this one another --label"
        )
        assert links()["a"]["ifindex"] == before
        assert contained.run("-l", "other", "agent", "run", "--once").returncode == 0
        agent.stop(signal.SIGKILL)
    assert contained.run("agent", "run", "--once").returncode == 0


def test_one_in_another_pid_namespace(agent: Agent, contained: Contained) -> None:
    contained.options = ("--mount", "--pid", "--fork")
    second = contained.run("agent", "run", "--once")
    assert second.returncode == 1
    assert "already running on this host, in another PID namespace, with a /run of its own; stop it" in second.stderr


def test_one_in_another_network_namespace(agent: Agent, contained: Contained) -> None:
    """Once, it was not refused, and made the first one's links again."""
    contained.options = ("--mount", "--net")
    before = links()["a"]["ifindex"]
    for command in (["agent", "run", "--once"], ["agent", "cleanup"]):
        second = contained.run(*command)
        assert agent.process is not None
        assert second.returncode == 1
        assert f"as PID {agent.process.pid}, with a /run of its own; stop it" in second.stderr
    assert links()["a"]["ifindex"] == before
    assert contained.run("-l", "other", "agent", "run", "--once").returncode == 0


def test_health_elsewhere_asks_the_store(agent: Agent, contained: Contained) -> None:
    wait_until(lambda: contained.run("agent", "health").returncode == 0, "the agent's sign in the store")
    # A lock file that an agent has left there says nothing about the one that runs.
    contained_with_file = contained.command("vppctl", ["agent", "health"])
    script = contained_with_file.index("-c") + 1
    contained_with_file[script] = contained_with_file[script].replace("&&", "&& touch /run/vppctl/agent-vpp1.lock &&")
    result = subprocess.run(contained_with_file, env=contained.environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "the agent of label vpp1 is alive\n")
    for _ in range(200):
        # More than wait there at once.
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect("\0vppctl-agent-vpp1")
    assert agent.stop(signal.SIGTERM) == 0
    assert contained.run("agent", "health").returncode == 1


@pytest.mark.parametrize("listening", [True, False])
def test_another_user_stops_no_agent(vppctl: Vppctl, listening: bool) -> None:
    """Anybody may bind the name."""
    code = (
        "import os, socket, signal\n"
        f"os.setgroups([]); os.setresgid({OTHER}, {OTHER}, {OTHER}); os.setresuid({OTHER}, {OTHER}, {OTHER})\n"
        "taken = socket.socket(socket.AF_UNIX); taken.bind(chr(0) + 'vppctl-agent-vpp1')\n"
        f"if {listening}: taken.listen()\n"
        "print('taken', flush=True); signal.pause()"
    )
    squatter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert squatter.stdout
        assert squatter.stdout.readline() == b"taken\n"
        with Agent(vppctl) as agent:
            vppctl.put(*PAIR, wait=True)
            whose = f"process {squatter.pid} of user {OTHER}" if listening else "another process"
            assert f"warning {whose} has the name @vppctl-agent-vpp1; an agent with" in agent.log.read_text()
            second = vppctl.run("agent", "run", "--once")
            assert agent.process is not None
            assert f"already running on this host, as PID {agent.process.pid}; stop it" in second.stderr
            assert os.path.exists("/run/vppctl/agent-vpp1.lock")
    finally:
        squatter.kill()
        squatter.wait()
        squatter.stdout.close()  # type: ignore[union-attr]


def test_a_lock_file_of_another_kind_is_not_waited_for(vppctl: Vppctl) -> None:
    lock = Path("/run/vppctl/agent-vpp1.lock")
    lock.unlink(missing_ok=True)
    os.mkfifo(lock)
    try:
        assert vppctl.run("agent", "health").returncode == 1
    finally:
        lock.unlink()
