"""From a key of the store to what it configures: the agent and `check` trust nothing that they read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vppctl.model.document import decode_bytes
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Configured, Invalid
from vppctl.reconcile.vpp import VppConfigured

log = logging.getLogger("vppctl.agent")

WARNINGS = 5
"""Of one document that are logged."""


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
