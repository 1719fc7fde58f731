"""What a writer of the store chooses, names and values, looks like nothing else than what it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Vppctl, veth
from vppctl.cli.escaping import clean, one_line, spaced, word
from vppctl.store.base import Put, Store
from vppctl.store.settings import open_store, parse_store_url

CONFIG = "/vnf-agent/vpp1/linux/config/v1/interface/"
STATUS = "/vnf-agent/vpp1/linux/status/v1/interface/"


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store/store.db"}, tmp_path)


@pytest.fixture
def store(vppctl: Vppctl) -> Iterator[Store]:
    store = open_store(parse_store_url(vppctl.environment["VPPCTL_STORE"]))
    yield store
    store.close()


FORGED = f"\n\n{CONFIG}forged\n{{}}\n"
VALUES = [
    FORGED.encode(),
    b"{}" + FORGED.encode(),
    FORGED.replace("\n", "\r\n").encode(),
    FORGED.replace("\n", "\v").encode(),
    FORGED.replace("\n", "\u2028").encode(),
    FORGED.replace("\n", "\x85").encode(),
    b'{"a": 1}\n' + FORGED.encode(),
    json.dumps({"name": FORGED}, indent=2).encode(),
    b"\xff\n\n/forged\n",
    b"",
]


def test_a_dump_is_three_lines_a_key(vppctl: Vppctl, store: Store) -> None:
    """Once, a value with line ends was as many entries as it liked."""
    keys = [f"/k{number}" for number in range(len(VALUES))]
    store.commit([Put(key, value) for key, value in zip(keys, VALUES, strict=True)])
    store.commit([Put("/k\n\n/forged\n{}", b"1")])
    lines = vppctl("dump", "/").split("\n")
    assert lines.pop() == ""
    entries = [lines[number : number + 3] for number in range(0, len(lines), 3)]
    assert {key for key, _, _ in entries} == {*keys, "/k\\n\\n/forged\\n{}"}
    assert {end for _, _, end in entries} == {""}
    # Nothing that splits lines otherwise, such as Python's splitlines, sees more of them.
    assert len("\n".join([*lines, ""]).splitlines()) == len(lines)


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "name": "a",\n\t"b": [1,\r\n 2]\n}\n',
        '{"a": " \\n  x",\n "b": "\\t"}',
        "[\n\n\n]",
        '"  spaces  "\n',
    ],
)
def test_json_on_several_lines_is_the_same_on_one(text: str) -> None:
    shown = one_line(text.encode())
    assert "\n" not in shown
    assert json.loads(shown) == json.loads(text)
    assert json.dumps(json.loads(text)).replace(" ", "") == shown.replace(" ", "")


def test_what_is_on_one_line_is_dumped_as_it_is(vppctl: Vppctl, store: Store) -> None:
    value = '{"name":"ä  b", "x" : [ 1 ]}'
    store.commit([Put("/a", value.encode())])
    assert vppctl("dump", "/a") == f"/a\n{value}\n\n"
    assert json.loads(vppctl("get", "/a"))["name"] == "ä  b"
    file = vppctl.folder / "raw"
    file.write_bytes(FORGED.encode())
    shown = vppctl("put", "--raw", "--dry-run", "/a", str(file))
    assert shown == f"/a\n{clean(FORGED)}\n\n"


def test_list_and_get_of_odd_keys_and_values(vppctl: Vppctl, store: Store) -> None:
    store.commit([Put(f"{CONFIG}a\nkey:  /forged", b"x\nkey:  /forged\n")])
    assert vppctl("list") == f"key:  {CONFIG}a\\nkey:  /forged\n"
    assert json.loads(vppctl("get", f"{CONFIG}a\nkey:  /forged")) == "x\nkey:  /forged\n"
    assert vppctl("get", f"{CONFIG}a\nkey:  /forged").count("\n") == 1
    assert vppctl("list", "-o", "table").count("\n") == 2


SICK = "veth1  APPLIED          ns1        veth2  10.0.0.1/24"
NAMES = [SICK, "veth1 APPLIED", " veth1", "veth1\\x20APPLIED", "veth1\tAPPLIED", "veth1\u2003APPLIED"]


@pytest.mark.parametrize("command", [["status"], ["status", "-o", "wide"], ["history", "-o", "table"], ["history"]])
def test_a_name_is_one_word_of_plain_columns(vppctl: Vppctl, store: Store, command: list[str]) -> None:
    """Once, a name with blanks was a healthy row for a sick one."""
    report = {"state": "FAILED", "reason": "KernelError", "history": [{"time": "T", "result": "FAILED"}]}
    for name in NAMES:
        store.commit([Put(f"{STATUS}{name}", json.dumps({**report, "name": name}).encode())])
    rows = [line.split() for line in vppctl(*command).splitlines()]
    rows = rows[1:] if command != ["history"] else rows
    assert {row[0] for row in rows} == {word(name) for name in NAMES}
    assert len(rows) == len(NAMES)
    assert not any("APPLIED" in row[1:] for row in rows)


def test_every_column_of_a_report_is_one_word(vppctl: Vppctl, store: Store) -> None:
    odd = "x  APPLIED y"
    texts = ["reason", "namespace", "peer", "host_if_name", "phys_address", "last_change", "admin_status"]
    report: dict[str, Any] = {
        "state": "FAILED",
        **dict.fromkeys(texts, odd),
        "ip_addresses": [odd, "10.0.0.1/24"],
        "message": odd,
    }
    store.commit([Put(f"{CONFIG}a", b"{}")])
    entry = store.get(f"{CONFIG}a")
    assert entry
    report["config_revision"] = entry.mod_revision
    store.commit([Put(f"{STATUS}a", json.dumps(report).encode())])
    header, row = vppctl("status", "-o", "wide").splitlines()
    # A column begins where its title does.
    titles = [title for title in header.split("  ") if title]
    starts = [header.index(title.strip()) for title in titles]
    cells = [row[start:end].strip() for start, end in itertools.pairwise([*starts, None])]
    found = dict(zip((title.strip() for title in titles), cells, strict=True))
    one = word(odd)
    assert found["REASON"] == found["NAMESPACE"] == found["PEER"] == found["HOST NAME"] == found["MAC"] == one
    assert found["ADDRESSES"] == f"{one}, 10.0.0.1/24"
    assert found["MESSAGE"] == spaced(odd) == "x\\x20\\x20APPLIED y"
    assert "  APPLIED" not in row


def test_what_changes_has_the_same_columns(vppctl: Vppctl, capsys: pytest.CaptureFixture[str]) -> None:
    from vppctl.cli.render import print_change

    print_change({"name": SICK, "state": "FAILED", "reason": "KernelError"}, "table", "never")
    assert capsys.readouterr().out.split() == [word(SICK), "FAILED", "KernelError"]


def test_the_columns_of_documents_and_keys(vppctl: Vppctl, store: Store) -> None:
    document = veth("a b", "c d", "n s", host_if_name="a", description="two words")
    document["ip_addresses"] = ["10.0.0.1/24", "10.0.0.2/24"]
    store.commit([Put(f"{CONFIG}a b", json.dumps(document).encode())])
    assert vppctl("get", "a b", "-o", "table").splitlines()[1].split() == (
        ["a\\x20b", "linux", "n\\x20s", "c\\x20d", "10.0.0.1/24,", "10.0.0.2/24"]
    )
    assert vppctl("get", "a b", "-o", "wide").splitlines()[1].split()[-3:] == (["two", "words", f"{CONFIG}a\\x20b"])
    assert vppctl("list", "-o", "table").splitlines()[1] == f"{CONFIG}a\\x20b"
    assert vppctl("get", "a b", "-o", "name") == "a b\n"
    assert json.loads(vppctl("get", "a b"))["name"] == "a b"


def test_names_in_a_diff(vppctl: Vppctl) -> None:
    file = vppctl.folder / "file.json"
    file.write_text(json.dumps(veth("a: in place", "b, c", host_if_name="a")))
    vppctl.put(veth("b, c", "a: in place", host_if_name="b"))
    shown = vppctl.run("diff", "-f", str(file)).stdout
    assert shown.splitlines()[0] == "+ a:\\x20in\\x20place: touches b,\\x20c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "a"), ("", ""), (" a  b c ", "\\x20a\\x20\\x20b c\\x20"), ("a\x1b", "a\\x1b"), ("10 , 11", "10 , 11")],
)
def test_texts_in_columns(text: str, shown: str) -> None:
    assert spaced(text) == shown


def test_words_are_told_apart() -> None:
    texts = ["a b", "a\\x20b", "a\\ b", "a\\\\x20b", "a\x20b ", "a\tb", "a\\tb", "ab"]
    assert len({word(text) for text in texts}) == len({*texts})
    assert not any(" " in word(text) for text in texts)
