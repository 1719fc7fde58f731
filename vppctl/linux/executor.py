"""Carries out operations: one pipelined batch a namespace, answers turned into outcomes.

The shapes come from measurements: both ends of a pair go straight into their namespaces in one message, since
moving a link costs an RCU grace period; links are deleted by group, since one by one each costs another.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import assert_never

from vppctl.linux import wire
from vppctl.linux.deletion import delete_by_id, delete_in
from vppctl.linux.identity import unchanged
from vppctl.linux.named import create_named
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import Raw, read_link
from vppctl.linux.offload import set_checksum
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.linux.side_by_side import THREADS, side_by_side
from vppctl.linux.steps import ADDRESSES, LINKS, Step, Steps, failed, refused, run_steps, setting_step
from vppctl.reconcile.operations import (
    AddAddress,
    CreateNamespace,
    CreateVeth,
    DelAddress,
    DeleteLinks,
    End,
    Failure,
    LinkToDelete,
    Operation,
    Outcome,
    SetChecksum,
    SetLink,
    Setting,
    summary,
)
from vppctl.reconcile.state import Link, NetnsId, ObservedState


class Executor:
    """Stateless but for the namespace ids, by which it reaches namespaces that have lost their names."""

    def __init__(self, nsids: NsidTable) -> None:
        self._nsids = nsids

    def execute(
        self, operations: Sequence[Operation], spaces: Mapping[NetnsId, Netns], observed: ObservedState
    ) -> list[Outcome]:
        """Do the operations of one stage, which do not depend on each other; outcomes come in their order.

        They are about links as they were `observed`: one that is another by now is left alone.
        """
        failures = _others(operations, spaces, observed)
        steps: Steps = {}
        creates: list[tuple[int, CreateVeth]] = []
        deletes: list[tuple[int, DeleteLinks]] = []
        for number, operation in enumerate(operations):
            if number in failures:
                continue
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
        self._delete(deletes, spaces, observed, failures)
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
        try:
            indexes = _echoed(create, answer) or _looked_up(create, spaces)
        except OSError as error:
            failures[number] = failed(f"read what was made of {_at(create.first, spaces)}", error)
            return
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
        observed: ObservedState,
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

        pieces = [
            (number, piece) for number, operation in deletes for piece in self._pieces(operation, spaces, observed)
        ]
        side_by_side(work, pieces)

    def _pieces(
        self, operation: DeleteLinks, spaces: Mapping[NetnsId, Netns], observed: ObservedState
    ) -> Iterator[Callable[[], Failure | None]]:
        """What is to be done for one operation, in pieces that may be done side by side."""
        links = [link for to_delete in operation.links if (link := _seen(observed, operation.netns, to_delete))]
        space = spaces.get(operation.netns)
        if space is not None:
            yield partial(delete_in, space, links)
        elif (nsid := self._nsids.nsid(operation.netns)) is not None:
            # Each waits for a grace period of its own: there is no group to be set by id (RTM_SETLINK says ENODEV).
            size = max(1, -(-len(links) // THREADS))
            for start in range(0, len(links), size):
                yield partial(delete_by_id, nsid, links[start : start + size])


def _others(
    operations: Sequence[Operation], spaces: Mapping[NetnsId, Netns], observed: ObservedState
) -> dict[int, Failure]:
    """Those of the settings whose link is another one by now, or cannot be asked for."""
    by_space: dict[NetnsId, dict[int, Setting]] = {}
    for number, operation in enumerate(operations):
        if isinstance(operation, Setting) and operation.netns in spaces:
            by_space.setdefault(operation.netns, {})[number] = operation
    failures: dict[int, Failure] = {}
    for netns, concerned in by_space.items():
        seen = {link.index: link for o in concerned.values() if (link := _seen(observed, netns, o))}
        try:
            with Rtnl(spaces[netns]) as rtnl:
                same = {link.index for link in unchanged(rtnl, list(seen.values()))}
        except OSError as error:
            failures.update((number, failed(summary(o), error)) for number, o in concerned.items())
            continue
        for number, o in concerned.items():
            if o.index not in same:
                failures[number] = Failure(errno.ENODEV, f"cannot {summary(o)}: it is not the same link any more")
    return failures


def _seen(observed: ObservedState, netns: NetnsId, about: LinkToDelete | Setting) -> Link | None:
    """The link that the operation is about, as it was observed."""
    link = observed.links.get((netns, about.name))
    return link if link and link.index == about.index else None


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


def _echoed(create: CreateVeth, answer: Answer) -> tuple[int, int] | None:
    """The indexes of both ends from the echo of the created link (NLM_F_ECHO): its own, and IFLA_LINK."""
    with Reading():
        for _, body in answer.bodies:
            link = read_link(create.first.netns, body)
            peer = link.number(wire.IFLA_LINK)
            if peer and _is_end(create.first, link):
                return link.index, peer
    return None


def _is_end(end: End, link: Raw) -> bool:
    """Whether a link that was just created is this end; one under whose alternative name it was found is not."""
    return (link.name, link.number(wire.IFLA_GROUP)) == (end.name, end.fresh or end.group)


def _looked_up(create: CreateVeth, spaces: Mapping[NetnsId, Netns]) -> tuple[int, int] | None:
    """The same by name, for a kernel that does not echo."""
    found = []
    for end in (create.first, create.second):
        with Rtnl(spaces[end.netns]) as rtnl:
            answer = rtnl.ask([wire.get_link(end.name)])[0]
        with Reading():
            links = [read_link(end.netns, body) for _, body in answer.bodies]
            found += [link.index for link in links if _is_end(end, link)]
    return (found[0], found[1]) if len(found) == 2 else None


def _at(end: End, spaces: Mapping[NetnsId, Netns]) -> str:
    return f"{end.name!r} in namespace {spaces[end.netns].description}"
