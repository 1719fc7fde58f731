"""The rows of the embedded store: what is current, what is compacted, what ends with a lease. Inside a transaction."""

from __future__ import annotations

import sqlite3  # noqa: TID253 - loaded by the owner of this import alone
from collections.abc import Sequence

KEEP = 10_000
"""Revisions of history that a watch may resume from."""
COMPACT_EVERY = 1_000
"""Commits between compactions."""
FIRST, ALL = "", "\U0010ffff"


def is_text(key: str) -> bool:
    """Whether a key is UTF-8, as all of this store are; other octets are surrogates."""
    return key.isascii() or not any("\ud800" <= character <= "\udfff" for character in key)


def between(prefix: str) -> tuple[str, str]:
    """The first key with this prefix, and a key behind the last."""
    return (prefix, prefix + ALL) if prefix else (FIRST, ALL)


def meta(connection: sqlite3.Connection) -> tuple[int, int]:
    """The newest revision, and the newest that is compacted."""
    found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    try:
        return int(found["revision"]), int(found["compacted"])
    except (KeyError, TypeError, ValueError):
        raise sqlite3.DatabaseError("its revisions are damaged") from None


def current(connection: sqlite3.Connection, key: str) -> int | None:
    """The revision that wrote the key's present value; None when it has none."""
    row = connection.execute(
        "SELECT value, revision FROM kv WHERE key = ? ORDER BY revision DESC LIMIT 1", (key,)
    ).fetchone()
    return int(row[1]) if row and row[0] is not None else None


def advance(connection: sqlite3.Connection, revision: int) -> None:
    """Make this the newest revision."""
    connection.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
    if revision % COMPACT_EVERY == 0 and revision > KEEP:
        compact(connection, revision - KEEP)


def compact(connection: sqlite3.Connection, revision: int) -> None:
    """Forget what was before this revision, but for what is still current."""
    connection.execute(
        "DELETE FROM kv WHERE revision <= ?1 AND (value IS NULL OR EXISTS"
        " (SELECT 1 FROM kv AS newer"
        " WHERE newer.key = kv.key AND newer.revision > kv.revision AND newer.revision <= ?1))",
        (revision,),
    )
    connection.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'compacted'", (revision,))


def end_leases(connection: sqlite3.Connection, leases: Sequence[int]) -> None:
    """End these leases, and their keys with them."""
    for lease in leases:
        connection.execute("DELETE FROM lease WHERE id = ?", (lease,))
        keys = connection.execute(
            "SELECT key FROM kv WHERE lease = ?1 AND value IS NOT NULL AND revision ="
            " (SELECT max(revision) FROM kv AS newest WHERE newest.key = kv.key)",
            (lease,),
        ).fetchall()
        if keys:
            revision = meta(connection)[0] + 1
            connection.executemany("INSERT INTO kv VALUES (?, ?, NULL, 0)", [(key, revision) for (key,) in keys])
            advance(connection, revision)
