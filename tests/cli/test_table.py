"""Tables on terminals of any width: nothing is cut, nothing is broken inside a word."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.agent import Vppctl
from vppctl.cli.table import columns, table

HEADER = ["NAME", "STATE", "REASON", "NAMESPACE", "ADDRESSES", "MESSAGE"]
ROWS = [
    ["veth1", "APPLIED", "", "ns1", "192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48", ""],
    ["b", "PENDING", "", "ns2", "", "peer 'veth3' is not configured, which takes many words to say"],
]


def drawn(width: int, rows: list[list[str]] = ROWS, header: list[str] = HEADER) -> list[str]:
    return list(table(header, rows, width, lambda text, _: text))


def test_what_fits_is_one_line_a_row() -> None:
    assert drawn(200)[0].split() == HEADER
    assert len(drawn(200)) == 2 + len(ROWS)
    assert "192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48" in drawn(200)[2]


def test_then_lists_then_texts_take_more_lines_and_empty_columns_go() -> None:
    lines = drawn(140)
    assert lines[2].endswith("192.168.22.1/24")
    assert lines[3].strip() == "2001:db8::ff00:89e3:bb42/48"
    assert lines[0].split() == HEADER
    lines = drawn(100)
    assert lines[0].split() == [name for name in HEADER if name != "REASON"]
    assert [line.rpartition("  ")[2] for line in lines[4:]] == [
        "peer 'veth3' is not configured, which takes",
        "many words to say",
    ]


def test_without_texts_the_lists_go_below_their_rows() -> None:
    assert drawn(50, [row[:5] for row in ROWS], HEADER[:5]) == [
        "NAME   STATE    NAMESPACE",
        "  ADDRESSES",
        "─────────────────────────",
        "veth1  APPLIED  ns1",
        "  192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48",
        "b      PENDING  ns2",
    ]


def test_then_rows_become_paragraphs() -> None:
    lines = drawn(60)
    assert lines[:5] == [
        "veth1",
        "  STATE      APPLIED",
        "  NAMESPACE  ns1",
        "  ADDRESSES  192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48",
        "",
    ]
    assert lines[-2:] == [
        "  MESSAGE    peer 'veth3' is not configured, which takes",
        "             many words to say",
    ]


word = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
texts = st.lists(word, max_size=8).map(" ".join)
rows = st.lists(st.tuples(word, word, texts, word, st.lists(word, max_size=3).map(", ".join), texts), min_size=1)


@given(rows.map(lambda found: [list(row) for row in found]), st.integers(40, 250))
def test_every_word_is_there_whole_and_no_line_is_too_wide(found: list[list[str]], width: int) -> None:
    lines = drawn(width, found)
    shown = " ".join(lines).split()
    for row in found:
        for cell in row:
            for part in cell.split():
                assert any(part.rstrip(",") in piece for piece in shown)
    assert max(map(columns, lines)) <= max(width, 13 + 31), "but for a word that is wider than what is left of the line"


def test_wide_letters_take_two_columns() -> None:
    lines = drawn(80, [["日本", "x"], ["ab", "y"]], ["NAME", "B"])
    assert columns(lines[2].rpartition("x")[0]) == columns(lines[3].rpartition("y")[0]) == 6


def on_terminal(vppctl: Vppctl, width: int, *arguments: str) -> str:
    """What a terminal of this width is sent."""
    ours, theirs = pty.openpty()
    environment = {**vppctl.environment, "COLUMNS": str(width), "TERM": "xterm"}
    process = subprocess.Popen(
        vppctl.command("vppctl", arguments), env=environment, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    sent = b""
    try:
        while part := os.read(ours, 65536):
            sent += part
    except OSError:  # EIO: the other side is closed.
        pass
    os.close(ours)
    process.communicate(timeout=20)
    return sent.decode()


@pytest.fixture
def many(tmp_path: Path) -> Vppctl:
    """A store with 3000 interfaces."""
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)
    vppctl.put(*({"name": f"n{i:04}", "veth": {"peer_if_name": f"p{i}"}} for i in range(3000)))
    return vppctl


@pytest.mark.parametrize("width", [80, 200])
def test_three_thousand_rows_with_a_count_and_few_messages(many: Vppctl, width: int) -> None:
    shown = on_terminal(many, width, "status")
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in shown.splitlines()]
    assert len(lines) == 2 + 3000
    assert max(map(len, lines)) <= width
    assert "\x1b[2mUNKNOWN" in shown
    assert "\x1b[" not in on_terminal(many, width, "--color", "never", "status")
    messages = many.run("--color", "always", "status").stderr.splitlines()
    assert messages == [
        "3000 interfaces: 3000 UNKNOWN",
        "n0000 and 2999 more: no agent of label vpp1 is running on this host",
    ]
    assert len(json.loads(many("status", "-o", "json"))) == 3000
