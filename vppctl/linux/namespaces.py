"""An open network namespace, and being inside one.

A handle pins its namespace, so it is held for one pass and closed. A path is never trusted: what was opened is
checked to be a network namespace, and only that descriptor is used afterwards. Neighbours: `resolve.py` opens what a
reference means, by `beneath.py` (files) and `processes.py`; `named.py` makes them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from vppctl.linux import syscalls
from vppctl.linux.syscalls import CLONE_NEWNET
from vppctl.reconcile.state import NetnsId

NSFS_MAGIC = 0x6E736673
"""linux/magic.h: statfs type of namespace files."""
NS_GET_USERNS, NS_GET_NSTYPE = 0xB701, 0xB703
"""linux/nsfs.h: ioctls that tell the user namespace that owns a namespace, and the kind of a namespace."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""What an open may fail with that says nothing about what was to be opened."""
LEAST = 8
"""Namespaces that are held open at one time however few descriptors are left."""
OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Netns:
    """An open network namespace."""

    __slots__ = ("description", "fd", "id")

    def __init__(self, fd: int, description: str) -> None:
        info = os.fstat(fd)
        self.fd, self.description = fd, description
        self.id = NetnsId(info.st_dev, info.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unpin the namespace; closing twice is no error."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextlib.contextmanager
def inside(netns: Netns | None) -> Iterator[None]:
    """Run the block with the calling thread in `netns`; None: in a new one. Raises OSError when it cannot be entered.

    A new one ends with the block, unless something holds it by then.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if netns:
            syscalls.setns(netns.fd, CLONE_NEWNET)
        else:
            syscalls.unshare(CLONE_NEWNET)
        try:
            yield
        finally:
            try:
                syscalls.setns(home, CLONE_NEWNET)
            except OSError:
                # A thread that is lost in another namespace would touch what is not its own.
                os.abort()
    finally:
        os.close(home)


def open_own() -> Netns:
    """The namespace of the calling thread."""
    return Netns(os.open("/proc/thread-self/ns/net", OPEN_FLAGS), "default")


def pass_on_shortage(error: OSError) -> None:
    """Raises `error` when it is about this process and not about what was looked for: that is not known to be gone."""
    if error.errno in SHORTAGES:
        raise error


def is_netns(fd: int) -> bool:
    """Whether the descriptor is of a network namespace and nothing else."""
    try:
        return syscalls.filesystem(fd) == NSFS_MAGIC and fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


def is_of_own_users(netns: Netns) -> bool:
    """Whether the namespace belongs to the agent's own user namespace, and not to one that any user may have made.

    In the latter whoever made it is root, and can give links all marks there are.
    """
    try:
        owner = fcntl.ioctl(netns.fd, NS_GET_USERNS)
    except OSError as error:
        # EPERM: to one that this process does not see (ioctl_ns(2)). Before Linux 4.9 nobody can tell.
        return error.errno == errno.ENOTTY
    try:
        return os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
    finally:
        os.close(owner)


def enable_ipv6(netns: Netns, links: Iterable[str]) -> None:
    """Switch IPv6 on for these links, where the namespace has it off; where that is not allowed it stays off."""
    with inside(netns):
        for link in links:
            with contextlib.suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("0")


def raise_file_limit() -> None:
    """A pass holds a descriptor for each namespace it deals with: allow as many as the hard limit does.

    With fewer than it needs for all, it takes them in parts.
    """
    # A filter of system calls may refuse prlimit.
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_left() -> int:
    """How many files this process can still open."""
    try:
        used = len(os.listdir("/proc/self/fd"))
        return max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - used)
    except OSError:
        return 0


def spaces_at_once() -> int:
    """How many namespaces may be held open at one time; what is left is for sockets, and for other threads."""
    return max(LEAST, descriptors_left() * 2 // 3)
