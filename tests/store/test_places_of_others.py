"""A store is opened only where nobody else may put something in its place, or create names beside it.

SQLite plays back a `-journal` that it finds, and deletes files that are named there.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth
from vppctl.errors import StoreError
from vppctl.store.base import Put
from vppctl.store.private import exposed
from vppctl.store.settings import open_store, parse_store_url

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


def opened(path: Path) -> None:
    open_store(parse_store_url(f"sqlite:{path}")).close()


def acl(folder: Path) -> None:
    """User 65534 may write there by an access control list (setfacl -m u:65534:rwx)."""
    entries = [(1, 7, 0xFFFFFFFF), (2, 7, NOBODY), (4, 0, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    os.setxattr(
        folder,
        "system.posix_acl_access",
        struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries),
    )


def sticky(folder: Path) -> None:
    folder.chmod(0o1777)


def everybodys(folder: Path) -> None:
    folder.chmod(0o777)


def groups(folder: Path) -> None:
    os.chown(folder, 0, 1000)
    folder.chmod(0o770)


def anothers(folder: Path) -> None:
    os.chown(folder, NOBODY, 0)


WAYS = [sticky, everybodys, groups, anothers, acl]


@pytest.mark.parametrize("is_there", [True, False], ids=["with the file", "without it"])
@pytest.mark.parametrize("change", WAYS, ids=lambda way: way.__name__)
def test_a_folder_where_others_create_names(tmp_path: Path, change: Callable[[Path], None], is_there: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if is_there:
        opened(folder / "store.db")
    change(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(StoreError, match=f"{folder} (is a folder where|belongs to another user)") as caught:
        opened(folder / "store.db")
    assert str(caught.value).endswith("; use --store embedded, or a folder where only you may write")
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("change", WAYS, ids=lambda way: way.__name__)
def test_a_folder_further_up(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Whoever may replace a folder on the way chooses the file. A sticky one is not theirs to replace."""
    folder = tmp_path / "upper" / "lower"
    folder.mkdir(parents=True)
    opened(folder / "store.db")
    change(tmp_path / "upper")
    if change is sticky:
        opened(folder / "store.db")
        opened(tmp_path / "upper" / "new" / "store.db")
        assert stat.S_IMODE((tmp_path / "upper" / "new").stat().st_mode) == 0o700
        return
    with pytest.raises(StoreError, match=f"{tmp_path}/upper (is a folder where|belongs to another user)"):
        opened(folder / "store.db")


def test_a_folder_of_another_user_in_a_sticky_one(tmp_path: Path) -> None:
    sticky(tmp_path)
    (tmp_path / "folder").mkdir()
    anothers(tmp_path / "folder")
    with pytest.raises(StoreError, match="folder belongs to another user"):
        opened(tmp_path / "folder" / "store.db")


def test_a_link_of_another_user(tmp_path: Path) -> None:
    """It leads to a good place today."""
    (tmp_path / "good").mkdir()
    (tmp_path / "shared").mkdir()
    sticky(tmp_path / "shared")
    link = tmp_path / "shared" / "link"
    link.symlink_to(tmp_path / "good")
    opened(link / "store.db")
    os.chown(link, NOBODY, 0, follow_symlinks=False)
    with pytest.raises(StoreError, match="link belongs to another user"):
        opened(link / "store.db")


def test_a_link_to_a_bad_place(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    sticky(tmp_path / "shared")
    (tmp_path / "link").symlink_to("shared")
    (tmp_path / "file.db").symlink_to("link/../shared/store.db")
    for path in (tmp_path / "link" / "store.db", tmp_path / "file.db"):
        with pytest.raises(StoreError, match="shared is a folder where everybody may create files"):
            opened(path)
    assert not list((tmp_path / "shared").iterdir())
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(StoreError, match="Too many levels of symbolic links"):
        opened(tmp_path / "round" / "store.db")


def hard(path: Path) -> None:
    (path.parent / "other").write_bytes(b"")
    os.link(path.parent / "other", path)


def soft(path: Path) -> None:
    (path.parent / "other").write_bytes(b"keep")
    path.symlink_to("other")


def of_another(path: Path) -> None:
    path.write_bytes(b"")
    os.chown(path, NOBODY, 0)


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("make", [hard, soft, of_another, os.mkfifo], ids=["hard link", "link", "another's", "FIFO"])
def test_a_file_beside_it_that_is_not_ours(tmp_path: Path, suffix: str, make: Callable[[Path], None]) -> None:
    path = tmp_path / "store.db"
    opened(path)
    make(tmp_path / f"store.db{suffix}")
    said = "another name|symbolic link|belongs to another user|is no file"
    with pytest.raises(StoreError, match=f"store.db{suffix} (has|is a|is no file)?.*({said})"):
        opened(path)
    os.unlink(tmp_path / f"store.db{suffix}")
    opened(path)


def test_a_store_of_another_user(tmp_path: Path) -> None:
    opened(tmp_path / "store.db")
    os.chown(tmp_path / "store.db", NOBODY, 0)
    with pytest.raises(StoreError, match=f"store.db belongs to another user \\({NOBODY}\\)"):
        opened(tmp_path / "store.db")


def test_the_command_line_says_so(tmp_path: Path) -> None:
    sticky(tmp_path)
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)
    for arguments in (["list"], ["put", "-"], ["agent", "run", "--once"], ["status", "-w"]):
        result = vppctl.run(*arguments, stdin='{"name": "a", "veth": {"peer_if_name": "b"}}')
        assert (result.returncode, result.stdout) == (5, ""), arguments
        assert result.stderr == (
            f"sqlite {tmp_path}/store.db: {tmp_path} is a folder where everybody may create files;"
            " use --store embedded, or a folder where only you may write\n"
        )
    assert vppctl.run("--store", "embedded", "list").returncode == 0


