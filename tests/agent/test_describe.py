"""describe and history: where an interface is, how the agent got there, and what went wrong on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, links_of, wait_until

pytestmark = pytest.mark.kernel


def described(vppctl: Vppctl, name: str) -> dict[str, str]:
    """The titles of describe and what stands behind them, but for the configuration."""
    lines = vppctl("describe", name).partition("Configuration:")[0].splitlines()
    return {line[:15].rstrip(" :"): line[15:] for line in lines if not line.startswith(" ")}


def inode(path: str) -> str:
    return f"net:[{os.stat(path).st_ino}]"


def test_a_named_namespace_and_the_own_one(either: Vppctl) -> None:
    with Agent(either):
        either.put(veth("a", "b", "one", ip_addresses=["10.0.0.1/24"]), veth("b", "a"), wait=True)
        page = described(either, "a")
        assert page["Namespace"] == "one"
        assert page["Resolved to"] == f"{inode('/run/netns/one')}, /run/netns/one"
        assert page["Peer"] == "b APPLIED"
        assert page["State"].startswith("APPLIED since 2")
        assert page["Addresses"] == "10.0.0.1/24"
        assert page["Link"] == f"a, index {links('one')['a']['ifindex']}"
        assert described(either, "b")["Resolved to"] == f"{inode('/proc/self/ns/net')}, the own one of the agent"
        report = json.loads(either("describe", "a", "-o", "json"))
        assert report["status"]["netns"] == {"id": inode("/run/netns/one"), "path": "/run/netns/one"}
        assert report["configuration"]["namespace"] == {"type": 2, "name": "one"}


def test_a_namespace_that_is_made_again_is_another_one(vppctl: Vppctl) -> None:
    with Agent(vppctl, "--no-create-namespaces"):
        vppctl.put(veth("a", "b", "one"), veth("b", "a"))
        vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
        assert "Resolved to" not in described(vppctl, "a")
        for _ in range(2):
            ip("netns", "add", "one")
            vppctl("wait", "a", "b", "--for", "applied")
            assert described(vppctl, "a")["Resolved to"] == f"{inode('/run/netns/one')}, /run/netns/one"
            ip("netns", "del", "one")
            vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
            assert "Resolved to" not in described(vppctl, "a")


def test_the_namespaces_of_a_process_and_of_a_file(vppctl: Vppctl) -> None:
    process = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the process to be in its own")
        ip("netns", "add", "two")
        with Agent(vppctl):
            by_pid, by_file = {"type": 0, "pid": process.pid}, {"type": 3, "filepath": "/run/netns/two"}
            vppctl.put(veth("a", "b", by_pid), veth("b", "a", by_file), wait=True)
            assert links_of(process.pid) == {"a"}
            resolved, _, started = described(vppctl, "a")["Resolved to"].partition(", process started ")
            assert resolved == f"{inode(f'/proc/{process.pid}/ns/net')}, /proc/{process.pid}/ns/net"
            assert abs(datetime.fromisoformat(started).timestamp() - time.time()) < 30
            assert described(vppctl, "b")["Resolved to"] == f"{inode('/run/netns/two')}, /run/netns/two"
    finally:
        process.kill()
        process.wait()


def test_the_last_errors_stay_when_all_is_well_again(either: Vppctl) -> None:
    with Agent(either):
        either.put(veth("a", "b"))
        either.wait_state("a", "PENDING", "PeerNotConfigured")
        assert either.state("a")["errors"] == []
        assert "Last errors" not in either("describe", "a")
        ip("link", "add", "name", "a", "type", "veth", "peer", "name", "foreign")
        either.put(veth("b", "a", "one"))
        either.wait_state("a", "FAILED", "NameTaken")
        ip("link", "del", "dev", "a")
        either.wait_state("a", "APPLIED")
        (error,) = either.state("a")["errors"]
        assert error["error"].startswith("NameTaken: ")
        assert f"Last errors:\n  {error['time']}  revision {error['revision']}  NameTaken: " in either("describe", "a")


@pytest.mark.parametrize("output", ["json", "yaml", "table", "name", "terminal"])
def test_what_changes_is_streamed(either: Vppctl, output: str) -> None:
    """Objects one a line, or documents one after the other, from the first one on."""
    lines = either.folder / "watch.txt"
    either.put(veth("a", "b"))
    with Agent(either), lines.open("wb") as out:
        either.wait_state("a", "PENDING", "PeerNotConfigured")
        options = ["--color", "always", "status"] if output == "terminal" else ["status", "-o", output]
        command = either.command("vppctl", [*options, "-w"])
        watcher = subprocess.Popen(command, env=either.environment, stdout=out, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: "a\n" in lines.read_text() or "PENDING" in lines.read_text(), "the first state")
            either.put(veth("b", "a"), wait=True)
            # Who follows states sees the newest one: what is over before it looks is not shown.
            applied = r'"name": "b", "state": "APPLIED"|name: b\nstate: APPLIED|^b +APPLIED|  b  \x1b\[32mAPPLIED'
            applied = "^b$" if output == "name" else applied
            wait_until(lambda: re.search(applied, lines.read_text(), re.MULTILINE), "the other one to be shown")
            either("del", "b", "--wait")
            wait_until(lambda: lines.read_text().count("b\n" if output == "name" else "ABSENT"), "the last state")
        finally:
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(10) == 130
    text = lines.read_text()
    if output == "name":
        assert text.split()[0] == "a"
        assert set(text.split()) == {"a", "b"}
        return
    if output == "terminal":
        assert re.search("^[0-9:]{8}  b  \x1b\\[32mAPPLIED\x1b\\[0m", text, re.MULTILINE)
        assert re.search("^[0-9:]{8}  a  .*PENDING.*PeerNotConfigured: peer 'b' is not configured", text, re.MULTILINE)
        return
    if output == "table":
        assert re.search(r"^b +APPLIED .*a$", text, re.MULTILINE)
        return
    reports = [json.loads(line) for line in text.splitlines()] if output == "json" else list(yaml.safe_load_all(text))
    told = [(report["name"], report["state"]) for report in reports]
    assert told[0] == ("a", "PENDING")
    assert {("a", "APPLIED"), ("b", "APPLIED"), ("b", "ABSENT")} <= set(told)
    assert told.index(("b", "APPLIED")) < told.index(("b", "ABSENT"))
