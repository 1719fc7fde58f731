"""The shipped unit under a real systemd: its sandbox lets the agent do its work, and it is started again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.etcd import PROGRAM
from tests.support.netns import wait_until
from tests.support.systemd import ROOT, SYSTEMD, UNITS, Machine
from vppctl.agent.unit import unit

pytestmark = [
    pytest.mark.kernel,
    # One worker has them all: one machine is started.
    pytest.mark.xdist_group("systemd"),
    pytest.mark.skipif(not SYSTEMD.exists(), reason="needs systemd (Debian: systemd)"),
]

VPPCTL = str(Path(sys.executable).parent / "vppctl")
SERVICE = "vppctl-agent"
STORE = "10.99.0.1:2379"
ENGINE = "/run/fake-docker.sock"
LATE_ENGINE = """
import pathlib, subprocess
from tests.support.fake_docker import FakeEngine
with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as process, FakeEngine(pathlib.Path("/run")) as engine:
    engine.add("one", "web", process.pid)
    process.wait()
"""
"""A FAKE engine with one container, which has the network of a process of its own."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With the unit as the README installs it, on the embedded store."""
    with Machine(tmp_path_factory.mktemp("systemd")) as machine:
        machine("sh", "-c", f"{VPPCTL} agent unit > {UNITS}/{SERVICE}.service")
        machine("sh", "-c", f"echo VPPCTL_STORE=embedded > /etc/default/{SERVICE}")
        machine("systemctl", "daemon-reload")
        machine("systemctl", "start", SERVICE)
        yield machine


def vppctl(machine: Machine, *arguments: str, stdin: str = "") -> str:
    return machine(VPPCTL, "--store", "embedded", *arguments, stdin=stdin)


def put(machine: Machine, *documents: dict[str, Any]) -> None:
    vppctl(machine, "put", "-", "--wait", stdin=json.dumps({"interface": documents}))


def show(machine: Machine, name: str) -> str:
    return machine("systemctl", "show", "--value", f"--property={name}", SERVICE).strip()


def index(machine: Machine, namespace: str, name: str) -> int:
    found: list[dict[str, Any]] = json.loads(machine("ip", "-n", namespace, "-j", "link", "show", "dev", name))
    return int(found[0]["ifindex"])


def test_it_works_in_its_sandbox(machine: Machine) -> None:
    """Namespaces that it makes reach the host; a process of another user, in a namespace without IPv6, is reached."""
    off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
    other = "exec setpriv --reuid=65534 --regid=65534 --clear-groups sleep infinity"
    machine("systemd-run", "--unit=other", "unshare", "-n", "sh", "-c", f"{off}; {other}")
    pid = int(machine("systemctl", "show", "--value", "--property=MainPID", "other"))
    wait_until(lambda: machine("stat", "-c", "%u", f"/proc/{pid}") == "65534\n", "the process to be of another user")
    put(
        machine,
        veth("a", "b", "one", ip_addresses=["10.0.0.1/24"]),
        veth("b", "a", {"type": 0, "pid": pid}, ip_addresses=["2001:db8::1/64"]),
    )
    assert machine("ip", "-n", "one", "-4", "-br", "addr").split()[2] == "10.0.0.1/24"
    # Everybody's `ip netns` may look, whatever the unit's umask.
    assert machine("stat", "-c", "%a", "/run/netns") == "755\n"
    assert "2001:db8::1/64" in machine("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-br", "addr", "show", "dev", "b")
    assert (show(machine, "ActiveState"), show(machine, "NRestarts")) == ("active", "0")
    bounds = {name: show(machine, name) for name in ("MemoryMax", "TasksMax", "LimitCORE", "DevicePolicy")}
    assert bounds == {"MemoryMax": str(2 << 30), "TasksMax": "256", "LimitCORE": "0", "DevicePolicy": "closed"}
    wait_until(lambda: show(machine, "StatusText").startswith("2 interfaces"), "the status to tell the interfaces")
    vppctl(machine, "del", "a", "b")


def test_a_program_in_an_odd_folder_is_the_one_that_runs(machine: Machine) -> None:
    """Blanks divide arguments, and '%' and '$' mean something to systemd. Once, none of them was quoted."""
    folder = "/run/a b%n $HOME ${X} ; c"
    program = f"{folder}/vppctl"
    machine("mkdir", folder)
    script = '#!/bin/sh\nprintf "%s\\n" "$0" "$@" > /run/started\nexec sleep 600\n'
    machine("sh", "-c", 'cat > "$1" && chmod 755 "$1"', "sh", program, stdin=script)
    machine("sh", "-c", f"cat > {UNITS}/odd.service", stdin=unit(program))
    machine("systemctl", "daemon-reload")
    machine("systemctl", "start", "--no-block", "odd")
    try:
        started = f"{program}\nagent\nrun\n--resync\nadopt\n"
        wait_until(lambda: machine.run("cat", "/run/started").stdout == started, "the program to run")
    finally:
        machine.run("systemctl", "stop", "odd")
        machine("rm", f"{UNITS}/odd.service")


