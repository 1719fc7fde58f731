"""Files that are put, checked and applied: what may be in them, and how much."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Vppctl, veth
from vppctl.model.text import MAX_DOCUMENT, MAX_FILE

COMMANDS = [["put"], ["validate"], ["apply", "-f"], ["diff", "-f"]]


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


def write(vppctl: Vppctl, value: object) -> str:
    """A file that holds this."""
    file = vppctl.folder / "file.json"
    file.write_text(json.dumps(value))
    return str(file)


def long(size: int) -> dict[str, Any]:
    """A document that takes so many octets in the store."""
    bare = len('{"name":"a","description":"","enabled":true,"veth":{"peer_if_name":"b"}}')
    return veth("a", "b", description="x" * (size - bare))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_no_document_is_stored_that_the_agent_does_not_read(vppctl: Vppctl, command: list[str]) -> None:
    file = write(vppctl, long(MAX_DOCUMENT + 1))
    result = vppctl.run(*command, file)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == f"{file}: is 65537 bytes long; write at most 65536\n"
    file = write(vppctl, {"interface": [veth("b", "a"), long(MAX_DOCUMENT + 1)]})
    assert vppctl.run(*command, file).stderr == f"{file}: interface[1]: is 65537 bytes long; write at most 65536\n"
    assert vppctl("list") == ""
    assert vppctl.run(*command, write(vppctl, long(MAX_DOCUMENT))).returncode == (1 if command[0] == "diff" else 0)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_one_more_folder_for_namespace_files(vppctl: Vppctl, command: list[str]) -> None:
    file = write(vppctl, veth("a", "b", {"type": 3, "filepath": "/srv/netns/a"}))
    refused = vppctl.run(*command, file)
    assert refused.returncode == 4
    assert refused.stderr.endswith("/proc/PID/ns/net, or allow another by --allow-dir\n")
    allowed = vppctl.run(command[0], "--allow-dir", "/srv/netns", *command[1:], file)
    assert allowed.returncode == (1 if command[0] == "diff" else 0), allowed.stderr
    if command[0] == "apply":
        same = vppctl.run("diff", "--allow-dir", "/srv/netns", "-f", file)
        assert (same.returncode, same.stdout) == (0, "0 to create, 0 to update, 0 to delete, 1 unchanged\n")


def test_one_more_folder_is_a_whole_path(vppctl: Vppctl) -> None:
    """Once, a relative one matched nothing, in silence."""
    file = write(vppctl, veth("a", "b", {"type": 3, "filepath": "/srv/netns/a"}))
    refused = vppctl.run("validate", "--allow-dir", "srv/netns", file)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--allow-dir 'srv/netns' is no whole path" in refused.stderr
    for folder in ("/srv/netns/", "/srv//./netns"):
        assert vppctl.run("validate", "--allow-dir", folder, file).returncode == 0


def test_an_edit_takes_one_more_folder(vppctl: Vppctl) -> None:
    vppctl.put(veth("a", "b"))
    write(vppctl, veth("a", "b", {"type": 3, "filepath": "/srv/netns/a"}))
    vppctl.environment["TMPDIR"] = str(vppctl.folder)
    vppctl.environment["EDITOR"] = f"cp {vppctl.folder}/file.json"
    assert vppctl.run("edit", "a").returncode == 4
    assert vppctl.run("edit", "--allow-dir", "/srv/netns", "a").returncode == 0
    assert json.loads(vppctl("get", "a"))["namespace"]["filepath"] == "/srv/netns/a"


def test_what_a_folder_holds_beside_its_files(vppctl: Vppctl) -> None:
    folder = vppctl.folder / "net"
    (folder / "folder.json").mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(veth("a", "b")))
    (folder / ".#a.json").symlink_to("root@host.1:2")
    (folder / ".a.json").write_text("half")
    os.mkfifo(folder / "fifo.json")
    (folder / "link.json").symlink_to("elsewhere")
    (folder / "elsewhere").write_text(json.dumps(veth("b", "a")))
    assert vppctl.run("diff", "-f", str(folder)).stdout.startswith("+ a: touches b\n+ b: touches a\n")
    (folder / "a.json").unlink()
    (folder / "link.json").unlink()
    result = vppctl.run("apply", "-f", str(folder))
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == f"{folder}: holds no file that ends with .json; name the files themselves\n"


def test_all_that_does_not_go_with_a_list_is_named(vppctl: Vppctl) -> None:
    file = write(vppctl, {"version": 1, "interface": [veth("a", "b")], "comment": ""})
    result = vppctl.run("validate", file)
    assert result.returncode == 4
    assert result.stderr == "".join(
        f"{file}: {name}: does not go with a list of interfaces; remove it\n" for name in ("version", "comment")
    )


@pytest.mark.kernel
def test_a_file_of_the_agent_is_read_as_the_agent_reads_it(vppctl: Vppctl) -> None:
    file = write(vppctl, veth("a", "b", {"type": 3, "filepath": "/srv/netns/a"}))
    result = vppctl.run("agent", "run", "--once", "--allow-dir", "/srv/netns", file)
    assert result.stdout.splitlines()[1].split()[:2] == ["a", "PENDING"], result.stderr
    assert "put /vnf-agent/vpp1/linux/config/v1/interface/a (revision 2)\n" in result.stderr


@pytest.mark.parametrize("endless", ["/dev/zero", "-"])
def test_an_endless_input_is_an_error(vppctl: Vppctl, endless: str) -> None:
    command = " ".join(vppctl.command("vppctl", ["validate", endless]))
    result = vppctl.run("-c", f"exec {command} < /dev/zero", program="/bin/sh")
    assert (result.returncode, result.stdout) == (4, "")
    shown = "standard input" if endless == "-" else endless
    assert result.stderr == f"{shown}: is longer than {MAX_FILE} bytes; write several files\n"


MAC = "02:00:00:00:00:01"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_both_ends_of_a_pair_with_one_mac(vppctl: Vppctl, command: list[str]) -> None:
    ends = [veth("a", "b", phys_address=MAC), veth("b", "a", phys_address=MAC.upper())]
    file = write(vppctl, {"interface": ends})
    result = vppctl.run(*command, file)
    assert result.returncode == 4
    assert result.stderr == f"{file}: phys_address: {MAC} is that of its peer 'b' too; write another for one of them\n"
    assert vppctl("list") == ""


def test_files_that_do_not_go_together(vppctl: Vppctl) -> None:
    """Each is right by itself; once, validate looked at one after the other."""
    files = []
    for name, document in {
        "a": veth("a", "b", phys_address=MAC),
        "b": veth("b", "a", phys_address=MAC),
        "c": veth("a", "c"),
    }.items():
        files.append(vppctl.folder / f"{name}.json")
        files[-1].write_text(json.dumps(document))
    result = vppctl.run("validate", *map(str, files))
    assert result.returncode == 4
    assert result.stderr.splitlines() == [
        f"{files[2]}: name: 'a' is also in {files[0]}; keep one of them",
        f"{files[0]}: phys_address: {MAC} is that of its peer 'b' too; write another for one of them",
    ]
