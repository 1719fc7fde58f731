"""Files below an allowed folder that would lead elsewhere, with openat2 and on kernels without it."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import ip, wait_until
from vppctl.linux import syscalls
from vppctl.linux.namespaces import Netns
from vppctl.linux.processes import of_process
from vppctl.linux.resolve import resolve
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.reconcile.state import Reason, Unavailable

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["openat2", "part by part"])
def allowed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one namespace `d/ns` that is allowed, beside `outside/ns` that is not."""
    if request.param != "openat2":

        def missing(*_: object) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(syscalls, "openat2", missing)
    files = []
    for folder, name in (("allowed/d", "good"), ("outside", "evil")):
        (tmp_path / folder).mkdir(parents=True)
        ip("netns", "add", name)
        files.append(tmp_path / folder / "ns")
        files[-1].touch()
        subprocess.run(["mount", "--bind", f"/run/netns/{name}", str(files[-1])], check=True)
    yield tmp_path / "allowed"
    for file in files:
        subprocess.run(["umount", str(file)], check=True)


def behind(path: Path, folder: Path) -> object:
    return resolve(NamespaceRef(NamespaceType.FILE_REF_NS, filepath=str(path)), create=False, extra_dirs=(str(folder),))


def refused(found: object) -> str:
    assert isinstance(found, Unavailable), found
    assert found.reason is Reason.NAMESPACE_FORBIDDEN
    return found.message


def test_a_file_in_a_folder_below(allowed: Path) -> None:
    found = behind(allowed / "d" / "ns", allowed)
    assert isinstance(found, Netns)
    with found:
        assert found.id == os.stat("/run/netns/good")[2:0:-1]


def test_links_on_the_way_are_not_followed(allowed: Path) -> None:
    """Once, only the last part of a path was kept from being a link."""
    (allowed / "file").symlink_to("../outside/ns")
    (allowed / "folder").symlink_to("../outside")
    (allowed / "inner").symlink_to("d")
    (allowed / "magic").symlink_to(f"/proc/{os.getpid()}/root")
    for path in ("file", "folder/ns", "inner/ns", "magic/run/netns/evil"):
        assert "symbolic link" in refused(behind(allowed / path, allowed)), path


def test_what_is_no_namespace_is_not_even_opened(allowed: Path) -> None:
    os.mkfifo(allowed / "fifo")
    os.mknod(allowed / "device", 0o600 | 0o020000, os.makedev(10, 130))
    (allowed / "text").write_text("x")
    for path in ("fifo", "device", "text", "d"):
        assert "is not a network namespace" in refused(behind(allowed / path, allowed)), path


def test_a_folder_that_is_swapped_for_a_link_all_the_time(allowed: Path) -> None:
    (allowed / "link").symlink_to("../outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in (("d", "kept"), ("link", "d"), ("d", "link"), ("kept", "d")):
                (allowed / old).rename(allowed / new)

    thread = threading.Thread(target=swap)
    thread.start()
    good, seen = os.stat("/run/netns/good")[2:0:-1], set()
    try:
        for _ in range(3000):
            found = behind(allowed / "d" / "ns", allowed)
            if isinstance(found, Netns):
                with found:
                    assert found.id == good
                seen.add("found")
            else:
                assert isinstance(found, Unavailable)
                seen.add(found.reason)
    finally:
        stop.set()
        thread.join()
    assert {"found", Reason.NAMESPACE_FORBIDDEN} <= seen


def test_a_process_that_ends_between_the_looks_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    home = os.readlink("/proc/self/ns/net")
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != home, "the process to be in its namespace")
    whole = os.open

    def late(path: str, *arguments: int, **options: int) -> int:
        fd = whole(path, *arguments, **options)
        if path == "ns/net":
            process.kill()
            process.wait()
        return fd

    monkeypatch.setattr(os, "open", late)
    before = len(os.listdir("/proc/self/fd"))
    found = of_process(process.pid, "x")
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.PROCESS_NOT_RUNNING
    assert len(os.listdir("/proc/self/fd")) == before
