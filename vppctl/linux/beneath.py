"""Opens files of namespaces without being led elsewhere: beneath a trusted folder, through no symbolic link.

What is found is looked at by O_PATH, which opens nothing: a FIFO does not block, a device does not notice. Only what
is on nsfs is opened, and by that very descriptor, so that nothing can be put in its place between look and use.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import PurePosixPath

from vppctl.linux import syscalls
from vppctl.linux.namespaces import NSFS_MAGIC, OPEN_FLAGS, Netns, is_netns, pass_on_shortage
from vppctl.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from vppctl.reconcile.state import Reason, Unavailable

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(folder: str, path: str, description: str) -> Netns | Unavailable:
    """The network namespace behind `path`, relative to `folder`; that is trusted, and may be reached by a link.

    Raises OSError when descriptors run out, which tells nothing about the file.
    """
    shown = f"{folder}/{path}"
    try:
        fd = look(folder, path)
    except (FileNotFoundError, NotADirectoryError):
        return Unavailable(Reason.NAMESPACE_NOT_FOUND, f"{shown} does not exist")
    except OSError as error:
        pass_on_shortage(error)
        why = f"cannot be opened: {os.strerror(error.errno or 0)}"
        if error.errno in (errno.ELOOP, errno.EXDEV):
            why = "is reached by a symbolic link"
        return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{shown} {why}")
    try:
        return _judge(fd, shown, description)
    finally:
        os.close(fd)


def look(folder: str, path: str) -> int:
    """A descriptor (O_PATH) of what is at `path` beneath `folder`. Raises OSError; ELOOP or EXDEV: it leads away."""
    anchor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            # Without O_NOFOLLOW, which would find the link itself.
            return syscalls.openat2(anchor, path, os.O_PATH | os.O_CLOEXEC, _RESOLVE)
        except OSError as error:
            # EPERM: seccomp filters that are older than the call say so.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        return walk(anchor, path)
    finally:
        os.close(anchor)


def walk(anchor: int, path: str) -> int:
    """The same for kernels before 5.6: part by part, each from the descriptor of the one before."""
    fd = os.dup(anchor)
    for part in PurePosixPath(path).parts:
        try:
            if part in ("..", "/"):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            following = os.open(part, _LOOK, dir_fd=fd)
        finally:
            os.close(fd)
        fd = following
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return fd


def where_it_leads(folder: str, path: str) -> str:
    """What the first symbolic link on the way to `path` stands for, with what follows it; empty when there is none."""
    parts = PurePosixPath(path).parts
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for number, part in enumerate(parts):
            try:
                following = os.open(part, _LOOK, dir_fd=fd)
            finally:
                os.close(fd)
            fd = following
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                # The link that is open, whatever has that name by now (readlinkat(2), since Linux 2.6.39).
                target = os.readlink("", dir_fd=fd)
                os.close(fd)
                return os.path.normpath(os.path.join(folder, *parts[:number], target, *parts[number + 1 :]))
        os.close(fd)
    except OSError as error:
        pass_on_shortage(error)
    return ""


def _judge(fd: int, shown: str, description: str) -> Netns | Unavailable:
    """What has been found, opened when it is a network namespace."""
    if syscalls.filesystem(fd) == NSFS_MAGIC:
        try:
            opened = os.open(f"/proc/self/fd/{fd}", OPEN_FLAGS)
        except OSError as error:
            pass_on_shortage(error)
            return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{shown} cannot be opened: {error.strerror}")
        if is_netns(opened):
            return Netns(opened, description)
        os.close(opened)
    else:
        info = os.fstat(fd)
        if stat.S_ISREG(info.st_mode) and info.st_size == 0:
            # What `ip netns add` leaves when it is interrupted: as good as nothing.
            return Unavailable(Reason.NAMESPACE_NOT_FOUND, f"{shown} is not a network namespace")
    return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{shown} is not a network namespace")
