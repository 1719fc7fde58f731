"""Secrets and labels: what others can read, what is said about it, and whose links are whose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.agent import Vppctl
from tests.support.etcd import free_port
from vppctl.cli.settings import is_loopback
from vppctl.model.document import decode
from vppctl.model.keys import Kind
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.state import Link, NetnsId

SECRET = "hunter2-hunter2"
MEMIF = {"name": "m", "type": 2, "enabled": True, "memif": {"id": 1, "secret": SECRET}}
PLAIN = "in plain text; use https:// and --cacert, or set VPPCTL_ALLOW_PLAINTEXT=1"


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


def test_a_memif_secret_is_shown_to_who_asks_for_the_document_alone(vppctl: Vppctl) -> None:
    vppctl.put(MEMIF)
    changed = vppctl.folder / "changed.json"
    changed.write_text(json.dumps(MEMIF | {"memif": {"id": 1, "secret": f"{SECRET}!"}}))
    for arguments in (
        ["diff", "-f", str(changed)],
        ["diff", "-f", str(changed), "-o", "json"],
        ["describe", "m"],
        ["describe", "m", "-o", "json"],
        ["status", "-o", "json"],
        ["history"],
        ["graph", "-o", "json"],
        ["list"],
        ["apply", "-f", str(changed)],
    ):
        result = vppctl.run(*arguments)
        assert result.returncode in (0, 1)
        assert SECRET not in result.stdout + result.stderr, arguments
    assert f"{SECRET}!" in vppctl("get", "m")


def test_a_secret_that_is_refused_is_not_repeated() -> None:
    for secret in ([SECRET], {"x": SECRET}, 31337):
        (problem,) = decode({**MEMIF, "memif": {"id": 1, "secret": secret}}, kind=Kind.VPP).problems
        assert str(problem).startswith("memif.secret: the secret is a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"description": {"secret": SECRET}},
        {"ip_addresses": [{"secret": SECRET}]},
        {"ip_addresses": {"secret": SECRET}},
        {"memif": [{"secret": SECRET}]},
        {"memif": {"id": {"secret": SECRET}}},
        {"memif": {"mode": {"secret": [SECRET]}, "secret": {"secret": SECRET}}},
        {"namespace": {"secret": SECRET}},
        {"mtu": [[{"secret": SECRET}]]},
    ],
    ids=lambda wrong: json.dumps(wrong).replace(SECRET, "..."),
)
@pytest.mark.parametrize("kind", [MEMIF, {"name": "a", "veth": {"peer_if_name": "b"}}], ids=["vpp", "linux"])
def test_a_secret_in_a_wrong_place_is_not_repeated(
    vppctl: Vppctl, kind: dict[str, object], wrong: dict[str, object]
) -> None:
    file = vppctl.folder / "wrong.json"
    file.write_text(json.dumps(kind | wrong))
    for command in ("validate", "put"):
        result = vppctl.run(command, str(file))
        assert result.returncode == 4
        assert SECRET not in result.stdout + result.stderr


def test_a_secret_that_is_too_long_is_named_all_the_same(vppctl: Vppctl) -> None:
    file = vppctl.folder / "long.json"
    file.write_text(json.dumps(MEMIF | {"mtu": 1, "memif": {"id": 1, "secret": "x" * 25}}))
    said = vppctl.run("validate", str(file)).stderr
    assert "memif.secret: is not for VPP's API; write one of at most 23 ASCII characters" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            ["--store", "etcd://192.0.2.1:{port}"], [f"configuration goes to etcd 192.0.2.1:{{port}} {PLAIN}"]
        ),
        pytest.param(["--store", "https://192.0.2.1:{port}"], []),
        pytest.param(["--store", "etcd://127.0.0.1:{port}"], []),
        pytest.param(["--store", "etcd://localhost:{port}", "--user", "ann"], []),
        pytest.param(
            ["--store", "etcd://127.0.0.1:{port}", "--user", f"ann:{SECRET}"], ["password of the command line"]
        ),
        pytest.param(
            ["--store", "etcd://127.0.0.1:{port}", "--user", "ann", "--password", SECRET],
            ["password of the command line"],
        ),
        pytest.param(
            ["--store", "etcd://192.0.2.1:{port}", "--user", "ann", "--password-file", "{file}"],
            [f"configuration and password go to etcd 192.0.2.1:{{port}} {PLAIN}"],
        ),
    ],
    ids=["plain", "https", "loopback", "localhost", "in --user", "in --password", "password in plain text"],
)
def test_what_others_can_read_is_warned_about_once(vppctl: Vppctl, options: list[str], said: list[str]) -> None:
    port, file = free_port(), vppctl.folder / "password"
    file.write_text(f"{SECRET}\n")
    arguments = [option.format(port=port, file=file) for option in (*options, "--command-timeout", "100ms", "list")]
    result = vppctl.run(*arguments)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(said), result.stderr
    assert all(words.format(port=port) in line for words, line in zip(said, warnings, strict=True))
    assert SECRET not in result.stdout + result.stderr
    vppctl.environment["VPPCTL_ALLOW_PLAINTEXT"] = "1"
    assert "warning" not in vppctl.run(*arguments).stderr


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"]))
    assert not any(map(is_loopback, ["10.0.0.1:1", "[2001:db8::1]:1", "localhost.evil.example:1", "etcd:1"]))


@pytest.mark.parametrize("label", ["a/b", "..", ".", "a:b", "a\nb", "\x1b[2J", "a\u202eb"])
def test_labels_that_would_be_something_else(vppctl: Vppctl, label: str) -> None:
    """Among them `a:b`, whose links label `a` once took for its own."""
    result = vppctl.run("-l", label, "status")
    assert result.returncode == 2
    assert "is no label; it is one part of a key, without slashes and colons" in result.stderr


def test_a_label_that_begins_like_another_owns_nothing_of_it() -> None:
    theirs = Marks("ab")
    link = Link(NetnsId(1, 1), 7, "x", "veth", group=theirs.group, alias=theirs.alias("x"))
    assert theirs.owns(link)
    assert not Marks("a").owns(link)
