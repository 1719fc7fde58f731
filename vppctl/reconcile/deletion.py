"""Which links are deleted by name, so that all that is to go goes, and with the fewest messages. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from vppctl.reconcile.operations import DeleteLinks, LinkToDelete
from vppctl.reconcile.state import Link, LinkKey, NetnsId


def deletes(
    to_delete: Mapping[LinkKey, LinkToDelete], links: Mapping[LinkKey, Link], reached: Collection[NetnsId]
) -> Iterator[DeleteLinks]:
    """One end of each pair to delete suffices; those of one namespace go together, so the busier one is chosen.

    Before that the one that was entered: of a namespace that is reached by its id the links go one by one, and the
    id may be another's by then. `links` has what was observed, `reached` the namespaces that were entered.
    """
    if not to_delete:
        return
    weight = Counter(netns for netns, _ in to_delete)

    def rank(netns: NetnsId, index: int) -> tuple[bool, int, NetnsId, int]:
        return netns in reached, weight[netns], netns, index

    spaces: dict[NetnsId, list[LinkToDelete]] = {}
    for (netns, index), one in to_delete.items():
        link = links[netns, index]
        peer = (link.peer_netns, link.peer_index) if link.peer_netns else None
        other = links.get(peer) if peer else None
        if (
            peer in to_delete
            and other is not None
            and other.is_tied_to(link)
            and rank(other.netns, other.index) > rank(netns, index)
        ):
            continue
        spaces.setdefault(netns, []).append(one)
    for netns, those in spaces.items():
        yield DeleteLinks(netns, tuple(those))
