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
from contextlib import contextmanager
from pathlib import Path

from vppctl.errors import ConflictError, StoreError
from vppctl.store.base import (
    ALL,
    Bounds,
    Changed,
    Commit,
    Compacted,
    Delete,
    Entry,
    Guard,
    Listed,
    Operation,
    Progress,
    Put,
)
from vppctl.store.bounds import Gauge
from vppctl.store.settings import StoreSettings
from vppctl.store.sqlite_file import SqliteFile
from vppctl.store.sqlite_rows import advance, between, compact, current, end_leases, is_text, meta
from vppctl.store.sqlite_watch import SqliteWatch

MAX_VALUE = 1 << 40
"""Bytes; SQLite takes no longer ones."""


class SqliteStore:
    """One connection a thread to one file. Thread-safe."""

    is_local = True
    max_operations = 100_000

    def __init__(self, settings: StoreSettings) -> None:
        self.path = settings.path
        self._file = SqliteFile(settings.path, settings.timeout)
        self.description = self._file.description
        self._over = threading.local()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # What is wrong with the file is reported at once.
        with self._file.errors(), self._file.reading():
            pass

    def close(self) -> None:
        self._file.close()

    def get(self, key: str) -> Entry | None:
        if not is_text(key):
            return None
        with self._file.errors(), self._file.reading() as connection:
            row = connection.execute(
                "SELECT value, revision, lease FROM kv WHERE key = ? ORDER BY revision DESC LIMIT 1", (key,)
            ).fetchone()
            if not row or row[0] is None or (row[2] and row[2] in self._ended(connection)):
                return None
        return Entry(key, row[0], row[1])

    def list(self, prefix: str, revision: int = 0, keys_only: bool = False, bounds: Bounds = ALL) -> Listed:
        gauge = Gauge(bounds, self.description, prefix)
        with self._file.errors(), self._file.reading() as connection:
            newest, compacted = meta(connection)
            if revision and revision < compacted:
                raise StoreError(f"{self.description}: revision {revision} is compacted; the oldest is {compacted}")
            if revision > newest:
                raise StoreError(f"{self.description}: revision {revision} is in the future; the newest is {newest}")
            at = revision or newest
            # What was there at an earlier revision was there then.
            over = self._ended(connection) if at == newest else frozenset()
            self._over.listed = over
            if not is_text(prefix):
                return Listed(at, ())
            # A value that is too long is not even read.
            rows = connection.execute(
                "SELECT key, CASE WHEN length(value) > ? THEN x'' ELSE value END, r, lease, length(value) FROM ("
                " SELECT key, value, max(revision) AS r, lease FROM kv"
                " WHERE key >= ? AND key < ? AND revision <= ? GROUP BY key"
                ") WHERE value IS NOT NULL ORDER BY key",
                (-1 if keys_only else bounds.value or MAX_VALUE, *between(prefix), at),
            )
            entries = [gauge.measure(Entry(*row[:3]), 0 if keys_only else row[4]) for row in rows if row[3] not in over]
        return Listed(at, tuple(entries))

    def pages(self, prefix: str, keys_only: bool = False) -> Iterator[Listed]:
        yield self.list(prefix, keys_only=keys_only)

    def commit(self, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> Commit:
        with self._file.errors(), self.transaction(anew=True) as connection:
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

    def trouble(self) -> str:
        problem = self._file.trouble()
        return f"{self.description}: {problem}" if problem else ""

    def watch(self, prefix: str, revision: int, bounds: Bounds = ALL) -> SqliteWatch:
        return SqliteWatch(self, prefix, revision, getattr(self._over, "listed", frozenset()), bounds)

    def lease(self, ttl: int) -> SqliteLease:
        with self._file.errors(), self.transaction() as connection:
            # Never again the id of one that has ended: whoever had that would go on with another's.
            lease = int.from_bytes(os.urandom(7), "big") + 1
            connection.execute("INSERT INTO lease VALUES (?, ?, ?, ?)", (lease, ttl, _now() + ttl, self._boot))
            return SqliteLease(self, lease, ttl)

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`."""
        with self._file.errors(), self.transaction() as connection:
            compact(connection, revision)

    # For the parts of this module

    def changes(self, prefix: str, revision: int, bounds: Bounds) -> Changed | Compacted | Progress:
        """What happened from `revision` on; Progress when nothing did."""
        gauge = Gauge(Bounds(bounds.value), self.description, prefix)
        with self._file.errors(), self._file.reading() as connection:
            newest, compacted = meta(connection)
            if revision <= compacted:
                return Compacted(compacted)
            rows = connection.execute(
                "SELECT key, CASE WHEN length(value) > ? THEN x'' ELSE value END, revision, length(value) FROM kv"
                " WHERE revision >= ? AND key >= ? AND key < ? ORDER BY revision, key",
                (bounds.value or MAX_VALUE, revision, *between(prefix)),
            )
            entries = [gauge.measure(Entry(*row[:3]), row[3]) for row in rows]
        return Changed(newest, tuple(entries)) if entries else Progress(newest)

    def end_leases(self) -> tuple[frozenset[int], float]:
        """End those that are over; what could not be ended, and the seconds until the next one is over."""
        with self._file.errors(), self._file.reading() as connection:
            over = self._ended(connection)
            row = connection.execute(
                "SELECT min(deadline) FROM lease WHERE deadline > ? AND boot = ?", (_now(), self._boot)
            ).fetchone()
            left = float(row[0]) - _now() if row[0] is not None else float("inf")
        if not over:
            return over, left
        try:
            with self.transaction():
                return frozenset(), left
        except (sqlite3.OperationalError, OSError):
            # A store that cannot be written is read all the same.
            return over, left

    def _ended(self, connection: sqlite3.Connection) -> frozenset[int]:
        """The leases that are over, and that nobody has ended yet."""
        rows = connection.execute("SELECT id FROM lease WHERE deadline <= ? OR boot != ?", (_now(), self._boot))
        return frozenset(row[0] for row in rows.fetchall())

    def refresh(self, lease: int, ttl: int) -> bool:
        """Start a lease again, if it has not ended."""
        with self._file.errors(), self.transaction() as connection:
            cursor = connection.execute("UPDATE lease SET deadline = ? WHERE id = ?", (_now() + ttl, lease))
            return cursor.rowcount == 1

    def end(self, lease: int) -> None:
        """End a lease, and its keys with it."""
        with self._file.errors(), self.transaction() as connection:
            end_leases(connection, [lease])

    @contextmanager
    def transaction(self, *, anew: bool = False) -> Iterator[sqlite3.Connection]:
        """A write transaction, in which leases that are over have ended; `anew`: see SqliteFile.writing."""
        with self._file.writing(anew=anew) as connection:
            end_leases(connection, sorted(self._ended(connection)))
            yield connection

    def _check_lease(self, connection: sqlite3.Connection, lease: int) -> None:
        if lease and not connection.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone():
            raise StoreError(f"{self.description}: the lease has ended")


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
