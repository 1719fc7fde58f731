"""System calls that the os module does not have (setns and unshare: before Python 3.12), by ctypes.

Each raises OSError with what the kernel said. Excluded: what they are for.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNET = 0x40000000
"""sched.h"""
MS_BIND, MS_REC, MS_SHARED = 4096, 16384, 1 << 20
"""sys/mount.h"""
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
"""linux/openat2.h"""
_OPENAT2 = 437
"""The same number on every architecture (asm-generic/unistd.h)."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Statfs(ctypes.Structure):
    """struct statfs, of which only the first field is read; the rest is room."""

    _fields_ = [("type", ctypes.c_long), ("room", ctypes.c_byte * 248)]


class _OpenHow(ctypes.Structure):
    """struct open_how (linux/openat2.h)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind `fd`."""
    _check("setns", _libc.setns(fd, kind))


def unshare(kind: int) -> None:
    """Give the calling thread a new namespace of this kind."""
    _check("unshare", _libc.unshare(kind))


def mount(source: str, target: str, flags: int) -> None:
    """A bind mount, or a change of propagation."""
    _check("mount", _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None))


def filesystem(fd: int) -> int:
    """The magic number of the filesystem that an open file is on (linux/magic.h)."""
    info = _Statfs()
    _check("fstatfs", _libc.fstatfs(fd, ctypes.byref(info)))
    return int(info.type)


def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    """Open `path` beneath `folder` as `resolve` restricts it (openat2(2), Linux 5.6)."""
    how = _OpenHow(flags, 0, resolve)
    number = ctypes.c_long(_OPENAT2)
    # As documents are: whatever the locale says, names are UTF-8.
    name = path.encode(errors="surrogateescape")
    fd = _libc.syscall(number, folder, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    _check("openat2", fd)
    return int(fd)


def prctl(option: int, *arguments: int) -> int:
    """An attribute of the calling thread (prctl(2))."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result = _libc.prctl(option, *padded)
    _check("prctl", result)
    return int(result)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """The capabilities of the calling thread, as bits (capset(2), _LINUX_CAPABILITY_VERSION_3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (effective, permitted, inheritable)
    data = (ctypes.c_uint32 * 6)(*(bits & 0xFFFFFFFF for bits in sets), *(bits >> 32 for bits in sets))
    _check("capset", _libc.capset(header, data))


def _check(name: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
