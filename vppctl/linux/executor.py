"""Carries out operations: one pipelined batch a namespace, answers turned into outcomes.

The shapes come from measurements: both ends of a pair go straight into their namespaces in one message, since
moving a link costs an RCU grace period; links are deleted by group, since one by one each costs another.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import assert_never

from vppctl.linux import wire
from vppctl.linux.named import create_named
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.offload import set_checksum
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.linux.side_by_side import THREADS, side_by_side
from vppctl.linux.steps import ADDRESSES, LINKS, Step, Steps, failed, refused, run_steps, setting_step
from vppctl.reconcile.marks import DOOM_BASE
from vppctl.reconcile.operations import (
    AddAddress,
    CreateNamespace,
    CreateVeth,
    DelAddress,
    DeleteLinks,
    Doomed,
    End,
    Failure,
    Operation,
    Outcome,
    SetChecksum,
    SetLink,
)
from vppctl.reconcile.state import NetnsId


class Executor:
    """Stateless but for the namespace ids, by which it reaches namespaces that have lost their names."""

    def __init__(self, nsids: NsidTable) -> None:
        self._nsids = nsids

    def execute(self, operations: Sequence[Operation], spaces: Mapping[NetnsId, Netns]) -> list[Outcome]:
        """Do the operations of one stage, which do not depend on each other; outcomes come in their order."""
        failures: dict[int, Failure] = {}
        steps: Steps = {}
        creates: list[tuple[int, CreateVeth]] = []
        deletes: list[tuple[int, DeleteLinks]] = []
        for number, operation in enumerate(operations):
            match operation:
                case CreateNamespace(name):
                    _create_namespace(number, name, failures)
                case CreateVeth():
                    creates.append((number, operation))
                case DeleteLinks():
                    deletes.append((number, operation))
                case SetChecksum(netns=netns, name=name, on=on):
                    _set_checksum(number, spaces.get(netns), name, failures, on=on)
                case SetLink():
                    steps.setdefault((LINKS, operation.netns), []).append(setting_step(number, operation))
                case AddAddress() | DelAddress():
                    steps.setdefault((ADDRESSES, operation.netns), []).append(setting_step(number, operation))
                case _:
                    assert_never(operation)
        self._create(creates, spaces, steps, failures)
        self._delete(deletes, spaces, failures)
        for turn in sorted(steps):
            run_steps(steps[turn], spaces.get(turn[1]), failures)
        return [Outcome(operation, failures.get(number)) for number, operation in enumerate(operations)]

    # Creating

    def _create(
        self,
        creates: Sequence[tuple[int, CreateVeth]],
        spaces: Mapping[NetnsId, Netns],
        steps: Steps,
        failures: dict[int, Failure],
    ) -> None:
        """Make the pairs, and add to `steps` what cannot go into the creating message."""
        by_space: dict[NetnsId, list[tuple[int, CreateVeth]]] = {}
        for number, create in creates:
            if create.first.netns in spaces and create.second.netns in spaces:
                by_space.setdefault(create.first.netns, []).append((number, create))
            else:
                failures[number] = Failure(errno.ENOENT, "the namespace has gone")
        for netns, batch in by_space.items():
            # In the first end's own namespace, for the echo of what was made is delivered there.
            try:
                with Rtnl(spaces[netns]) as rtnl:
                    answers = rtnl.batch([_pair(create, spaces) for _, create in batch])
            except OSError as error:
                failures.update((number, failed("make pairs", error)) for number, _ in batch)
                continue
            for (number, create), answer in zip(batch, answers, strict=True):
                if answer.errno:
                    first, second = create.first, create.second
                    what = f"make {_at(first, spaces)} with peer {_at(second, spaces)}"
                    failures[number] = refused(what, answer)
                else:
                    self._finish(number, create, answer, spaces, steps, failures)

    def _finish(
        self,
        number: int,
        create: CreateVeth,
        answer: Answer,
        spaces: Mapping[NetnsId, Netns],
        steps: Steps,
        failures: dict[int, Failure],
    ) -> None:
        indexes = _echoed(answer) or _looked_up(create, spaces)
        if not indexes:
            failures[number] = Failure(errno.ENODEV, f"{_at(create.first, spaces)} vanished while it was being made")
            return
        for end, index, is_peer in ((create.first, indexes[0], False), (create.second, indexes[1], True)):
            up = True if is_peer and end.up else None
            place = spaces[end.netns]
            message = wire.set_link(index, up=up, group=end.group, alias=end.alias)
            step = Step(number, message, ("set up", end, "in namespace", place))
            steps.setdefault((LINKS, end.netns), []).append(step)
            if end.addresses:
                adds = steps.setdefault((ADDRESSES, end.netns), [])
                for address in end.addresses:
                    message = wire.address(wire.RTM_NEWADDR, index, address)
                    what = ("add", address, "to", end, "in namespace", place)
                    adds.append(Step(number, message, what, ipv6=end.name if ":" in address else ""))

    # Deleting

    def _delete(
        self,
        deletes: Sequence[tuple[int, DeleteLinks]],
        spaces: Mapping[NetnsId, Netns],
        failures: dict[int, Failure],
    ) -> None:
        def work(delete: tuple[int, Callable[[], Failure | None]]) -> None:
            number, attempt = delete
            try:
                failure = attempt()
            except OSError as error:
                failure = failed("delete links", error)
            if failure:
                failures.setdefault(number, failure)

        pieces = [(number, piece) for number, operation in deletes for piece in self._pieces(operation, spaces)]
        side_by_side(work, pieces)

    def _pieces(
        self, operation: DeleteLinks, spaces: Mapping[NetnsId, Netns]
    ) -> Iterator[Callable[[], Failure | None]]:
        """What is to be done for one operation, in pieces that may be done side by side."""
        space = spaces.get(operation.netns)
        if space is not None:
            yield partial(_delete_in, space, operation.links)
        elif (nsid := self._nsids.nsid(operation.netns)) is not None:
            # Each waits for a grace period of its own: there is no group to be set by id (RTM_SETLINK says ENODEV).
            size = -(-len(operation.links) // THREADS)
            for start in range(0, len(operation.links), size):
                yield partial(_delete_by_id, nsid, operation.links[start : start + size])


def _delete_in(space: Netns, links: Sequence[Doomed]) -> Failure | None:
    with Rtnl(space) as rtnl:
        if len(links) == 1:
            return _first(links, rtnl.batch([wire.delete_link(links[0].index)]), (errno.ENODEV,))
        group = DOOM_BASE | int.from_bytes(os.urandom(3), "big")
        answers = rtnl.batch([wire.set_link(link.index, group=group) for link in links])
        if rtnl.batch([wire.delete_group(group)])[0].errno:
            # One link that cannot be deleted has the kernel delete none, and whoever may change links in this
            # namespace may put one, such as lo, into any group (rtnl_group_dellink, net/core/rtnetlink.c).
            answers = rtnl.batch([wire.delete_link(link.index) for link in links])
    return _first(links, answers, (errno.ENODEV,))


def _delete_by_id(nsid: int, links: Sequence[Doomed]) -> Failure | None:
    with Rtnl() as rtnl:
        # An id that is not in use any more answers EINVAL: the namespace has died, its links with it.
        answers = rtnl.batch([wire.delete_link(link.index, nsid) for link in links])
    return _first(links, answers, (errno.ENODEV, errno.EINVAL))


def _create_namespace(number: int, name: str, failures: dict[int, Failure]) -> None:
    try:
        create_named(name)
    except OSError as error:
        failures[number] = failed(f"create namespace {name!r}", error)


def _set_checksum(number: int, space: Netns | None, name: str, failures: dict[int, Failure], *, on: bool) -> None:
    if space is None:
        failures[number] = Failure(errno.ENOENT, "the namespace has gone")
        return
    try:
        set_checksum(space, name, on=on)
    except OSError as error:
        failures[number] = failed(f"set TX checksum offload of {name!r}", error)


def _pair(create: CreateVeth, spaces: Mapping[NetnsId, Netns]) -> bytes:
    first, second = (
        wire.end(end.name, end.mac, end.mtu, end.fresh or end.group, spaces[end.netns].fd)
        for end in (create.first, create.second)
    )
    return wire.create_veth(first, second, up=create.first.up)


def _echoed(answer: Answer) -> tuple[int, int] | None:
    """The indexes of both ends from the echo of the created link (NLM_F_ECHO): its own, and IFLA_LINK."""
    for kind, body in answer.bodies:
        if kind == wire.RTM_NEWLINK:
            index = wire.IFINFO.unpack_from(body)[2]
            peer = wire.attributes(body, wire.IFINFO.size).get(wire.IFLA_LINK)
            if peer:
                return index, wire.UINT.unpack(peer)[0]
    return None


def _looked_up(create: CreateVeth, spaces: Mapping[NetnsId, Netns]) -> tuple[int, int] | None:
    """The same by name, for a kernel that does not echo."""
    found = []
    for end in (create.first, create.second):
        with Rtnl(spaces[end.netns]) as rtnl:
            answer = rtnl.ask([wire.get_link(end.name)])[0]
        found += [wire.IFINFO.unpack_from(body)[2] for _, body in answer.bodies if answer.errno == 0]
    return (found[0], found[1]) if len(found) == 2 else None


def _first(links: Sequence[Doomed], answers: Iterable[Answer], fine: tuple[int, ...]) -> Failure | None:
    left = [(link, a) for link, a in zip(links, answers, strict=True) if a.errno and a.errno not in fine]
    if not left:
        return None
    failure = refused(f"delete {left[0][0].name!r}", left[0][1])
    return failure._replace(links=frozenset(link.index for link, _ in left))


def _at(end: End, spaces: Mapping[NetnsId, Netns]) -> str:
    return f"{end.name!r} in namespace {spaces[end.netns].description}"
