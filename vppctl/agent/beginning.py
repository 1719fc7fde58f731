"""The start of the agent in the log: what it takes over, by name and before it does so, and at the end the counts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping

from vppctl.linux.namespaces import Netns
from vppctl.reconcile.plan import Plan
from vppctl.reconcile.state import Link, NetnsId, PairId

log = logging.getLogger("vppctl.agent")


class Beginning:
    """What the first look at everything leads to. Not thread-safe: it belongs to the reconcile loop."""

    def __init__(self) -> None:
        self._pairs = Counter[str]()
        """What became of pairs, each counted once, by the first that applies."""
        self._counted: set[PairId] = set()
        self._strays = 0

    def planned(self, plan: Plan, spaces: Mapping[NetnsId, Netns]) -> None:
        """Note what is about to be done."""
        for pair, (first, second) in plan.takeovers.items():
            what = "marked as the agent's" if pair in plan.kept else "deleted and created again"
            text = "taking over the VETH pair of %r and %r, which no agent has marked: %s, and %s; it is %s"
            ends = (_in_words(link, spaces) for link in (first, second))
            log.warning(text, pair.first, pair.second, *ends, what)
        created = {create.pair for create in plan.creates}
        to_delete = [link for operation in plan.deletes for link in operation.links]
        self._count("taken over", plan.takeovers)
        self._count("adopted", plan.kept)
        self._count("re-created", created & {link.pair for link in to_delete if link.pair})
        self._count("created", created)
        self._strays += sum(link.pair not in created for link in to_delete)

    def _count(self, what: str, pairs: Collection[PairId]) -> None:
        new = set(pairs) - self._counted
        self._counted |= new
        self._pairs[what] += len(new)

    def over(self, failed: int) -> None:
        """Everything was looked at once, and so many operations have failed."""
        counts = [f"{number} {what}" for what, number in self._pairs.items() if number]
        text = f"pairs: {', '.join(counts)}" if counts else "no pair is there or was created"
        strays = f"; {self._strays} links without configuration deleted" if self._strays else ""
        log.info("the start is over; %s%s%s", text, strays, f"; {failed} operations failed" if failed else "")


def _in_words(link: Link, spaces: Mapping[NetnsId, Netns]) -> str:
    """A link as a person finds it, and what is lost when it is deleted."""
    space = spaces.get(link.netns)
    where = space.description if space else f"net:[{link.netns.ino}]"
    found = [f"index {link.index}", f"MAC {link.mac}", f"MTU {link.mtu}", "up" if link.up else "down", *link.addresses]
    found += [f"alias {link.alias!r}"] if link.alias else []
    return f"{link.name!r} in namespace {where} ({', '.join(found)})"
