"""Running an agent: its lock, its pulse, its signals, what it tells the service manager, its history and counters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until
from vppctl.agent.health import Pulse
from vppctl.agent.lock import PULSE, AgentLock, pulse

pytestmark = pytest.mark.kernel


def test_a_second_agent_of_the_label_is_refused_and_another_label_is_not(either: Vppctl) -> None:
    with Agent(either) as agent:
        wait_until(lambda: either.run("agent", "health").returncode == 0, "a healthy agent")
        second = either.run("agent", "run", "--once")
        assert agent.process is not None
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1] == (
            f"an agent of label vpp1 is already running on this host, as PID {agent.process.pid}; "
            "stop it, or give this one another --label"
        )
        assert either.run("-l", "other", "agent", "run", "--once").returncode == 0
        agent.stop(signal.SIGKILL)
        assert either.run("agent", "health").returncode == 1
        assert either.run("agent", "run", "--once").returncode == 0


def test_health_on_another_host_asks_the_store(either: Vppctl) -> None:
    result = either.run("-l", "never-ran-here", "agent", "health")
    assert result.returncode == 1
    assert result.stderr in (
        "no agent of label never-ran-here is running on this host\n",
        f"no agent of label never-ran-here has a heartbeat in etcd {either.environment.get('ETCDCTL_ENDPOINTS')}\n",
    )
    sign = either.folder / "sign"
    sign.write_text("{}")
    either("put", "--raw", "/vnf-agent/never-ran-here/check/status/v1/agent", str(sign))
    assert either.run("-l", "never-ran-here", "agent", "health").returncode == 0


def test_a_hung_agent_is_not_healthy(vppctl: Vppctl) -> None:
    with Agent(vppctl) as agent:
        wait_until(lambda: vppctl.run("agent", "health").returncode == 0, "a healthy agent")
        assert agent.process is not None
        os.kill(agent.process.pid, signal.SIGSTOP)
        lock = Path("/run/vppctl/agent-vpp1.lock")
        os.utime(lock, (0, lock.stat().st_mtime - 100))
        result = vppctl.run("agent", "health")
        os.kill(agent.process.pid, signal.SIGCONT)
        assert result.returncode == 1
        assert "has decided nothing for 1" in result.stderr


def test_a_signal_that_comes_while_the_agent_starts_is_not_lost(vppctl: Vppctl) -> None:
    for _ in range(5):
        with Agent(vppctl) as agent:
            # From here on `agent health` says that it is alive.
            wait_until(lambda: pulse("vpp1") == "", "the lock")
            assert agent.stop() == 0, "ended by the signal's default"


def test_stopping_is_no_failure(vppctl: Vppctl) -> None:
    """Once, a warning at each stop: source publisher has failed, it is started again."""
    with Agent(vppctl) as agent:
        vppctl.put(veth("a", "b"), veth("b", "a"))
        vppctl.wait_state("a", "APPLIED")
    assert "the agent stops" in agent.log.read_text()
    assert "has failed" not in agent.log.read_text()


def test_cleanup_removes_what_the_agent_made_and_nothing_else(either: Vppctl) -> None:
    ip("link", "add", "mine", "type", "veth", "peer", "name", "mine2")
    with Agent(either):
        either.put(veth("a", "b"), veth("b", "a", "ns1"), wait=True)
        refused = either.run("agent", "cleanup")
        assert refused.returncode == 1
        assert "already running" in refused.stderr
    shown = either("agent", "cleanup", "--dry-run")
    assert sorted(shown.splitlines()) == ["would remove a in namespace default", "would remove b in namespace ns1"]
    assert "a" in links()
    either("-l", "other", "agent", "cleanup")
    assert "a" in links()
    either("agent", "cleanup")
    assert set(links()) == {"mine", "mine2"}
    assert links("ns1") == {}
    assert either("agent", "cleanup") == ""


def test_the_service_manager_is_told(vppctl: Vppctl) -> None:
    address = str(vppctl.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        vppctl.environment.update(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
        told: list[str] = []

        def hear(what: str) -> None:
            while not told or not told[-1].startswith(what):
                told.append(manager.recv(4096).decode())

        with Agent(vppctl) as agent:
            hear("READY=1")
            vppctl.put(veth("a", "b"))
            hear("STATUS=1 interfaces, 1 PENDING")
            told.clear()
            hear("WATCHDOG=1")
            hear("WATCHDOG=1")
            assert agent.process is not None
            agent.process.send_signal(signal.SIGHUP)
            hear("RELOADING=1\nMONOTONIC_USEC=")
            hear("READY=1")
        hear("STOPPING=1")


def test_a_status_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line of its own would be another message: what Docker or etcd say may have line ends."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, AgentLock("status") as lock:
        manager.bind(address)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        Pulse(lock).beat(lambda: "docker: it said\nMAINPID=1\r\nREADY=1", str, now=True)
        assert manager.recv(4096) == b"WATCHDOG=1"
        lines = manager.recv(4096).decode().splitlines()
        assert lines[0] == "STATUS=docker: it said MAINPID=1 READY=1"
        assert [line.partition("=")[0] for line in lines[1:]] == ["EXTEND_TIMEOUT_USEC"]


@pytest.mark.parametrize("microseconds", ["\u00b2", "1", "9" * 30])
def test_an_odd_watchdog_is_no_reason_to_fail_or_to_spin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, microseconds: str
) -> None:
    """Once, an internal error, and a third of a core."""
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with AgentLock(f"odd-{tmp_path.name}") as lock:
        assert 0.05 <= Pulse(lock).interval <= PULSE


def test_the_log_level_changes_at_run_time(vppctl: Vppctl) -> None:
    with Agent(vppctl) as agent:
        wait_until(lambda: "is followed" in agent.log.read_text(), "the agent to run")
        assert agent.process is not None
        agent.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "log level is debug now" in agent.log.read_text(), "more to be logged")
        vppctl.put(veth("a", "b"))
        wait_until(lambda: "debug   looked at" in agent.log.read_text(), "a debug message")
        agent.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "log level is info now" in agent.log.read_text(), "less to be logged")


def test_history_tells_what_was_done(either: Vppctl) -> None:
    with Agent(either):
        either.put(veth("a", "b"))
        either.wait_state("a", "PENDING", "PeerNotConfigured")
        either.put(veth("b", "a"), wait=True)
        either.put(veth("a", "b", ip_addresses=["10.0.0.1/24"]), wait=True)
        (report,) = json.loads(either("history", "a", "-o", "json"))
        results = [(e["result"].partition(":")[0], e["operations"]) for e in report["history"]]
        assert results == [
            ("PENDING PeerNotConfigured", []),
            ("APPLIED", ["create a with peer b"]),
            ("APPLIED", ["add 10.0.0.1/24 to a"]),
        ]
        assert all(e["duration_ms"] > 0 and e["revision"] for e in report["history"])
        assert either("history", "a").count("\n") == 3
        assert "(add 10.0.0.1/24 to a)" in either("describe", "a")
        assert either.run("history", "zz").returncode == 3


def test_history_is_bounded(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
        for mtu in range(1400, 1412):
            vppctl.put(veth("a", "b", mtu=mtu), wait=True)
        history = vppctl.state("a")["history"]
        assert len(history) == 10
        assert history[-1]["operations"] == ["set mtu 1411 of a"]


@pytest.mark.parametrize("interval", ["0.1s", "0"])
def test_counters_follow_the_traffic_unless_switched_off(vppctl: Vppctl, interval: str) -> None:
    def received() -> int:
        packets: int = vppctl.state("b")["statistics"]["in_packets"]
        return packets

    def tentative() -> list[str]:
        found = [*links()["a"]["addr_info"], *links("ns1")["b"]["addr_info"]]
        return [address["local"] for address in found if address.get("tentative")]

    with Agent(vppctl, "--stats-interval", interval):
        vppctl.put(
            veth("a", "b", ip_addresses=["10.0.0.1/24"]), veth("b", "a", "ns1", ip_addresses=["10.0.0.2/24"]), wait=True
        )
        # Whatever happens to a link has it looked at, its counters too: detection of duplicates is over a second later.
        wait_until(lambda: not tentative(), "the kernel to be done with the addresses")
        vppctl.put(veth("c", "d"))
        vppctl.wait_state("c", "PENDING", "PeerNotConfigured")
        before = received()
        ip("netns", "exec", "ns1", "ping", "-c3", "-i0.01", "10.0.0.1")
        if interval == "0":
            vppctl.put(veth("e", "f"))
            vppctl.wait_state("e", "PENDING", "PeerNotConfigured")
            assert received() == before
        else:
            wait_until(lambda: received() >= before + 3, "the counters to follow")


def test_the_unit_starts_this_program(vppctl: Vppctl) -> None:
    unit = vppctl("agent", "unit")
    started = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert os.access(started.removeprefix("ExecStart=").split()[0], os.X_OK)
    assert "Type=notify" in unit


def test_history_begins_with_the_agent(vppctl: Vppctl) -> None:
    for mtu in (1400, 1500):
        with Agent(vppctl, "--resync", "adopt"):
            vppctl.put(veth("a", "b", mtu=mtu), veth("b", "a"), wait=True)
    assert vppctl("history") == "", "it goes with the agent that keeps it"
    with Agent(vppctl, "--resync", "adopt"):
        vppctl.wait_state("a", "APPLIED")
        (entry,) = vppctl.state("a")["history"]
        assert (entry["operations"], entry["result"]) == ([], "APPLIED")


def test_a_log_goes_on_when_there_is_room_again(vppctl: Vppctl, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 20))
        agent = Agent(vppctl)
        agent.log = disk / "agent.log"
        with agent:
            wait_until(lambda: vppctl.run("agent", "health").returncode == 0, "a healthy agent")
            assert agent.log.read_text() == ""
            filler.unlink()
            assert agent.process is not None
            agent.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: "log level is debug now" in agent.log.read_text(), "the log to go on")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
