"""From a key of the store to what it configures: the agent and `check` trust nothing that they read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from vppctl.agent.reconciler import Reconciler
from vppctl.errors import shortage
from vppctl.model.document import decode_bytes
from vppctl.model.interface import Interface, NamespaceRef, VppInterface
from vppctl.model.keys import Kind, config_prefix
from vppctl.model.problem import Problem
from vppctl.reconcile.mirror import Batch
from vppctl.reconcile.state import Configured, Invalid
from vppctl.reconcile.vpp import VppConfigured, host_names

log = logging.getLogger("vppctl.agent")

WARNINGS = 5
"""Of one document that are logged."""
PROBLEMS = 1 << 20
"""Characters of all problems that are kept, beside the first one of each document; they are reported several times."""


class Intake:
    """Takes what the store has, and knows what of it is known."""

    def __init__(
        self, label: str, allowed_dirs: Sequence[str], reconciler: Reconciler, on_progress: Callable[[], None]
    ) -> None:
        self._label, self._allowed_dirs = label, allowed_dirs
        self._reconciler, self._on_progress = reconciler, on_progress
        self._generation = -1
        """Of the references that were handed out."""
        self.vpp_desired: dict[str, VppConfigured] = {}
        self.listed: set[Kind] = set()
        """The kinds whose configuration is known in full."""
        self.awaited: set[Kind] = set()
        """Those that were not listed since another store may be followed."""
        self.revision = 0
        """The newest one of the configuration that is known."""
        self._problems: dict[tuple[Kind, str], int] = {}
        """Characters that are kept of the problems of each document."""
        self._kept = 0

    def take(self, kind: Kind, batch: Batch) -> None:
        """What has changed in the store; taken twice it does no harm."""
        prefix, backlog, desired = config_prefix(self._label, kind), self._reconciler.backlog, self._reconciler.desired
        bindings = self._reconciler.resolver.bindings
        for entry in batch.entries:
            self._on_progress()
            name = entry.key.removeprefix(prefix)
            self._kept -= self._problems.pop((kind, name), 0)
            if entry.value is None:
                if kind is Kind.VPP:
                    self.vpp_desired.pop(name, None)
                else:
                    bindings.forget(name)
                    backlog.add(desired.delete(name))
                continue
            found = read(kind, name, entry.value, entry.mod_revision, self._allowed_dirs)
            if isinstance(found.content, Invalid):
                found = found._replace(content=self._kept_of(kind, name, found.content))
            match found:
                case VppConfigured():
                    self.vpp_desired[name] = found
                case Configured():
                    backlog.add(desired.put(bindings.bound(found)))
        self.revision = max(self.revision, batch.revision)
        if batch.full:
            self.listed.add(kind)
            self.awaited.discard(kind)
        bindings.save(whole=Kind.LINUX in self.listed)
        if kind is Kind.VPP:
            backlog.add(desired.serve(host_names(self.vpp_desired)))

    def _kept_of(self, kind: Kind, name: str, invalid: Invalid) -> Invalid:
        """All of its problems while there is room for them, then the first one of them."""
        size = len(str(invalid))
        if self._kept + size > PROBLEMS:
            return Invalid(invalid.problems[:1], invalid.more + len(invalid.problems) - 1)
        self._problems[kind, name] = size
        self._kept += size
        return invalid

    def new_references(self) -> list[NamespaceRef] | None:
        """All references to namespaces, when they are others than the last time; None: they are the same."""
        desired = self._reconciler.desired
        if self._generation == desired.generation:
            return None
        self._generation = desired.generation
        return list(desired.references())


def read(kind: Kind, name: str, value: bytes, revision: int, allowed_dirs: Sequence[str]) -> Configured | VppConfigured:
    """What `configured` gives; an error of ours makes the document Invalid, and stops no other one."""
    try:
        return configured(kind, name, value, revision, allowed_dirs)
    except Exception as error:
        if shortage(error):
            raise
        log.exception("%s: internal error in reading its document", name)
        problem = Invalid.of([Problem("", f"internal error: {type(error).__name__}; the agent's log has where")])
        return VppConfigured(name, problem, revision) if kind is Kind.VPP else Configured(name, problem, revision)


def configured(
    kind: Kind, name: str, value: bytes, revision: int, allowed_dirs: Sequence[str]
) -> Configured | VppConfigured:
    """What this value makes of the interface; a document with errors is Invalid, with every problem."""
    decoded = decode_bytes(value, kind=kind, name=name, tolerant=True, allowed_dirs=allowed_dirs)
    for warning in decoded.warnings[:WARNINGS]:
        log.warning("%s: %s", name, warning)
    if len(decoded.warnings) > WARNINGS:
        log.warning("%s: and %d more warnings", name, len(decoded.warnings) - WARNINGS)
    content = decoded.interface or Invalid.of(decoded.problems)
    if kind is Kind.VPP:
        assert not isinstance(content, Interface), "a document is of its kind"
        return VppConfigured(name, content, revision)
    assert not isinstance(content, VppInterface), "a document is of its kind"
    return Configured(name, content, revision)
