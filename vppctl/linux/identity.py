"""Whether an index is still that of the link that was looked at.

Whoever creates a link may ask for an index that has become free, and the kernel gives ids of namespaces again. What is
changed or deleted by index is therefore asked for once more, just before.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from vppctl.linux import wire
from vppctl.linux.observe import LIMIT, LIMIT_A_LINK, Raw, read_link
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.reconcile.state import Link

SKIP_STATS = 1 << 3
"""RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h)."""
_GONE = (errno.ENODEV, errno.EINVAL, errno.ENONET)
"""What the kernel says where there is no such link, or no such namespace any more."""


def look(rtnl: Rtnl, links: Sequence[Link], nsid: int | None = None) -> list[Raw | None]:
    """What has the index of each of these links now. Raises OSError."""
    rtnl.allow(LIMIT + LIMIT_A_LINK * len(links))
    answers = rtnl.ask([_question(link.index, nsid) for link in links])
    rtnl.allow()
    return [_one(link, answer) for link, answer in zip(links, answers, strict=True)]


def _question(index: int, nsid: int | None) -> bytes:
    """RTM_GETLINK without counters, which are half of what there is to say."""
    target = b"" if nsid is None else wire.i32(wire.IFLA_TARGET_NETNSID, nsid)
    body = wire.IFINFO.pack(0, 0, index, 0, 0) + wire.u32(wire.IFLA_EXT_MASK, SKIP_STATS) + target
    return wire.message(wire.RTM_GETLINK, 0, body)


def _one(link: Link, answer: Answer) -> Raw | None:
    if answer.errno and answer.errno not in _GONE:
        raise OSError(answer.errno, answer.text or os.strerror(answer.errno))
    found = [read_link(link.netns, body) for _, body in answer.bodies]
    return next((raw for raw in found if raw.index == link.index), None)


def is_same(link: Link, found: Raw | None, group: int | None = None) -> bool:
    """Whether this is the link that was observed, by its marks, name, kind and peer. Raises UnreadableError.

    `group` is the one that it has been given since.
    """
    if found is None:
        return False
    with Reading():
        numbers = (found.number(wire.IFLA_LINK), found.number(wire.IFLA_GROUP))
        wanted = (link.peer_index, link.group if group is None else group)
        return numbers == wanted and (found.name, found.kind, found.alias) == (link.name, link.kind, link.alias)


def unchanged(rtnl: Rtnl, links: Sequence[Link], nsid: int | None = None) -> list[Link]:
    """Those of these links that are still there as they were observed. Raises OSError."""
    return [link for link, found in zip(links, look(rtnl, links, nsid), strict=True) if is_same(link, found)]
