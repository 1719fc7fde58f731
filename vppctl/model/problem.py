"""What is wrong with a document."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """One error of a document: where, and in one line what is wrong and how to mend it."""

    path: str
    """Field path as written: `ip_addresses[0]`, `namespace.name`; empty: the document itself."""
    text: str
    """What is wrong, with the value, and the mend: `'192.168.22.1' has no prefix length; write '192.168.22.1/24'`."""

    def __str__(self) -> str:
        """As shown: `path: text`."""
        return f"{self.path}: {self.text}" if self.path else self.text
