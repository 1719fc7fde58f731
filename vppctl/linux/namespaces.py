"""Network namespaces: from a reference to an open, checked handle.

The only place that uses setns, unshare and mount (ctypes: the os module has the first two from Python 3.12 on). A
handle pins its namespace, so it is held for one pass and closed. A path is never trusted: what was opened is
checked to be a network namespace, and only that descriptor is used afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import resource
import select
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.reconcile.state import Creatable, NetnsId, Reason, Unavailable

CLONE_NEWNET = 0x40000000
"""sched.h"""
NSFS_MAGIC = 0x6E736673
"""linux/magic.h: statfs type of namespace files."""
NS_GET_NSTYPE = 0xB703
"""linux/nsfs.h: ioctl that tells the kind of a namespace."""
MS_BIND, MS_REC, MS_SHARED = 4096, 16384, 1 << 20
"""sys/mount.h"""
OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO must not wait for a writer."""

RUN_NETNS = "/run/netns"
"""Where iproute2 keeps named namespaces."""
ALLOWED_DIRS = (RUN_NETNS, "/var/run/netns", "/run/docker/netns")
_PROC_FILE = re.compile(r"/proc/(?P<pid>[1-9][0-9]*)(/task/[1-9][0-9]*)?/ns/net")

_libc = ctypes.CDLL(None, use_errno=True)


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
def inside(netns: Netns) -> Iterator[None]:
    """Run the block with the calling thread in `netns`. Raises OSError when it cannot be entered."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", netns.fd, CLONE_NEWNET)
        try:
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET) != 0:
                # A thread that is lost in another namespace would touch what is not its own.
                os.abort()
    finally:
        os.close(home)


def open_own() -> Netns:
    """The namespace of the calling thread."""
    return Netns(os.open("/proc/thread-self/ns/net", OPEN_FLAGS), "default")


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
    found = _open(f"{RUN_NETNS}/{name}", name)
    if isinstance(found, Netns):
        return found
    # A file that is no namespace is what `ip netns add` leaves when it is interrupted: as good as nothing.
    if create and found.reason is Reason.NAMESPACE_NOT_FOUND:
        return Creatable(name)
    text = f"named namespace {name!r} does not exist; 'ip netns add {name}' makes it"
    return Unavailable(found.reason, text if found.reason is Reason.NAMESPACE_NOT_FOUND else found.message)


def _file(path: str, extra_dirs: tuple[str, ...]) -> Netns | Unavailable:
    process = _PROC_FILE.fullmatch(path)
    if process:
        return of_process(int(process["pid"]), f"pid:{process['pid']}", path)
    folder = os.path.dirname(path)
    allowed = (*ALLOWED_DIRS, *extra_dirs)
    if os.path.normpath(path) != path or not any(f"{folder}/".startswith(f"{a.rstrip('/')}/") for a in allowed):
        return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{path} is not below {', '.join(allowed)}; see --allow-dir")
    return _open(path, f"file:{path}")


def of_process(pid: int, description: str, path: str = "", start: int | None = None) -> Netns | Unavailable:
    """The namespace of a process, which must have been started at `start` (see `start_of`) when that is given.

    The pidfd is opened first, so that the process that is alive at the end is the one whose file was opened.
    """
    gone = Unavailable(Reason.PROCESS_NOT_RUNNING, f"no process has PID {pid}")
    path = path or f"/proc/{pid}/ns/net"
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return gone
    try:
        found = _open(path, description)
        if alive(pidfd) and start in (None, start_of(pid)):
            if isinstance(found, Unavailable) and found.reason is Reason.NAMESPACE_NOT_FOUND:
                return Unavailable(Reason.PROCESS_NOT_RUNNING, f"{path} does not exist")
            return found
        if isinstance(found, Netns):
            found.close()
        return gone
    finally:
        os.close(pidfd)


def start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot (field 22 of proc(5)'s stat); None when there is none."""
    try:
        # The name of the program, in parentheses, may hold anything; what follows it does not.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def alive(pidfd: int) -> bool:
    """Whether the process has not ended; a zombie has (pidfd_open(2): readable on termination)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _open(path: str, description: str) -> Netns | Unavailable:
    last = 0 if path.startswith("/proc/") else os.O_NOFOLLOW
    try:
        fd = os.open(path, OPEN_FLAGS | last)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return Unavailable(Reason.NAMESPACE_NOT_FOUND, f"{path} does not exist")
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
        return Unavailable(Reason.NAMESPACE_FORBIDDEN, f"{path} {why}")
    if is_netns(fd):
        return Netns(fd, description)
    info = os.fstat(fd)
    # A namespace of another kind is an empty file, too, but not one to mount on.
    empty = stat.S_ISREG(info.st_mode) and info.st_size == 0 and not _is_nsfs(fd)
    os.close(fd)
    reason = Reason.NAMESPACE_NOT_FOUND if empty else Reason.NAMESPACE_FORBIDDEN
    return Unavailable(reason, f"{path} is not a network namespace")


class _Statfs(ctypes.Structure):
    """struct statfs, of which only the first field is read; the rest is room."""

    _fields_ = [("type", ctypes.c_long), ("room", ctypes.c_byte * 248)]


def is_netns(fd: int) -> bool:
    """Whether the descriptor is of a network namespace and nothing else."""
    try:
        return _is_nsfs(fd) and fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


def _is_nsfs(fd: int) -> bool:
    info = _Statfs()
    return bool(_libc.fstatfs(fd, ctypes.byref(info)) == 0 and info.type == NSFS_MAGIC)


def create_named(name: str) -> None:
    """Make a named namespace as `ip netns add` does, unless it is there. Raises OSError."""
    folder, path = RUN_NETNS, f"{RUN_NETNS}/{name}"
    Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
    _share(folder)
    existing = _open(path, name)
    if isinstance(existing, Netns):
        existing.close()
        return
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    failure: list[OSError] = []

    def make() -> None:
        try:
            _call("unshare", CLONE_NEWNET)
            own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
            _call("mount", own.encode(), path.encode(), b"none", MS_BIND, None)
        except OSError as error:
            failure.append(error)

    # The thread ends with its namespace; the bind mount keeps that alive.
    thread = threading.Thread(target=make, name="netns-add")
    thread.start()
    thread.join()
    if failure:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise failure[0]


def _share(folder: str) -> None:
    """Mounts below must reach other mount namespaces, or a namespace could not be deleted from there (ip-netns(8))."""
    for _ in range(2):
        if _libc.mount(b"", folder.encode(), b"none", MS_SHARED | MS_REC, None) == 0:
            return
        # Not a mount point yet.
        _call("mount", folder.encode(), folder.encode(), b"none", MS_BIND | MS_REC, None)


def enable_ipv6(netns: Netns, links: Iterable[str]) -> None:
    """Switch IPv6 on for these links, where the namespace has it off; where that is not allowed it stays off."""
    with inside(netns):
        for link in links:
            with contextlib.suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("0")


def discover() -> list[Netns]:
    """Every network namespace of this host that has a name or a process, each once."""
    found: dict[NetnsId, Netns] = {}

    def add(netns: Netns | Unavailable) -> None:
        if isinstance(netns, Netns) and found.setdefault(netns.id, netns) is not netns:
            netns.close()

    add(open_own())
    for folder in (RUN_NETNS, "/run/docker/netns"):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder)):
                add(_open(f"{folder}/{name}", name))
    seen: set[str] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        path = f"/proc/{pid}/ns/net"
        with contextlib.suppress(OSError):
            link = os.readlink(path)
            if link not in seen:
                seen.add(link)
                add(_open(path, f"pid:{pid}"))
    return list(found.values())


def raise_file_limit() -> None:
    """A pass holds a descriptor for each namespace it deals with: allow as many as the hard limit does."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
