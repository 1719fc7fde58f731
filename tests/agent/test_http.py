"""--http: probes and metrics of a running agent."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import subprocess

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import free_port
from tests.support.netns import wait_until

pytestmark = pytest.mark.kernel


def ask(address: str, path: str) -> tuple[int, str]:
    """Status and body; (0, "") when nobody answers."""
    if address.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
    else:
        connection = http.client.HTTPConnection(address, timeout=5)
    try:
        if connection.sock:
            connection.sock.connect(address.removeprefix("unix:"))
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_probes_and_metrics(vppctl: Vppctl, kind: str) -> None:
    address = f"127.0.0.1:{free_port()}" if kind == "tcp" else f"unix:{vppctl.folder}/http.sock"
    with Agent(vppctl, "--http", address, "--stats-interval", "0.1s"):
        wait_until(lambda: ask(address, "/readyz") == (200, "ok\n"), "the agent to be ready")
        assert ask(address, "/healthz") == (200, "ok\n")
        assert ask(address, "/nothing")[0] == 404
        vppctl.put(veth("a", "b"), veth("b", "a", "vpp"), veth("c", "d"))
        vppctl("wait", "a", "b", "--for", "applied")
        vppctl.wait_state("c", "PENDING", "PeerNotConfigured")
        status, text = ask(address, "/metrics")
        lines = text.splitlines()
        assert status == 200
        assert 'vppctl_interfaces{state="APPLIED"} 2.0' in lines
        assert 'vppctl_interfaces{state="PENDING"} 1.0' in lines
        assert "vppctl_store_up 1.0" in lines
        assert 'vppctl_operations_total{result="failed"} 0.0' in lines
        # The namespace and the pair, and nothing twice.
        assert 'vppctl_operations_total{result="ok"} 2.0' in lines
        # A namespace may be called vpp.
        assert any(line.startswith('vppctl_interface_receive_packets_total{interface="b"}') for line in lines)
        assert any(line.startswith('vppctl_interface_transmit_packets_total{interface="a"}') for line in lines)
    assert ask(address, "/healthz") == (0, "")


def test_more_who_connect_than_there_is_room_for(vppctl: Vppctl) -> None:
    """Once, each had a thread for as long as it liked: any user of the host could make the agent run out of them."""
    address = f"127.0.0.1:{free_port()}"
    with Agent(vppctl, "--http", address), contextlib.ExitStack() as stack:
        wait_until(lambda: ask(address, "/healthz")[0] == 200, "the agent to answer")
        host, _, port = address.rpartition(":")
        idle = [stack.enter_context(socket.socket()) for _ in range(100)]
        for client in idle:
            client.setblocking(False)
            client.connect_ex((host, int(port)))
        # At once, and not when those that were taken are cut for their silence after 5 s.
        wait_until(lambda: len(select.select(idle, [], [], 0)[0]) >= 80, "the others to be refused", 4)
        wait_until(lambda: ask(address, "/healthz")[0] == 200, "the idle ones to be cut", 20)


def test_while_the_store_is_away_it_is_alive_and_not_ready(vppctl: Vppctl) -> None:
    address = f"127.0.0.1:{free_port()}"
    vppctl.environment["VPPCTL_STORE"] = f"etcd://127.0.0.1:{free_port()}"
    with Agent(vppctl, "--http", address):
        wait_until(lambda: ask(address, "/healthz")[0] == 200, "the agent to answer")
        wait_until(lambda: "store: cannot reach etcd" in ask(address, "/readyz")[1], "the reason to be told")
        assert ask(address, "/readyz")[0] == 503
        assert ask(address, "/readyz")[1].startswith("the first full comparison is not done\n")
        assert ask(address, "/healthz")[0] == 200
        assert 'vppctl_source_up{source="store"} 0.0' in ask(address, "/metrics")[1].splitlines()
        assert "vppctl_store_up 0.0" in ask(address, "/metrics")[1].splitlines()


def raw(address: str, request: str) -> tuple[int, str]:
    """Status and the rest of the answer to what is sent as it stands."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(request.replace("\n", "\r\n").encode())
        with client.makefile("rb") as answer:
            text = answer.read().decode()
    return int(text.split()[1]), text


