"""An engine whose PIDs are not those of the agent: in another PID namespace, or by way of other connections."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.test_microservices import NAMED, WEB, inside
from tests.support.agent import Agent, Vppctl
from tests.support.docker import Engine, pid
from tests.support.netns import ip, links, links_of, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.docker]


class Apart(Vppctl):
    """The command line in a PID namespace of its own, beside processes that are not of any container."""

    neighbours = ""
    """What is started there before it."""

    def command(self, program: str, arguments: object) -> list[str]:
        command = super().command(program, arguments)  # type: ignore[arg-type]
        return ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", f'{self.neighbours}"$@"', "sh", *command]


@pytest.fixture
def apart(vppctl: Vppctl) -> Apart:
    found = Apart({}, vppctl.folder)
    found.environment = vppctl.environment
    return found


def test_a_pid_that_is_nobodys_where_the_agent_runs(apart: Apart, vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("shop", "web")
    vppctl.put(WEB, NAMED)
    result = apart.run("agent", "run", "--once")
    assert result.returncode == 1
    assert "ForeignPid" in result.stdout
    assert f"PID {pid(container)} of container 'shop' ({container.id[:12]}) is no process here" in result.stderr
    assert "--pid host" in result.stderr
    assert (inside(container), links("two")) == (set(), {})


def test_a_pid_that_is_another_process_where_the_agent_runs(apart: Apart, vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("shop", "web")
    # As near in time as can be: what was started when does not tell them apart.
    number = pid(container)
    apart.neighbours = f"echo {number - 1} > /proc/sys/kernel/ns_last_pid; unshare -n sleep 600 & "
    vppctl.put(WEB, NAMED)
    result = apart.run("agent", "run", "--once")
    assert f"PID {number} of container 'shop' ({container.id[:12]}) is another process here" in result.stderr
    assert "ForeignPid" in result.stdout
    assert (inside(container), links("two")) == (set(), {})


def test_the_same_pids_are_found_from_another_mount_and_control_group_namespace(
    vppctl: Vppctl, engine: Engine, tmp_path: Path
) -> None:
    container = engine.run("shop", "web")
    ip("netns", "add", "two")
    vppctl.put(WEB, NAMED)
    command = ["unshare", "--mount", "--cgroup", *vppctl.command("vppctl", ["agent", "run"])]
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(command, env=vppctl.environment, stderr=log)
    try:
        vppctl.wait_state("a", "APPLIED")
        assert inside(container) == {"a"}
    finally:
        agent.terminate()
        agent.wait()


@contextlib.contextmanager
def on_loopback(path: str) -> Iterator[str]:
    """The engine behind a TCP port of this host; its URL."""
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(path)
            there = threading.Thread(target=pump, args=(client, engine), daemon=True)
            there.start()
            pump(engine, client)
            there.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                connections.append(threading.Thread(target=serve, args=(client,), daemon=True))
                connections[-1].start()

    connections: list[threading.Thread] = []
    listener = threading.Thread(target=accept, daemon=True)
    listener.start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        listener.join()
        for connection in connections:
            connection.join()
        server.close()


@pytest.mark.parametrize("way", ["DOCKER_HOST", "DOCKER_CONTEXT", "docker context use"])
def test_ways_to_name_an_engine_with_a_proxy_in_the_environment(
    vppctl: Vppctl, engine: Engine, tmp_path: Path, way: str
) -> None:
    """A proxy is for other hosts: Docker's own command line does not ask it for a loopback address either."""
    container = engine.run("shop", "web")
    del vppctl.environment["DOCKER_HOST"]
    with on_loopback(engine.host.removeprefix("unix://")) as url:
        config = tmp_path / "config"
        if way == "DOCKER_HOST":
            vppctl.environment["DOCKER_HOST"] = url
        else:
            meta = config / "contexts" / "meta" / hashlib.sha256(b"lab").hexdigest() / "meta.json"
            meta.parent.mkdir(parents=True)
            meta.write_text(json.dumps({"Name": "lab", "Metadata": {}, "Endpoints": {"docker": {"Host": url}}}))
            (config / "config.json").write_text(
                json.dumps({"currentContext": "lab" if way == "docker context use" else "default"})
            )
            vppctl.environment["DOCKER_CONFIG"] = str(config)
            if way == "DOCKER_CONTEXT":
                vppctl.environment["DOCKER_CONTEXT"] = "lab"
        proxy = "http://127.0.0.1:1"
        vppctl.environment |= {"HTTP_PROXY": proxy, "http_proxy": proxy, "ALL_PROXY": proxy, "all_proxy": proxy}
        vppctl.environment |= {"NO_PROXY": "", "no_proxy": ""}
        with Agent(vppctl):
            vppctl.put(WEB, NAMED, wait=True)
            assert inside(container) == {"a"}
            assert vppctl("check") == ""


def test_containers_of_a_restarted_engine_are_still_its_own(vppctl: Vppctl, engine: Engine) -> None:
    """Started in quick succession, with a first process that ends at once: never taken for those of another host."""
    container = engine.run("shop", "web")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        before = pid(container)
        os.kill(before, 9)
        wait_until(lambda: pid(container) == 0, "the container to end")
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        container.start()
        vppctl.wait_state("a", "APPLIED")
        assert links_of(pid(container)) == {"a"}
        reasons = {
            entry["result"].partition(":")[0]
            for entry in json.loads(vppctl("history", "a", "-o", "json"))[0]["history"]
        }
        assert reasons <= {"APPLIED", "PENDING MicroserviceNotRunning", "PENDING PeerNotConfigured"}
