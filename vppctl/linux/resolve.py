"""From a reference to the namespace that it leads to at present, open and checked, or why there is none."""

from __future__ import annotations

import os
import shlex

from vppctl.linux.beneath import open_beneath
from vppctl.linux.named import RUN_NETNS
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.processes import of_process
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.rules import NAMESPACE_DIRS, PROC_FILE
from vppctl.reconcile.state import Creatable, Reason, Unavailable


def resolve(
    reference: NamespaceRef, *, create: bool, extra_dirs: tuple[str, ...] = ()
) -> Netns | Unavailable | Creatable:
    """Where the reference leads to at present; `create`: missing named namespaces may be created.

    Raises ValueError for a microservice, which `of_process` is for.
    """
    if reference.is_default:
        return open_own()
    match reference.type:
        case NamespaceType.NAMED_NS:
            return _named(reference.name, create=create)
        case NamespaceType.PID_REF_NS:
            return of_process(reference.pid, f"pid:{reference.pid}")
        case NamespaceType.FILE_REF_NS:
            return _file(reference.filepath, extra_dirs)
        case NamespaceType.MICROSERVICE_REF_NS:
            raise ValueError("a microservice is reached through the process of its container")


def _named(name: str, *, create: bool) -> Netns | Unavailable | Creatable:
    found = open_beneath(RUN_NETNS, name, name)
    if isinstance(found, Netns):
        return found
    if create and found.reason is Reason.NAMESPACE_NOT_FOUND:
        return Creatable(name)
    text = f"named namespace {name!r} does not exist; 'ip netns add {shlex.quote(name)}' makes it"
    return Unavailable(found.reason, text if found.reason is Reason.NAMESPACE_NOT_FOUND else found.message)


def _file(path: str, extra_dirs: tuple[str, ...]) -> Netns | Unavailable:
    process = PROC_FILE.fullmatch(path)
    if process:
        return of_process(int(process["pid"]), f"pid:{process['pid']}", process["file"])
    allowed = (*NAMESPACE_DIRS, *extra_dirs)
    for folder in (a.rstrip("/") for a in allowed):
        if path.startswith(f"{folder}/") and os.path.normpath(path) == path:
            return open_beneath(folder or "/", path[len(folder) + 1 :], f"file:{path}")
    return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{path} is not below {', '.join(allowed)}; see --allow-dir")
