"""The search for our links in all namespaces of the host, for what an earlier run has left or others have moved.

It goes on in the reconcile loop, between its passes: a part at a time, so that nobody waits for a host with thousands
of namespaces and processes, or for a namespace with very many links. `linux/marked.py` looks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from vppctl.errors import cause
from vppctl.linux.marked import Marked, search
from vppctl.linux.named import discover
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.state import NetnsId

log = logging.getLogger("vppctl.agent")

PART, PART_IN_ALL = 0.05, 0.5
"""Seconds of the processor that one part may take, and seconds with all waiting; most hosts are searched in one."""
REST, REST_IN_ALL = 4.0, 10.0
"""How many times as long as a part takes nothing is searched after it, and after a whole search."""
AGAIN = 5.0
"""Seconds until a search that could not be made is tried again."""
LEFT_OUT = 32
"""Searches that a namespace which cannot be searched is left out of, at most; it doubles from one on."""


@dataclass(slots=True)
class _Refused:
    """A namespace that could not be searched."""

    pause: int = 1
    left: int = 1
    """Searches that it is still left out of."""


class HostSearch:
    """Not thread-safe: it belongs to the reconcile loop."""

    def __init__(self, marks: Marks, nsids: NsidTable) -> None:
        self._marks, self._nsids = marks, nsids
        self.at_once = False
        """Whether each search is made in one part: for a process that does nothing else."""
        self._wanted, self._at = True, 0.0
        self._steps: Generator[None, None, Marked] | None = None
        self._taken = 0.0
        """Seconds that the present search has taken so far."""
        self._refused: dict[NetnsId, _Refused] = {}

    def want(self) -> None:
        """Search as soon as possible: links may have been moved unheard."""
        self._wanted = True

    def wait(self, now: float) -> float | None:
        """Seconds until there is something to search; None: there is nothing."""
        return max(0.0, self._at - now) if self._wanted or self._steps else None

    def part(self, now: float) -> Marked | None:
        """Search for a while, when it is wanted; what was found, when that was the last part."""
        if now < self._at or not (self._wanted or self._steps):
            return None
        steps, self._steps = self._steps, None
        if steps is None:
            self._wanted, self._taken, steps = False, 0.0, self._begin()
        deadline, began = time.monotonic() + PART_IN_ALL, time.thread_time()
        taken = 0.0
        try:
            while self.at_once or (taken <= PART and time.monotonic() < deadline):
                next(steps)
                taken = time.thread_time() - began
        except StopIteration as end:
            self._at = now + (self._taken + taken) * REST_IN_ALL
            found: Marked = end.value
            self._note_refused(found)
            return found
        except OSError as error:
            # What is configured has its places, which are looked at all the same.
            log.warning("namespaces cannot be searched for links of this label: %s", cause(error))
            self._wanted, self._at = True, now + AGAIN
        else:
            self._steps, self._at = steps, now + taken * (1.0 + REST)
            self._taken += taken
        return None

    def restart(self) -> None:
        """Have the next part be a whole search, whatever an earlier one has found."""
        self._wanted, self._steps, self._at, self.at_once = True, None, 0.0, True

    def _begin(self) -> Generator[None, None, Marked]:
        for refused in self._refused.values():
            refused.left -= 1
        return search(self._spaces(), self._marks, self._nsids)

    def _spaces(self) -> Iterator[tuple[NamespaceRef, Netns] | None]:
        """All namespaces, but for those that are left out this time."""
        for item in discover():
            left_out = item and (refused := self._refused.get(item[1].id)) and refused.left > 0
            yield None if left_out else item

    def _note_refused(self, found: Marked) -> None:
        """Leave out what could not be searched for ever longer, and log it once."""
        for netns, name in found.refused.items():
            if refused := self._refused.get(netns):
                refused.pause = min(LEFT_OUT, refused.pause * 2)
                refused.left = refused.pause
            else:
                self._refused[netns] = _Refused()
                log.warning("namespace %s cannot be searched for links: %s", name, cause(found.unseen[name]))
        # Those that were left out this time are not known to be well again.
        self._refused = {n: r for n, r in self._refused.items() if r.left > 0 or n in found.refused}
