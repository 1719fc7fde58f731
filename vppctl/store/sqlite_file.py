"""The embedded store's file: opened for writing, or, where it cannot be written, for reading alone.

SQLite writes also to read: its index of the log is a file beside the database (sqlite.org/wal.html, section 5).
"""

from __future__ import annotations

import os
import sqlite3  # noqa: TID253 - loaded by the owner of this import alone
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from vppctl.errors import StoreError
from vppctl.store.private import exposed, foreign
from vppctl.store.settings import embedded_path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kv (
    key TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB, lease INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, revision)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kv_revision ON kv (revision);
CREATE TABLE IF NOT EXISTS lease (
    id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, deadline REAL NOT NULL, boot TEXT NOT NULL
);
INSERT OR IGNORE INTO meta VALUES ('revision', 1), ('compacted', 0);
"""
_TABLES = {"meta", "kv", "lease"}
_FOREIGN = "it is another program's database"
_UNWRITABLE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)
_HINTS = {
    "database is locked": "another process holds it; try again or raise --command-timeout",
    "file is not a database": "it is another kind of file; choose another path",
    _FOREIGN: "choose another path",
    "it is no file": "choose another path",
    "attempt to write a readonly database": "see its permissions, and whether its file system is read-only",
    "unable to open database file": "see the permissions of its folder, -wal and -shm, and the limit of open files",
    "database or disk is full": "make room on its disk",
}
_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite plays back or maps into memory, and in the case of the first deletes by names that stand in it."""
_OWN_FOLDER = "use --store embedded, or a folder where only you may write"


_known: set[str] = set()
"""Files that this process has had open: one that is gone is made anew only by a put, for it had the configuration."""


class SqliteFile:
    """One connection a thread. Thread-safe."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path, self._timeout = path, timeout
        self.description = f"sqlite {path}"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Let go of all connections."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    @contextmanager
    def writing(self, *, anew: bool = False) -> Iterator[sqlite3.Connection]:
        """A write transaction; `anew`: also in a new file, where the one that was open has been removed."""
        connection = self._connection(anew=anew)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot, which needs no space on the disk and no right to write."""
        try:
            connection = self._begin(self._connection())
        except sqlite3.OperationalError as error:
            if not _is_unwritable(error):
                raise
            with self._read_only(error) as connection:
                yield connection
            return
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @contextmanager
    def _read_only(self, error: sqlite3.OperationalError) -> Iterator[sqlite3.Connection]:
        """The same of a file that cannot be written. Raises `error` when it cannot be read either."""
        for option in ("mode=ro", "immutable=1"):
            before = self._stamps()
            if option == "immutable=1" and before[1]:
                # There is a log, and SQLite would not look at it.
                continue
            connection = None
            try:
                url = f"file:{quote(self.path)}?{option}"
                connection = sqlite3.connect(url, timeout=self._timeout, isolation_level=None, uri=True)
                self._begin(connection)
            except sqlite3.OperationalError:
                if connection:
                    connection.close()
                continue
            try:
                yield connection
            finally:
                connection.close()
            if option == "immutable=1" and self._stamps() != before:
                raise StoreError(f"{self.description} was written meanwhile, and cannot be locked here; try again")
            return
        raise error

    def _begin(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Begin a snapshot, with a first look: only that opens the files beside it."""
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM meta").fetchone()
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return connection

    def _stamps(self) -> tuple[tuple[int, int], int]:
        """What changes when somebody writes: the file's size and time, and the size of its log."""
        info = os.stat(self.path)
        try:
            log = os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            log = 0
        return (info.st_size, info.st_mtime_ns), log

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What SQLite says, as StoreError in one line with the fix."""
        try:
            yield
        except sqlite3.Error as error:
            hint = _HINTS.get(str(error), "see the file and the space on its disk")
            if _is_unwritable(error):
                hint = self.trouble() or hint
            raise StoreError(f"{self.description}: {error}; {hint}") from None
        except UnicodeEncodeError:
            raise StoreError(f"{self.description}: a key is not UTF-8, which this store does not take") from None
        except OSError as error:
            raise StoreError(
                f"{self.description}: {error.strerror}; see the permissions, or choose another --store"
            ) from None

    def trouble(self) -> str:
        """Why nothing can be written, as far as the file system says so; empty when it does not."""
        try:
            info = os.statvfs(self.path)
        except OSError:
            return ""
        if info.f_flag & os.ST_RDONLY:
            return "its file system is read-only"
        return "" if info.f_bavail else "its disk is full; make room"

    def _connection(self, *, anew: bool = False) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self.path in _known and not anew and not self._has_content():
                raise StoreError(f"{self.description} was removed; restore it, or put the configuration again")
            connection = self._open()
            _known.add(self.path)
            self._local.connection, self._local.file = connection, self._file()
            self._connections.append(connection)
        elif self._file() != self._local.file:
            connection.close()
            self._local.connection = None
            raise StoreError(f"{self.description} was removed or replaced; see that it has the configuration")
        return connection

    def _file(self) -> tuple[int, int] | None:
        """Which file is at the path now; None when there is none."""
        try:
            info = os.stat(self.path)
        except FileNotFoundError:
            return None
        return info.st_dev, info.st_ino

    def _has_content(self) -> bool:
        """Whether it is there, and not only about to be copied there."""
        try:
            return os.stat(self.path).st_size > 0
        except FileNotFoundError:
            return False

    def _open(self) -> sqlite3.Connection:
        self._refuse_others()
        self._prepare()
        # A folder that was created just now may have been another user's by then.
        self._refuse_others()
        connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if tables and not tables >= _TABLES:
                raise sqlite3.DatabaseError(_FOREIGN)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if not tables:
                connection.execute("BEGIN IMMEDIATE")
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _refuse_others(self) -> None:
        """What stands beside the file decides what is in it. Raises StoreError where another user may put it there."""
        if self.path == embedded_path():
            _close_to_others(os.path.dirname(self.path))
        if why := exposed(self.path):
            raise StoreError(f"{self.description}: {why}; {_OWN_FOLDER}")
        real = os.path.realpath(self.path)
        if stat.S_ISREG(_mode(real)) and (why := foreign(real, alone=False)):
            raise StoreError(f"{self.description}: {why}; {_OWN_FOLDER}")
        for suffix in _BESIDE:
            if why := foreign(f"{real}{suffix}", alone=True):
                raise StoreError(f"{self.description}: {why}; find out who made it, and remove it")

    def _prepare(self) -> None:
        """Folder and file are the owner's alone: configuration may hold secrets."""
        with suppress(FileNotFoundError):
            # One that waits for another program to write, such as a FIFO, would never be opened.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise sqlite3.DatabaseError("it is no file")
        folder = os.path.dirname(self.path)
        missing = []
        while not os.path.exists(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for place in reversed(missing):
            # Whatever the umask is; and another process may create it at the same time.
            with suppress(FileExistsError):
                os.mkdir(place, 0o700 if place == missing[0] else 0o755)
        # Only a file that is new: closing any descriptor of one that SQLite has open drops this process's locks on it
        # (POSIX), and another process would take away the log under our feet.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _close_to_others(folder: str) -> None:
    """The embedded store's folder is its user's alone, whoever has created it: an empty tmpfs is everybody's."""
    with suppress(OSError):
        info = os.lstat(folder)
        if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and info.st_mode & 0o022:
            os.chmod(folder, 0o700)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return 0


def _is_unwritable(error: sqlite3.Error) -> bool:
    """Whether it comes from the file system; what Python's own module refuses has no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNWRITABLE
