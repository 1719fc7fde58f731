"""Counters of links, read without all else that is known about them."""

from __future__ import annotations

import struct
from collections.abc import Collection

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import AnswersTooLargeError, DumpInterruptedError, Rtnl
from vppctl.reconcile.state import Statistics

LIMIT, LIMIT_A_LINK = 4 << 20, 1 << 10
"""Bytes that are read of one namespace, where others may have very many links, and how many more for each of ours."""
_FIELDS = struct.Struct("=8Q")
"""The first fields of struct rtnl_link_stats64 (linux/if_link.h), in the order of `Statistics`."""


def statistics(data: bytes, at: int = 0) -> Statistics:
    """Counters from a struct rtnl_link_stats64."""
    return Statistics(*_FIELDS.unpack_from(data, at))


def read_counters(space: Netns, indexes: Collection[int]) -> dict[int, Statistics]:
    """The counters of these links of a namespace, by index, of those that exist. Raises OSError."""
    with Rtnl(space) as rtnl:
        rtnl.allow(limit := LIMIT + LIMIT_A_LINK * len(indexes))
        try:
            bodies = rtnl.dump(wire.get_counters())
        except (DumpInterruptedError, AnswersTooLargeError) as error:
            # Of each link the newest: none depends on another.
            bodies = error.bodies
        with Reading():
            found = dict(map(_read, bodies))
        # A dump proves what it shows, and nothing else.
        rtnl.allow(limit)
        missing = [index for index in indexes if index not in found]
        answers = rtnl.ask([wire.get_counters(index) for index in missing])
        with Reading():
            for answer in answers:
                found.update(map(_read, answer.bodies))
    return {index: found[index] for index in indexes if index in found}


def _read(message: tuple[int, bytes]) -> tuple[int, Statistics]:
    _, body = message
    return wire.IFSTATS.unpack_from(body)[1], statistics(body, wire.IFSTATS.size + 4)
