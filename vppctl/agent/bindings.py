"""Which process a PID in a document means: the one that had this number when the agent first saw that document.

A number is given away again when its process has ended, and whoever may fork often enough gets it. So the start of the
process is noted with the revision of the document, and kept across restarts of the agent in a file of its own; a new
revision of the document means whoever has the number then. While nobody has it, the document waits for a process of
root's (or of the agent's own user), which it then means, for as long as that stays root's: numbers can be aimed at.
PID 1 needs no note, because it is given away once.

`bound` belongs to the reconcile loop; the rest may be called from any thread.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Collection
from pathlib import Path

from vppctl.agent.run_folder import file_of, open_own, run_path
from vppctl.errors import cause
from vppctl.linux.processes import look_at
from vppctl.model.interface import Interface, NamespaceRef
from vppctl.model.rules import process_of
from vppctl.reconcile.state import Configured, Reason, Unavailable

log = logging.getLogger("vppctl.agent")

Key = tuple[int, int]
"""A PID, and the revision of the documents that have it."""
AWAITED = 0
"""Instead of a start: nobody had the number when the document was seen."""
ENDED = sys.maxsize
"""Instead of a start: the process was one of an earlier boot."""
MAX_FILE = 1 << 24
"""Bytes that are read of the file; it has some 70 for each PID."""
SPARE = 1000
"""Notes that the file may have beyond twice those that are needed."""


class Bindings:
    """The notes of one label."""

    def __init__(self, label: str = "", *, keep: bool = False) -> None:
        """Those that the agent of this label has left, for none an empty label; `keep`: write new ones, too."""
        self._file = file_of(label, "processes") if label else ""
        self._boot, self._keep = _boot(), keep
        self._starts: dict[Key, int] = {}
        """Of the process that is meant; negative when it came later than the document."""
        self._users: dict[str, Key] = {}
        """What each interface's document has."""
        self._unwritten: set[Key] = set()
        self._lines = 0
        self._failing = False
        self._changing = threading.Lock()
        if self._file:
            self._read()

    def bound(self, configured: Configured) -> Configured:
        """The document with the process that its PID means. Raises OSError when descriptors run out."""
        interface = configured.content
        pid = process_of(interface.namespace) if isinstance(interface, Interface) else 0
        self._users.pop(configured.name, None)
        if pid <= 1 or not isinstance(interface, Interface):
            return configured
        key = pid, configured.revision
        self._users[configured.name] = key
        if key not in self._starts:
            process = look_at(pid)
            self._note(key, process.start if process else AWAITED)
        start = self._starts[key]
        reference = interface.namespace._replace(start=start if start > 0 else -configured.revision)
        return configured._replace(content=interface._replace(namespace=reference))

    def forget(self, name: str) -> None:
        """The document of this interface was deleted."""
        self._users.pop(name, None)

    def late(self, reference: NamespaceRef) -> NamespaceRef | Unavailable:
        """A reference to a process that was not there when its document was seen, with the one that it means by now.

        Raises OSError when descriptors run out.
        """
        pid = process_of(reference)
        key = pid, -reference.start
        process, noted = look_at(pid), -self._starts.get(key, AWAITED)
        if process is None or not process.users or noted not in (AWAITED, process.start):
            # That there is nobody, or another one, is told by who opens it.
            return reference._replace(start=noted or ENDED)
        if others := process.users - {0, os.geteuid()}:
            text = f"PID {pid} is a process of user {min(others)} that was started after the document was put"
            return Unavailable(Reason.FOREIGN_PID, f"{text}; put the document again to mean it")
        if noted == AWAITED:
            self._note(key, -process.start)
            self.save()
        return reference._replace(start=process.start)

    def save(self, *, whole: bool = False) -> None:
        """Write what is new; `whole`: what documents there are is known, so that notes of others may go."""
        with self._changing:
            if not self._keep or not self._unwritten:
                return
            try:
                needed = set(self._users.values())
                if whole and self._lines + len(self._unwritten) > 2 * len(needed) + SPARE:
                    self._starts = {key: start for key, start in self._starts.items() if key in needed}
                    self._write(self._starts.keys(), f"{self._file}.new", os.O_TRUNC)
                    os.replace(run_path(f"{self._file}.new"), run_path(self._file))
                    self._lines = len(self._starts)
                else:
                    self._write(self._unwritten, self._file, os.O_APPEND)
                    self._lines += len(self._unwritten)
                self._unwritten.clear()
                self._failing = False
            except OSError as error:
                if not self._failing:
                    text = "which processes PIDs mean is not known any more after a restart"
                    log.warning("%s cannot be written: %s; %s", run_path(self._file), cause(error), text)
                self._failing = True

    def _note(self, key: Key, start: int) -> None:
        with self._changing:
            self._starts[key] = start
            self._unwritten.add(key)

    def _write(self, keys: Collection[Key], name: str, flags: int) -> None:
        """Each note on a line between two line ends, so that one that was cut is none, and spoils no other."""
        lines = [b"\n%d %d %d %s\n" % (*key, self._starts[key], self._boot) for key in sorted(keys)]
        with open(open_own(name, os.O_WRONLY | os.O_CREAT | flags, create=True), "wb") as file:
            file.write(b"".join(lines))

    def _read(self) -> None:
        """What is no whole note, as an agent may leave it that is killed while it writes, counts for nothing."""
        try:
            with open(open_own(self._file, os.O_RDONLY), "rb") as file:
                lines = file.read(MAX_FILE).split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", run_path(self._file), cause(error))
            return
        for line in lines:
            match line.split():
                case [pid, revision, start, boot] if len(boot) == len(self._boot):
                    pass
                case _:
                    continue
            try:
                key, noted = (int(pid), int(revision)), int(start)
            except ValueError:
                continue
            is_other = noted != AWAITED and boot != self._boot
            self._starts[key] = (ENDED if noted > 0 else -ENDED) if is_other else noted
            self._lines += 1


def _boot() -> bytes:
    """What tells this boot from others: starts count from it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b"unknown"
