"""graph: whatever a name or a state in the store is, it is text of the drawing and never a part of its language."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from vppctl.cli.graph import _dot, _mermaid, draw

NAMES = [
    '%%{init: {"theme": "dark", "securityLevel": "loose"}}%%',
    "%% comment",
    "`**bold**`",
    "$$x^2$$",
    "#lt;b#gt;",
    '"]; click n0 "javascript:alert(1)"; x["',
    "<img src=x>",
    "&lt;b&gt;",
    "a\\",
    'a"b',
    "a'b",
    "ﬂ°°60¶ß",
    "\x1b[2J",
    "x\ny --- z",
]


def reports() -> list[dict[str, str]]:
    return [
        {"name": name, "kind": "linux", "namespace": name, "peer": NAMES[number - 1], "state": name}
        for number, name in enumerate(NAMES)
    ]


def test_mermaid_has_no_directive_and_no_markup() -> None:
    lines = list(_mermaid(draw(reports())))
    assert lines[0] == "graph LR"
    label = r'"(?:[\w \-.,:/@+=]|#[0-9]+;)*"'
    shape = rf"  subgraph s\d+\[{label}\]|    n\d+\[{label}\]|  end|  n\d+ ---\|{label}\| n\d+"
    assert [line for line in lines[1:] if not re.fullmatch(shape, line)] == []
    text = "\n".join(lines)
    assert "%" not in text
    assert "`" not in text
    assert "°" not in text
    labels = [line.partition("[")[2][1:-2] for line in lines if line.startswith("    n")]
    read = {re.sub("#([0-9]+);", lambda found: chr(int(found[1])), label) for label in labels}
    assert read == {name.replace("\x1b", "\\x1b").replace("\n", "\\n") for name in NAMES}


@pytest.mark.skipif(not shutil.which("dot"), reason="needs graphviz")
def test_dot_draws_each_name_as_it_is() -> None:
    source = "\n".join(_dot(draw(reports())))
    drawn = subprocess.run(["dot", "-Tplain"], input=source, capture_output=True, text=True, check=True).stdout
    assert len([line for line in drawn.splitlines() if line.startswith("node ")]) == len(NAMES)


def test_dot_quotes_and_escapes() -> None:
    lines = list(_dot(draw(reports())))
    quoted = r'"(?:[^"\\]|\\\\|\\")*"'
    shape = rf"  subgraph cluster_\d+ \{{ label={quoted};|    {quoted};|  \}}|  {quoted} -- {quoted} \[color=\w+\];"
    assert [line for line in lines[1:-1] if not re.fullmatch(shape, line)] == []
    assert '    "&amp;lt;b&amp;gt;";' in lines
    assert len({line for line in lines if line.startswith("    ")}) == len(NAMES), "each is a node of its own"