def test_it_starts_again_and_adopts(machine: Machine) -> None:
    put(machine, veth("c", "d", "two"), veth("d", "c"))
    before, restarts = index(machine, "two", "c"), int(show(machine, "NRestarts"))
    machine("kill", "-KILL", show(machine, "MainPID"))
    wait_until(lambda: int(show(machine, "NRestarts")) > restarts, "systemd to notice", 20)
    wait_until(lambda: show(machine, "ActiveState") == "active", "the agent to come back", 20)
    machine("systemctl", "stop", SERVICE)
    assert index(machine, "two", "c") == before
    machine("ip", "-n", "two", "link", "set", "dev", "c", "mtu", "1400")
    machine("systemctl", "start", SERVICE)
    # It is ready when all has been compared, and not before.
    assert json.loads(machine("ip", "-n", "two", "-j", "link", "show", "dev", "c"))[0]["mtu"] == 1500
    assert index(machine, "two", "c") == before


def test_one_that_hangs_is_ended(machine: Machine) -> None:
    machine("mkdir", "-p", f"{UNITS}/{SERVICE}.service.d")
    machine("sh", "-c", f"printf '[Service]\\nWatchdogSec=4\\n' > {UNITS}/{SERVICE}.service.d/short.conf")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", SERVICE)
    pid, restarts = show(machine, "MainPID"), int(show(machine, "NRestarts"))
    machine("kill", "-STOP", pid)
    wait_until(lambda: int(show(machine, "NRestarts")) > restarts, "the watchdog", 30)
    wait_until(lambda: show(machine, "ActiveState") == "active", "the agent to come back", 20)
    assert show(machine, "MainPID") != pid


def test_a_store_a_network_and_an_engine_that_come_after_it(machine: Machine) -> None:
    """Once, the start was ended as soon as TimeoutStartSec was over, again and again."""
    machine("systemctl", "stop", SERVICE)
    folder, settings = f"{UNITS}/{SERVICE}.service.d", f"/etc/default/{SERVICE}"
    machine("mkdir", "-p", folder)
    machine("sh", "-c", f"printf '[Service]\\nTimeoutStartSec=2\\n' > {folder}/start.conf")
    machine("sh", "-c", f"printf 'VPPCTL_STORE=etcd://{STORE}\\nDOCKER_HOST=unix://{ENGINE}\\n' > {settings}")
    machine("systemctl", "daemon-reload")
    try:
        machine("systemctl", "start", "--no-block", SERVICE)

        def waits() -> bool:
            text = show(machine, "StatusText")
            why = f"store: cannot reach etcd {STORE}: network is unreachable"
            return text.startswith("waits for the configuration from the store; ") and why in text

        wait_until(waits, "the status to say what it waits for")
        assert show(machine, "ActiveState") == "activating"
        pid = show(machine, "MainPID")
        # Longer than the manager would have waited.
        wait_until(lambda: show(machine, "ActiveState") != "activating", "the start to be over", 30)
        assert (show(machine, "ActiveState"), show(machine, "NRestarts")) == ("active", "0")
        assert waits()
        machine("ip", "addr", "add", STORE.replace(":2379", "/32"), "dev", "lo")
        listen = [f"--{kind}-client-urls=http://{STORE}" for kind in ("listen", "advertise")]
        machine("systemd-run", "--unit=late-etcd", PROGRAM, "--data-dir=/run/late-etcd", *listen)
        wait_until(lambda: show(machine, "StatusText").startswith("0 interfaces"), "the configuration to be known", 20)
        documents = {"interface": [veth("a", "b", {"type": 1, "microservice": "web"}), veth("b", "a")]}
        machine(VPPCTL, "--endpoints", STORE, "put", "-", stdin=json.dumps(documents))
        wait_until(lambda: "docker: Docker cannot be asked at" in show(machine, "StatusText"), "Docker to be missed")
        machine("systemd-run", "--unit=late-engine", f"--working-directory={ROOT}", sys.executable, "-c", LATE_ENGINE)
        machine(VPPCTL, "--endpoints", STORE, "wait", "a", "b", "--for", "applied")
        wait_until(lambda: show(machine, "StatusText").startswith("2 interfaces"), "the status to report them")
        wait_until(lambda: "docker" not in show(machine, "StatusText"), "Docker to be there")
        assert (show(machine, "NRestarts"), show(machine, "MainPID")) == ("0", pid)
    finally:
        machine.run("systemctl", "stop", "late-engine", "late-etcd")
        machine("rm", f"{folder}/start.conf")
        machine("sh", "-c", f"echo VPPCTL_STORE=embedded > {settings}")
