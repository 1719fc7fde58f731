"""Ids of namespaces as seen from the agent's own: what events carry, and a way into one that has lost its name.

An id does not pin its namespace. The kernel chooses it, and takes it back when the namespace dies (RTM_DELNSID).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.rtnl import Rtnl
from vppctl.reconcile.state import NetnsId

FEW = 8
"""Up to so many namespaces are asked for one by one: a busy one knows thousands."""


class NsidTable:
    """Namespace ids both ways. Thread-safe: the monitor reads and forgets, the deciding thread assigns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[int, NetnsId] = {}
        self._nsids: dict[NetnsId, int] = {}
        with open_own() as own:
            self.own = own.id
            self.assign_many([own])

    def nsid(self, netns: NetnsId) -> int | None:
        """The id of a namespace that was assigned one and has not died since."""
        return self._nsids.get(netns)

    def netns(self, nsid: int) -> NetnsId | None:
        """The namespace that has this id."""
        return self._ids.get(nsid)

    def known(self) -> dict[int, NetnsId]:
        """All namespaces by their id."""
        with self._lock:
            return self._ids.copy()

    def assign_many(self, spaces: Sequence[Netns]) -> None:
        """See to it that each of these has an id, in one batch; from then on the monitor hears its events."""
        fresh = [netns for netns in spaces if netns.id not in self._nsids]
        if not fresh:
            return
        with Rtnl() as rtnl:
            # One that has an id already answers EEXIST: asking is what counts.
            rtnl.batch([wire.new_nsid(netns.fd) for netns in fresh])
            answers = rtnl.batch([wire.get_nsid(netns.fd) for netns in fresh])
        with self._lock:
            for netns, answer in zip(fresh, answers, strict=True):
                for _, body in answer.bodies:
                    nsid = wire.INT.unpack(wire.attributes(body, 4)[wire.NETNSA_NSID])[0]
                    if nsid >= 0:
                        # Whose id it was has died; its end may be among the events that were lost.
                        self._drop(nsid)
                        self._ids[nsid] = netns.id
                        self._nsids[netns.id] = nsid

    def forget(self, nsid: int) -> NetnsId | None:
        """The namespace with this id has died; returns which it was."""
        with self._lock:
            return self._drop(nsid)

    def _drop(self, nsid: int) -> NetnsId | None:
        netns = self._ids.pop(nsid, None)
        if netns is not None and self._nsids.get(netns) == nsid:
            del self._nsids[netns]
        return netns

    def seen_from(self, netns: NetnsId, rtnl: Rtnl, others: Collection[NetnsId]) -> dict[int, NetnsId]:
        """The ids that another namespace has for at least these `others`; `rtnl` is open in the agent's own."""
        target = self.nsid(netns)
        if target is None:
            return {}
        found = {}
        if len(others) <= FEW:
            asked = [(other, nsid) for other in others if (nsid := self.nsid(other)) is not None]
            answers = rtnl.batch([wire.get_nsid_in(target, nsid) for _, nsid in asked])
            for (other, _), answer in zip(asked, answers, strict=True):
                for _, body in answer.bodies:
                    nsid = wire.INT.unpack(wire.attributes(body, 4)[wire.NETNSA_NSID])[0]
                    if nsid >= 0:
                        found[nsid] = other
            return found
        for _, body in rtnl.dump(wire.dump_nsids(target)):
            attributes = wire.attributes(body, 4)
            here = attributes.get(wire.NETNSA_CURRENT_NSID)
            known = self._ids.get(wire.INT.unpack(here)[0]) if here else None
            if known is not None:
                found[wire.INT.unpack(attributes[wire.NETNSA_NSID])[0]] = known
        return found
