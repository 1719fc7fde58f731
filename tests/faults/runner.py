"""The agent with fail points: `python -m tests.faults.runner CONTROL ARGUMENT...` runs `vppctl ARGUMENT...`.

Counts the calls that reach the kernel or the store, and kills its own process with SIGKILL before or after the call
that a countdown in the file CONTROL falls on. vppctl itself knows nothing of this: its functions are wrapped here.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

POINTS = ("write", "netlink", "namespace", "store")
"""Messages that change something, all messages, the steps of making a namespace, calls of the store."""
KINDS = (
    ("RTM_NEWLINK", 16),
    ("RTM_DELLINK", 17),
    ("RTM_SETLINK", 19),
    ("RTM_NEWADDR", 20),
    ("RTM_DELADDR", 21),
    ("RTM_NEWNSID", 88),
)
"""The messages that change something (linux/rtnetlink.h)."""
SIZE = 4096
_SLOT = struct.Struct("=qqq")
"""Of each point: the call to die at (0: none), 1 to die after it and 0 before it; and calls so far. The first two are
written by the test alone, the third by the agent alone: what one reads and writes back would undo what the other
writes meanwhile."""
_AIM, _COUNT = struct.Struct("=qq"), struct.Struct("=q")
_INTERRUPTS, _OVERRUNS, _BUFFER, _STATISTICS, _STORY, _KINDS = 256, 264, 272, 280, 512, 2048
_NUMBER = struct.Struct("=q")


class Control:
    """The file that the test and the agent share."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._lock = threading.Lock()

    def arm(self, point: str, countdown: int, *, after: bool) -> None:
        """Die at this call from now on; 0 disarms."""
        aim = self.count(point) + countdown if countdown else 0
        _AIM.pack_into(self._map, POINTS.index(point) * _SLOT.size, aim, int(after))

    def begin(self) -> None:
        """A new life, of which there is no story yet."""
        self._map[_STORY:_KINDS] = bytes(_KINDS - _STORY)

    def disarm(self) -> None:
        for point in POINTS:
            self.arm(point, 0, after=False)

    def count(self, point: str) -> int:
        """Calls of all agents so far."""
        return int(_SLOT.unpack_from(self._map, POINTS.index(point) * _SLOT.size)[2])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody dies meanwhile; then the countdowns go on."""
        slots = [_SLOT.unpack_from(self._map, number * _SLOT.size) for number in range(len(POINTS))]
        self.disarm()
        yield
        for point, (aim, after, count) in zip(POINTS, slots, strict=True):
            self.arm(point, max(0, aim - count), after=bool(after))

    @property
    def messages(self) -> int:
        """Netlink messages of all agents so far, but for the dumps of counters, which come by the clock."""
        return self.count("netlink") - int(_NUMBER.unpack_from(self._map, _STATISTICS)[0])

    def sent(self, number: int) -> None:
        """Count a netlink message by its kind."""
        at = _KINDS + number * _NUMBER.size
        _NUMBER.pack_into(self._map, at, _NUMBER.unpack_from(self._map, at)[0] + 1)

    def kinds(self) -> Counter[str]:
        """The messages of all agents so far that change something, by kind."""
        counts = {name: _NUMBER.unpack_from(self._map, _KINDS + number * _NUMBER.size)[0] for name, number in KINDS}
        return Counter({name: count for name, count in counts.items() if count})

    def counted_statistics(self) -> None:
        """A dump of counters was sent."""
        _NUMBER.pack_into(self._map, _STATISTICS, _NUMBER.unpack_from(self._map, _STATISTICS)[0] + 1)

    @property
    def story(self) -> str:
        """Where the last agent died by its countdown; empty when it did not."""
        return bytes(self._map[_STORY:_KINDS]).partition(b"\0")[0].decode()

    @property
    def interrupts(self) -> int:
        """Dumps that are still to be told to be interrupted."""
        return int(_NUMBER.unpack_from(self._map, _INTERRUPTS)[0])

    @interrupts.setter
    def interrupts(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _INTERRUPTS, value)

    @property
    def overruns(self) -> int:
        """How often the monitor was told that events were lost (ENOBUFS)."""
        return int(_NUMBER.unpack_from(self._map, _OVERRUNS)[0])

    @overruns.setter
    def overruns(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _OVERRUNS, value)

    @property
    def buffer(self) -> int:
        """Octets of the monitor's receive buffer for an agent that starts; 0: as it is."""
        return int(_NUMBER.unpack_from(self._map, _BUFFER)[0])

    @buffer.setter
    def buffer(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _BUFFER, value)

    def reached(self, points: Sequence[str]) -> bool | None:
        """Count one call; True to die after it, False before it, None to live on."""
        verdict = None
        with self._lock:
            for point in points:
                at = POINTS.index(point) * _SLOT.size
                aim, after, count = _SLOT.unpack_from(self._map, at)
                _COUNT.pack_into(self._map, at + _AIM.size, count + 1)
                if aim == count + 1:
                    verdict = bool(after)
        return verdict

    def die(self, story: str) -> None:
        self._map[_STORY : _STORY + len(story)] = story.encode()
        os.kill(os.getpid(), signal.SIGKILL)

    def guard(self, points: Sequence[str], what: str, call: Callable[[], Any]) -> Any:
        """Make the call, unless the countdown falls on it."""
        verdict = self.reached(points)
        if verdict is False:
            self.die(f"before {what}")
        result = call()
        if verdict:
            self.die(f"after {what}")
        return result


