"""What the agent may do: all capabilities but those that it needs are given up, before it has threads.

Capabilities are each thread's own, and a new thread has those of its maker (capabilities(7)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from vppctl.errors import VppctlError
from vppctl.linux import syscalls

NEEDED = {
    "CAP_DAC_READ_SEARCH": 2,  # namespace files in folders of others
    "CAP_NET_BROADCAST": 11,  # events of all namespaces on one socket (NETLINK_LISTEN_ALL_NSID)
    "CAP_NET_ADMIN": 12,  # links, addresses, their sysctls, large receive buffers
    "CAP_SYS_PTRACE": 19,  # /proc/PID/ns/net of processes of others (ptrace(2), PTRACE_MODE_READ)
    "CAP_SYS_ADMIN": 21,  # setns, unshare, mount
}
"""By number (linux/capability.h), found by trying without each (tests/agent/test_privileges.py)."""
TO_READ = ("CAP_SYS_ADMIN",)
TO_CHANGE = (*TO_READ, "CAP_NET_ADMIN")
TO_FOLLOW = (*TO_CHANGE, "CAP_NET_BROADCAST")
"""What nothing works without: a look, changes, and an agent that stays."""
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
"""linux/prctl.h"""
NS_GET_USERNS = 0xB701
"""linux/nsfs.h"""


def give_up() -> None:
    """Keep of what this process has no more than what is needed, and never get more, nor its children.

    Raises VppctlError when that is refused, although everybody may do it.
    """
    try:
        _give_up()
    except OSError as error:
        text = f"privileges cannot be given up: {error.strerror}; allow capset and prctl (seccomp)"
        raise VppctlError(text) from None


def _give_up() -> None:
    needed = sum(1 << number for number in NEEDED.values())
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in range(last + 1):
        if not needed >> number & 1:
            # Without CAP_SETPCAP the bounding set stays as the service manager has made it.
            with contextlib.suppress(PermissionError):
                syscalls.prctl(PR_CAPBSET_DROP, number)
    syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    kept = needed & _permitted()
    syscalls.capset(kept, kept, 0)
    syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)


def require(names: Sequence[str]) -> None:
    """Raises VppctlError when this process lacks one of these capabilities: better than to fail halfway."""
    if missing := lacking(names):
        options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing)
        raise VppctlError(f"not permitted without {', '.join(missing)}; run it as root, a container with {options}")
    if not _owns_network():
        raise VppctlError(
            "not permitted: root of a user namespace to which the network namespace does not belong; "
            "run it as the host's root, a container with --userns host"
        )


def _owns_network() -> bool:
    """Whether capabilities count in this network namespace: its user namespace is this one, or within it."""
    network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(fcntl.ioctl(network, NS_GET_USERNS))
    except OSError as error:
        return error.errno != errno.EPERM
    finally:
        os.close(network)
    return True


def lacking(names: Iterable[str]) -> list[str]:
    """Those of these capabilities that this process does not have."""
    permitted = _permitted()
    return [name for name in names if not permitted >> NEEDED[name] & 1]


def _permitted() -> int:
    status = Path("/proc/thread-self/status").read_text()
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm:"))
