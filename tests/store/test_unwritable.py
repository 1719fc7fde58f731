"""The embedded store where nothing can be written: read-only, another user's, on a full disk, and without inotify."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import links, wait_until
from vppctl.errors import StoreError
from vppctl.store import inotify
from vppctl.store import sqlite as sqlite_store
from vppctl.store.base import Changed, Compacted, Put, Store, Watch
from vppctl.store.settings import open_store, parse_store_url

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def opened(path: Path) -> Store:
    return open_store(parse_store_url(f"sqlite:{path}"))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Until nothing more goes on the disk."""
    with contextlib.suppress(OSError), (folder / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(folder).f_bavail == 0


def reads(vppctl: Vppctl) -> None:
    """Each command that reads."""
    assert json.loads(vppctl("get", "veth1"))["name"] == "veth1"
    assert "interface/veth1" in vppctl("list")
    assert "interface/veth1" in vppctl("dump")
    assert "veth1" in vppctl("status")
    assert "veth1" in vppctl("describe", "veth1")
    assert "veth1" in vppctl("graph")
    assert vppctl.run("check").returncode in (0, 1)
    assert vppctl.run("wait", "veth2", "--for", "absent", "--timeout", "5s").returncode == 0


@ROOT_ONLY
@pytest.mark.kernel
@pytest.mark.parametrize("in_use", [False, True], ids=["at rest", "while another process has it open"])
def test_a_read_only_file_system(mounted: Path, in_use: bool) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{mounted}/store.db"}, mounted.parent)
    vppctl.put(veth("veth1", "veth2"))
    writer = opened(mounted / "store.db") if in_use else None
    if writer:
        writer.commit([Put("/vnf-agent/other/check", b"1")])
    view = mounted.parent / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", mounted, view], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
    try:
        reader = Vppctl({"VPPCTL_STORE": f"sqlite:{view}/store.db"}, mounted.parent)
        reads(reader)
        if in_use:
            assert "/vnf-agent/other/check" in reader("list")
        refused = reader.run("del", "veth1")
        assert refused.returncode == 5
        assert "read-only" in refused.stderr
    finally:
        subprocess.run(["umount", "-l", view], check=True)
        if writer:
            writer.close()


@ROOT_ONLY
@pytest.mark.kernel
@pytest.mark.parametrize("in_use", [False, True], ids=["at rest", "while another process has it open"])
def test_another_users_store(mounted: Path, in_use: bool) -> None:
    """One who may read the files: without a right to write any."""
    store = opened(mounted / "store.db")
    store.commit([Put("/a", b"1")])
    if not in_use:
        store.close()
    mounted.chmod(0o755)
    for file in mounted.iterdir():
        file.chmod(0o644)
    program = (
        "import os, sys; from vppctl.store.settings import open_store, parse_store_url; import vppctl.store.sqlite;"
        "os.chdir('/'); os.setgid(65534); os.setgroups([]); os.setuid(65534);"
        "store = open_store(parse_store_url(f'sqlite:{sys.argv[1]}/store.db'));"
        "print(store.get('/a').value, len(store.list('/').entries))"
    )
    # The folders above are the test's own.
    view = Path("/run/netns/vppctl-view")
    view.mkdir()
    subprocess.run(["mount", "--bind", mounted, view], check=True)
    try:
        result = subprocess.run([sys.executable, "-c", program, view], capture_output=True, text=True, check=False)
        assert (result.stdout, result.stderr) == ("b'1' 1\n", "")
    finally:
        subprocess.run(["umount", "-l", view], check=True)
        view.rmdir()
        if in_use:
            store.close()


@ROOT_ONLY
@pytest.mark.kernel
@pytest.mark.parametrize("in_use", [False, True], ids=["at rest", "while another process has it open"])
def test_a_full_disk_can_be_read_when_a_lease_is_over(
    mounted: Path, in_use: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, reading ended the lease first, which had no room: an agent could not even read its configuration."""
    store = opened(mounted / "store.db")
    lease = store.lease(15)
    store.commit([Put("/leased", b"1", lease.id), Put("/a", b"1")])
    if not in_use:
        store.close()
    fill(mounted)
    later = sqlite_store._now() + 20
    monkeypatch.setattr(sqlite_store, "_now", lambda: later)
    reader = opened(mounted / "store.db")
    assert [entry.key for entry in reader.list("/").entries] == ["/a"]
    assert reader.get("/leased") is None
    with pytest.raises(StoreError, match="sqlite"):
        reader.commit([Put("/b", b"x" * 100_000)])
    watch = reader.watch("/", reader.list("/").revision + 1)
    assert watch.next(0.2) is None
    (mounted / "fill").unlink()
    reader.commit([Put("/b", b"1")])
    found: set[str] = set()

    def heard() -> bool:
        found.update(_changed(watch))
        return {"/leased", "/b"} <= found

    wait_until(heard, "what could be written again")
    watch.close()
    reader.close()
    store.close()


def _changed(watch: Watch) -> list[str]:
    message = watch.next(0.5)
    return [entry.key for entry in message.entries] if isinstance(message, Changed) else []


@ROOT_ONLY
@pytest.mark.kernel
def test_a_lease_that_ends_on_a_full_disk_is_noticed(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(mounted / "store.db")
    lease = store.lease(15)
    store.commit([Put("/leased", b"1", lease.id), Put("/a", b"1")])
    watch = store.watch("/", store.list("/").revision + 1)
    fill(mounted)
    later = sqlite_store._now() + 20
    monkeypatch.setattr(sqlite_store, "_now", lambda: later)
    # The log has room for a little yet.
    with contextlib.suppress(StoreError):
        for n in range(100):
            store.commit([Put("/b", b"%d" % n * 1000)])
    message = watch.next(5.0)
    assert isinstance(message, Changed | Compacted)
    assert "/leased" not in [entry.key for entry in store.list("/").entries]
    watch.close()
    store.close()


@ROOT_ONLY
@pytest.mark.kernel
def test_an_agent_on_a_full_disk_creates_what_is_configured(mounted: Path) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{mounted}/store.db"}, mounted.parent)
    vppctl.put(veth("a", "b", "one"), veth("b", "a"))
    with contextlib.closing(sqlite3.connect(mounted / "store.db")) as connection, connection:
        connection.execute("INSERT INTO lease VALUES (1, 15, 0, '')")
        connection.execute("INSERT INTO kv VALUES ('/vnf-agent/vpp1/check/status/v1/agent', 1, '{}', 1)")
    fill(mounted)
    with Agent(vppctl) as agent:
        wait_until(lambda: "a" in links("one"), "the pair", 20)
        wait_until(lambda: "cannot publish states" in agent.log.read_text(), "the log to name it")
        result = vppctl.run("status")
        assert "the agent of label vpp1 runs on this host" in result.stderr
        assert "its disk is full" in result.stderr
        (mounted / "fill").unlink()
        vppctl.wait_state("a", "APPLIED", timeout=20)


@pytest.fixture
def no_inotify() -> Iterator[list[int]]:
    """All inotify instances of this user are used up; closing one makes room."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    taken: list[int] = []
    while (fd := inotify._libc.inotify_init1(os.O_CLOEXEC)) >= 0:
        taken.append(fd)
        assert len(taken) < 10_000
    yield taken
    for fd in taken:
        os.close(fd)
    assert limit.read_text() == before


def test_no_inotify_instance_is_left(
    tmp_path: Path, no_inotify: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, the watch failed at once, and the store was listed about ten times a second."""
    monkeypatch.setattr(inotify, "POLL", 0.1)
    store, other = opened(tmp_path / "store.db"), opened(tmp_path / "store.db")
    watches = [store.watch("/", store.list("/").revision + 1) for _ in range(2)]
    other.commit([Put("/a", b"1")])
    for watch in watches:
        assert _changed(watch) == ["/a"]
    assert len([r for r in caplog.records if "inotify has no room" in r.message]) == 1
    while no_inotify:
        os.close(no_inotify.pop())
    assert watches[0].next(0.3) is None
    monkeypatch.setattr(inotify, "POLL", 60.0)
    other.commit([Put("/b", b"1")])
    assert _changed(watches[0]) == ["/b"]
    for watch in watches:
        watch.close()
    store.close()
    other.close()
