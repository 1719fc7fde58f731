"""Keeps an error of ours to the pair that it is about: a pass that fails is tried again by halves."""

from __future__ import annotations

import logging
from typing import Protocol

from vppctl.errors import shortage
from vppctl.reconcile.state import Condition, PairId

log = logging.getLogger("vppctl.agent")
News = dict[str, Condition | None]


class Pass(Protocol):
    """What a pass looks like to whoever divides its pairs."""

    def __call__(self, scope: set[PairId], error: Exception | None = None) -> News:
        """A pass over these pairs, or what is reported of them after one has ended by `error`."""


def by_halves(scope: set[PairId], attempt: Pass) -> News:
    """The news of one pass over these pairs, or of several over parts of them when it ends by an internal error.

    A pair that fails alone is given up, and so are all when something has run out, which no pair can help.
    """
    try:
        return attempt(scope)
    except Exception as error:
        if shortage(error):
            return attempt(scope, error)
        log.exception("internal error in a pass over %d pairs", len(scope))
        if len(scope) == 1:
            return attempt(scope, error)
    pairs, news = sorted(scope), News()
    for part in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        if part:
            news |= by_halves(set(part), attempt)
    return news
