"""Status and configuration that no agent and no command line wrote: every command that prints them stays itself."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.strategies import HOSTILE, VALUES
from tests.support.agent import Vppctl
from vppctl.cli.describe import _lines, history_lines
from vppctl.cli.graph import Ties, _dot, _mermaid, _svg, _text, chain, draw
from vppctl.cli.observe import join
from vppctl.cli.render import _COLUMNS, _WIDE, clean
from vppctl.reconcile.mirror import Entry
from vppctl.store.base import Put
from vppctl.store.settings import open_store, parse_store_url

ROOT = "/vnf-agent/vpp1/"
FIELDS = [
    "name state reason message host_if_name namespace container peer if_index admin_status oper_status phys_address",
    "mtu ip_addresses tentative config_revision retries statistics last_change history errors netns chain kind type",
    "internal_name x",
]
ANY = st.recursive(
    st.sampled_from([v for v in VALUES if v != 10**400]) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "time",
                    "operations",
                    "result",
                    "times",
                    "error",
                    "path",
                    "process_start",
                    "in_packets",
                    "name",
                    "id",
                    "pid",
                    "y",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
REPORTS = st.dictionaries(st.sampled_from(" ".join(FIELDS).split()), ANY, max_size=10)
ESCAPES = "\x1b[31m\u202e[red]"
TYPES: dict[str, Any] = {
    "state": 7,
    "reason": [1],
    "peer": ["x"],
    "namespace": {"y": 1},
    "ip_addresses": [1, None],
    "history": [1, "x", {"operations": [1]}, {"operations": "abc", "time": ESCAPES}],
    "container": 5,
    "errors": [1, {"times": "x", "error": ESCAPES}],
    "netns": [1],
    "statistics": "x",
    "config_revision": "new",
    "chain": 7,
    "host_if_name": "x",
    "admin_status": "UP",
}
STORED: dict[str, bytes] = {
    "escapes": json.dumps({"state": ESCAPES, "message": f"{ESCAPES}\nall is well", "peer": ESCAPES}).encode(),
    "types": json.dumps(TYPES).encode(),
    "surrogate": b'{"state":"FAILED","message":"\\ud800"}',
    "deep": b"[" * 100_000,
    "deep-closed": b'{"history":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "digits": b"9" * 5000,
    "list": b"[]",
    "empty": b"",
    "octets": b"\xff\xfe\x00\x1b[2J",
    "nan": b'{"state":NaN,"mtu":1e999}',
    "large": b'"' + b"x" * (1 << 20) + b'"',
    ESCAPES: b"{}",
    "a/b": b"{}",
    "..": b"{}",
    "": b"{}",
    "k" * 10_000: b"{}",
}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", *HOSTILE[:12]]), REPORTS, max_size=4))
def test_any_report_is_shown(reports: dict[str, dict[str, Any]]) -> None:
    entries = [
        Entry(f"{ROOT}{kind}/status/v1/interface/{name}", json.dumps(report).encode(), 1)
        for name, report in reports.items()
        for kind in ("linux", "vpp")
    ]
    found = join(entries, "vpp1")
    assert {report["name"] for report in found} == set(reports)
    graph = draw(found)
    lines = [line for draws in (_dot, _mermaid, _svg) for line in draws(graph)]
    lines += _text(graph, lambda text, _: text)
    for report in found:
        described = {"key": "k", "chain": chain(report, Ties(found)), "status": report, "peer_state": ""}
        lines += [column(report) for column in (*_COLUMNS.values(), *_WIDE.values())]
        lines += [text for _, text in _lines(described)]
        lines += list(history_lines(report.get("history", ())))
    assert all(clean(line).isprintable() for line in lines)
    assert "<img" not in "\n".join(_mermaid(graph))


@pytest.fixture(scope="module")
def vppctl(tmp_path_factory: pytest.TempPathFactory) -> Vppctl:
    """The command line on a store full of garbage, as configuration and as status, of both kinds."""
    folder = tmp_path_factory.mktemp("garbage")
    url = f"sqlite:{folder}/store.db"
    store = open_store(parse_store_url(url))
    places = [f"{ROOT}{kind}/{what}/v1/interface/" for kind in ("linux", "vpp") for what in ("config", "status")]
    store.commit([Put(place + name, value) for place in places for name, value in STORED.items()])
    store.close()
    return Vppctl({"VPPCTL_STORE": url}, folder)


def harmless(output: bytes) -> str:
    text = output.decode()
    assert all(c.isprintable() or c == "\n" for c in text), sorted({c for c in text if not c.isprintable()})
    assert "Traceback" not in text
    assert "internal error" not in text
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        *(["status", "-o", output] for output in ("table", "wide", "json", "yaml", "name")),
        *(["graph", "-o", output] for output in ("text", "dot", "mermaid", "json", "svg")),
        *(
            [c, "-o", output]
            for c in ("history", "list")
            for output in ("text", "table", "wide", "json", "yaml", "name")
        ),
        ["dump"],
        ["diff", "-f", str(Path(__file__).parents[2] / "json")],
        ["agent", "health"],
        ["get", "nobody\udcff"],
        ["put", "--raw", "/a\udcff", "/dev/null"],
        ["-l", "x\udcff", "status"],
    ],
    ids=lambda arguments: " ".join(arguments).encode(errors="replace").decode()[:30],
)
def test_commands_on_garbage(vppctl: Vppctl, arguments: list[str]) -> None:
    result = subprocess.run(
        vppctl.command("vppctl", arguments), env=vppctl.environment, capture_output=True, check=False
    )
    harmless(result.stdout + result.stderr)
    assert result.returncode in (0, 1, 2, 3, 5)


@pytest.mark.kernel
def test_check_on_garbage(vppctl: Vppctl) -> None:
    """Once, what `check` had to say about unknown fields went to the terminal as it was."""
    result = subprocess.run(
        vppctl.command("vppctl", ["check"]), env=vppctl.environment, capture_output=True, check=False
    )
    harmless(result.stdout + result.stderr)


@pytest.mark.parametrize("name", [n for n in STORED if n not in ("", "a/b")], ids=lambda n: n.encode()[:12].hex())
def test_one_interface_that_is_garbage(vppctl: Vppctl, name: str) -> None:
    """Once, a value nested too deeply or a number for a text was an internal error, and -o yaml let bidi through."""
    wait = ["wait", name, "--for", "applied", "--timeout", "100ms"]
    keys = [f"{ROOT}{kind}/config/v1/interface/{name}" for kind in ("linux", "vpp")]
    for arguments in (
        *(["describe", key] for key in keys),
        ["describe", keys[0], "-o", "yaml"],
        ["describe", keys[0], "-o", "wide"],
        ["get", name, "-o", "wide"],
        ["get", name],
        ["get", name, "-o", "yaml"],
        wait,
    ):
        result = subprocess.run(
            vppctl.command("vppctl", arguments), env=vppctl.environment, capture_output=True, check=False
        )
        harmless(result.stdout + result.stderr)
        assert result.returncode == (6 if arguments is wait else 0)


def test_on_a_terminal_too(vppctl: Vppctl) -> None:
    ours, theirs = pty.openpty()
    command = vppctl.command("vppctl", ["--color", "never", "status", "-o", "wide"])
    environment = {**vppctl.environment, "TERM": "dumb", "COLUMNS": "200"}
    process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    while chunk := _read(ours):
        output += chunk
    os.close(ours)
    assert process.wait() == 0
    text = harmless(output.replace(b"\r\n", b"\n"))
    assert "\\x1b[31m\\u202e[red]" in text.replace("\n", "")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        # EIO: the other side of the terminal is closed.
        return b""
