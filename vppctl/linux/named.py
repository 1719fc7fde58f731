"""Named namespaces, as `ip netns add` makes them, and all that a host has."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vppctl.linux import syscalls
from vppctl.linux.beneath import look, open_beneath
from vppctl.linux.namespaces import Netns, inside, open_own
from vppctl.linux.processes import of_process
from vppctl.linux.syscalls import MS_BIND, MS_REC, MS_SHARED
from vppctl.model.interface import DEFAULT_NAMESPACE, NamespaceRef, NamespaceType
from vppctl.model.rules import is_created
from vppctl.reconcile.state import NetnsId, Unavailable

RUN_NETNS = "/run/netns"
"""Where iproute2 keeps named namespaces."""
DOCKER_NETNS = "/run/docker/netns"
"""Where Docker keeps the namespaces of containers."""
SOME = 256
"""Processes that are looked at in one step of `discover`."""
MAKING = 0.5
"""Seconds that somebody else may take between making the file of a namespace and mounting on it."""


def create_named(name: str) -> None:
    """Make a named namespace as `ip netns add` does, unless it is there. Raises OSError.

    That is EINVAL for a name that root's shell could take for something else, whoever has let it through.
    """
    if not is_created(name):
        raise OSError(errno.EINVAL, "no namespace of such a name is created")
    with contextlib.suppress(FileExistsError):
        Path(RUN_NETNS).mkdir(parents=True)
        # For everybody's `ip netns`, as iproute2 makes it, whatever the umask.
        os.chmod(RUN_NETNS, 0o755)  # noqa: S103
    _share(RUN_NETNS)
    if _is_there(name):
        return
    path = f"{RUN_NETNS}/{name}".encode()
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except FileExistsError:
        # What `ip netns add` leaves when it is interrupted. Or it is about to mount on it: with a second mount there
        # would be two namespaces of this name, and `ip netns del` would fail.
        while 0 <= time.time() - os.lstat(path).st_mtime < MAKING:
            if _is_there(name):
                return
            time.sleep(MAKING / 100)
    # The mount goes onto this very file, wherever a link of that name may lead by then.
    target = look(RUN_NETNS, name)
    try:
        # The bind mount keeps the namespace alive.
        with inside(None):
            syscalls.mount("/proc/thread-self/ns/net", f"/proc/self/fd/{target}", MS_BIND)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        if error.errno in (errno.ENOSPC, errno.EUSERS) and "unshare" in str(error):
            error.strerror = f"{error.strerror}; raise sysctl user.max_net_namespaces, which is {_limit()}"
        raise
    finally:
        os.close(target)


def _limit() -> str:
    try:
        return Path("/proc/sys/user/max_net_namespaces").read_text().strip()
    except OSError:
        return "unknown"


def _is_there(name: str) -> bool:
    found = open_beneath(RUN_NETNS, name, name)
    if isinstance(found, Netns):
        found.close()
        return True
    return False


def _share(folder: str) -> None:
    """Mounts below must reach other mount namespaces, or a namespace could not be deleted from there (ip-netns(8))."""
    try:
        syscalls.mount("", folder, MS_SHARED | MS_REC)
    except OSError:
        # Not a mount point yet.
        syscalls.mount(folder, folder, MS_BIND | MS_REC)
        syscalls.mount("", folder, MS_SHARED | MS_REC)


def discover() -> Iterator[tuple[NamespaceRef, Netns] | None]:
    """Every network namespace of this host that has a name or a process, each once, with a reference that leads there.

    None stands for some work that has found nothing new. Each is closed when the next one is taken: a host may have
    more of them than this process may have descriptors. Raises OSError.
    """
    seen: set[NetnsId] = set()
    for item in _everywhere():
        if item is None:
            yield None
            continue
        reference, found = item
        if isinstance(found, Netns):
            with found:
                if found.id not in seen:
                    seen.add(found.id)
                    yield reference, found


def _everywhere() -> Iterator[tuple[NamespaceRef, Netns | Unavailable] | None]:
    yield DEFAULT_NAMESPACE, open_own()
    for folder in (RUN_NETNS, DOCKER_NETNS):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            for name in sorted(os.listdir(folder)):
                path = NamespaceRef(NamespaceType.FILE_REF_NS, filepath=f"{folder}/{name}")
                reference = NamespaceRef(NamespaceType.NAMED_NS, name=name) if folder == RUN_NETNS else path
                yield reference, open_beneath(folder, name, name)
    links: set[str] = set()
    for number, (pid, link) in enumerate(_processes()):
        if number % SOME == 0:
            yield None
        if link not in links:
            found = of_process(pid, f"pid:{pid}")
            if isinstance(found, Netns):
                links.add(link)
            yield NamespaceRef(NamespaceType.PID_REF_NS, pid=pid), found


def inhabited(netns: NetnsId) -> Netns | None:
    """The namespace, opened by way of a process that is in it; None when there is none. Raises OSError."""
    for pid, link in _processes():
        if link == f"net:[{netns.ino}]":
            found = of_process(pid, f"pid:{pid}")
            if isinstance(found, Netns):
                if found.id == netns:
                    return found
                found.close()
    return None


def _processes() -> Iterator[tuple[int, str]]:
    """Every process, and its network namespace as the kernel shows it."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            link = os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            continue
        yield pid, link
