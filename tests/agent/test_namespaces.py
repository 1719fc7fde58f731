"""Namespaces that come, go and move under a running agent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, links_of, wait_until

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "one"), veth("b", "a", "two"))


def test_named_namespaces_deleted_and_back(vppctl: Vppctl) -> None:
    with Agent(vppctl, "--no-create-namespaces"):
        vppctl.put(*PAIR)
        vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
        ip("netns", "add", "one")
        ip("netns", "add", "two")
        vppctl.wait_state("a", "APPLIED")
        ip("netns", "del", "two")
        vppctl.wait_state("b", "PENDING", "NamespaceNotFound")
        wait_until(lambda: not links("one"), "the other end to go")
        ip("netns", "add", "two")
        vppctl.wait_state("b", "APPLIED")
        assert set(links("two")) == {"b"}


def test_a_name_that_a_shell_may_run_is_not_created(vppctl: Vppctl) -> None:
    """Once, a writer of the store had root's completion of `ip netns exec` run what the name says."""
    name = "$(id>x)"
    with Agent(vppctl, "--create-namespaces"):
        file = vppctl.folder / "odd.json"
        file.write_text(json.dumps(veth("a", "b", name)))
        assert vppctl.run("validate", str(file)).stderr == (
            f"warning: {file}: namespace.name: '$(id>x)' is created by no agent, only entered when it exists; for one"
            " that is created write letters, digits, '_', '-', '.', '@', '+', '=' and ',', with a letter, a digit or"
            " '_' first\n"
        )
        vppctl.put(veth("a", "b", name), veth("b", "a", "two"))
        message = vppctl.wait_state("a", "PENDING", "NamespaceNotFound")["message"]
        assert "the agent creates none of such a name, which a shell may run; write letters" in message
        assert message.endswith("or create it: ip netns add '$(id>x)'")
        assert not os.path.lexists(f"/run/netns/{name}")
        ip("netns", "add", name)
        vppctl.wait_state("a", "APPLIED")
        assert set(links(name)) == {"a"}


def test_a_namespace_that_lost_its_name_keeps_no_link(vppctl: Vppctl) -> None:
    ip("netns", "add", "one")
    ip("netns", "add", "two")
    holders = [subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"]) for name in ("one", "two")]
    try:
        with Agent(vppctl, "--no-create-namespaces"):
            vppctl.put(*PAIR, wait=True)
            ip("netns", "del", "one")
            ip("netns", "del", "two")
            vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
            for holder in holders:
                wait_until(lambda pid=holder.pid: not links_of(pid), "the links to go")  # type: ignore[misc]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def test_a_process_comes_and_goes(vppctl: Vppctl) -> None:
    process = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the process to be in its own")
        with Agent(vppctl):
            vppctl.put(veth("a", "b", {"type": 0, "pid": process.pid}), veth("b", "a", "two"), wait=True)
            assert links_of(process.pid) == {"a"}
            process.kill()
            process.wait()
            vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
            wait_until(lambda: not links("two"), "the other end to go")
    finally:
        process.kill()
        process.wait()


def test_a_process_in_a_user_namespace(vppctl: Vppctl) -> None:
    if subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to be allowed user namespaces, which a chroot is not")
    process = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "600"])
    try:
        home = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != home, "the process to be in its namespace")
        with Agent(vppctl):
            vppctl.put(veth("a", "b", {"type": 0, "pid": process.pid}), veth("b", "a"), wait=True)
            assert links_of(process.pid) == {"a"}
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_not_there_yet(vppctl: Vppctl) -> None:
    with Agent(vppctl), contextlib.ExitStack() as stack:
        last = stack.enter_context(subprocess.Popen(["true"])).pid
        wanted = last + 200
        vppctl.put(veth("a", "b", {"pid": wanted}), veth("b", "a", "two"))
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
        assert links("two") == {}
        while last < wanted:
            process = stack.enter_context(subprocess.Popen(["unshare", "-n", "sleep", "600"]))
            stack.callback(process.kill)
            last = process.pid
        assert last == wanted, "somebody else took the number; run it again"
        vppctl.wait_state("a", "APPLIED")
        assert links_of(wanted) == {"a"}


def test_a_namespace_behind_a_file(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        vppctl.put(veth("a", "b", {"type": 3, "filepath": "/run/netns/late"}), veth("b", "a"))
        vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
        ip("netns", "add", "late")
        vppctl.wait_state("a", "APPLIED")
        assert set(links("late")) == {"a"}
        assert "b" in links()


@pytest.mark.parametrize("target", ["/proc/{pid}/ns/net", "../../proc/{pid}/ns/net", "/var/run/netns/whole"])
def test_a_name_that_is_a_symbolic_link_is_refused_with_what_to_write(vppctl: Vppctl, target: str) -> None:
    """As containerlab and pipework make them; the hint is followed to the letter."""
    ip("netns", "add", "whole")
    process = subprocess.Popen(["ip", "netns", "exec", "whole", "sleep", "600"])
    link = Path("/run/netns/lab")
    link.symlink_to(target.format(pid=process.pid))
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the process to be there")
        with Agent(vppctl):
            vppctl.put(
                veth("a", "b", "lab"),
                veth("b", "a", "two"),
                # The same file by its path.
                veth("c", "d", {"type": 3, "filepath": str(link)}),
                veth("d", "c", "two"),
            )
            message = vppctl.wait_state("a", "PENDING", "NamespaceForbidden")["message"]
            assert message.startswith("/run/netns/lab is reached by a symbolic link to ")
            assert not links("whole")
            hints = [json.loads("{" + hint + "}") for hint in re.findall(r'("type": .*?)(?=$|, or)', message)]
            assert len(hints) == (2 if "proc" in target else 1)
            for hint in hints:
                vppctl.put(veth("a", "b", hint), wait=True)
                assert set(links("whole")) == {"a"}
            assert vppctl.wait_state("c", "PENDING", "NamespaceForbidden")["message"] == message
    finally:
        link.unlink()
        process.kill()
        process.wait()


def test_a_name_that_leads_where_nothing_is_allowed(vppctl: Vppctl, tmp_path: Path) -> None:
    ip("netns", "add", "whole")
    file = tmp_path / "ns"
    file.touch()
    subprocess.run(["mount", "--bind", "/run/netns/whole", str(file)], check=True)
    for name, target in (("lab", str(file)), ("self", "/proc/self/ns/net")):
        Path(f"/run/netns/{name}").symlink_to(target)
    try:
        with Agent(vppctl):
            vppctl.put(veth("a", "b", "lab"), veth("b", "a", "two"), veth("c", "d", "self"), veth("d", "c"))
            message = vppctl.wait_state("a", "PENDING", "NamespaceForbidden")["message"]
            assert f'write "type": 3, "filepath": "{file}", with --allow-dir {tmp_path}' in message
            message = vppctl.wait_state("c", "PENDING", "NamespaceForbidden")["message"]
            assert "ip netns attach self PID" in message
    finally:
        Path("/run/netns/lab").unlink()
        Path("/run/netns/self").unlink()
        subprocess.run(["umount", str(file)], check=True)
