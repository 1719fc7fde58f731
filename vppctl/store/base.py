"""The one small protocol behind which every store stands.

A store is a flat, revisioned map from text keys to bytes, as etcd's: each committed transaction has a revision,
larger than the one before it; a listing is a snapshot at a revision; a watch hands over everything that was
committed from a revision on, in order, each transaction whole. Neighbours: `etcd.py` and `sqlite.py` implement it,
`open_store` chooses. Excluded: retrying and resuming a watch, which `vppctl.reconcile.mirror` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from vppctl.model.text import MAX_DOCUMENT
from vppctl.reconcile.mirror import Changed, Compacted, Entry, Listed, Progress

__all__ = [
    "AGENT",
    "ALL",
    "DOCUMENTS",
    "REPORTS",
    "Bounds",
    "Changed",
    "Commit",
    "Compacted",
    "Delete",
    "Entry",
    "Guard",
    "Lease",
    "Listed",
    "Operation",
    "Progress",
    "Put",
    "Store",
    "Watch",
]


class Put(NamedTuple):
    """Write `value` under `key`; the key lives as long as `lease`, when one is given (0: for ever)."""

    key: str
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Remove `key`; removing what is not there is no error."""

    key: str


Operation = Put | Delete


class Guard(NamedTuple):
    """The transaction goes through only while `key` was last changed at `mod_revision` (0: is absent)."""

    key: str
    mod_revision: int


class Commit(NamedTuple):
    """A committed transaction: its revision, and how many keys its deletes removed."""

    revision: int
    deleted: int


class Bounds(NamedTuple):
    """How much of a list is taken; 0: all of it.

    In the place of a value that is beyond the bounds there is a Withheld one (vppctl.model.text), which no document is.
    """

    value: int = 0
    """Bytes of a value."""
    total: int = 0
    """Bytes of all values together, those that are too long excepted; of a watch this does not hold."""
    keys: int = 0
    """Beyond so many keys a list fails."""


ALL = Bounds()
DOCUMENTS = Bounds(MAX_DOCUMENT)
"""For a command that reads configuration."""
AGENT = Bounds(MAX_DOCUMENT, 256 << 20, 100_000)
"""For the agent, whose memory must not grow with what others write."""
REPORTS = Bounds(1 << 20, 256 << 20)
"""For a command that reads what agents report; no agent writes longer ones."""


class Lease(Protocol):
    """Keys bound to a lease vanish when it is not refreshed for its time to live."""

    id: int
    ttl: int
    """Time to live in seconds, as granted."""

    def refresh(self) -> bool:
        """Start the time to live again; False when the lease has expired. Raises StoreError."""

    def revoke(self) -> None:
        """Remove the lease and its keys at once; no error when it has expired. Raises StoreError."""


class Watch(Protocol):
    """A running watch. Ended by `close`, by Compacted, and by StoreError; never silently."""

    def next(self, timeout: float) -> Changed | Progress | Compacted | None:
        """The next message, or None after `timeout` seconds without one.

        Raises StoreError when the stream broke or the server stopped answering (an implementation detects that
        itself, for etcd by asking for progress); the watch is over then.
        """

    def close(self) -> None:
        """End the watch; a `next` that waits in another thread returns None soon."""


class Store(Protocol):
    """Every call has a timeout, and raises StoreError when the store is unreachable or refuses."""

    description: str
    """How messages name the store: `etcd 127.0.0.1:2379`, `sqlite /var/lib/vppctl/store.db`."""

    is_local: bool
    """Whether only processes of this host share it."""

    max_operations: int
    """How many operations one transaction may hold."""

    def get(self, key: str) -> Entry | None:
        """The entry of exactly this key."""

    def list(self, prefix: str, revision: int = 0, keys_only: bool = False, bounds: Bounds = ALL) -> Listed:
        """All entries whose key starts with `prefix`, by key, at `revision` (0: the newest).

        With `keys_only` the values are empty. Raises StoreError, also when `revision` has been compacted.
        """

    def pages(self, prefix: str, keys_only: bool = False) -> Iterator[Listed]:
        """The newest list in parts, all of one revision, for what does not need all of it at once.

        Raises StoreError, also between two of them.
        """

    def commit(self, operations: Sequence[Operation], guards: Sequence[Guard] = ()) -> Commit:
        """Do all of `operations`, at most `max_operations` and each key once, at one revision, or nothing.

        Raises ConflictError when a guard does not hold, TooLargeError when it is more than the store takes at once,
        and UnknownOutcomeError when the answer was lost and whether it was done cannot be found out.
        """

    def trouble(self) -> str:
        """What keeps others from writing to the store, as far as it says so itself; empty when nothing does."""

    def watch(self, prefix: str, revision: int, bounds: Bounds = ALL) -> Watch:
        """Follow the keys that start with `prefix`, from `revision` on (inclusive)."""

    def lease(self, ttl: int) -> Lease:
        """Grant a lease of `ttl` seconds."""

    def close(self) -> None:
        """Let go of connections and threads; close watches first."""
