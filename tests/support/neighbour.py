"""A hostile neighbour: a process that changes what it may change, as fast as it can, in a namespace of its own.

Without privileges (uid 65534, root of a user namespace of its own), or with CAP_NET_ADMIN in a named namespace, as a
container has it. It is a shell that feeds iproute2 the same batch again and again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.netns import wait_until

NOBODY = "65534"
ADDRESSES, LINKS, ALTNAMES = 2000, 10, 200


def group(label: str) -> int:
    """The link group of a label's links, which is no secret."""
    return 0x76000000 | zlib.crc32(label.encode()) & 0xFFFFFF


def addresses(link: str = "churn0", count: int = ADDRESSES) -> tuple[str, str]:
    """Addresses of a link of one's own come and go."""
    add = [f"address add 10.{200 + n // 65536}.{n // 256 % 256}.{n % 256}/32 dev {link}" for n in range(count)]
    return f"link add {link} up type bridge", "\n".join([*add, f"address flush dev {link}"])


def links(mark: int = 0, *aliases: str) -> tuple[str, str]:
    """VETHs come and go; with a group and aliases, if they are given: our marks, which anybody can set there."""
    lines = []
    for n in range(LINKS):
        lines.append(f"link add churn{n} group {mark} type veth peer name nruhc{n} group {mark}")
        if aliases:
            lines.append(f"link set churn{n} alias {aliases[n % len(aliases)]}")
    return "", "\n".join([*lines, *(f"link del churn{n}" for n in range(LINKS))])


def altnames(count: int = 300) -> tuple[str, str]:
    """Many links, each with as many long names as a datagram takes, and others that come and go meanwhile."""
    before = [f"link add big{n} type veth peer name gib{n}" for n in range(count)]
    names = ["x" * 109] * ALTNAMES
    for n in range(count):
        before += [f"link property add dev big{n} altname {n:03}{name[3:]}{m:03}" for m, name in enumerate(names)]
    _, after = links()
    swap = [f"link property {what} dev churn altname {'y' * 100}" for what in ("add", "del")] * 20
    return "\n".join([*before, "link add churn type bridge"]), f"{after}\n" + "\n".join(swap)


def everything(mark: int, aliases: Sequence[str]) -> tuple[str, str]:
    """Links with and without marks, alternative names and addresses, one after the other."""
    before, churned = addresses("churn", 500)
    _, plain = links()
    _, marked = links(mark, *aliases)
    named = [f"link property {what} dev churn0 altname {n:03}{'x' * 100}" for what in ("add", "del") for n in range(99)]
    names = ["link add churn0 type bridge", *named, "link del churn0"]
    return before, "\n".join([plain, marked, churned, *names])


_LOOP = """
before=$(cat <&{0}) again=$(cat <&{1})
ip -force -batch - <<<"$before"
echo >&{2}
while :; do ip -force -batch - <<<"$again"; echo >&{2}; done
"""


class Neighbour:
    """At work from `start` on, or within `with`."""

    def __init__(self, folder: Path, work: tuple[str, str], *, namespace: str = "", name: str = "neighbour") -> None:
        """`work` is what is done once, and what again and again; in a named namespace, or as somebody unprivileged."""
        self._work, self._turns = work, folder / f"{name}.turns"
        self._where = ["ip", "netns", "exec", namespace] if namespace else UNPRIVILEGED
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """Begin, and return when it is at work."""
        # By descriptors, for the folder may be root's alone.
        with self._turns.open("wb") as turns, tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as again:
            files = (first, again)
            for file, text in zip(files, self._work, strict=True):
                file.write(text.encode() + b"\n")
                file.seek(0)
            fds = [first.fileno(), again.fileno(), turns.fileno()]
            command = [*self._where, "bash", "-c", _LOOP.format(*fds)]
            self.process = subprocess.Popen(
                command, start_new_session=True, pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        process = self.process
        wait_until(lambda: self.turns or process.poll() is not None, "the neighbour to be at work", timeout)
        assert process.poll() is None, "the neighbour has ended"

    @property
    def turns(self) -> int:
        """How often it has done its work."""
        return self._turns.stat().st_size

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


UNPRIVILEGED = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "unshare", "-U", "-r", "-n"]
