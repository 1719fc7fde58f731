"""Names and keys: what exactly a command means by them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth
from tests.support.etcd import Etcd

LINUX = "/vnf-agent/vpp1/linux/config/v1/interface/"
VPP = "/vnf-agent/vpp1/vpp/config/v1/interface/"


def packet(name: str) -> dict[str, object]:
    """An AF_PACKET interface."""
    return {"name": name, "type": 4, "enabled": True, "afpacket": {"host_if_name": "default1"}}


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "mine", "its"),
    [
        pytest.param(["-daf"], veth("afpacket1", "b"), f"{VPP}afpacket1", id="-daf"),
        pytest.param(["-dvth1"], packet("veth1"), f"{LINUX}veth1", id="-dvth1"),
        pytest.param(["preset", "del", "memif1"], veth("memif1", "b"), f"{VPP}memif1", id="preset del"),
    ],
)
def test_a_preset_is_deleted_under_its_own_key(
    vppctl: Vppctl, arguments: list[str], mine: dict[str, object], its: str
) -> None:
    vppctl.put(mine)
    before = vppctl("list")
    result = vppctl.run(*arguments)
    assert (result.returncode, result.stderr) == (3, f"{its}: not found; 'vppctl list' shows what is\n")
    assert vppctl("list") == before
    vppctl("preset", "put", its.rpartition("/")[2])
    assert vppctl.run(*arguments).stderr == f"deleted {its}\n"
    assert vppctl("list") == before


def test_a_preset_that_is_put_twice_is_named(vppctl: Vppctl) -> None:
    result = vppctl.run("preset", "put", "veth1", "veth1")
    assert (result.returncode, result.stderr) == (4, "veth1: name: 'veth1' is also in veth1; keep one of them\n")
    assert vppctl("list") == ""


@pytest.fixture
def both(vppctl: Vppctl) -> Vppctl:
    """A store where x is in Linux and in VPP, and a in Linux alone."""
    vppctl.put(veth("x", "b"), packet("x"), veth("a", "b"))
    return vppctl


def test_a_name_means_both_kinds_and_a_key_one(both: Vppctl) -> None:
    assert [found.get("type") for found in json.loads(both("get", "x"))] == [None, 4]
    assert json.loads(both("get", f"{VPP}x"))["type"] == 4
    assert len(json.loads(both("get", "x", "a", f"{LINUX}a"))) == 3
    assert json.loads(both("get", "a"))["name"] == "a"
    assert both.run("del", f"{VPP}x").stderr == f"deleted {VPP}x\n"
    assert both.run("del", "a", f"{LINUX}a", "a").stderr == f"deleted {LINUX}a\n"
    assert both("list") == f"key:  {LINUX}x\n"


def test_a_deletion_of_both_kinds_can_be_waited_for(both: Vppctl) -> None:
    result = both.run("del", "x", "--wait", "--timeout", "20s")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"deleted {LINUX}x\ndeleted {VPP}x\n")
    assert both("list") == f"key:  {LINUX}a\n"


def test_many_names_mean_the_same_as_few(both: Vppctl) -> None:
    others = [f"n{number}" for number in range(10)]
    result = both.run("del", "x", "a", *others)
    assert (result.returncode, result.stderr.count("not found")) == (3, 10)
    result = both.run("del", "--ignore-not-found", "x", "a", *others)
    assert result.stderr == f"deleted {LINUX}x\ndeleted {VPP}x\ndeleted {LINUX}a\n"


@pytest.mark.parametrize("command", ["describe", "edit"])
def test_what_takes_one_interface_asks_which(both: Vppctl, command: str) -> None:
    both.environment["EDITOR"] = "true"
    result = both.run(command, "x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"x is in Linux and in VPP; write {LINUX}x or {VPP}x\n"
    assert both.run(command, f"{VPP}x").returncode == 0
    (both.folder / "raw").write_text("1")
    both("put", "--raw", "/vnf-agent/vpp1/acl/x", str(both.folder / "raw"))
    result = both.run(command, "/vnf-agent/vpp1/acl/x")
    assert result.returncode == 2
    assert result.stderr.startswith("/vnf-agent/vpp1/acl/x is no key of an interface; ")


@pytest.mark.parametrize("command", ["status", "history", "check"])
def test_what_takes_names_says_so_of_a_key(both: Vppctl, command: str) -> None:
    result = both.run(command, f"{LINUX}x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{LINUX}x is a key; write the name alone, and its label as --label\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["wait", "/some/key", "--for", "absent"], "/some/key is no key of an interface; ", id="wait"),
        pytest.param(["del", "/vnf-agent/x", "--wait"], "/vnf-agent/x is no key of an interface; ", id="del"),
        pytest.param(["-put", "/foo/bar", "-"], "/foo/bar is no key of an interface; ", id="-put a path"),
        pytest.param(["-put", "veth1", "-"], "veth1 is no key of an interface; ", id="-put a name"),
        pytest.param(
            ["put", "--raw", "--wait", "/a", "-"], "/a is no key of an interface; leave", id="put --raw --wait"
        ),
        pytest.param(["put", LINUX.replace("vpp1", "a:b") + "x", "-"], "'a:b' is no label; ", id="put"),
    ],
)
def test_keys_that_no_agent_looks_at(vppctl: Vppctl, arguments: list[str], said: str) -> None:
    result = vppctl.run(*arguments, stdin=json.dumps(veth("x", "y")))
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (vppctl.folder / "store.db").exists(), "refused before the store is asked"


def test_what_is_put_raw_under_a_key_of_an_interface_can_be_waited_for(vppctl: Vppctl) -> None:
    (vppctl.folder / "raw").write_text(json.dumps(veth("a", "b")))
    result = vppctl.run("put", "--raw", "--wait", "--timeout", "300ms", f"{LINUX}a", str(vppctl.folder / "raw"))
    assert result.returncode == 6
    assert "a: is not reported by the agent yet" in result.stderr


def test_what_would_be_put_raw_cannot_steer_a_terminal(vppctl: Vppctl) -> None:
    (vppctl.folder / "raw").write_bytes(b"a\x1b[31m\n\tb\xff")
    shown = vppctl("put", "--raw", "--dry-run", "/k\x1b", str(vppctl.folder / "raw"))
    assert shown == "/k\\x1b\na\\x1b[31m\\n\\tb\\xff\n\n"


@pytest.fixture(params=["embedded", pytest.param("etcd", marks=pytest.mark.etcd)])
def either(request: pytest.FixtureRequest, vppctl: Vppctl) -> Iterator[Vppctl]:
    with contextlib.ExitStack() as stack:
        if request.param == "etcd":
            vppctl.environment["VPPCTL_STORE"] = f"etcd://{stack.enter_context(Etcd(vppctl.folder)).endpoint}"
        yield vppctl


@pytest.mark.parametrize("arguments", [["get"], ["del"], ["describe"], ["status"]], ids=lambda a: a[0])
def test_a_name_that_is_not_utf_8_is_not_found(either: Vppctl, arguments: list[str]) -> None:
    command = [*either.command("vppctl", arguments), os.fsdecode(b"a\xff")]
    result = subprocess.run(command, env=either.environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("a\\udcff: ")


def test_a_key_that_is_not_utf_8(either: Vppctl) -> None:
    """etcd takes it, and then it can be shown and deleted; the embedded store does not."""
    key = os.fsdecode(b"/a\xff")
    assert either("dump", key) == ""
    takes = either.environment["VPPCTL_STORE"].startswith("etcd:")
    result = either.run("put", "--raw", key, os.devnull)
    assert (result.returncode, result.stdout) == (0 if takes else 5, "")
    assert either("dump", key) == ("/a\\udcff\n\n\n" if takes else "")
    assert either.run("del", key).returncode == (0 if takes else 3)
    assert either("dump", key) == ""
