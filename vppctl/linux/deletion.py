"""Deletes links as they were observed: what has taken their index since, or the id of their namespace, stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from vppctl.linux import wire
from vppctl.linux.identity import is_same, look, unchanged
from vppctl.linux.namespaces import Netns
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.linux.steps import refused
from vppctl.reconcile.marks import DOOM_BASE
from vppctl.reconcile.operations import Failure
from vppctl.reconcile.state import Link


def delete_in(space: Netns, links: Sequence[Link]) -> Failure | None:
    """Delete these links of an open namespace, as they were observed; what has gone counts as deleted. Raises OSError.

    By a group of their own. It goes with the link and not with the index: what takes an index meanwhile is not in it.
    """
    group = DOOM_BASE | int.from_bytes(os.urandom(3), "big")
    with Rtnl(space) as rtnl:
        there = unchanged(rtnl, links)
        if not there:
            return None
        answers = rtnl.batch([wire.set_link(link.index, group=group) for link in there])
        marked = zip(there, look(rtnl, there), strict=True)
        others = [
            raw
            for link, raw in marked
            if raw and not is_same(link, raw, group) and raw.number(wire.IFLA_GROUP) == group
        ]
        for answer in rtnl.batch([wire.set_link(raw.index, group=0) for raw in others]):
            if answer.errno not in (0, errno.ENODEV):
                return refused("reset the group of a link that has taken the index of one to delete", answer)
        if rtnl.batch([wire.delete_group(group)])[0].errno:
            # One link that cannot be deleted has the kernel delete none, and whoever may change links in this
            # namespace may put one, such as lo, into any group (rtnl_group_dellink, net/core/rtnetlink.c).
            there = [link for link, raw in zip(there, look(rtnl, there), strict=True) if is_same(link, raw, group)]
            answers = rtnl.batch([wire.delete_link(link.index) for link in there])
    return _first(there, answers, (errno.ENODEV,))


def delete_by_id(nsid: int, links: Sequence[Link]) -> Failure | None:
    """Delete these links in the namespace that has this id here, which may be another one by now. Raises OSError."""
    with Rtnl() as rtnl:
        there = unchanged(rtnl, links, nsid)
        # An id that is not in use any more answers EINVAL: the namespace has died, its links with it.
        answers = rtnl.batch([wire.delete_link(link.index, nsid) for link in there])
    return _first(there, answers, (errno.ENODEV, errno.EINVAL))


def _first(links: Sequence[Link], answers: Iterable[Answer], fine: tuple[int, ...]) -> Failure | None:
    left = [(link, a) for link, a in zip(links, answers, strict=True) if a.errno and a.errno not in fine]
    if not left:
        return None
    failure = refused(f"delete {left[0][0].name!r}", left[0][1])
    return failure._replace(links=frozenset(link.index for link, _ in left))
