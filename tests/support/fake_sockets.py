"""FAKE netlink sockets, whose other end is a `FakeKernel`, and a reconciler that has no others."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Self

import pytest

from tests.support.fake_kernel import FakeKernel, Space
from vppctl.agent import places, search, strays
from vppctl.agent.reconciler import Reconciler
from vppctl.linux import addresses, executor, marked, monitor, nsids, observe, rtnl, steps, wire
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.reconcile.state import Reason, Unavailable


class FakeSocket:
    """One that has nothing to read says so at once, as a real one does when its patience has ended."""

    def __init__(self, kernel: FakeKernel, space: Space) -> None:
        self._kernel, self._space = kernel, space
        self.queue: deque[bytes] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def setsockopt(self, *_: object) -> None:
        """Any will do."""

    def getsockopt(self, *_: object) -> int:
        return 8 << 20

    def connect(self, _: object) -> None:
        """There is nobody else."""

    bind = connect

    def close(self) -> None:
        """Nothing is open."""

    def send(self, data: bytes) -> None:
        self._kernel.stir()
        answers: list[bytes] = []
        at = 0
        while at < len(data):
            length = wire.HEADER.unpack_from(data, at)[0]
            answers += self._kernel.answer(self._space, bytes(data[at : at + length]))
            at += (length + 3) & ~3
        self.queue += self._kernel.lie(answers)

    def recv_into(self, buffer: Any, _size: int = 0, _flags: int = 0) -> int:
        data = self._next()
        room = min(len(data), len(buffer))
        buffer[:room] = data[:room]
        return len(data)

    def recvmsg_into(self, buffers: Any, _room: int, _flags: int) -> tuple[int, list[Any], int, tuple[int, int]]:
        data = self._next()
        return self._into(buffers[0], data), [], 0, (0, 0)

    def _into(self, buffer: Any, data: bytes) -> int:
        room = min(len(data), len(buffer))
        buffer[:room] = data[:room]
        return room

    def _next(self) -> bytes:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        data = self.queue.popleft()
        if data == NO_ROOM:
            raise OSError(errno.ENOBUFS, "no buffer space available")
        return data


NO_ROOM = b"ENOBUFS"
"""In place of a datagram: the answers did not fit."""


class Sockets(ModuleType):
    """What a module has imported as `socket`: all of it is real, but for the sockets."""

    def __init__(self, make: Callable[..., FakeSocket]) -> None:
        super().__init__("socket")
        self.socket = make

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)


class World:
    """A kernel, and the modules that are led to it until the test ends; `new` begins with another one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.kernel = FakeKernel(1)
        sockets = Sockets(lambda *_: FakeSocket(self.kernel, self.kernel.current))
        patch.setattr(rtnl, "socket", sockets)
        patch.setattr(monitor, "socket", sockets)
        patch.setattr(rtnl, "inside", self._inside)
        patch.setattr(nsids, "open_own", lambda: self.kernel.spaces[0].handle)
        patch.setattr(observe, "read_checksums", lambda _, names: dict.fromkeys(names, True))
        patch.setattr(executor, "side_by_side", lambda work, items: [work(item) for item in items])
        patch.setattr(executor, "set_checksum", lambda *_, **__: None)
        patch.setattr(steps, "enable_ipv6", lambda *_: None)
        patch.setattr(addresses, "_tells_origin", lambda: True)
        patch.setattr(search, "discover", self._discover)
        for module in (marked, places):
            patch.setattr(module, "is_of_own_users", lambda space: space is not self.kernel.spaces[-1].handle)
        patch.setattr(places, "inhabited", lambda _: None)
        patch.setattr(strays, "resolve", lambda wanted, **_: self.kernel.spaces[int(wanted.name or 0)].handle)

    def new(self, count: int) -> FakeKernel:
        self.kernel = FakeKernel(count)
        return self.kernel

    def reconciler(self) -> Reconciler:
        kernel = self.kernel
        resolver: Any = _Resolver(kernel)
        return Reconciler("vpp1", resolver, NsidTable(), on_look=kernel.confirmed.clear)

    @contextlib.contextmanager
    def _inside(self, netns: Netns) -> Iterator[None]:
        self.kernel.current = next(space for space in self.kernel.spaces if space.handle is netns)
        try:
            yield
        finally:
            self.kernel.current = self.kernel.spaces[0]

    def _discover(self) -> Iterator[tuple[NamespaceRef, Netns]]:
        for number, space in enumerate(self.kernel.spaces):
            yield reference(number), space.handle


class _Resolver:
    """Names of namespaces are their numbers."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.closed: set[int] = set()
        """Those that no name leads to any more."""

    def open(self, wanted: NamespaceRef) -> Netns | Unavailable:
        number = int(wanted.name or 0)
        if number in self.closed:
            return Unavailable(Reason.NAMESPACE_NOT_FOUND, "gone")
        return self._kernel.spaces[number].handle


def reference(number: int) -> NamespaceRef:
    """What leads to a namespace."""
    return NamespaceRef(NamespaceType.NAMED_NS, name=str(number)) if number else NamespaceRef()
