"""-o table, wide, json, yaml, name of every command that prints objects, without an agent."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
import yaml

from tests.support.agent import Vppctl, veth
from vppctl.cli.main import cli

LINUX = "/vnf-agent/vpp1/linux/config/v1/interface/"
VPP = "/vnf-agent/vpp1/vpp/config/v1/interface/"
COMMANDS = {
    "get": (["get", "a", "x"], "json"),
    "list": (["list"], "text"),
    "status": (["status"], "table"),
    "check": (["check"], "table"),
    "describe": (["describe", "a"], "text"),
    "history": (["history"], "text"),
    "preset list": (["preset", "list"], "name"),
}
REPORT = {
    "state": "APPLIED",
    "history": [
        {"time": "T1", "revision": 3, "duration_ms": 1.5, "result": "APPLIED", "operations": ["create a", "set a"]},
        {"time": "T2", "revision": 4, "duration_ms": 2, "result": "FAILED", "operations": [], "name": {"no": 1}},
    ],
}


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    """A store with a Linux interface, one in VPP, one that cannot be read, another key, and a report."""
    found = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)
    packet = {"name": "x", "type": 4, "afpacket": {"host_if_name": "a"}}
    found.put(veth("a", "b", "ns1", ip_addresses=["10.0.0.1/24"], mtu=1400), packet)
    for key, value in {
        f"{LINUX}bad": "{",
        "/vnf-agent/vpp1/acl/z": "[1]",
        f"{LINUX.replace('config', 'status')}a": json.dumps(REPORT),
    }.items():
        (tmp_path / "raw").write_text(value)
        found("put", "--raw", key, str(tmp_path / "raw"))
    return found


def option(words: str) -> click.Option:
    """The -o of a command."""
    command: click.Command | None = cli
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return next(p for p in command.params if isinstance(p, click.Option) and "-o" in p.opts)


@pytest.mark.parametrize("words", COMMANDS)
def test_all_take_the_same_and_keep_their_default(words: str) -> None:
    found = option(words)
    assert isinstance(found.type, click.Choice)
    assert [form for form in found.type.choices if form != "text"] == ["table", "wide", "json", "yaml", "name"]
    assert found.default == COMMANDS[words][1]


@pytest.mark.kernel
@pytest.mark.parametrize("words", COMMANDS)
def test_every_form_says_the_same(vppctl: Vppctl, words: str) -> None:
    def printed(form: str) -> str:
        result = vppctl.run(*COMMANDS[words][0], "-o", form)
        assert result.returncode == (1 if words == "check" else 0), result.stderr
        return result.stdout

    objects = json.loads(printed("json"))
    assert yaml.safe_load(printed("yaml")) == objects
    table, wide = printed("table").splitlines(), printed("wide").splitlines()
    assert wide[0].startswith(table[0].rstrip())
    assert len(wide[0]) > len(table[0])
    assert len(wide) == len(table) > 1
    names = printed("name").splitlines()
    assert [line.split()[0] for line in table[1:] if line.split()[0] not in names] == []
    assert len(set(names)) == len(names)
    assert vppctl.run(*COMMANDS[words][0]).stdout == printed(COMMANDS[words][1])


def test_the_columns_of_documents(vppctl: Vppctl) -> None:
    assert vppctl("get", "a", "x", "bad", "/vnf-agent/vpp1/acl/z", "-o", "table") == (
        "NAME  KIND   NAMESPACE  PEER  ADDRESSES\n"
        "a     linux  ns1        b     10.0.0.1/24\n"
        "x     vpp               a\n"
        "bad   linux\n"
        "z\n"
    )
    assert vppctl("get", "a", "-o", "wide").splitlines()[1].split() == (
        f"a linux ns1 b 10.0.0.1/24 true 1400 {LINUX}a".split()
    )
    assert vppctl("preset", "list", "-o", "table").splitlines()[1].split() == (
        ["veth1", "linux", "ns1", "veth2", "192.168.22.1/24,", "2001:db8::ff00:89e3:bb42/48"]
    )


def test_the_columns_of_keys_and_of_the_history(vppctl: Vppctl) -> None:
    assert vppctl("list", "-o", "table").splitlines()[:2] == ["KEY", "/vnf-agent/vpp1/acl/z"]
    assert vppctl("list", "-o", "wide").splitlines()[1].split() == ["/vnf-agent/vpp1/acl/z", "vpp1", "4"]
    assert vppctl("history", "-o", "table") == (
        "NAME  TIME  REVISION  RESULT   OPERATIONS\na     T1    3         APPLIED  create a; set a\n"
        "a     T2    4         FAILED\n"
    )
