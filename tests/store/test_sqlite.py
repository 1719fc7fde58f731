"""What only a file can suffer: several processes, sudden death, permissions, other content."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.netns import wait_until
from vppctl.errors import StoreError
from vppctl.reconcile.mirror import Batch, Changed, Mirror
from vppctl.store import sqlite as sqlite_store
from vppctl.store.base import Put
from vppctl.store.follow import follow
from vppctl.store.private import who_may_write
from vppctl.store.settings import open_store, parse_store_url
from vppctl.store.sqlite_watch import SAFETY

WRITER = """
import sys
from vppctl.store.base import Put
from vppctl.store.settings import open_store, parse_store_url
store = open_store(parse_store_url(sys.argv[1]))
n = 0
while n < int(sys.argv[3]):
    print(store.commit([Put(f"/{sys.argv[2]}/{n}", b"x"), Put(f"/{sys.argv[2]}-twin/{n}", b"x")]).revision, flush=True)
    n += 1
"""


def writer(url: str, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_it_without_losing_an_update(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    processes = [writer(url, str(n), 50) for n in range(4)]
    revisions = [int(line) for process in processes for line in process.communicate(timeout=50)[0].split()]
    assert len(set(revisions)) == 200
    store = open_store(parse_store_url(url))
    assert len(store.list("/").entries) == 400
    store.close()


def test_sudden_death_leaves_whole_transactions(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    process = writer(url, "a", 1_000_000)
    assert process.stdout
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = open_store(parse_store_url(url))
    assert len(store.list("/a/").entries) == len(store.list("/a-twin/").entries) >= 20
    store.commit([Put("/after", b"1")])
    store.close()


def test_a_second_store_of_the_same_process_does_not_lose_the_first_ones_locks(tmp_path: Path) -> None:
    """Once, opening it again dropped the POSIX locks; the next process to end then removed the log under us."""
    url = f"sqlite:{tmp_path}/store.db"
    first = open_store(parse_store_url(url))
    watch = first.watch("/", first.list("/").revision + 1)
    second = open_store(parse_store_url(url))
    writer(url, "other", 1).communicate(timeout=20)
    wait_until(lambda: watch.next(0.1), "what another process wrote")
    for opened in (watch, first, second):
        opened.close()


def test_it_is_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_store(parse_store_url(f"sqlite:{tmp_path}/state/store.db"))
        store.commit([Put("/a", b"secret")])
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    store.close()


@pytest.mark.parametrize(
    ("content", "said"), [(b"hello, this is no database at all" * 100, "file is not a database")], ids=["other file"]
)
def test_something_else_in_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "store.db").write_bytes(content)
    with pytest.raises(StoreError, match=said) as caught:
        open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "store.db").read_bytes() == content


def test_another_programs_database_stays_as_it_is(tmp_path: Path) -> None:
    """Once, a mere list made its own tables there."""
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE meta (a)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="it is another program's database; choose another path"):
        open_store(parse_store_url(f"sqlite:{path}"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "folder"])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Once, it was waited for whoever would write into the FIFO."""
    make(tmp_path / "store.db")
    code = "import sys; from vppctl.store.settings import *; open_store(parse_store_url(f'sqlite:{sys.argv[1]}'))"
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert result.stderr.endswith("store.db: it is no file; choose another path\n")


def test_damaged_revisions(tmp_path: Path) -> None:
    url = parse_store_url(f"sqlite:{tmp_path}/store.db")
    store = open_store(url)
    store.commit([Put("/a", b"1")])
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("DELETE FROM meta WHERE name = 'revision'")
    for call in (lambda: store.list("/"), lambda: store.commit([Put("/a", b"2")])):
        with pytest.raises(StoreError, match="its revisions are damaged"):
            call()
    store.close()


def test_removed_under_us(tmp_path: Path) -> None:
    store = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="was removed or replaced"):
        store.get("/a")
    store.commit([Put("/a", b"new")])
    assert [entry.value for entry in store.list("/").entries] == [b"new"]
    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600
    store.close()


