"""apply, diff and edit against a real etcd and a real kernel."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import links
from vppctl.cli.declare import files_of, plan_apply
from vppctl.cli.documents import load
from vppctl.cli.entries import commit
from vppctl.cli.settings import Settings
from vppctl.errors import ConflictError

pytestmark = [pytest.mark.kernel, pytest.mark.etcd]


def folder(vppctl: Vppctl, *documents: dict[str, Any]) -> str:
    """A folder with one file for each document."""
    path = vppctl.folder / "wanted"
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for document in documents:
        (path / f"{document['name']}.json").write_text(json.dumps(document))
    return str(path)


def test_apply_makes_the_store_hold_the_files_and_the_kernel_follows(on_etcd: Vppctl) -> None:
    on_etcd.put(veth("a", "b", mtu=1400), veth("b", "a"), veth("old", "older"))
    wanted = folder(on_etcd, veth("a", "b", mtu=9000), veth("b", "a"), veth("c", "d"), veth("d", "c"))
    assert on_etcd.run("diff", "-f", wanted, "--prune").returncode == 1
    with Agent(on_etcd):
        shown = on_etcd("apply", "-f", wanted, "--prune", "--wait")
        assert shown.splitlines() == [
            "~ a: in place",
            "    mtu: 1400 -> 9000",
            "+ c: touches d",
            "+ d: touches c",
            "- old",
            "2 to create, 1 to update, 1 to delete, 1 unchanged",
        ]
        assert set(links()) == {"a", "b", "c", "d"}
        assert links()["a"]["mtu"] == 9000
        assert on_etcd.run("get", "old").returncode == 3
        same = on_etcd.run("diff", "-f", wanted, "--prune")
        assert (same.returncode, same.stdout) == (0, "0 to create, 0 to update, 0 to delete, 4 unchanged\n")


def test_without_prune_nothing_is_deleted_and_dry_run_writes_nothing(on_etcd: Vppctl) -> None:
    on_etcd.put(veth("kept", "other"))
    wanted = folder(on_etcd, veth("a", "b"))
    before = on_etcd("dump")
    on_etcd("apply", "-f", wanted, "--prune", "--dry-run")
    assert on_etcd("dump") == before
    on_etcd("apply", "-f", wanted)
    assert on_etcd("get", "-o", "name", "kept", "a").split() == ["kept", "a"]


def test_what_is_re_created_and_whom_it_touches(on_etcd: Vppctl) -> None:
    packet = {"name": "p", "type": 4, "enabled": True, "afpacket": {"host_if_name": "a"}}
    on_etcd.put(veth("a", "b"), veth("b", "a", "ns1"), packet)
    wanted = folder(on_etcd, veth("b", "a", "ns2", ip_addresses=["10.0.0.1/24"]))
    result = on_etcd.run("diff", "-f", wanted, "-o", "json")
    assert json.loads(result.stdout) == [
        {
            "kind": "linux",
            "name": "b",
            "action": "update",
            "effect": "re-create",
            "fields": [
                {"field": "namespace.name", "before": "ns1", "after": "ns2"},
                {"field": "ip_addresses", "before": None, "after": ["10.0.0.1/24"]},
            ],
            "touches": ["a", "vpp:p"],
        }
    ]


@pytest.mark.parametrize("before", [True, False])
def test_apply_writes_nothing_when_somebody_else_was_faster(on_etcd: Vppctl, *, before: bool) -> None:
    """The store of the command is ours here, so that somebody can write between its look and its transaction."""
    if before:
        on_etcd.put(veth("a", "b"))
    store = Settings({"endpoints": on_etcd.environment["ETCDCTL_ENDPOINTS"]}, {}).open_store()
    wanted = folder(on_etcd, veth("a", "b", mtu=9000), veth("c", "d"))
    plan = plan_apply(store, "vpp1", load(files_of([wanted]), "vpp1"), prune=False)
    on_etcd.put(veth("a", "b", mtu=1300))
    with pytest.raises(ConflictError, match="changed by somebody else"):
        commit(store, plan.operations, plan.guards)
    store.close()
    assert json.loads(on_etcd("get", "a"))["mtu"] == 1300
    assert on_etcd.run("get", "c").returncode == 3


def test_edit_reports_a_concurrent_change_and_overwrites_nothing(on_etcd: Vppctl) -> None:
    """The editor itself puts another version."""
    on_etcd.put(veth("a", "b"))
    script = on_etcd.folder / "editor"
    other = on_etcd.folder / "other.json"
    other.write_text(json.dumps(veth("a", "b", mtu=1300)))
    put = " ".join(on_etcd.command("vppctl", ["put", str(other)]))
    script.write_text(f"#!/bin/sh\nsed -i 's/true/false/' \"$1\"\n{put}\n")
    script.chmod(0o755)
    on_etcd.environment["EDITOR"] = str(script)
    result = on_etcd.run("edit", "a")
    assert result.returncode == 1
    assert "changed by somebody else" in result.stderr
    assert json.loads(on_etcd("get", "a"))["mtu"] == 1300
    kept = Path(result.stderr.rstrip().rpartition(" ")[2])
    assert json.loads(kept.read_text())["name"] == "a"
    kept.unlink()


def test_edit_stores_what_is_valid_and_keeps_what_is_not(either: Vppctl) -> None:
    either.put(veth("a", "b"))

    def edit(command: str) -> subprocess.CompletedProcess[str]:
        script = either.folder / "editor"
        script.write_text(f'#!/bin/sh\n{command} "$1"\n')
        script.chmod(0o755)
        either.environment["EDITOR"] = str(script)
        return either.run("edit", "a")

    assert edit('sed -i \'s/"b"/"c"/\'').returncode == 0
    assert json.loads(either("get", "a"))["veth"] == {"peer_if_name": "c"}
    bad = edit('sed -i \'s/"c"/"a"/\'')
    assert bad.returncode == 4
    assert "veth.peer_if_name" in bad.stderr
    kept = bad.stderr.split("mend ")[1].split(" and ")[0]
    assert json.loads(Path(kept).read_text())["veth"] == {"peer_if_name": "a"}
    os.unlink(kept)
    assert json.loads(either("get", "a"))["veth"] == {"peer_if_name": "c"}
    assert "nothing changed" in edit("true").stderr
    assert either.run("edit", "zz").returncode == 3


def test_apply_refuses_bad_files_and_empty_folders(either: Vppctl) -> None:
    empty = folder(either)
    result = either.run("apply", "-f", empty)
    assert (result.returncode, result.stderr.count("\n")) == (4, 1)
    wanted = folder(either, veth("a", "b"), veth("x", "x"))
    assert either.run("apply", "-f", wanted).returncode == 4
    assert either("list") == ""


def test_an_apply_of_many_needs_several_transactions_and_says_so(on_etcd: Vppctl) -> None:
    documents = [veth(f"v{n}{s}", f"v{n}{t}") for n in range(65) for s, t in ("ab", "ba")]
    file = on_etcd.folder / "many.json"
    file.write_text(json.dumps({"interface": documents}))
    result = on_etcd.run("apply", "-f", str(file))
    assert result.returncode == 0
    assert "2 transactions" in result.stderr
    assert on_etcd.run("diff", "-f", str(file)).returncode == 0
    with Agent(on_etcd):
        # Once the wait asked for the last transaction's revision of all of them, and never ended.
        assert "+ one" in on_etcd("apply", "-f", str(file), "-f", one(on_etcd), "--wait")


def one(vppctl: Vppctl) -> str:
    return folder(vppctl, veth("one", "two", enabled=True), veth("two", "one"))
