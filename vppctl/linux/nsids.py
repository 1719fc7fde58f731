"""Ids of namespaces as seen from the agent's own: what events carry, and a way into one that has lost its name.

An id does not pin its namespace. The kernel chooses it, and takes it back when the namespace dies (RTM_DELNSID).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Iterable, Sequence

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.reading import Reading
from vppctl.linux.rtnl import Answer, DumpInterruptedError, Rtnl
from vppctl.reconcile.state import NetnsId

FEW = 8
"""Up to so many namespaces are asked for one by one: a busy one knows thousands."""

_NONE = (0, errno.EINVAL, errno.ENOENT, errno.ENODEV, errno.ENONET)
"""What the kernel says of an id, or of one that is no more (rtnl_net_getid, net/core/net_namespace.c)."""


class NsidTable:
    """Namespace ids both ways. Thread-safe: the monitor reads and forgets, the deciding thread assigns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[int, NetnsId] = {}
        self._nsids: dict[NetnsId, int] = {}
        self._sure: set[NetnsId] = set()
        """Those that were asked for their id, and whose end would have been heard since."""
        self._without: set[NetnsId] = set()
        """Those that have no id on purpose."""
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
        fresh = [netns for netns in spaces if netns.id not in self._sure]
        if not fresh:
            return
        with Rtnl() as rtnl:
            found = _ask(rtnl, [netns for netns in fresh if netns.id in self._nsids])
            if new := [netns for netns in fresh if found.get(netns.id) is None]:
                # One that has an id already answers EEXIST: asking is what counts.
                rtnl.batch([wire.new_nsid(netns.fd) for netns in new])
                found |= _ask(rtnl, new)
        with self._lock:
            self._without.difference_update(found)
            for netns in fresh:
                nsid, before = found[netns.id], self._nsids.get(netns.id)
                if before not in (None, nsid):
                    # An older one had its device and inode.
                    self._drop(before)
                if nsid is not None:
                    # Whose id it was has died; its end may be among the events that were lost.
                    self._drop(nsid)
                    self._ids[nsid] = netns.id
                    self._nsids[netns.id] = nsid
                    self._sure.add(netns.id)

    def do_without(self, spaces: Iterable[NetnsId]) -> None:
        """Those of these that have no id are not to have one: where the peers of their links are is not known."""
        with self._lock:
            self._without.update(netns for netns in spaces if netns not in self._nsids)

    def doubt(self) -> None:
        """Events were lost, the end of a namespace may be among them: each is asked for its id again."""
        with self._lock:
            self._sure.clear()

    def forget(self, nsid: int) -> NetnsId | None:
        """The namespace with this id has died; returns which it was."""
        with self._lock:
            return self._drop(nsid)

    def _drop(self, nsid: int | None) -> NetnsId | None:
        netns = self._ids.pop(nsid, None) if nsid is not None else None
        if netns is not None and self._nsids.get(netns) == nsid:
            del self._nsids[netns]
            self._sure.discard(netns)
        return netns

    def seen_from(
        self, netns: NetnsId, ids: Collection[int], rtnl: Rtnl, others: Collection[NetnsId]
    ) -> dict[int, NetnsId]:
        """Which of `others` these ids belong to in another namespace; `rtnl` is open in the agent's own.

        A dump of ids ends after one datagram, as if there were no more (rtnl_net_dumpid, net/core/net_namespace.c): it
        shows which are in use, and what it does not show is asked for. Raises OSError: a peer whose namespace could not
        be asked for is not a peer that is elsewhere.
        """
        target = self.nsid(netns)
        if target is None and netns in self._without:
            return {}
        if target is None:
            raise OSError(errno.ENODATA, "the kernel has given it no id")
        found: dict[int, NetnsId] = {}
        shown: set[int] = set()
        if len(others) > FEW:
            with Reading():
                for _, body in _dumped(rtnl, target):
                    attributes = wire.attributes(body, 4)
                    nsid = wire.INT.unpack(attributes[wire.NETNSA_NSID])[0]
                    shown.add(nsid)
                    here = attributes.get(wire.NETNSA_CURRENT_NSID)
                    if here and (known := self.netns(wire.INT.unpack(here)[0])):
                        found[nsid] = known
        if set(ids) <= shown:
            return found
        there = set(found.values())
        asked = [(o, nsid) for o in others if o not in there and (nsid := self.nsid(o)) is not None]
        for (other, _), answer in zip(asked, rtnl.ask([wire.get_nsid_in(target, n) for _, n in asked]), strict=True):
            if answer.errno not in _NONE:
                raise OSError(answer.errno, answer.text or os.strerror(answer.errno))
            if (nsid := _nsid(answer)) is not None:
                found[nsid] = other
        return found


def _ask(rtnl: Rtnl, spaces: Sequence[Netns]) -> dict[NetnsId, int | None]:
    """The id that each of these has in the agent's own namespace. Raises OSError."""
    answers = rtnl.ask([wire.get_nsid(netns.fd) for netns in spaces])
    return {netns.id: _nsid(answer) for netns, answer in zip(spaces, answers, strict=True)}


def _dumped(rtnl: Rtnl, target: int) -> list[tuple[int, bytes]]:
    try:
        return rtnl.dump(wire.dump_nsids(target))
    except DumpInterruptedError:
        # Some of it may be of a namespace that has died meanwhile.
        return []


def _nsid(answer: Answer) -> int | None:
    """The id in the kernel's answer; None when there is none, or the namespace is no more."""
    for _, body in answer.bodies:
        with Reading():
            nsid: int = wire.INT.unpack(wire.attributes(body, 4)[wire.NETNSA_NSID])[0]
        return nsid if nsid >= 0 else None
    return None