def test_a_page_whose_name_leads_here_reads_nothing(vppctl: Vppctl) -> None:
    """DNS rebinding: a browser on the host sends the page's name as Host. Once, any was answered."""
    address = f"127.0.0.1:{free_port()}"
    with Agent(vppctl, "--http", address, "--http-host", "Metrics.example.net", "--http-host", "10.0.0.7"):
        wait_until(lambda: ask(address, "/readyz")[0] == 200, "the agent to be ready")
        port = address.rpartition(":")[2]
        for host in ("evil.example", f"evil.example:{port}", "", "0.0.0.0", "127.0.0.1.evil.example", "10.0.0.8"):
            for line in ("GET /metrics", "GET /healthz", "HEAD /metrics", "GET /nothing", "POST /metrics"):
                status, text = raw(address, f"{line} HTTP/1.1\nHost: {host}\n\n")
                assert status == 421, (host, line)
                assert "vppctl_" not in text
        for several in ("", "Host: localhost\nHost: evil.example\n", "Host: evil.example\nHost: localhost\n"):
            assert raw(address, f"GET /metrics HTTP/1.1\n{several}\n")[0] == 400
        for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:9090", "::1"):
            assert raw(address, f"GET /healthz HTTP/1.1\nHost: {host}\nConnection: close\n\n")[0] == 200, host
        for host in ("metrics.example.net", "METRICS.example.net.:443", "10.0.0.7"):
            assert raw(address, f"GET /healthz HTTP/1.1\nHost: {host}\nConnection: close\n\n")[0] == 200, host
        assert raw(address, "GET /healthz HTTP/1.0\n\n")[0] == 200


@pytest.mark.parametrize("host", ["a b", "http://x", "x/y", "-x", "", "x:80"])
def test_a_host_that_is_none(vppctl: Vppctl, host: str) -> None:
    result = vppctl.run("agent", "run", "--http", "127.0.0.1:9090", "--http-host", host)
    assert result.returncode == 2
    assert "--http-host" in result.stderr.splitlines()[-1]


def test_hosts_go_with_an_address(vppctl: Vppctl) -> None:
    result = vppctl.run("agent", "run", "--http-host", "x")
    assert result.returncode == 2
    assert "--http-host goes with --http" in result.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:9090", "9090", "127.0.0.1:0", "10.0.0.1:80", "unix:relative"])
def test_it_is_for_loopback_alone(vppctl: Vppctl, address: str) -> None:
    result = vppctl.run("agent", "run", "--http", address)
    assert result.returncode == 2
    assert "is no loopback address" in result.stderr.splitlines()[-1]


def test_a_bad_address_writes_no_file_and_a_socket_in_use_stays(vppctl: Vppctl) -> None:
    file = vppctl.folder / "a.json"
    file.write_text(json.dumps(veth("a", "b")))
    assert vppctl.run("agent", "run", "--http", "9090", str(file)).returncode == 2
    assert vppctl("list") == ""
    address = f"unix:{vppctl.folder}/http.sock"
    with Agent(vppctl, "--http", address):
        wait_until(lambda: ask(address, "/healthz")[0] == 200, "the agent to answer")
        second = vppctl.run("-l", "other", "agent", "run", "--http", address)
        assert second.returncode == 1
        assert "Address already in use" in second.stderr
        assert ask(address, "/healthz")[0] == 200


def test_what_the_kernel_refuses_is_counted_and_remembered(vppctl: Vppctl) -> None:
    """A namespace cannot be created in a folder that is read-only."""
    address = f"127.0.0.1:{free_port()}"
    subprocess.run(["mount", "-o", "remount,ro", "/run/netns"], check=True)
    try:
        with Agent(vppctl, "--http", address):
            vppctl.put(veth("a", "b", "nowhere"), veth("b", "a"))
            report = vppctl.wait_state("a", "FAILED", "KernelError")
            assert "Read-only file system" in report["history"][0]["operations"][-1]
            lines = ask(address, "/metrics")[1].splitlines()
            (failed,) = [line for line in lines if line.startswith('vppctl_operations_total{result="failed"}')]
            assert float(failed.split()[1]) >= 1
    finally:
        subprocess.run(["mount", "-o", "remount,rw", "/run/netns"], check=True)
