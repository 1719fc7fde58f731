"""Which namespace references may lead elsewhere, by what sources have reported: those alone are looked at anew."""

from __future__ import annotations

from collections.abc import Iterable

from vppctl.agent.sources import Resync
from vppctl.linux.monitor import NamespaceGone, Overrun
from vppctl.linux.watcher import NamespacesChanged
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.state import NetnsId


class Moves:
    """Collects events, so that one look follows however many of them."""

    def __init__(self) -> None:
        self._all = False
        self._changed: list[NamespacesChanged] = []
        self._gone: set[NetnsId] = set()

    def note(self, event: object) -> None:
        """Take notice of an event; most kinds say nothing about namespaces."""
        match event:
            case NamespacesChanged(files=None) | Overrun() | Resync():
                self._all = True
            case NamespacesChanged():
                self._changed.append(event)
            case NamespaceGone(netns=netns):
                self._gone.add(netns)

    def __bool__(self) -> bool:
        return bool(self._all or self._changed or self._gone)

    def of(self, desired: DesiredState) -> Iterable[NamespaceRef] | None:
        """The references that are concerned; None: all."""
        if self._all:
            return None
        files = frozenset[str]().union(*(event.files or () for event in self._changed))
        changed = NamespacesChanged(files, frozenset[int]().union(*(event.pids for event in self._changed)))
        return [r for r in desired.references() if changed.concerns(r) or desired.resolutions.get(r) in self._gone]
