"""The agent's own files on this host: below /run, and believed only where nobody else can have put them.

A user other than root has no folder there, and without XDG_RUNTIME_DIR only one in /tmp, where anybody may have
created a folder of that name before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ForeignFileError(OSError):
    """What is there belongs to another user, or is no plain file or folder of its own."""


def run_path(name: str) -> Path:
    """Where a file of this name is: below /run/vppctl for root, otherwise below XDG_RUNTIME_DIR or /tmp."""
    anchor, folders = _way()
    return Path(anchor, *folders, name)


def file_of(label: str, what: str, suffix: str = "") -> str:
    """The name of a file that each label has one of; a label too long for a file name is a digest."""
    return f"{what}-{label if len(label.encode()) < 200 else digest(label)}{suffix}"


def digest(label: str) -> str:
    """What stands for a label that is too long; no label has a colon, so that no other one is called like this."""
    return f":{hashlib.blake2s(label.encode()).hexdigest()}"


def open_own(name: str, flags: int, *, create: bool = False) -> int:
    """Open a file of ours; `create`: with the folders on the way.

    Raises OSError, which is ForeignFileError where another user has put something there.
    """
    anchor, folders = _way()
    here = os.open(anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        way = anchor
        for folder in folders:
            way = os.path.join(way, folder)
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=here)
            inner = _enter(here, folder, way)
            os.close(here)
            here = inner
        # Another kind of file is not waited for.
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=here)
    finally:
        os.close(here)
    info = os.fstat(fd)
    # A second name could be a link to another file of ours.
    if not stat.S_ISREG(info.st_mode) or not _is_ours(info) or info.st_nlink != 1:
        os.close(fd)
        raise _foreign(os.path.join(way, name), info)
    return fd


def _enter(parent: int, folder: str, way: str) -> int:
    try:
        fd = os.open(folder, _FOLDER, dir_fd=parent)
    except OSError as error:
        # A symbolic link, or a file: as nobody creates it here but another user.
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _foreign(way, os.stat(folder, dir_fd=parent, follow_symlinks=False)) from None
        raise
    info = os.fstat(fd)
    if not _is_ours(info):
        os.close(fd)
        raise _foreign(way, info)
    return fd


def _is_ours(info: os.stat_result) -> bool:
    """Whether it belongs to this user or to root."""
    return info.st_uid in (0, os.geteuid())


def _foreign(path: str, info: os.stat_result) -> ForeignFileError:
    what = f"belongs to user {info.st_uid}" if not _is_ours(info) else "is a link, or no plain file or folder"
    fix = "remove it" if os.geteuid() == 0 else "set XDG_RUNTIME_DIR to a folder of your own"
    return ForeignFileError(errno.EPERM, f"{path} {what}; {fix}")


def _way() -> tuple[str, tuple[str, ...]]:
    """A folder that is taken as it is, and the folders below it on the way."""
    if os.geteuid() == 0:
        return "/run", ("vppctl",)
    if (given := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return given, ("vppctl",)
    return "/tmp", (f"vppctl-{os.geteuid()}", "vppctl")  # noqa: S108
