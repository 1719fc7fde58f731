"""Files of interfaces on their way to the store: read, checked as a whole, with every error of every file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import click

from vppctl.errors import InvalidInputError
from vppctl.files import read_start
from vppctl.model.document import Decoded, InvalidDocument, decode, documents, encode, guess_kind
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import ConfigKey, Kind
from vppctl.model.problem import Problem
from vppctl.model.text import MAX_DOCUMENT, MAX_FILE, without_secrets


class Item(NamedTuple):
    """One interface to write."""

    source: str
    key: ConfigKey
    interface: Interface | VppInterface
    value: bytes
    """What is stored."""


def read(source: str) -> bytes:
    """The content of a file, or of standard input for `-`. Raises InvalidInputError."""
    try:
        data = _bounded(sys.stdin.buffer) if source == "-" else read_start(source, MAX_FILE + 1)
    except OSError as error:
        raise InvalidInputError([f"{_shown(source)}: cannot be read: {error.strerror}"]) from None
    if len(data) > MAX_FILE:
        raise InvalidInputError([f"{_shown(source)}: is longer than {MAX_FILE} bytes; write several files"])
    return data


def _bounded(file: BinaryIO) -> bytes:
    """All of it, unless it is longer than any file may be."""
    # Most files are short, and room for a long one is not free.
    data = file.read(MAX_DOCUMENT)
    return data + file.read(MAX_FILE + 1 - len(data)) if len(data) == MAX_DOCUMENT else data


def _shown(source: str) -> str:
    return "standard input" if source == "-" else source


def load(
    sources: Sequence[str], label: str, key: ConfigKey | None = None, allowed_dirs: Sequence[str] = ()
) -> list[Item]:
    """All interfaces of these files, for `label` or for `key`. Raises InvalidInputError with all that is wrong."""
    items: list[Item] = []
    errors: list[str] = []
    for source in sources:
        shown = _shown(source)
        try:
            found = documents(read(source))
        except InvalidInputError as error:
            errors += error.lines
            continue
        except InvalidDocument as error:
            errors += [f"{shown}: {problem}" for problem in error.problems]
            continue
        if key and len(found) != 1:
            errors.append(f"{shown}: has {len(found)} interfaces, but the key {key} is for one; leave out the key")
            continue
        for prefix, document in found:
            kind = key.kind if key else guess_kind(document)
            decoded = check(document, kind, key.name if key else None, allowed_dirs)
            errors += [_line(shown, prefix, problem) for problem in decoded.problems]
            for warning in decoded.warnings:
                click.echo(f"warning: {shown}: {prefix}{warning}", err=True)
            if decoded.interface:
                target = key or ConfigKey(label, kind, decoded.interface.name)
                item = Item(shown, target, decoded.interface, encode(decoded.interface))
                items.append(item)
                if len(item.value) > MAX_DOCUMENT:
                    text = f"is {len(item.value)} bytes long; write at most {MAX_DOCUMENT}"
                    errors.append(_line(shown, prefix, Problem("", text)))
    errors += doubles(items) + shared_macs(items)
    if errors:
        raise InvalidInputError(errors)
    return items


def _line(source: str, prefix: str, problem: Problem) -> str:
    """The whole error: `FILE: interface[3].mtu: text`."""
    path = prefix + problem.path if problem.path else prefix.rstrip(".")
    return f"{source}: {path}: {problem.text}" if path else f"{source}: {problem.text}"


def check(document: object, kind: Kind, name: str | None = None, allowed_dirs: Sequence[str] = ()) -> Decoded:
    """Decode; what is rejected is also held against the JSON Schema, for places that our own rules did not name."""
    decoded = decode(document, kind=kind, name=name, allowed_dirs=allowed_dirs)
    if not decoded.problems:
        return decoded
    from vppctl.model.schema import explain

    # Its messages repeat values, and a secret in the wrong place is one.
    hidden = without_secrets(document)
    named = [problem.path for problem in decoded.problems]
    more = [p for p in explain(hidden, kind) if p.path and not any(n.startswith(p.path) for n in _spelled(named))]
    return Decoded(None, (*decoded.problems, *more), decoded.warnings)


def _spelled(paths: Sequence[str]) -> set[str]:
    """Paths in both spellings: the rules say host_if_name where the document may say hostIfName."""
    from vppctl.model.fields import camel

    return {*paths, *(".".join(camel(part) for part in path.split(".")) for path in paths)}


def doubles(items: Sequence[Item]) -> list[str]:
    """One error for each interface that is written twice."""
    first: dict[str, str] = {}
    errors = []
    for item in items:
        name = str(item.key)
        if name in first:
            errors.append(f"{item.source}: name: {item.key.name!r} is also in {first[name]}; keep one of them")
        first.setdefault(name, item.source)
    return errors


def shared_macs(items: Sequence[Item]) -> list[str]:
    """One error for each pair of which both ends are given here with one MAC address: the agent would not create it."""
    sides = {item.key: item for item in items if item.interface.phys_address}
    errors = []
    for key, item in sides.items():
        interface = item.interface
        peer = sides.get(key._replace(name=interface.peer)) if isinstance(interface, Interface) else None
        if peer is None or key.name > peer.key.name or not isinstance(peer.interface, Interface):
            continue
        if peer.interface.peer == key.name and peer.interface.phys_address == interface.phys_address:
            text = f"{interface.phys_address} is that of its peer {peer.key.name!r} too; write another for one of them"
            errors.append(f"{item.source}: phys_address: {text}")
    return errors
