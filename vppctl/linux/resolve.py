"""From a reference to the namespace that it leads to at present, open and checked, or why there is none."""

from __future__ import annotations

import json
import os
import shlex

from vppctl.linux.beneath import open_beneath, where_it_leads
from vppctl.linux.mounts import Propagation, is_left_over, propagation
from vppctl.linux.named import RUN_NETNS
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.processes import of_process
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.rules import NAMESPACE_DIRS, PLAIN_NAME, PROC_FILE, is_created
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
            return _named(reference.name, extra_dirs, create=create)
        case NamespaceType.PID_REF_NS:
            return of_process(reference.pid, f"pid:{reference.pid}", start=reference.start or None)
        case NamespaceType.FILE_REF_NS:
            return _file(reference.filepath, extra_dirs, reference.start or None)
        case NamespaceType.MICROSERVICE_REF_NS:
            raise ValueError("a microservice is reached through the process of its container")


def _named(name: str, extra_dirs: tuple[str, ...], *, create: bool) -> Netns | Unavailable | Creatable:
    found = open_beneath(RUN_NETNS, name, name)
    if isinstance(found, Netns):
        return found
    if found.reason is not Reason.NAMESPACE_NOT_FOUND:
        return _explained(found, RUN_NETNS, name, extra_dirs)
    path = f"{RUN_NETNS}/{name}"
    seen = propagation(RUN_NETNS)
    creates = create and seen is Propagation.OWN and is_created(name)
    if os.path.lexists(path):
        if creates and is_left_over(path):
            return Creatable(name)
        return found._replace(message=_empty(path, seen))
    if creates:
        return Creatable(name)
    text = f"named namespace {name!r} does not exist"
    if seen is not Propagation.OWN:
        unseen = "neither side sees what" if seen is Propagation.PRIVATE else "the other side does not see what"
        text += f", and is not created here: {RUN_NETNS} is bound with {seen} propagation, so {unseen} is created"
        return found._replace(message=f"{text}; {_bind(RUN_NETNS)}")
    if create:
        text += f", and the agent creates none of such a name, which a shell may run; {PLAIN_NAME}, or create it"
        return found._replace(message=f"{text}: ip netns add {shlex.quote(name)}")
    return found._replace(message=f"{text}; 'ip netns add {shlex.quote(name)}' makes it")


def _empty(path: str, seen: Propagation) -> str:
    """What an empty file is, where a namespace was to be."""
    text = f"{path} is an empty file and not a network namespace"
    if seen is Propagation.PRIVATE or not is_left_over(path):
        folder = os.path.dirname(path)
        return f"{text}; one that was mounted on it elsewhere is not seen here: {_bind(folder)}, or remove the file"
    return f"{text}; create it again, or remove the file"


def _bind(folder: str) -> str:
    return f"bind it with shared propagation (docker run -v {folder}:{folder}:rshared)"


def _file(path: str, extra_dirs: tuple[str, ...], start: int | None) -> Netns | Unavailable:
    process = PROC_FILE.fullmatch(path)
    if process:
        return of_process(int(process["pid"]), f"pid:{process['pid']}", process["file"], start)
    allowed = (*NAMESPACE_DIRS, *extra_dirs)
    for folder in (a.rstrip("/") for a in allowed):
        if path.startswith(f"{folder}/") and os.path.normpath(path) == path:
            rest = path[len(folder) + 1 :]
            found = open_beneath(folder or "/", rest, f"file:{path}")
            if isinstance(found, Netns):
                return found
            if found.reason is Reason.NAMESPACE_NOT_FOUND and os.path.lexists(path):
                return found._replace(message=_empty(path, propagation(os.path.dirname(path))))
            return _explained(found, folder or "/", rest, extra_dirs)
    return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{path} is not below {', '.join(allowed)}; see --allow-dir")


def _explained(found: Unavailable, folder: str, path: str, extra_dirs: tuple[str, ...]) -> Unavailable:
    """With what to write instead, when it is a symbolic link: as containerlab and pipework make them."""
    if found.reason is not Reason.NAMESPACE_FORBIDDEN or not (target := where_it_leads(folder, path)):
        return found
    if target.startswith("/var/run/"):
        target = target.removeprefix("/var")
    if target == f"{folder}/{path}":
        return found._replace(message=f"{found.message} to itself; remove it")
    process = PROC_FILE.fullmatch(target)
    hint = f'write "type": 3, "filepath": {json.dumps(target, ensure_ascii=False)}'
    if process and not process["tid"]:
        hint += f', or "type": 0, "pid": {process["pid"]}'
    elif target.startswith("/proc/") and not process:
        hint = f"remove it and bind the namespace there: ip netns attach {shlex.quote(path)} PID"
    elif not process and not any(target.startswith(f"{a.rstrip('/')}/") for a in (*NAMESPACE_DIRS, *extra_dirs)):
        hint += f", with --allow-dir {shlex.quote(os.path.dirname(target))}"
    return found._replace(message=f"{found.message} to {target}, which is not followed; {hint}")
