"""Namespaces of the tests' own, so that the machine's are never touched, and a look at the kernel through `ip -j`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
MS_REC, MS_PRIVATE = 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def isolate() -> None:
    """Move this process, before it has threads, into mount, network and process namespaces of its own.

    Names of namespaces, locks of agents and the embedded store are of this run alone, too. Processes, because an agent
    looks for what an earlier run of its label has left in the namespaces of all that it sees.
    """
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID))
    _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    _go_on_inside()
    _check(_libc.mount(b"proc", b"/proc", b"proc", 0, None))
    for folder, mode in (
        ("/run/netns", "0755"),
        ("/run/vpp", "0755"),
        ("/run/vppctl", "0700"),
        ("/var/lib/vppctl", "0700"),
    ):
        Path(folder).mkdir(mode=int(mode, 8), parents=True, exist_ok=True)
        _check(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"mode={mode}".encode()))
    ip("link", "set", "lo", "up")


def _go_on_inside() -> None:
    """Return in a process of the new process namespace, and end with its exit code in the others.

    Its first process reaps whoever has lost its parent, and takes everything down with it when the work is done.
    """
    for number in range(2):
        child = os.fork()
        if child:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while True:
                pid, status = os.wait()
                if pid == child:
                    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        if number == 0:
            _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """A new, empty network namespace for the calling thread; named namespaces made meanwhile are removed."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        ip("link", "set", "lo", "up")
        yield
    finally:
        for name in os.listdir("/run/netns"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        _check(_libc.setns(home, CLONE_NEWNET))
        os.close(home)


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread inside a named namespace. Raises FileNotFoundError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(there, CLONE_NEWNET))
        yield
    finally:
        _check(_libc.setns(home, CLONE_NEWNET))
        os.close(there)
        os.close(home)


def ip(*arguments: str) -> str:
    """Run iproute2's `ip`; raises with what it said when it fails."""
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"
    return result.stdout


def links(namespace: str = "") -> dict[str, dict[str, Any]]:
    """The links of a named namespace (empty: of this one), with addresses, by name; without lo."""
    where = ["-n", namespace] if namespace else []
    command = ["ip", *where, "-j", "-d", "addr", "show"]
    # The kernel's names are octets.
    result = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    if result.returncode:
        return {}
    return {link["ifname"]: link for link in json.loads(result.stdout or "[]") if link.get("ifname", "lo") != "lo"}


def links_of(pid: int) -> set[str]:
    """The names of the links that a process has; without lo, and none when there is no process."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "link"]
    result = subprocess.run(command, capture_output=True, check=False)
    return {link["ifname"] for link in json.loads(result.stdout or "[]") if link} - {"lo"}


def addresses(namespace: str, name: str) -> set[str]:
    """The addresses of a link, without the link-local ones that the kernel adds."""
    found = links(namespace).get(name, {}).get("addr_info", [])
    return {f"{a['local']}/{a['prefixlen']}" for a in found if not a["local"].startswith("fe80:")}


def wait_until(
    condition: Callable[[], object], what: str | Callable[[], str], timeout: float = 10.0, every: float = 0.01
) -> None:
    """Wait for a condition with a deadline; fails with `what` was awaited, which may be asked for then."""
    deadline, pause = time.monotonic() + timeout, every
    while not condition():
        if time.monotonic() >= deadline:
            awaited = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {timeout} s in vain for: {awaited}")
        time.sleep(pause)
        # Whoever waits for long leaves the processor to what is waited for.
        pause = max(every, min(pause * 1.2, 0.05))