def test_a_file_that_is_gone_is_made_anew_by_a_put_alone(tmp_path: Path) -> None:
    """Once, an agent made an empty one, and removed all links."""
    url = parse_store_url(f"sqlite:{tmp_path}/store.db")
    store = open_store(url)
    store.commit([Put("/a", b"old")])
    saved = tmp_path / "saved"
    backup(tmp_path / "store.db", saved)
    for file in tmp_path.glob("store.db*"):
        file.unlink()
    for text in ("was removed or replaced", "was removed; restore it"):
        with pytest.raises(StoreError, match=text):
            store.list("/")
    with pytest.raises(StoreError, match="was removed; restore it"):
        store.lease(5)
    with pytest.raises(StoreError, match="was removed; restore it"):
        open_store(url)
    # Where a program has begun to copy it.
    (tmp_path / "store.db").touch()
    with pytest.raises(StoreError, match="was removed; restore it"):
        store.list("/")
    assert (tmp_path / "store.db").stat().st_size == 0
    saved.rename(tmp_path / "store.db")
    assert [entry.value for entry in store.list("/").entries] == [b"old"]
    store.close()


def backup(path: Path, target: Path) -> None:
    """As `sqlite3 PATH ".backup TARGET"`."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


@pytest.mark.parametrize("in_place", [False, True], ids=["another file", "into the file"])
def test_restored_from_a_backup_under_us(tmp_path: Path, in_place: bool) -> None:
    """Once, the agent went on with the file that was gone, or was deaf until the revisions were caught up with."""
    path, saved = tmp_path / "store.db", tmp_path / "saved"
    url = parse_store_url(f"sqlite:{path}")
    store = open_store(url)
    store.commit([Put("/a", b"old")])
    backup(path, saved)
    for _ in range(5):
        store.commit([Put("/a", b"new")])
    mirror, values = Mirror(), dict[str, bytes | None]()
    stop = threading.Event()

    def deliver(batch: Batch) -> None:
        values.update({entry.key: entry.value for entry in batch.entries})

    follower = threading.Thread(target=follow, args=(store, "/", mirror, stop, deliver, lambda *_: None))
    follower.start()
    try:
        wait_until(lambda: values.get("/a") == b"new", "the value to be known")
        if in_place:
            backup(saved, path)
        else:
            for name in ("store.db", "store.db-wal", "store.db-shm"):
                (tmp_path / name).unlink(missing_ok=True)
            saved.rename(path)
        wait_until(lambda: values.get("/a") == b"old", "the restored value")
        other = open_store(url)
        other.commit([Put("/b", b"later")])
        wait_until(lambda: values.get("/b") == b"later", "what is put afterwards")
        other.close()
    finally:
        stop.set()
        follower.join()
    store.close()


def test_a_lease_that_has_ended_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, its id was given again: two agents then kept one lease, and the end of one withdrew the other's states."""
    store = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
    first, second = store.lease(15), store.lease(15)
    later = sqlite_store._now() + 20
    monkeypatch.setattr(sqlite_store, "_now", lambda: later)
    again = store.lease(15)
    store.commit([Put("/b", b"second", again.id)])
    assert not first.refresh()
    assert not second.refresh()
    first.revoke()
    assert store.get("/b") is not None
    store.close()


@pytest.mark.parametrize(
    ("mode", "group", "said"),
    [
        pytest.param(0o600, 0, "", id="as it should be"),
        pytest.param(0o660, 0, "", id="one's own group"),
        pytest.param(0o660, 1, "store.db may be changed by group", id="another group"),
        pytest.param(0o666, 0, "store.db may be changed by everybody; 'chmod go-w", id="everybody"),
    ],
)
def test_others_who_may_write_to_it_are_noticed(tmp_path: Path, mode: int, group: int, said: str) -> None:
    open_store(parse_store_url(f"sqlite:{tmp_path}/store.db")).close()
    os.chown(tmp_path / "store.db", -1, os.getegid() + group)
    (tmp_path / "store.db").chmod(mode)
    text = who_may_write(f"{tmp_path}/store.db")
    assert said in text
    assert bool(text) is bool(said)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_disk_that_takes_its_time(tmp_path: Path) -> None:
    """The event of a write comes before the disk has it, and others see it: once, the change came 5 s later."""
    url = f"sqlite:{tmp_path}/store.db"
    with contextlib.closing(open_store(parse_store_url(url))) as store:
        watch = store.watch("/", store.commit([Put("/first", b"x")]).revision + 1)
        slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync,fdatasync:delay_enter=200000"]
        command = [*slow, sys.executable, "-c", WRITER, url, "slow", "1"]
        with contextlib.closing(watch), ThreadPoolExecutor() as pool:
            future = pool.submit(watch.next, 30.0)
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            # Half of the time after which a watcher looks without any event.
            message = future.result(SAFETY / 2)
        assert isinstance(message, Changed)
        assert [entry.key for entry in message.entries] == ["/slow-twin/0", "/slow/0"]
