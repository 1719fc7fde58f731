"""The agent as a user of an etcd that asks for users: with the role that the README gives it, and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import links, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.etcd]

PASSWORD = "correct-horse"
PAIR = (veth("a", "b", "one", mtu=1400), veth("b", "a", "two"))


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """Users root, agent and reader, and tokens that live two seconds."""
    with Etcd(tmp_path, "--auth-token-ttl=2") as server:
        for user in ("root", "agent", "reader"):
            server.ctl("user", "add", f"{user}:{PASSWORD}")
        for role, access, prefix in (("agent", "readwrite", "/vnf-agent/vpp1/"), ("reader", "read", "/vnf-agent/")):
            server.ctl("role", "add", role)
            server.ctl("role", "grant-permission", role, access, prefix, "--prefix=true")
            server.ctl("user", "grant-role", role, role)
        server.ctl("user", "grant-role", "root", "root")
        server.ctl("auth", "enable")
        yield server


def as_user(name: str, etcd: Etcd, folder: Path) -> Vppctl:
    return Vppctl({"ETCDCTL_ENDPOINTS": etcd.endpoint, "ETCDCTL_USER": f"{name}:{PASSWORD}"}, folder)


def test_the_role_suffices_through_expired_tokens_and_a_restart(etcd: Etcd, tmp_path: Path) -> None:
    """Once, a watch began with a look at a key that the role does not cover, and the agent never heard of a change."""
    vppctl = as_user("agent", etcd, tmp_path)
    # With a command line of its own in /proc.
    with Agent(vppctl, before=["env"]) as agent:
        vppctl.put(*PAIR, wait=True)
        assert agent.process is not None
        assert PASSWORD.encode() not in Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
        # Longer than a token lives, and than the lease of the states does without being refreshed.
        started = Path("/proc/uptime").read_text().split()[0]
        wait_until(lambda: float(Path("/proc/uptime").read_text().split()[0]) > float(started) + 17, "17 s", 20)
        assert vppctl.state("a")["state"] == "APPLIED"
        vppctl.put(PAIR[0] | {"mtu": 1401}, wait=True)
        etcd.kill()
        etcd.start()
        vppctl.put(PAIR[0] | {"mtu": 1402}, wait=True)
        assert links("one")["a"]["mtu"] == 1402
    assert PASSWORD not in agent.log.read_text()


def test_who_may_only_read_is_told_so(etcd: Etcd, tmp_path: Path) -> None:
    reader, agent = as_user("reader", etcd, tmp_path), as_user("agent", etcd, tmp_path)
    agent.put(*PAIR)
    assert "a" in reader("list")
    result = reader.run("del", "a")
    assert (result.returncode, result.stderr.count("\n")) == (5, 1)
    assert "user 'reader' has no permission; grant it a role, or see --user" in result.stderr
    assert agent.run("-l", "vpp2", "status").returncode == 5
    with Agent(reader) as running:
        wait_until(lambda: set(links("one")) == {"a"}, "the pair, although its state cannot be published")
        wait_until(lambda: "cannot publish states" in running.log.read_text(), "a word about the states")


def test_a_password_of_the_environment_is_in_no_list_of_processes(etcd: Etcd, tmp_path: Path) -> None:
    vppctl = as_user("agent", etcd, tmp_path)
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    vppctl.environment["ETCDCTL_USER"] = "agent"
    refused = vppctl.run("status")
    assert refused.returncode == 5
    assert refused.stderr.endswith("user 'agent' has no password; give it as ETCDCTL_PASSWORD or --password-file\n")
    command = vppctl.command("vppctl", ["--password-file", str(file), "status", "-w"])
    with subprocess.Popen(command, env=vppctl.environment, stdout=subprocess.PIPE) as process:
        wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 2, "it to be connected")
        assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.kill()