def wrap(control: Control, owner: Any, name: str, points: Sequence[str], what: str) -> None:
    """Make a function or method a fail point."""
    original = getattr(owner, name)

    @wraps(original)
    def guarded(*arguments: Any, **options: Any) -> Any:
        return control.guard(points, what, lambda: original(*arguments, **options))

    setattr(owner, name, guarded)


def wrap_netlink(control: Control) -> None:
    """Each message is a point: of a batch that is to be cut, only the part before the cut is sent."""
    from vppctl.linux import wire
    from vppctl.linux.rtnl import Answer, Rtnl

    names = {number: name for name, number in vars(wire).items() if name.startswith("RTM_")}
    parts = Rtnl.parts

    def cut(batch: Callable[[Rtnl, Sequence[bytes]], list[Answer]]) -> Callable[[Rtnl, Sequence[bytes]], list[Answer]]:
        @wraps(batch)
        def cut_batch(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
            for number, message in enumerate(messages):
                kind = names[wire.HEADER.unpack_from(message)[1]]
                points = ("netlink",) if "_GET" in kind else ("netlink", "write")
                verdict = control.reached(points)
                if verdict is not None:
                    sent = messages[: number + verdict]
                    if sent:
                        batch(self, sent)
                    control.die(f"{'after' if verdict else 'before'} {kind}")
            return batch(self, messages)

        return cut_batch

    def guarded_parts(self: Rtnl, request: bytes) -> Iterator[tuple[list[tuple[int, bytes]], bool]]:
        what = f"dump {names[wire.HEADER.unpack_from(request)[1]]}"
        if what == "dump RTM_GETSTATS":
            control.counted_statistics()
        verdict = control.reached(("netlink",))
        if verdict is False:
            control.die(f"before {what}")
        interrupted = control.interrupts > 0
        if interrupted:
            control.interrupts -= 1
        for bodies, changed in parts(self, request):
            yield bodies, changed or interrupted
        if verdict:
            control.die(f"after {what}")

    for name in ("batch", "ask"):
        setattr(Rtnl, name, cut(getattr(Rtnl, name)))
    Rtnl.parts = guarded_parts  # type: ignore[method-assign]


def wrap_kinds(control: Control) -> None:
    """The count of messages by kind."""
    from vppctl.linux import wire
    from vppctl.linux.rtnl import Answer, Rtnl

    batch = Rtnl.batch

    def counted(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        for message in messages:
            control.sent(wire.HEADER.unpack_from(message)[1])
        return batch(self, messages)

    Rtnl.batch = counted  # type: ignore[method-assign]


def wrap_namespaces(control: Control) -> None:
    from vppctl.linux import named, syscalls

    wrap(control, named, "_share", ("namespace",), "sharing /run/netns")
    for name in ("unshare", "mount"):
        wrap(control, syscalls, name, ("namespace",), name)


def wrap_store(control: Control) -> None:
    classes: list[tuple[Any, tuple[str, ...]]] = []
    calls = ("get", "list", "commit", "watch", "lease")
    if os.environ.get("VPPCTL_STORE", "").startswith("sqlite:"):
        from vppctl.store import sqlite

        classes = [(sqlite.SqliteStore, calls)]
    else:
        from vppctl.store import etcd

        classes = [(etcd.EtcdStore, calls), (etcd.EtcdLease, ("refresh", "revoke"))]
    for owner, names in classes:
        for name in names:
            wrap(control, owner, name, ("store",), f"store {name}")


def wrap_monitor(control: Control) -> None:
    """A small buffer when one is asked for, and the count of what was lost by it."""
    from vppctl.linux import monitor

    make = monitor.LinkMonitor.__init__

    def counting(self: monitor.LinkMonitor, nsids: Any, deliver: Callable[[monitor.KernelEvent], None]) -> None:
        def counted(event: monitor.KernelEvent) -> None:
            if isinstance(event, monitor.Overrun):
                control.overruns += 1
            deliver(event)

        make(self, nsids, counted)

    monitor.LinkMonitor.__init__ = counting  # type: ignore[method-assign]
    if control.buffer:
        monitor.RECEIVE_BUFFER = control.buffer


def main() -> None:
    control = Control(Path(sys.argv[1]))
    for wrapper in (wrap_netlink, wrap_kinds, wrap_namespaces, wrap_store, wrap_monitor):
        wrapper(control)
    from vppctl.cli.main import main as vppctl

    sys.argv = ["vppctl", *sys.argv[2:]]
    vppctl()


if __name__ == "__main__":
    main()
