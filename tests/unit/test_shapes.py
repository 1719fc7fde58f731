"""The shapes that campaign, kernel tests and bench draw from are what their names say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.support.shapes import (
    HOSTS,
    SHAPES,
    Document,
    kernel_name,
    moved,
    readdressed,
    renamed,
    rotated,
    shape,
    swapped,
    with_mtu,
)
from vppctl.model.document import decode
from vppctl.model.keys import Kind

CHANGES: dict[str, Callable[[Sequence[Document]], list[Document]]] = {
    "mtu": lambda documents: with_mtu(documents, 1400),
    "addresses": readdressed,
    "renamed": renamed,
    "rotated": rotated,
    "moved": moved,
    "swapped": swapped,
}
SPACES = {
    "pairs": 2,
    "star-default": 11,
    "star-named": 11,
    "star-process": 11,
    "chain": 11,
    "mesh": 5,
    "one": 1,
    "one-default": 1,
    "own": 20,
}
"""In how many namespaces ten pairs are."""


def is_whole(documents: Sequence[Document]) -> bool:
    """Every document is taken, every end has its peer, no two want one name."""
    by_name = {document["name"]: document for document in documents}
    names = Counter((str(document.get("namespace")), kernel_name(document)) for document in documents)
    for document in documents:
        assert decode(document, kind=Kind.LINUX, name=document["name"]).problems == ()
        assert by_name[document["veth"]["peer_if_name"]]["veth"]["peer_if_name"] == document["name"]
    return len(by_name) == len(documents) == len(names)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_pairs_and_namespaces(name: str) -> None:
    found = shape(name, 10, pid=7)
    assert found.pairs == 10
    assert len({str(document.get("namespace")) for document in found.documents}) == SPACES[name]
    assert found == shape(name, 10, pid=7)
    assert set(found.names) & set(shape(name, 10, pid=7, head="x").names) == set()


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_and_what_is_done_to_it_are_whole(name: str, hosts: str) -> None:
    found = shape(name, 11, pid=7, hosts=hosts, macs=True)
    assert is_whole(found.documents)
    for change in CHANGES.values():
        assert is_whole(change(found.documents))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_done_to_all_changes_all(change: Callable[[Sequence[Document]], list[Document]]) -> None:
    before = shape("pairs", 10).documents
    assert all(old != new for old, new in zip(before, change(before), strict=True))
