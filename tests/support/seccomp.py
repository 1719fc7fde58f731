"""Runs a program under a seccomp filter that refuses some system calls, as a container's profile does.

python -m tests.support.seccomp ERRNO NUMBER,NUMBER,... PROGRAM ARGUMENT...
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

PIDFD_OPEN, OPENAT2 = 434, 437
"""The same number on every architecture (asm-generic/unistd.h)."""
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
"""BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ | BPF_K; BPF_RET | BPF_K (linux/filter.h)."""
ALLOW, FAIL = 0x7FFF0000, 0x00050000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO (linux/seccomp.h)."""


def refusing(errno: int, calls: Sequence[int], command: Sequence[str]) -> list[str]:
    """The command that runs `command` with these calls answered by this errno."""
    # By its path: where it runs, the tests are not on the path of modules.
    return [sys.executable, str(Path(__file__)), str(errno), ",".join(map(str, calls)), *command]


def _refuse(errno: int, calls: Sequence[int]) -> None:
    # The number of the call is the first field of struct seccomp_data.
    program = [(LOAD, 0, 0, 0)]
    for number in calls:
        program += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | errno)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header) != 0:
        raise OSError(ctypes.get_errno(), "seccomp filter")


if __name__ == "__main__":
    _refuse(int(sys.argv[1]), [int(number) for number in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])
