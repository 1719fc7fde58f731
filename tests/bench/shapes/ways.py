"""The ways of change that each shape goes through, in this order, and how each is done by the agent and by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from tests.bench.shapes import by_hand
from tests.bench.shapes.by_hand import Files, Script
from tests.support.shapes import Document, moved, namespaces, readdressed, renamed, shape, swapped, with_mtu

Documents = Sequence[Document]


class Start(StrEnum):
    """What is there before a change."""

    NOTHING = "nothing"
    SHAPE = "the shape"
    ANY = "the shape, or what the change before has left of it"


class Event(StrEnum):
    """What happens beside a change of the configuration."""

    NONE = ""
    NAMESPACES_REMOVED = "namespaces removed"
    PROCESS_KILLED = "process killed"


class Until(StrEnum):
    """When the agent's part is over."""

    KERNEL = "kernel"
    """The kernel has it: also what comes last, the addresses."""
    REPORTS = "reports"
    """The agent reports it for each interface, after it has read back from the kernel."""


class Way(NamedTuple):
    """A way of change."""

    name: str
    work: str
    """For the table."""
    change: Callable[[Documents], list[Document]]
    hand: Callable[[Files, Documents, Documents], list[Script]]
    start: Start = Start.ANY
    until: Until = Until.KERNEL
    event: Event = Event.NONE
    again: bool = False
    """What is the same is written, too."""
    renews: bool = False
    """The links that are wanted are there before it, and others have to take their places."""

    def suits(self, documents: Documents) -> bool:
        """Whether there is anything to do for it in a shape."""
        match self.event:
            case Event.NAMESPACES_REMOVED:
                return bool(namespaces(documents))
            case Event.PROCESS_KILLED:
                return any((document.get("namespace") or {}).get("pid") for document in documents)
        return True


def _killed(files: Files, before: Documents, _: Documents) -> list[Script]:
    pid = next(pid for document in before if (pid := (document.get("namespace") or {}).get("pid")))
    return [Script("`kill`", f"kill -9 {pid}")]


WAYS = (
    Way("create", "all created", list, lambda f, _, after: by_hand.make(f, after), Start.NOTHING),
    Way(
        "same",
        "identical values put again",
        list,
        lambda f, _, after: by_hand.assert_all(f, after),
        until=Until.REPORTS,
        again=True,
    ),
    Way("mtu", "all MTUs changed", lambda d: with_mtu(d, 1400), lambda f, _, after: by_hand.set_mtu(f, after)),
    Way("addresses", "all addresses changed", readdressed, by_hand.set_addresses),
    Way("rename", "all renamed", renamed, by_hand.rename),
    Way("swap", "peers swapped", swapped, by_hand.replace, renews=True),
    Way("move", "all moved to other namespaces", moved, by_hand.replace),
    Way(
        "delete-one",
        "one side of all deleted",
        lambda d: list(d[1::2]),
        lambda f, before, _: by_hand.remove(f, before),
        Start.SHAPE,
        Until.REPORTS,
    ),
    Way(
        "delete-both",
        "both sides of all deleted",
        lambda _: [],
        lambda f, before, _: by_hand.remove(f, before),
        Start.SHAPE,
        Until.REPORTS,
    ),
    Way(
        "gone",
        "namespaces removed, and all is back",
        list,
        lambda f, before, _: by_hand.renew_namespaces(f, before),
        Start.SHAPE,
        event=Event.NAMESPACES_REMOVED,
        renews=True,
    ),
    Way("killed", "process of the hub killed", list, _killed, Start.SHAPE, Until.REPORTS, Event.PROCESS_KILLED),
)
"""By the agent in one transaction each."""


def ways_of(name: str) -> list[Way]:
    """The ways of change that suit a shape."""
    documents = shape(name, 1, pid=1).documents
    return [way for way in WAYS if way.suits(documents)]
