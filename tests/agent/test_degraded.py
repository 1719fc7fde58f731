"""An agent in trouble: it goes on, says what does not work and since when, and all is well again when the world is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.agent.test_http import ask
from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd, free_port
from tests.support.netns import links, wait_until
from vppctl.agent import stderr
from vppctl.agent.health import Pulse
from vppctl.agent.lock import AgentLock
from vppctl.agent.stderr import Stderr

pytestmark = pytest.mark.kernel


def health(vppctl: Vppctl) -> str:
    result = vppctl.run("agent", "health")
    return result.stdout if result.returncode == 0 else ""


def test_a_store_that_is_away_is_named_and_so_is_what_is_applied(on_etcd: Vppctl, etcd: Etcd) -> None:
    """Once, `agent health` said alive, and nothing said that a configuration of long ago was applied."""
    with Agent(on_etcd) as agent:
        on_etcd.put(veth("a", "b"), veth("b", "a"), wait=True)
        assert health(on_etcd) == "the agent of label vpp1 is alive\n"
        revision = on_etcd.state("a")["config_revision"]
        etcd.kill()
        wait_until(lambda: "degraded: " in health(on_etcd), "health to report it", 20)
        wait_until(lambda: "publisher: cannot publish states: " in health(on_etcd), "health to report it", 20)
        text = health(on_etcd)
        assert text.startswith("the agent of label vpp1 is alive, but degraded: publisher: cannot publish states: ")
        assert f"store: cannot reach etcd {etcd.endpoint}" in text
        assert f"what is applied is of revision {revision} (since 2" in text
        assert text.count("\n") == 1
        etcd.start()
        wait_until(lambda: health(on_etcd) == "the agent of label vpp1 is alive\n", "all to be well again", 30)
        on_etcd.wait_state("a", "APPLIED")
        assert "source store works again" in agent.log.read_text()


def test_what_does_not_work_is_in_the_heartbeat_and_in_the_metrics(vppctl: Vppctl) -> None:
    address = f"127.0.0.1:{free_port()}"
    vppctl.environment["DOCKER_HOST"] = f"unix://{vppctl.folder}/none.sock"
    with Agent(vppctl, "--http", address):
        vppctl.put(veth("a", "b", {"type": 1, "microservice": "web"}), veth("b", "a"))
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")

        def troubles() -> str:
            return str(json.loads(vppctl("dump", "/vnf-agent/vpp1/check/").splitlines()[1]).get("troubles"))

        wait_until(lambda: "docker: Docker cannot be asked at" in troubles(), "the heartbeat to report it")
        lines = ask(address, "/metrics")[1].splitlines()
        assert 'vppctl_source_up{source="docker"} 0.0' in lines
        assert 'vppctl_source_up{source="kernel"} 1.0' in lines
        assert 'vppctl_source_failures_total{source="docker"} 1.0' in lines
        status, text = ask(address, "/readyz")
        assert status == 200
        assert text.startswith("ok\ndegraded: docker: Docker cannot be asked at")
        # As from another host, where there is no lock to look at.
        os.rename("/run/vppctl/agent-vpp1.lock", "/run/vppctl/away")
        try:
            assert "alive, but degraded: docker: Docker cannot be asked" in health(vppctl)
        finally:
            os.rename("/run/vppctl/away", "/run/vppctl/agent-vpp1.lock")


def fill(fd: int) -> None:
    """Leave no room, as a reader that has stopped does."""
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, b"\n" * 512)
    os.set_blocking(fd, True)


@pytest.mark.parametrize(("kind", "form"), [("pipe", "text"), ("socket", "text"), ("terminal", "json")])
def test_a_log_whose_reader_has_stopped_holds_up_nothing(vppctl: Vppctl, kind: str, form: str) -> None:
    """Once, the agent hung in the middle of its work, did not hear SIGTERM, and health said that it was alive."""
    if kind == "pipe":
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        reader, writer = ours.detach(), theirs.detach()
    else:
        reader, writer = pty.openpty()
    fill(writer)
    command = vppctl.command("vppctl", ["agent", "run", "--log-level", "debug", "--log-format", form])
    agent = subprocess.Popen(command, env=vppctl.environment, stderr=writer)
    try:
        sides = [(f"a{n}", f"b{n}") for n in range(20)]
        vppctl.put(*(veth(*side) for side in (*sides, *((b, a) for a, b in sides))))
        vppctl("wait", *(a for a, _ in sides), "--for", "applied")
        for mtu in (1300, 1400):
            vppctl.put(*(veth(*side, mtu=mtu) for side in sides), wait=True)
        os.set_blocking(reader, False)
        heard = b""

        def read() -> bytes:
            nonlocal heard
            with contextlib.suppress(BlockingIOError):
                while data := os.read(reader, 1 << 16):
                    heard += data
            return heard

        wait_until(lambda: b"b19 APPLIED" in read(), "what was kept to be written")
        agent.send_signal(signal.SIGUSR1)
        wait_until(lambda: b"log level is debug now" in read(), "the log to go on")
        assert not os.get_blocking(reader), "only the reader's own flag"
        assert os.get_blocking(writer), "others who have the file are not changed"
        fill(writer)
    finally:
        agent.terminate()
        assert agent.wait(10) == 0
        os.close(reader)
        os.close(writer)


def test_lines_that_do_not_fit_are_counted() -> None:
    reader, writer = os.pipe()
    fill(writer)
    log = Stderr(writer)
    line = "x" * 999 + "\n"
    for _ in range(300):
        log.write(line)
    assert log.dropped() == "", "not while there is no room to report it"
    os.set_blocking(reader, False)
    heard = b""
    while log.pending():
        heard += os.read(reader, 1 << 20)
    with contextlib.suppress(BlockingIOError):
        heard += os.read(reader, 1 << 20)
    kept = heard.lstrip().count(b"\n")
    assert kept == stderr.LIMIT // len(line)
    assert log.dropped() == f"{300 - kept} lines of the log were dropped: its reader did not read"
    assert log.dropped() == ""
    os.close(reader)
    log.write(line)
    assert not log.pending(), "a reader that has gone is not waited for"
    assert log.dropped() == "1 lines of the log were dropped: its reader has gone"
    os.close(writer)


def test_a_service_manager_that_does_not_read_holds_up_nothing(vppctl: Vppctl) -> None:
    address = str(vppctl.folder / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        manager.bind(address)
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"full", address)
        vppctl.environment.update(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
        with Agent(vppctl):
            vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
            assert set(links()) == {"a", "b"}


def test_ready_does_not_wait_for_a_store_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the service manager ended the start after 90 s, again and again, and a boot waited for it."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, AgentLock("vpp1") as lock:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def heard() -> str:
            messages = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    messages.append(manager.recv(1 << 16).decode())
            return "\n".join(messages)

        pulse = Pulse(lock)
        for _ in range(3):
            pulse.beat(lambda: "waits", str)
            pulse.announce(15.0)
            assert heard() == "WATCHDOG=1\nSTATUS=waits\nEXTEND_TIMEOUT_USEC=90000000"
            now += 5.0
        pulse.announce(15.0)
        pulse.announce(15.0)
        pulse.beat(lambda: "waits", str)
        assert heard() == "READY=1\nWATCHDOG=1\nSTATUS=waits"
        pulse.reload()
        pulse.announce(15.0)
        reloading = heard()
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert "READY" not in reloading
        pulse.announce()
        assert heard() == "READY=1"


def test_reports_that_the_store_refuses_keep_no_other_waiting(on_etcd: Vppctl, tmp_path: Path) -> None:
    """A small --max-request-bytes: the report about one interface is larger than what the store takes."""
    (tmp_path / "small").mkdir()
    with Etcd(tmp_path / "small", "--max-request-bytes=8000") as small:
        on_etcd.environment["ETCDCTL_ENDPOINTS"] = small.endpoint
        with Agent(on_etcd) as agent:
            # As much as fits into a document; its report has more than that.
            on_etcd.put(veth("a", "b", ip_addresses=[f"10.{n // 250}.{n % 250}.1/32" for n in range(470)]))
            on_etcd.put(veth("b", "a"))
            on_etcd.put(veth("c", "d"))
            on_etcd.put(veth("d", "c"))
            on_etcd.wait_state("c", "APPLIED", timeout=20)
            report = on_etcd.wait_state("a", "APPLIED", timeout=20)
            assert report["history"] == []
            assert len(report["ip_addresses"]) == 200
            assert "the store refuses the report under" in agent.log.read_text()


def test_an_embedded_store_that_is_removed_changes_nothing(vppctl: Vppctl) -> None:
    """Once, the agent made an empty one and removed all links."""
    folder = vppctl.folder / "state"
    with Agent(vppctl):
        vppctl.put(veth("a", "b", "one"), veth("b", "a"), wait=True)
        index = links()["b"]["ifindex"]
        folder.rename(vppctl.folder / "away")
        wait_until(lambda: "was removed; restore it" in vppctl.run("agent", "health").stdout, "its removal to be seen")
        assert links()["b"]["ifindex"] == index
        (vppctl.folder / "away").rename(folder)
        vppctl.put(veth("c", "d"), veth("d", "c"))
        vppctl.wait_state("c", "APPLIED")
        assert links()["b"]["ifindex"] == index
