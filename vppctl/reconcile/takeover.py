"""Pairs that the agent takes over at its start although it has not marked them. Pure.

Somebody made them by hand, or with another tool, exactly as the documents have them: both ends in their namespaces,
under their names, and tied to each other. One end alone proves nothing: `eth0` of a container is in the place of every
document that says `eth0`, and its other end is Docker's.
"""

from __future__ import annotations

from typing import NamedTuple

from vppctl.reconcile.marks import Marks, is_unmarked
from vppctl.reconcile.state import Link


class TakeOver(NamedTuple):
    """A whole pair that is there and that the agent makes its own; `first` and `second` as in its PairId."""

    first: Link
    second: Link


def is_free(marks: Marks, link: Link, name: str) -> bool:
    """Whether the link carries the marks of no agent, or of all marks but the alias of this name."""
    return is_unmarked(link._replace(alias="") if link.alias == marks.alias(name) else link)
