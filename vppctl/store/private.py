"""Who else may decide what a file is: that is who tells the agent what to do."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAX_LINKS = 40
"""Symbolic links on the way to a file (path_resolution(7))."""
_ACL = "system.posix_acl_access"
_ACL_ENTRY = struct.Struct("<HHI")
"""Tag, permissions and id (linux/posix_acl_xattr.h); a version of four bytes stands before the entries."""
_ACL_NAMED = (0x02, 0x08)
"""ACL_USER and ACL_GROUP."""
_ALL = 0xFFFFFFFF
"""How many user ids there are (user_namespaces(7))."""


def exposed(path: str) -> str:
    """Where another user than root and ours may replace this file or create names beside it; empty: nowhere.

    `path` is a whole path; neither the file nor its last folders need exist: those that are created are ours. Every
    folder on the way counts, and so does the way of symbolic links. Raises OSError.
    """
    for step in _steps(path):
        folder, found = os.stat(step.folder), step.found
        if not _is_trusted(folder.st_uid) and (step.last or folder.st_uid != _nobody()):
            return f"{step.folder} belongs to another user ({folder.st_uid})"
        writers = _writers(step.folder, folder)
        if not writers:
            continue
        if step.last:
            return f"{step.folder} is a folder where {writers} may create files"
        if not folder.st_mode & stat.S_ISVTX:
            return f"{step.folder} is a folder where {writers} may replace '{step.name}'"
        # In a sticky folder, such as /tmp, a name is its owner's to replace.
        if found and not _is_trusted(found.st_uid):
            return f"{os.path.join(step.folder, step.name)} belongs to another user ({found.st_uid})"
    return ""


def who_may_write(path: str) -> str:
    """What is wrong with the permissions of a file that is there; empty when nothing is. Raises OSError."""
    info = os.stat(path)
    writers = _writers(path, info)
    return f"{path} may be changed by {writers}; 'chmod go-w {path}'" if writers else ""


def foreign(path: str, *, alone: bool) -> str:
    """Why a file that must be ours is not; empty when it is, or is not there. Raises OSError.

    `alone`: it may have no other name either, for a hard link can be made of any file.
    """
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(info.st_mode):
        return f"{path} is a symbolic link" if stat.S_ISLNK(info.st_mode) else f"{path} is no file"
    if not _is_trusted(info.st_uid):
        return f"{path} belongs to another user ({info.st_uid})"
    return f"{path} has another name, too (a hard link)" if alone and info.st_nlink > 1 else ""


class _Step(NamedTuple):
    """One part of the way to a file."""

    folder: str
    name: str
    found: os.stat_result | None
    """What the name is now; None: it is not there."""
    last: bool
    """Whether the name is that of the file itself."""


def _steps(path: str) -> Iterator[_Step]:
    folder, left, links = "/", _parts(path), 0
    while left:
        name = left.pop()
        if name == "..":
            folder = os.path.dirname(folder)
            continue
        whole = os.path.join(folder, name)
        try:
            info = os.lstat(whole)
        except FileNotFoundError:
            yield _Step(folder, name, None, not left)
            return
        leads_on = stat.S_ISLNK(info.st_mode)
        yield _Step(folder, name, info, not left and not leads_on)
        if leads_on:
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(whole)
            left += _parts(target)
            folder = "/" if target.startswith("/") else folder
        else:
            folder = whole


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def _nobody() -> int:
    """The number of users without one in this user namespace, such as the host's root; -1 where all have one."""
    with open("/proc/self/uid_map", "rb") as lines:
        if any(int(line.split()[2]) >= _ALL for line in lines):
            return -1
    with open("/proc/sys/kernel/overflowuid", "rb") as file:
        return int(file.read())


def _writers(path: str, info: os.stat_result) -> str:
    """Which others may write to it; empty when nobody else may. This process's own group counts as its user."""
    if info.st_mode & stat.S_IWOTH:
        return "everybody"
    if not info.st_mode & stat.S_IWGRP:
        return ""
    if info.st_gid != os.getegid():
        return f"group {info.st_gid}"
    # With an access control list these bits are the most that any of its entries gives (acl(5)).
    return "those of its access control list" if _has_named_writer(path) else ""


def _has_named_writer(path: str) -> bool:
    try:
        entries = os.getxattr(path, _ACL)[4:]
    except OSError:
        return False
    whole = entries[: len(entries) // _ACL_ENTRY.size * _ACL_ENTRY.size]
    return any(tag in _ACL_NAMED and permissions & 2 for tag, permissions, _ in _ACL_ENTRY.iter_unpack(whole))
