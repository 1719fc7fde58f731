"""The embedded store: SQLite with etcd's semantics, shared by the processes of one host.

Every change is a row `(key, revision)`, a deletion is one without a value; what is current is the newest row of each
key. Revisions below `compacted` are gone but for what is still current. Watchers learn of commits of other processes
through inotify on the write-ahead log. Loaded by `open_store` alone.
"""

from __future__ import annotations

import os
import sqlite3  # noqa: TID253 - the owner of this import
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vppctl.errors import ConflictError, StoreError
from vppctl.store.base import Changed, Commit, Compacted, Delete, Entry, Guard, Listed, Operation, Progress, Put
from vppctl.store.settings import StoreSettings
from vppctl.store.sqlite_rows import advance, bounds, compact, current, end_leases, is_text, meta
from vppctl.store.sqlite_watch import SqliteWatch

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


class SqliteStore:
    """One connection a thread to one file. Thread-safe."""

    max_operations = 100_000

    def __init__(self, settings: StoreSettings) -> None:
        self.path = settings.path
        self.description = f"sqlite {self.path}"
        self._timeout = settings.timeout
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with self._errors():
            self._connection()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def get(self, key: str) -> Entry | None:
        if not is_text(key):
            return None
        with self._errors(), self.transaction() as connection:
            row = connection.execute(
                "SELECT value, revision FROM kv WHERE key = ? ORDER BY revision DESC LIMIT 1", (key,)
            ).fetchone()
        return Entry(key, row[0], row[1]) if row and row[0] is not None else None

    def list(self, prefix: str, revision: int = 0, keys_only: bool = False) -> Listed:
        with self._errors(), self.transaction() as connection:
            newest, compacted = meta(connection)
            if revision and revision < compacted:
                raise StoreError(f"{self.description}: revision {revision} is compacted; the oldest is {compacted}")
            if revision > newest:
                raise StoreError(f"{self.description}: revision {revision} is in the future; the newest is {newest}")
            at = revision or newest
            if not is_text(prefix):
                return Listed(at, ())
            rows = connection.execute(
                f"SELECT key, {'x' if keys_only else 'value'}, r FROM ("  # noqa: S608 - no outside text
                " SELECT key, value, max(revision) AS r, x'' AS x FROM kv"
                " WHERE key >= ? AND key < ? AND revision <= ? GROUP BY key"
                ") WHERE value IS NOT NULL ORDER BY key",
                (*bounds(prefix), at),
            ).fetchall()
        return Listed(at, tuple(Entry(*row) for row in rows))

    def commit(self, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> Commit:
        with self._errors(), self.transaction() as connection:
            for guard in guards:
                if (current(connection, guard.key) or 0) != guard.mod_revision:
                    raise ConflictError(
                        f"{guard.key} was changed by somebody else meanwhile; nothing was written, try again"
                    )
            revision = meta(connection)[0] + 1
            deleted = changed = 0
            for operation in operations:
                match operation:
                    case Put(key, value, lease):
                        self._check_lease(connection, lease)
                        connection.execute("INSERT INTO kv VALUES (?, ?, ?, ?)", (key, revision, value, lease))
                        changed += 1
                    case Delete(key):
                        if current(connection, key):
                            connection.execute("INSERT INTO kv VALUES (?, ?, NULL, 0)", (key, revision))
                            deleted += 1
            if not changed and not deleted:
                return Commit(revision - 1, 0)
            advance(connection, revision)
        return Commit(revision, deleted)

    def watch(self, prefix: str, revision: int) -> SqliteWatch:
        return SqliteWatch(self, prefix, revision)

    def lease(self, ttl: int) -> SqliteLease:
        with self._errors(), self.transaction() as connection:
            # Never again the id of one that has ended: whoever had that would go on with another's.
            lease = int.from_bytes(os.urandom(7), "big") + 1
            connection.execute("INSERT INTO lease VALUES (?, ?, ?, ?)", (lease, ttl, _now() + ttl, self._boot))
            return SqliteLease(self, lease, ttl)

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`."""
        with self._errors(), self.transaction() as connection:
            compact(connection, revision)

    # For the parts of this module

    def changes(self, prefix: str, revision: int) -> Changed | Compacted | Progress:
        """What happened from `revision` on; Progress when nothing did."""
        with self._errors(), self.transaction() as connection:
            newest, compacted = meta(connection)
            if revision <= compacted:
                return Compacted(compacted)
            rows = connection.execute(
                "SELECT key, value, revision FROM kv"
                " WHERE revision >= ? AND key >= ? AND key < ? ORDER BY revision, key",
                (revision, *bounds(prefix)),
            ).fetchall()
        return Changed(newest, tuple(Entry(*row) for row in rows)) if rows else Progress(newest)

    def deadline(self) -> float:
        """Seconds until the next lease ends."""
        with self._errors():
            row = self._connection().execute("SELECT min(deadline) FROM lease").fetchone()
        return float(row[0]) - _now() if row[0] is not None else float("inf")

    def refresh(self, lease: int, ttl: int) -> bool:
        """Start a lease again, if it has not ended."""
        with self._errors(), self.transaction() as connection:
            cursor = connection.execute("UPDATE lease SET deadline = ? WHERE id = ?", (_now() + ttl, lease))
            return cursor.rowcount == 1

    def end(self, lease: int) -> None:
        """End a lease, and its keys with it."""
        with self._errors(), self.transaction() as connection:
            end_leases(connection, [lease])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, in which leases that are over have ended."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            over = connection.execute(
                "SELECT id FROM lease WHERE deadline <= ? OR boot != ?", (_now(), self._boot)
            ).fetchall()
            end_leases(connection, [row[0] for row in over])
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check_lease(self, connection: sqlite3.Connection, lease: int) -> None:
        if lease and not connection.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone():
            raise StoreError(f"{self.description}: the lease has ended")

    def _prepare(self) -> None:
        """Folder and file are the owner's alone: configuration may hold secrets."""
        folder = Path(self.path).parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a file that is new: closing any descriptor of one that SQLite has open drops this process's locks on it
        # (POSIX), and another process would take away the log under our feet.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
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

    def _open(self) -> sqlite3.Connection:
        self._prepare()
        connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            mend = {
                "database is locked": "another process holds it; try again or raise --command-timeout",
                "file is not a database": "it is another kind of file; choose another path",
                "attempt to write a readonly database": "see its permissions",
                "unable to open database file": "see the permissions of its folder",
            }.get(str(error), "see the file and the space on its disk")
            raise StoreError(f"{self.description}: {error}; {mend}") from None
        except UnicodeEncodeError:
            raise StoreError(f"{self.description}: a key is not UTF-8, which this store does not take") from None
        except OSError as error:
            raise StoreError(
                f"{self.description}: {error.strerror}; see the permissions, or choose another --store"
            ) from None


class SqliteLease:
    """A lease of the embedded store."""

    def __init__(self, store: SqliteStore, lease: int, ttl: int) -> None:
        self._store, self.id, self.ttl = store, lease, ttl

    def refresh(self) -> bool:
        return self._store.refresh(self.id, self.ttl)

    def revoke(self) -> None:
        self._store.end(self.id)


def _now() -> float:
    """Seconds since boot, the same for all processes of the host."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
