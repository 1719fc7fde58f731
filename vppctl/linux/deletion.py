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
from vppctl.reconcile.marks import DELETION_BASE
from vppctl.reconcile.operations import Failure
from vppctl.reconcile.state import Link

_GONE = (errno.ENODEV,)


def delete_in(space: Netns, links: Sequence[Link]) -> Failure | None:
    """Delete these links of an open namespace, as they were observed; what has gone counts as deleted. Raises OSError.

    By a group of their own. It goes with the link and not with the index: what takes an index meanwhile is not in it.
    """
    number = int.from_bytes(os.urandom(3), "big")
    with Rtnl(space) as rtnl:
        there = unchanged(rtnl, links)
        group = DELETION_BASE | number
        answers = _by_group(rtnl, there, [group] * len(there))
        left = [link for link, answer in zip(there, answers, strict=True) if answer.errno not in (0, *_GONE)]
        if not left:
            return None
        # One link that cannot be deleted has the kernel delete none, and whoever may change links in this namespace
        # may put one, such as lo, into any group (rtnl_group_dellink, net/core/rtnetlink.c): so each in its own.
        found = zip(left, look(rtnl, left), strict=True)
        left = [link for link, raw in found if is_same(link, raw, group) or is_same(link, raw)]
        groups = [DELETION_BASE | (number + n) & 0xFFFFFF for n in range(1, len(left) + 1)]
        return _first(left, _by_group(rtnl, left, groups), _GONE)


def _by_group(rtnl: Rtnl, links: Sequence[Link], groups: Sequence[int]) -> list[Answer]:
    """Put each of these links into its group, and delete the groups; the answer about each link. Raises OSError."""
    if not links:
        return []
    answers = rtnl.batch([wire.set_link(link.index, group=group) for link, group in zip(links, groups, strict=True)])
    marked = zip(links, groups, look(rtnl, links), strict=True)
    others = [
        raw
        for link, group, raw in marked
        if raw and not is_same(link, raw, group) and raw.number(wire.IFLA_GROUP) == group
    ]
    for answer in rtnl.batch([wire.set_link(raw.index, group=0) for raw in others]):
        if answer.errno not in (0, *_GONE):
            text = "the group of a link that has taken the index of one to delete cannot be reset"
            return [Answer(answer.errno, text)] * len(links)
    unique = list(dict.fromkeys(groups))
    deleted = dict(zip(unique, rtnl.batch([wire.delete_group(group) for group in unique]), strict=True))
    return [answer if answer.errno else deleted[group] for answer, group in zip(answers, groups, strict=True)]


def delete_by_id(nsid: int, links: Sequence[Link]) -> Failure | None:
    """Delete these links in the namespace that has this id here, which may be another one by now. Raises OSError."""
    with Rtnl() as rtnl:
        there = unchanged(rtnl, links, nsid)
        # An id that is not in use any more answers EINVAL: the namespace has died, its links with it.
        answers = rtnl.batch([wire.delete_link(link.index, nsid) for link in there])
    return _first(there, answers, (*_GONE, errno.EINVAL))


def _first(links: Sequence[Link], answers: Iterable[Answer], fine: tuple[int, ...]) -> Failure | None:
    left = [(link, a) for link, a in zip(links, answers, strict=True) if a.errno and a.errno not in fine]
    if not left:
        return None
    failure = refused(f"delete {left[0][0].name!r}", left[0][1])
    return failure._replace(links=frozenset(link.index for link, _ in left))
