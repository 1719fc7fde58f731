"""What etcd's answers may be: whatever else comes, from what is no etcd or a broken one, is an error of the store.

Every field that is used is looked at here. A revision that no request can name, a key that was not asked for, or an
event of an unknown type would otherwise end a thread, or count as a deletion.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vppctl.errors import StoreError
from vppctl.store.base import Entry
from vppctl.store.etcd_stubs import etcdrpc

MAX_REVISION = 1 << 62
"""No store has had so many transactions; and what is asked for next must fit into 64 bits."""
MAX_TTL = 1 << 31
"""Seconds."""
MAX_TOKEN = 8 << 10
"""Characters of the token of a user, which goes with each request."""


class Answers:
    """Reads the answers of one cluster; `where` is its name in messages."""

    def __init__(self, where: str) -> None:
        self._where = where

    def odd(self, what: str) -> StoreError:
        """The answer has something that no etcd sends."""
        return StoreError(f"{self._where} gives an odd answer: {what}; is it etcd? see --endpoints")

    def revision(self, answer: Any) -> int:
        """The store's revision."""
        return self._bounded(answer.header.revision, "revision", MAX_REVISION)

    def entry(self, kv: Any, newest: int = MAX_REVISION) -> Entry:
        """A key that is there. Raises StoreError."""
        return Entry(from_octets(kv.key), kv.value, self._bounded(kv.mod_revision, "revision of a key", newest))

    def only(self, kvs: Iterable[Any], key: bytes) -> Any | None:
        """The one key that was asked for; None: it is not there. Raises StoreError."""
        found = list(kvs)
        if len(found) > 1 or any(kv.key != key for kv in found):
            raise self.odd("keys that were not asked for")
        return found[0] if found else None

    def event(self, event: Any, start: bytes, end: bytes) -> Entry:
        """A change below a prefix. Raises StoreError."""
        if not is_between(event.kv.key, start, end):
            raise self.odd("a change of a key that is not followed")
        if event.type not in (event.PUT, event.DELETE):
            raise self.odd(f"a change of type {int(event.type)}")
        entry = self.entry(event.kv)
        return entry if event.type == event.PUT else entry._replace(value=None)

    def lease(self, answer: Any, asked: int = 0) -> tuple[int, int]:
        """Id and time to live of a lease; `asked`: of the lease with this id. Raises StoreError."""
        # 0 means no lease, and keys under it would stay for ever.
        if not answer.ID or (asked and asked != answer.ID):
            raise self.odd(f"a lease with the id {answer.ID}")
        if asked and answer.TTL <= 0:
            return asked, 0
        return answer.ID, self._bounded(answer.TTL, "time to live", MAX_TTL)

    def token(self, token: str) -> str:
        """The token of a user, which must fit into a header. Raises StoreError."""
        if not (token and token.isascii() and token.isprintable() and len(token) <= MAX_TOKEN):
            raise self.odd("a token that no request can have")
        return token

    def _bounded(self, number: int, what: str, most: int) -> int:
        if not 0 < number <= most:
            raise self.odd(f"the {what} is {number}")
        return number


def is_between(key: bytes, start: bytes, end: bytes) -> bool:
    """Whether a key is in a range, whose end of one zero byte is the end of all keys."""
    return start <= key and (end == b"\0" or key < end)


def range_request(start: bytes, end: bytes, **more: Any) -> Any:
    """A request for the keys of a range."""
    return etcdrpc.RangeRequest(key=start, range_end=end, **more)


def encoded(key: str) -> bytes:
    """A key as etcd has it: any bytes."""
    return key.encode(errors="surrogateescape")


def from_octets(key: bytes) -> str:
    """A key as everybody else has it; no two keys are the same."""
    return key.decode(errors="surrogateescape")


def range_end(prefix: str) -> bytes:
    """The end of the range of all keys with this prefix; a zero byte stands for the end of all keys."""
    start = encoded(prefix).rstrip(b"\xff")
    return start[:-1] + bytes((start[-1] + 1,)) if start else b"\0"
