"""From a reference to a namespace: everything that can lie at the end of a path, and nothing else opened."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netns import ip, wait_until
from vppctl.linux.named import create_named, discover
from vppctl.linux.namespaces import Netns
from vppctl.linux.resolve import resolve
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.reconcile.state import Creatable, Reason, Unavailable

pytestmark = pytest.mark.kernel


def named(name: str, *, create: bool = False) -> object:
    return resolve(NamespaceRef(NamespaceType.NAMED_NS, name=name), create=create)


def behind(path: str | Path, *extra: str) -> object:
    reference = NamespaceRef(NamespaceType.FILE_REF_NS, filepath=str(path))
    return resolve(reference, create=False, extra_dirs=extra)


def of(pid: int) -> object:
    return resolve(NamespaceRef(NamespaceType.PID_REF_NS, pid=pid), create=False)


def reason(found: object) -> Reason:
    assert isinstance(found, Unavailable), found
    return found.reason


def identity(found: object) -> tuple[int, int]:
    assert isinstance(found, Netns), found
    with found:
        return found.id


def test_one_made_by_ip_and_one_made_by_us_are_alike() -> None:
    ip("netns", "add", "theirs")
    create_named("ours")
    create_named("ours")
    assert set(ip("netns", "list").split()) >= {"ours", "theirs"}
    assert identity(named("theirs")) == os.stat("/run/netns/theirs")[2:0:-1]
    assert identity(named("ours")) != identity(named("theirs"))
    assert "lo" in ip("-n", "ours", "-br", "link")
    ip("netns", "del", "ours")
    assert named("ours", create=True) == Creatable("ours")
    assert reason(named("ours")) is Reason.NAMESPACE_NOT_FOUND


def test_many_made_at_once_by_many_are_each_made_once() -> None:
    code = "from vppctl.linux.named import create_named\nfor n in range(20): create_named(f'n{n}')"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert len({identity(named(f"n{n}")) for n in range(20)}) == 20
    # Each of what they made is the same for all of them, and goes by one `ip netns del`.
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert [mounts.count(f"/run/netns/n{n}") for n in range(20)] == [1] * 20


def test_what_is_no_namespace_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = Path("/run/netns")
    # Makes the folder a shared mount, as each `ip netns add` does before it makes a file.
    ip("netns", "add", "other")
    (folder / "stale").touch(mode=0)
    assert named("stale", create=True) == Creatable("stale")
    create_named("stale")
    identity(named("stale"))

    (folder / "text").write_text("not empty")
    assert reason(named("text", create=True)) is Reason.NAMESPACE_FORBIDDEN
    (folder / "link").symlink_to("stale")
    assert reason(behind(folder / "link")) is Reason.NAMESPACE_FORBIDDEN
    os.mkfifo(folder / "fifo")
    assert reason(behind(folder / "fifo")) is Reason.NAMESPACE_FORBIDDEN
    (folder / "folder").mkdir()
    assert reason(behind(folder / "folder")) is Reason.NAMESPACE_FORBIDDEN
    (folder / "uts").touch()
    subprocess.run(["mount", "--bind", "/proc/self/ns/uts", str(folder / "uts")], check=True)
    assert reason(behind(folder / "uts")) is Reason.NAMESPACE_FORBIDDEN
    subprocess.run(["umount", str(folder / "uts")], check=True)
    for entry in ("text", "link", "fifo", "uts"):
        (folder / entry).unlink()
    (folder / "folder").rmdir()


@pytest.mark.parametrize("name", ["$(id>x)", "`id`", "a b", "-x", ".x", "*", "~", "a;b", "é", "x" * 255 + "é"])
def test_a_name_that_a_shell_may_run_is_entered_and_never_created(name: str) -> None:
    """Debian's completion of `ip netns exec` evaluates the names below /run/netns, as root."""
    found = named(name, create=True)
    if len(name) < 200:
        assert reason(found) is Reason.NAMESPACE_NOT_FOUND
        assert isinstance(found, Unavailable)
        assert "the agent creates none of such a name" in found.message
        assert found.message.endswith(f"ip netns add {shlex.quote(name)}")
    with pytest.raises(OSError, match="no namespace of such a name is created"):
        create_named(name)
    assert os.listdir("/run/netns") == []
    if len(name) < 200:
        # What `ip netns add` has left counts no more than nothing.
        (Path("/run/netns") / name).touch(mode=0)
        assert isinstance(named(name, create=True), Unavailable)
        (Path("/run/netns") / name).unlink()
        ip("netns", "add", name)
        identity(named(name, create=True))


@pytest.mark.parametrize("path", ["/etc/passwd", "/run/netns/../netns/x", "/proc/self/ns/net", "/dev/zero", "/run"])
def test_paths_outside_the_allowed_folders(path: str) -> None:
    assert reason(behind(path)) is Reason.NAMESPACE_FORBIDDEN


def test_a_folder_can_be_allowed(tmp_path: Path) -> None:
    ip("netns", "add", "one")
    file = tmp_path / "one"
    file.touch()
    subprocess.run(["mount", "--bind", "/run/netns/one", str(file)], check=True)
    assert reason(behind(file)) is Reason.NAMESPACE_FORBIDDEN
    assert identity(behind(file, str(tmp_path))) == identity(named("one"))
    subprocess.run(["umount", str(file)], check=True)


def test_a_process_a_zombie_and_nobody() -> None:
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    home = identity(of(os.getpid()))
    wait_until(lambda: identity(of(process.pid)) != home, "the process to be in its namespace")
    assert identity(behind(f"/proc/{process.pid}/ns/net")) == identity(of(process.pid))
    process.kill()
    # Not waited for yet: it is a zombie now.
    wait_until(lambda: isinstance(of(process.pid), Unavailable), "the zombie to be seen as dead")
    assert reason(of(process.pid)) is Reason.PROCESS_NOT_RUNNING
    process.wait()
    assert reason(of(process.pid)) is Reason.PROCESS_NOT_RUNNING
    assert reason(behind(f"/proc/{process.pid}/ns/net")) is Reason.PROCESS_NOT_RUNNING


def test_all_of_a_host_are_found_each_once() -> None:
    ip("netns", "add", "one")
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    home = identity(of(os.getpid()))
    wait_until(lambda: identity(of(process.pid)) != home, "the process to be in its namespace")
    expected = {identity(named("one")), identity(of(process.pid)), home}
    ids = [item[1].id for item in discover() if item]
    process.kill()
    process.wait()
    assert len(ids) == len(set(ids))
    assert expected <= set(ids)
