"""The reconciler without its agent: passes by hand, over shapes of pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.agent import veth
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind
from vppctl.reconcile.drift import Drift, kernel_drift
from vppctl.reconcile.state import Condition, Configured, State

Document = dict[str, Any]


def new_reconciler(label: str = "vpp1", /, *, adopt: bool = False, takeover: bool = True) -> Reconciler:
    """As an agent of this label has it, just started."""
    resolver = Resolver(Microservices(None, look_at), create=True, allowed_dirs=())
    return Reconciler(label, resolver, NsidTable(), adopt=adopt, takeover=takeover)


def put(reconciler: Reconciler, documents: Iterable[Document]) -> None:
    for document in documents:
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        reconciler.backlog.add(reconciler.desired.put(found))


def delete(reconciler: Reconciler, documents: Iterable[Document]) -> None:
    for document in documents:
        reconciler.backlog.add(reconciler.desired.delete(document["name"]))


def states(news: dict[str, Condition | None]) -> set[State]:
    return {condition.state for condition in news.values() if condition}


def drift(reconciler: Reconciler) -> list[Drift]:
    """What `vppctl check` finds."""
    return [found for seen in reconciler.survey() for found in kernel_drift(reconciler.desired, *seen)]


def at_rest(reconciler: Reconciler, now: float) -> None:
    """A look at everything finds all applied, and does nothing."""
    before = reconciler.results.copy()
    reconciler.backlog.add(reconciler.all_pairs())
    reconciler.sweep()
    news = reconciler.run(now)
    assert states(news) == {State.APPLIED}, [c for c in news.values() if c and c.state is not State.APPLIED]
    assert reconciler.results == before, "nothing was changed, and work was done"


def two(left: str, right: str, number: int, here: str | None, there: str | None) -> list[Document]:
    """Both sides of a pair, each with an address of either family."""
    high, low = divmod(number, 250)
    sides = ((left, right, here, 1), (right, left, there, 2))
    return [
        veth(name, peer, space, ip_addresses=[f"10.{high}.{low}.{host}/24", f"2001:db8:{high:x}:{low:x}::{host}/64"])
        for name, peer, space, host in sides
    ]


def star(count: int, hub: str | None = "hub", left: str = "h") -> list[Document]:
    """Spokes in namespaces of their own; the hub's side comes first or second by its name."""
    return [d for n in range(count) for d in two(f"{left}{n}", f"m{n}", n, hub, f"s{n}")]


def chain(count: int) -> list[Document]:
    """Each namespace is tied to the next one."""
    return [d for n in range(count) for d in two(f"r{n}", f"l{n}", n, f"c{n}", f"c{n + 1}")]


def mesh(count: int) -> list[Document]:
    """Each of so many namespaces is tied to each other one."""
    ties = [(m, n) for m in range(count) for n in range(m + 1, count)]
    return [d for i, (m, n) in enumerate(ties) for d in two(f"x{m}-{n}", f"x{n}-{m}", i, f"f{m}", f"f{n}")]


def one(count: int) -> list[Document]:
    """All in one namespace."""
    return [d for n in range(count) for d in two(f"a{n}", f"b{n}", n, "one", "one")]


def between(count: int) -> list[Document]:
    """All between two namespaces."""
    return [d for n in range(count) for d in two(f"a{n}", f"b{n}", n, "ns1", "ns2")]


def own(count: int) -> list[Document]:
    """Each end in a namespace of its own."""
    return [d for n in range(count) for d in two(f"a{n}", f"b{n}", n, f"oa{n}", f"ob{n}")]


SHAPES: dict[str, Callable[[int], list[Document]]] = {
    "star": star,
    "star of the default namespace": lambda count: star(count, None),
    "star whose hub comes second": lambda count: star(count, "hub", "z"),
    "chain": chain,
    "mesh": mesh,
    "one": one,
    "between two": between,
    "each in its own": own,
}
