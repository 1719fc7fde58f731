"""What an operator who knows `ip` well would run instead: for each way of change the scripts that have its effect.

`ip -batch` reads a file for each namespace, since a process of `ip` is in one; links are created in a group, so that
one command deletes all of a namespace; where there are many namespaces, several processes run side by side (xargs).
Where two ways are about equally good there are several scripts, and the best one counts.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.shapes.look import Space, space_of, spaces_of, whole
from tests.bench.timing import timed
from tests.support.shapes import Document, kernel_name, namespaces

GROUP = 4711
"""Of all links that are created by hand."""
MANY = 4
"""More namespaces than this are worked on side by side, too ..."""
SIDE_BY_SIDE = 8
"""... by so many processes; ..."""
DELETING = 32
"""... by so many where each waits for the kernel's grace period."""


class Script(NamedTuple):
    """A script, and what the table calls it."""

    title: str
    text: str
    """For `sh -e`, to be run in the folder of its files."""


class Files:
    """Files for `ip -batch`, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def write(self, lines: Iterable[str]) -> str:
        """A new file with these lines; its name."""
        self._count += 1
        (self.folder / str(self._count)).write_text("".join(f"{line}\n" for line in lines))
        return str(self._count)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


def run(script: Script, folder: Path) -> float:
    """Milliseconds that the script takes. Raises with what it printed when it fails."""

    def work() -> None:
        command = ["sh", "-e", "-c", script.text]
        result = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        assert result.returncode == 0, f"{script.title}: {result.stderr[-500:]}"

    return timed(work)


# Parts of scripts


def _ip(space: Space, arguments: str) -> str:
    if space.pid:
        return f"nsenter -t {space.pid} -n ip {arguments}"
    return f"ip -n {space.name} {arguments}" if space.name else f"ip {arguments}"


def _each(files: Files, arguments: dict[Space, str], at_once: int = 1) -> str:
    """`ip` with these arguments in each of these namespaces, so many at the same time."""
    if at_once == 1:
        return "".join(f"{_ip(space, text)}\n" for space, text in arguments.items())
    jobs = files.write(f"-n {space.name} {text}" for space, text in arguments.items() if space.name)
    others = "".join(f"{_ip(space, text)}\n" for space, text in arguments.items() if not space.name)
    return f"{others}xargs -a {jobs} -L 1 -P {at_once} ip\n"


def _batches(files: Files, lines: dict[Space, list[str]]) -> list[Script]:
    """The lines of each namespace through `ip -batch`: one namespace after the other, and several at once."""
    arguments = {space: f"-batch {files.write(of_space)}" for space, of_space in lines.items()}
    scripts = [Script("`ip -batch`", _each(files, arguments))]
    if len(lines) > MANY:
        scripts.append(Script(f"`ip -batch`, {SIDE_BY_SIDE} at once", _each(files, arguments, SIDE_BY_SIDE)))
    return scripts


def _by_space(documents: Iterable[Document], lines: Callable[[Document], Iterable[str]]) -> dict[Space, list[str]]:
    found: dict[Space, list[str]] = {}
    for document in documents:
        found.setdefault(space_of(document), []).extend(lines(document))
    return found


def _pairs(documents: Sequence[Document]) -> Iterator[tuple[Document, Document]]:
    by_name = {document["name"]: document for document in documents}
    for document in whole(documents):
        peer = by_name[document["veth"]["peer_if_name"]]
        if document["name"] < peer["name"]:
            yield document, peer


# The ways


def make(files: Files, documents: Sequence[Document], present: Sequence[str] = ()) -> list[Script]:
    """Namespaces but those that are present, pairs straight into them, then their addresses."""
    lines = [f"netns add {name}" for name in namespaces(documents) if name not in present]
    for pair in _pairs(documents):
        one, two = (_end(document) for document in pair)
        lines.append(f"link add name {one} type veth peer name {two}")
    first = f"ip -batch {files.write(lines)}\n"

    def settings(document: Document) -> list[str]:
        name = kernel_name(document)
        return [*(f"addr add {address} dev {name}" for address in document["ip_addresses"]), f"link set {name} up"]

    scripts = _batches(files, _by_space(whole(documents), settings))
    return [Script(script.title, first + script.text) for script in scripts]


def _end(document: Document) -> str:
    space = space_of(document)
    where = f" netns {space.pid or space.name}" if space != Space() else ""
    mtu = f" mtu {document['mtu']}" if document.get("mtu") else ""
    return f"{kernel_name(document)} group {GROUP}{mtu}{where}"


def remove(files: Files, documents: Sequence[Document]) -> list[Script]:
    """All pairs, by the group in as few namespaces as hold an end of each."""
    pairs = [(space_of(one), space_of(two)) for one, two in _pairs(documents)]
    ends = Counter(space for pair in pairs for space in set(pair))
    chosen: dict[Space, str] = {}
    for one, two in pairs:
        if one not in chosen and two not in chosen:
            chosen[one if ends[one] > ends[two] else two] = f"link del group {GROUP}"
    if len(chosen) > MANY:
        return [Script(f"`ip link del group`, {DELETING} at once", _each(files, chosen, DELETING))]
    return [Script("`ip link del group`", _each(files, chosen))]


def remove_in(spaces: Iterable[Space]) -> str:
    """All pairs that have an end in these namespaces."""
    return "".join(f"{_ip(space, f'link del group {GROUP}')}\n" for space in spaces)


def remove_one_by_one(files: Files, documents: Sequence[Document]) -> Script:
    """All pairs through `ip -batch`, which waits for the kernel each time."""
    lines = _by_space([one for one, _ in _pairs(documents)], lambda d: [f"link del {kernel_name(d)}"])
    return Script("`ip -batch`, one by one", _batches(files, lines)[0].text)


def assert_all(files: Files, documents: Sequence[Document]) -> list[Script]:
    """Everything set once more to what it is."""

    def lines(document: Document) -> list[str]:
        name, mtu = kernel_name(document), document.get("mtu") or 1500
        return [
            f"link set {name} up mtu {mtu}",
            *(f"addr replace {address} dev {name}" for address in document["ip_addresses"]),
        ]

    return _batches(files, _by_space(documents, lines))


def set_mtu(files: Files, documents: Sequence[Document]) -> list[Script]:
    """All have the same one, so that the group can be set in one command; which is no faster."""
    return _batches(files, _by_space(documents, lambda d: [f"link set {kernel_name(d)} mtu {d['mtu']}"]))


def set_addresses(files: Files, before: Sequence[Document], after: Sequence[Document]) -> list[Script]:
    """Each address taken away and the new one added; `ip addr flush` is slower."""
    old = {document["name"]: document["ip_addresses"] for document in before}

    def lines(document: Document) -> Iterator[str]:
        for gone, come in zip(old[document["name"]], document["ip_addresses"], strict=True):
            yield f"addr del {gone} dev {kernel_name(document)}"
            yield f"addr add {come} dev {kernel_name(document)}"

    return _batches(files, _by_space(after, lines))


def rename(files: Files, before: Sequence[Document], after: Sequence[Document]) -> list[Script]:
    """While they are up, as Linux allows since 6.2; nothing else changes."""
    old = {document["name"]: kernel_name(document) for document in before}
    return _batches(files, _by_space(after, lambda d: [f"link set {old[d['name']]} name {kernel_name(d)}"]))


def replace(files: Files, before: Sequence[Document], after: Sequence[Document]) -> list[Script]:
    """Delete and make anew: what has another peer has to be, and moving a link costs the kernel 16 ms."""
    deletion = remove(files, before)[0]
    return [
        Script(f"{deletion.title}, {making.title}", deletion.text + making.text)
        for making in make(files, after, namespaces(before))
    ]


def renew_namespaces(files: Files, documents: Sequence[Document]) -> list[Script]:
    """The named namespaces deleted, and all created anew; ends elsewhere go first, since the kernel takes its time."""
    first = remove_in(space for space in spaces_of(documents) if not space.name)
    deletion = first + forget_namespaces(files, documents)
    return [Script(f"`ip netns del`, {making.title}", deletion + making.text) for making in make(files, documents)]


def forget_namespaces(files: Files, documents: Sequence[Document]) -> str:
    """Only the named namespaces deleted."""
    return f"ip -batch {files.write(f'netns del {name}' for name in namespaces(documents))}\n"
