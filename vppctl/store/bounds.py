"""How much is taken of a list: whoever may write to a store decides how much there is."""

from __future__ import annotations

from vppctl.errors import StoreError
from vppctl.model.text import Withheld
from vppctl.store.base import Bounds, Entry


class Gauge:
    """Holds the entries of one list, or of one watch, to its bounds."""

    def __init__(self, bounds: Bounds, where: str, prefix: str) -> None:
        self.bounds, self._where, self._prefix = bounds, where, prefix
        self._keys = self._total = 0

    def measure(self, entry: Entry, size: int | None = None) -> Entry:
        """Count it; without its value when that is beyond the bounds. `size` is that of the value, where it is known.

        Raises StoreError when there are too many keys.
        """
        bounds = self.bounds
        self._keys += 1
        if bounds.keys and self._keys > bounds.keys:
            text = f"more than {bounds.keys} keys are below {self._prefix}; delete those that nobody needs"
            raise StoreError(f"{self._where}: {text}")
        if entry.value is None:
            return entry
        size = len(entry.value) if size is None else size
        if bounds.value and size > bounds.value:
            return _without(entry, f"is {size} bytes long; write at most {bounds.value}")
        self._total += size
        if bounds.total and self._total > bounds.total:
            text = f"is not read: the values below {self._prefix} have more than {bounds.total} bytes altogether"
            return _without(entry, f"{text}; delete those that nobody needs")
        return entry


def _without(entry: Entry, why: str) -> Entry:
    return entry._replace(value=Withheld.because(why))
