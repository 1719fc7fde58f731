"""Documents at and beyond their bounds: what they cost, and what those behind the decoder could not take."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from vppctl.agent.intake import configured
from vppctl.model.document import decode_bytes
from vppctl.model.keys import Kind
from vppctl.model.text import MAX_DOCUMENT, InvalidDocument, parse
from vppctl.reconcile.state import Configured, Invalid

MEMIF = {"name": "m", "type": 2}


def said(document: dict[str, Any], kind: Kind = Kind.LINUX) -> str:
    """What the agent says about a stored document; nothing when it takes it."""
    found = configured(kind, document["name"], json.dumps(document).encode(), 1, ())
    return str(found.content) if isinstance(found.content, Invalid) else ""


def in_file(path: str) -> dict[str, Any]:
    return {"name": "a", "veth": {"peer_if_name": "b"}, "namespace": {"type": 3, "filepath": path}}


@pytest.mark.parametrize("number", ["4194305", "99999999999", "9" * 5000])
@pytest.mark.parametrize("path", ["/proc/{}/ns/net", "/proc/1/task/{}/ns/net"])
def test_a_path_of_no_process(path: str, number: str) -> None:
    """Once, a number beyond what the system calls take ended the agent, again after each restart."""
    problem = said(in_file(path.format(number)))
    assert "write a PID of at most 4194304" in problem or "bytes long" in problem


def test_a_path_of_a_process() -> None:
    assert said(in_file("/proc/4194304/task/4194304/ns/net")) == ""


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"type": 1, "microservice": "x" * 256}, "is 256 bytes long; write at most 255"),
        ({"type": 3, "filepath": f"/run/netns/{'x' * 4085}"}, "is 4096 bytes long; write at most 4095"),
    ],
)
def test_long_references(section: dict[str, Any], problem: str) -> None:
    assert problem in said({"name": "a", "veth": {"peer_if_name": "b"}, "namespace": section})


@pytest.mark.parametrize(
    ("memif", "problem"),
    [
        ({"rx_queues": 256}, "memif.rx_queues: 256 is too many; write at most 255"),
        ({"tx_queues": 256}, "memif.tx_queues: 256 is too many"),
        ({"secret": "x" * 24}, "memif.secret: is not for VPP's API; write one of at most 23 ASCII characters"),
        ({"secret": "h\u00e9"}, "memif.secret: is not for VPP's API"),
        ({"socket_filename": f"/{'x' * 107}"}, "write one of at most 107 ASCII characters"),
        ({"socket_filename": "/h\u00e9"}, "is not for VPP's API"),
    ],
)
def test_what_the_api_of_vpp_cannot_carry(memif: dict[str, Any], problem: str) -> None:
    """Once, VPP's library refused to pack it, which ended the agent."""
    assert problem in said({**MEMIF, "memif": memif}, Kind.VPP)


def test_what_the_api_of_vpp_carries() -> None:
    memif = {"secret": "x" * 23, "socket_filename": f"/{'x' * 106}", "rx_queues": 255, "tx_queues": 255}
    assert said({**MEMIF, "memif": memif}, Kind.VPP) == ""


def test_all_keys_that_are_given_twice_are_told() -> None:
    with pytest.raises(InvalidDocument) as refused:
        parse(b'{"name": 1, "mtu": 1, "name": 2, "mtu": 2, "type": 0}')
    assert [str(problem) for problem in refused.value.problems] == [
        "name: is given twice; keep one of them",
        "mtu: is given twice; keep one of them",
    ]


def test_a_thousand_problems_are_not_kept() -> None:
    """Once, a document of 64 KiB cost 8 MiB for as long as it was stored."""
    size = (MAX_DOCUMENT - 100) // 2
    hostile = [
        f'{{"name": "a", "ip_addresses": [{",".join("1" * size)}]}}'.encode(),
        json.dumps({"name": "a", "ip_addresses": ["x"] * 1024, "veth": {"peer_if_name": "b"}}).encode(),
    ]
    tracemalloc.start()
    try:
        kept = [configured(Kind.LINUX, "a", value, 1, ()) for value in hostile for _ in range(10)]
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert all(isinstance(found, Configured) and isinstance(found.content, Invalid) for found in kept)
    assert size < len(kept) * 50_000, "octets for each"
    assert str(kept[-1].content).endswith("and 974 more problems")


def test_warnings_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    document = {"name": "a", "veth": {"peer_if_name": "b"}, **{f"x{number}": 1 for number in range(5000)}}
    assert said(document) == ""
    assert len(caplog.records) == 6
    assert caplog.records[-1].getMessage() == "a: and 4995 more warnings"


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    document = {"name": "m", "type": 2, "memif": {}, "description": {"secret": "hunter2", "x": [{"secret": "hunter2"}]}}
    problems = decode_bytes(json.dumps(document).encode(), kind=Kind.VPP).problems
    assert "hunter2" not in " ".join(map(str, problems))
