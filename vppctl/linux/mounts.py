"""Whether a mount below a folder is seen where the folder belongs: not when another mount namespace's was bound here.

A container's /run/netns is the host's folder, but by default not its mounts: a namespace that the host creates later
is an empty file here, and one that is created here is an empty file there (mount_namespaces(7), shared subtrees). The
evidence is the view of the first process, where that is in another mount namespace, and otherwise mountinfo (proc(5)).
"""

from __future__ import annotations

import os
import stat
import time
from enum import StrEnum
from typing import NamedTuple

from vppctl.linux.namespaces import pass_on_shortage


class Propagation(StrEnum):
    """How the mounts of a folder here and those where it belongs go together."""

    OWN = ""
    """It is one and the same."""
    SLAVE = "slave"
    """What is mounted there is seen here, and not the reverse."""
    PRIVATE = "private"
    """Neither sees what the other mounts."""


class _Mount(NamedTuple):
    """A line of mountinfo."""

    number: str
    parent: str
    device: str
    root: str
    """The folder of its file system that is mounted."""
    point: str
    shared: str = ""
    """Its peer group, whose members see each other's mounts; empty when it is in none."""
    master: str = ""
    """The peer group whose mounts it sees."""

    @classmethod
    def of(cls, line: bytes) -> _Mount:
        head, _, _ = line.partition(b" - ")
        number, parent, device, root, point, _, *tags = os.fsdecode(head).split(" ")
        groups = dict(tag.partition(":")[::2] for tag in tags)
        return cls(number, parent, device, root, point, groups.get("shared", ""), groups.get("master", ""))


_RECENT = 0.1
"""Seconds that a look counts: a pass asks for each of thousands of names."""
_looked: dict[str, tuple[float, Propagation]] = {}


def propagation(folder: str) -> Propagation:
    """How namespaces that are mounted below this folder are seen elsewhere. Raises OSError when descriptors run out."""
    now = time.monotonic()
    if (known := _looked.get(folder)) and now - known[0] < _RECENT:
        return known[1]
    found = _propagation(folder)
    _looked[folder] = now, found
    return found


def _propagation(folder: str) -> Propagation:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        here, _ = _mount_of(folder, "thread-self")
        if there := _seen_by_first(folder):
            together = here.shared and here.shared in (there.shared, there.master) and not here.master
        else:
            together = not _is_bound_from_elsewhere(here, folder)
    except OSError as error:
        pass_on_shortage(error)
        return Propagation.OWN
    if together:
        return Propagation.OWN
    return Propagation.SLAVE if here.master else Propagation.PRIVATE


def is_left_over(path: str) -> bool:
    """Whether an empty file is what an interrupted `ip netns add` has left here, and not the host's namespace.

    That program makes the folder a shared mount before it makes the file; a folder that is a mount and was never made
    shared has its files from elsewhere, and so may have one that was bound here. Raises OSError when
    descriptors run out.
    """
    folder = os.path.dirname(path)
    try:
        here, parent = _mount_of(folder, "thread-self")
        is_point = here.point == os.path.realpath(folder)
    except OSError as error:
        pass_on_shortage(error)
        return False
    return not is_point or (bool(here.shared) and (here.root == "/" or _is_bind_of_itself(here, parent)))


def _seen_by_first(folder: str) -> _Mount | None:
    """The mount where the first process sees the very same folder; None where it does not, or is in this namespace."""
    theirs = f"/proc/1/root{folder}"
    try:
        if os.path.samefile("/proc/1/ns/mnt", "/proc/thread-self/ns/mnt") or not os.path.samefile(theirs, folder):
            return None
        return _mount_of(theirs, "1")[0]
    except OSError as error:
        # It has no such folder, or may not be looked at.
        pass_on_shortage(error)
        return None


def _is_bound_from_elsewhere(mount: _Mount, folder: str) -> bool:
    """Whether a mount at this folder is a copy of one that belongs to another mount namespace, and goes its own way.

    A folder that is no mount point belongs to this mount namespace, as on a fresh host. Of a folder of another one,
    `ip netns add` makes a shared bind, and Docker by default a private one. A whole file system may have been mounted
    here, or be a copy; a copy has namespaces although it was not made shared, as it is before the first one.
    """
    if mount.point != os.path.realpath(folder):
        return False
    return bool(mount.master) or (not mount.shared and (mount.root != "/" or _has_namespaces(folder)))


def _has_namespaces(folder: str) -> bool:
    """Whether there are files of namespaces, mounted or not: both are empty."""
    for name in os.listdir(folder):
        info = os.lstat(f"{folder}/{name}")
        if stat.S_ISREG(info.st_mode) and info.st_size == 0:
            return True
    return False


def _is_bind_of_itself(mount: _Mount, parent: _Mount | None) -> bool:
    if parent is None or parent.device != mount.device:
        return False
    return mount.root == os.path.normpath(f"{parent.root}/{os.path.relpath(mount.point, parent.point)}")


def _mount_of(folder: str, process: str) -> tuple[_Mount, _Mount | None]:
    """The mount that a folder is on, as this process has it, and the one that this is mounted on. Raises OSError."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(f"/proc/thread-self/fdinfo/{fd}", "rb", buffering=0) as info:
            number = info.read().partition(b"mnt_id:")[2].split(maxsplit=1)[0]
    finally:
        os.close(fd)
    earlier: dict[bytes, bytes] = {}
    found: _Mount | None = None
    with open(f"/proc/{process}/mountinfo", "rb") as lines:
        for line in lines:
            this, parent, _ = line.split(b" ", 2)
            earlier[this] = line
            if this == number:
                found, above = _Mount.of(line), parent
            # A mount comes after what it is mounted on, unless it was moved.
            if found and above in earlier:
                return found, _Mount.of(earlier[above])
    if found is None:
        raise FileNotFoundError(f"mount {number.decode()} is not in mountinfo")
    return found, None
