"""graph -o svg: a picture that stands alone, and that nothing from the store can break out of."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.agent import Vppctl, veth
from vppctl.cli.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_every_interface_and_pair_is_drawn(tmp_path: Path) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)
    vppctl.put(veth("a", "b"), veth("b", "a", "ns1"))
    root = ET.fromstring(vppctl("graph", "-o", "svg"))
    assert {text.text for text in root.iter(f"{NAMESPACE}text")} >= {"a", "b"}
    assert root.get("width")


def test_boxes_do_not_overlap_and_all_is_inside() -> None:
    boxes = {f"ns{n}": [f"v{n}-{m}" for m in range(n)] for n in range(1, 12)}
    edges = [(f"v{n}-0", f"v{n + 1}-0", "APPLIED") for n in range(1, 11)]
    root = ET.fromstring("\n".join(svg(boxes, edges, {"APPLIED": "green"})))
    drawn = [
        tuple(float(r.get(k, "")) for k in ("x", "y", "width", "height"))
        for r in root.iter(f"{NAMESPACE}rect")
        if r.get("class") == "b"
    ]
    assert len(drawn) == 11
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for n, (x, y, w, h) in enumerate(drawn):
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in drawn[:n]:
            assert x >= x2 + w2 or x2 >= x + w or y >= y2 + h2 or y2 >= y + h
    assert [p.get("stroke") for p in root.iter(f"{NAMESPACE}path")] == ["green"] * 10


@pytest.mark.parametrize("name", ['<script>"x"</script>', "a\x1b[31mb", "&amp;"])
def test_names_are_no_markup(name: str) -> None:
    root = ET.fromstring("\n".join(svg({name: [name]}, [], {})))
    texts = [text.text or "" for text in root.iter(f"{NAMESPACE}text")]
    assert len(texts) == 2
    assert "\x1b" not in "".join(texts)
    assert not list(root.iter(f"{NAMESPACE}script"))
