"""Lists of etcd in pages: whoever may write below a prefix decides how much a list of it is, and one answer has bounds.

All pages are of one revision, so that together they are a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vppctl.errors import StoreError, TooLargeError
from vppctl.model.text import Withheld
from vppctl.store.base import Entry, Listed
from vppctl.store.bounds import Gauge
from vppctl.store.etcd_answers import Answers, from_octets, is_between, range_request

FIRST = 128
"""Keys of the first page. Nobody knows how long values are until some have come."""
GROWTH = 8
"""How much larger the next page is, at most."""
AIM = 4 << 20
"""Bytes of keys and values that a page should have."""


class CompactedError(StoreError):
    """The revision that the pages are of is gone."""


class Pages:
    """Reads a range page by page."""

    def __init__(self, call: Callable[[Any], Any], answers: Answers, start: bytes, end: bytes) -> None:
        """`call` sends a request for a range and gives its answer. Raises StoreError."""
        self._call, self._answers, self._start, self._end = call, answers, start, end

    def read(self, revision: int, gauge: Gauge, *, keys_only: bool) -> Iterator[Listed]:
        """At `revision` (0: the newest); always one page at least. Raises StoreError."""
        limit, start, at, more = FIRST, self._start, revision, True
        while more:
            # One more than a page's would be needed to know whether there are more where etcd did not say so.
            request = range_request(start, self._end, revision=at, limit=limit, keys_only=keys_only)
            try:
                answer = self._ask(request)
            except TooLargeError:
                if limit > 1:
                    limit = max(1, limit // GROWTH)
                    continue
                answer, entry = self._skip(start, at, gauge)
                at = at or self._answers.revision(answer)
                yield Listed(at, (entry,))
            else:
                at = at or self._answers.revision(answer)
                entries, size = self._entries(answer, start, at, limit)
                yield Listed(at, tuple(map(gauge.measure, entries)))
                # As large as it may be, and no larger than the last page lets expect.
                limit = max(1, min(limit * GROWTH, limit * AIM // max(1, size)))
            more = answer.more
            if more:
                if not answer.kvs:
                    raise self._answers.odd("more keys are announced and none are sent")
                start = answer.kvs[-1].key + b"\0"

    def _ask(self, request: Any) -> Any:
        try:
            return self._call(request)
        except StoreError as error:
            if "required revision has been compacted" in str(error):
                raise CompactedError(str(error)) from None
            raise

    def _entries(self, answer: Any, start: bytes, at: int, limit: int) -> tuple[list[Entry], int]:
        """The keys of a page, and their size. Raises StoreError where they are others than those asked for."""
        entries, size, last = [], 0, b""
        if len(answer.kvs) > limit:
            raise self._answers.odd("more keys than were asked for")
        for kv in answer.kvs:
            if not is_between(kv.key, start, self._end) or kv.key <= last:
                raise self._answers.odd("keys that were not asked for")
            last = kv.key
            size += len(last) + len(kv.value)
            entries.append(self._answers.entry(kv, at))
        return entries, size

    def _skip(self, start: bytes, at: int, gauge: Gauge) -> tuple[Any, Entry]:
        """The next key alone, whose value no answer has room for. Raises StoreError where all of it is wanted."""
        answer = self._ask(range_request(start, self._end, revision=at, limit=1, keys_only=True))
        if len(answer.kvs) != 1 or not is_between(answer.kvs[0].key, start, self._end):
            raise self._answers.odd("keys that were not asked for")
        kv = answer.kvs[0]
        if not gauge.bounds.value:
            raise StoreError(f"{from_octets(kv.key)}: its value is longer than an answer may be; 'etcdctl get' has it")
        gauge.measure(Entry("", b"", 0))
        why = f"is longer than an answer of etcd may be; write at most {gauge.bounds.value} bytes"
        return answer, self._answers.entry(kv, at or self._answers.revision(answer))._replace(
            value=Withheld.because(why)
        )