def test_a_socket_of_etcd_where_others_may_answer(tmp_path: Path) -> None:
    """As an etcd without TLS on another host."""
    said = "may create files, and answer in place of etcd; choose another folder"
    command = ["--store", f"unix:{tmp_path}/etcd.sock", "--command-timeout", "1s", "list"]
    assert said not in Vppctl({}, tmp_path).run(*command).stderr
    sticky(tmp_path)
    assert said in Vppctl({}, tmp_path).run(*command).stderr


@pytest.mark.kernel
def test_the_embedded_stores_folder_is_closed_to_others(tmp_path: Path) -> None:
    """A tmpfs that was mounted there is everybody's. What others have left there is refused all the same."""
    vppctl = Vppctl({"VPPCTL_STORE": "embedded"}, tmp_path)
    folder = Path("/var/lib/vppctl")
    try:
        sticky(folder)
        vppctl.put(veth("a", "b"))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        sticky(folder)
        of_another(folder / "store.db-journal")
        result = vppctl.run("list")
        assert (result.returncode, result.stdout) == (5, "")
        assert "store.db-journal belongs to another user" in result.stderr
        anothers(folder)
        assert "/var/lib/vppctl belongs to another user" in vppctl.run("list").stderr
    finally:
        os.chown(folder, 0, 0)
        for file in folder.iterdir():
            file.unlink()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path("/run/vpp/test-places")
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


PROGRAM = """
import os, sys
from vppctl.store.base import Put
from vppctl.store.settings import open_store, parse_store_url
import vppctl.store.sqlite
os.chdir("/"); os.setgid(65534); os.setgroups([]); os.setuid(65534)
store = open_store(parse_store_url(f"sqlite:{sys.argv[1]}"))
print(store.commit([Put("/a", b"1")]).revision)
"""


def as_nobody(path: Path, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.kernel
def test_other_users_have_stores_of_their_own(shared: Path) -> None:
    """In a folder of their own, also with the group's permissions of a usual umask, below one of everybody."""
    sticky(shared)
    home = shared / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    home.chmod(0o775)
    result = as_nobody(home / "state" / "store.db")
    assert (result.stdout, result.stderr) == ("2\n", "")
    # What root would play back is theirs.
    with pytest.raises(StoreError, match="home belongs to another user"):
        opened(home / "state" / "store.db")
    sticky(home)
    assert "is a folder where everybody may create files" in as_nobody(home / "store.db").stderr


def test_a_running_agent_whose_folder_becomes_everybodys(tmp_path: Path) -> None:
    """What is open stays open; the next connection is refused."""
    path = tmp_path / "store.db"
    store = open_store(parse_store_url(f"sqlite:{path}"))
    sticky(tmp_path)
    store.commit([Put("/a", b"1")])
    with pytest.raises(StoreError, match="everybody may create files"):
        opened(path)
    store.close()


INSIDE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
# PR_SET_DUMPABLE, or the files below belong to root; CLONE_NEWUSER.
assert libc.prctl(4, 1, 0, 0, 0) == 0 and libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())
for name, text in ("uid_map", "0 65534 1"), ("setgroups", "deny"), ("gid_map", "0 65534 1"):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
assert (os.geteuid(), os.stat("/").st_uid) == (0, 65534)
"""


@pytest.mark.kernel
def test_root_of_a_user_namespace(shared: Path) -> None:
    """To it `/` belongs to nobody, who is the host's root; and so may be any other user's folder."""
    home = shared / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    program = PROGRAM.replace("store = open", f"{INSIDE}\nstore = open")
    result = as_nobody(home / "state" / "store.db", program)
    assert (result.stdout, result.stderr) == ("2\n", "")
    other = shared / "other"
    other.mkdir(mode=0o755)
    os.chown(other, 1000, 1000)
    opened_by_another = as_nobody(other / "store.db", program)
    assert f"{other} belongs to another user ({NOBODY})" in opened_by_another.stderr


def test_the_places_that_are_meant_are_good() -> None:
    assert exposed("/var/lib/vppctl/store.db") == ""
    assert exposed("/etc/passwd") == ""
    assert exposed("/run/vppctl/agent-vpp1.lock") == ""


def test_an_editor_works_where_nobody_else_may_replace_the_text(tmp_path: Path) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store/store.db", "EDITOR": "true"}, tmp_path)
    vppctl.put(veth("a", "b"))
    folder = tmp_path / "tmp"
    folder.mkdir()
    vppctl.environment["TMPDIR"] = str(folder)
    sticky(folder)
    assert vppctl.run("edit", "a").returncode == 0
    everybodys(folder)
    result = vppctl.run("edit", "a")
    assert result.returncode == 2
    assert result.stderr.startswith(f"{folder} is a folder where everybody may replace ")
    assert result.stderr.endswith("; set TMPDIR to a folder of your own\n")


@pytest.mark.parametrize("make", [os.mkfifo, soft], ids=["FIFO", "link"])
def test_manual_pages_are_written_into_nothing_that_is_there(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Once, a FIFO was waited for, and a link in a folder of everybody chose the file that root wrote."""
    make(tmp_path / "vppctl-put.1")
    result = Vppctl({}, tmp_path).run("man", "--dir", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    page = tmp_path / "vppctl-put.1"
    assert stat.S_ISREG(page.lstat().st_mode)
    assert page.read_text().startswith(".TH VPPCTL-PUT")
    assert stat.S_IMODE(page.stat().st_mode) & 0o444 == 0o444
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".vppctl")]
    if make is soft:
        assert (tmp_path / "other").read_bytes() == b"keep"
