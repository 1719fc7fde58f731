"""The pairs that are measured with: as documents, as batches for `ip`, and what the kernel has of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.timing import VPPCTL, quiet
from tests.support.netns import entered, ip, links, wait_until

Document = dict[str, Any]


def interfaces(count: int, spread: bool = False, first: int = 0) -> list[Document]:
    """Both sides of `count` pairs between ns1 and ns2, or with `spread` each side in a namespace of its own."""
    found: list[Document] = []
    for n in range(first, first + count):
        high, low = divmod(n, 250)
        for side, peer, space, host in (("a", "b", "ns1", 1), ("b", "a", "ns2", 2)):
            found.append(
                {
                    "name": f"{side}{n}",
                    "enabled": True,
                    "mtu": 1500,
                    "phys_address": f"02:{host:02x}:00:00:{high:02x}:{low:02x}",
                    "ip_addresses": [f"10.{high}.{low}.{host}/24", f"2001:db8:{high}:{low}::{host}/64"],
                    "namespace": {"type": 2, "name": f"s{side}{n}" if spread else space},
                    "veth": {"peer_if_name": f"{peer}{n}"},
                }
            )
    return found


def write(path: Path, documents: Sequence[Document]) -> str:
    """A file for `vppctl put`."""
    path.write_text(json.dumps({"interface": documents}))
    return str(path)


class Batches:
    """What a script would feed to `ip -batch`, to make the same pairs and to remove them."""

    def __init__(self, folder: Path, count: int) -> None:
        sides = interfaces(count)
        columns = (("ns1", sides[::2]), ("ns2", sides[1::2]))
        self.pairs = [
            f"link add {a['name']} netns ns1 address {a['phys_address']} mtu 1500 type veth "
            f"peer name {b['name']} netns ns2 address {b['phys_address']} mtu 1500"
            for a, b in zip(*(column for _, column in columns), strict=True)
        ]
        self.settings = {
            space: [
                line
                for side in column
                for line in (
                    *(f"addr add {address} dev {side['name']}" for address in side["ip_addresses"]),
                    f"link set {side['name']} up",
                )
            ]
            for space, column in columns
        }
        self._folder = folder
        for name, lines in {"make": self.pairs, **self.settings}.items():
            (folder / name).write_text("\n".join(lines) + "\n")
        (folder / "remove").write_text("".join(f"link del {side['name']}\n" for side in sides[::2]))

    def make(self) -> None:
        """By `ip -batch`."""
        for space in ("ns1", "ns2"):
            quiet("ip", "netns", "add", space)
        quiet("ip", "-batch", str(self._folder / "make"))
        for space in self.settings:
            quiet("ip", "-n", space, "-batch", str(self._folder / space))

    def make_step_by_step(self) -> None:
        """By one process of `ip` for each step, as a script does."""
        for space in ("ns1", "ns2"):
            quiet("ip", "netns", "add", space)
        for line in self.pairs:
            quiet("ip", *line.split())
        for space, lines in self.settings.items():
            for line in lines:
                quiet("ip", "-n", space, *line.split())

    def remove(self) -> None:
        """By `ip -batch`."""
        quiet("ip", "-n", "ns1", "-batch", str(self._folder / "remove"))


def veths(space: str) -> int:
    """Our links there; read from proc, which takes no lock that the agent needs."""
    return _count(space, "dev", lambda line: line.lstrip()[:1] in "ab")


def addressed(space: str) -> int:
    """IPv6 addresses there, which come last, without the kernel's own; the third column but one is the scope."""
    return _count(space, "if_inet6", lambda line: line.split()[3] == "00")


def tentative(space: str) -> int:
    """Addresses whose duplicate address detection is not finished (IFA_F_TENTATIVE, linux/if_addr.h)."""
    return _count(space, "if_inet6", lambda line: bool(int(line.split()[4], 16) & 0x40))


def _count(space: str, file: str, fits: Callable[[str], bool]) -> int:
    try:
        with entered(space), open(f"/proc/thread-self/net/{file}") as lines:
            return sum(fits(line) for line in lines)
    except OSError as error:
        # Its file comes before the namespace is mounted on it.
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        return 0


def wait_for(count: int, what: Callable[[str], int] = veths, spaces: Sequence[str] = ("ns1",)) -> None:
    """Until there are so many in each of these namespaces."""
    deadline = time.monotonic() + 300
    while any(what(space) != count for space in spaces):
        assert time.monotonic() < deadline, f"{[what(space) for space in spaces]} in {spaces}, not {count}"
        time.sleep(0.005)


def wipe() -> None:
    """No namespace is left, and the kernel has taken all of them down."""
    names = "".join(f"netns del {name}\n" for name in os.listdir("/run/netns"))
    subprocess.run(["ip", "-batch", "-"], input=names, text=True, check=True)
    # The kernel takes namespaces down in the background, batch after batch (netns_wq, net/core/net_namespace.c), and a
    # measurement must not pay for the one before: when the link into the one that went last has gone, so have all.
    ip("netns", "add", "last")
    ip("link", "add", "last0", "type", "veth", "peer", "name", "last1", "netns", "last")
    ip("netns", "del", "last")
    wait_until(lambda: not links(), "the kernel to take the namespaces down", 300)


@contextmanager
def agent(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running agent."""
    with terminated([VPPCTL, "agent", "run", *options]) as process:
        yield process


@contextmanager
def terminated(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A running program, ended by SIGTERM at the end of `with`."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
