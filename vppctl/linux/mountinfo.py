"""What has changed in the mount table, as far as network namespaces are concerned (proc(5), mountinfo)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from io import FileIO

_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountTable:
    """The mount table of the thread that has opened the file; poll(2) of that announces changes."""

    def __init__(self, file: FileIO, folders: Iterable[str]) -> None:
        """`folders` are those that namespaces are mounted in; what is mounted on the way to one hides all of it."""
        self._file = file
        self._folders = [os.fsencode(os.path.realpath(folder)) for folder in folders]
        self._lines = self._read()

    def changed(self) -> frozenset[str] | None:
        """The names of the files on which namespaces were mounted or unmounted since the last time; None: any file."""
        before, self._lines = self._lines, self._read()
        names: set[str] = set()
        for line in before ^ self._lines:
            fields = line.split(b" ", 5)
            point = _OCTAL.sub(lambda code: bytes((int(code[1], 8),)), fields[4])
            if fields[3].startswith(b"net:["):
                names.add(os.fsdecode(os.path.basename(point)))
            elif self._concerns(point.rstrip(b"/")):
                return None
        return frozenset(names)

    def _concerns(self, point: bytes) -> bool:
        inside = point + b"/"
        return any(f == point or f.startswith(inside) or point.startswith(f + b"/") for f in self._folders)

    def _read(self) -> frozenset[bytes]:
        self._file.seek(0)
        return frozenset(self._file.read().splitlines())
