"""Whole commands, against what they are measured by."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.pairs import interfaces
from tests.bench.scale import forget
from tests.bench.timing import VPPCTL, Result, in_turn, quiet, timed

VETH1 = "json/veth1.json"


def commands(runs: int, folder: Path) -> Iterator[Result]:
    """put, --help, completion; several times each, for they are short."""
    value = json.dumps(json.loads(Path(VETH1).read_text()))

    def etcdctl_put() -> float:
        return timed(lambda: quiet("etcdctl", "put", "/bench", value))

    def python() -> float:
        return timed(lambda: quiet(sys.executable, "-c", "pass"))

    ours, theirs = in_turn(runs * 5, lambda: timed(lambda: quiet(VPPCTL, "put", VETH1)), etcdctl_put)
    yield Result("`vppctl put` of one file", "`etcdctl put`", ours, theirs, "ms", 7)
    for arguments in (["--help"], ["completion", "bash"]):
        ours, theirs = in_turn(runs * 5, lambda: timed(lambda: quiet(VPPCTL, *arguments)), python)  # noqa: B023
        yield Result(f"`vppctl {' '.join(arguments)}`", "`python -c pass`", ours, theirs, "ms", 5)
    files = []
    for document in interfaces(500):
        files.append(str(folder / f"{document['name']}.json"))
        Path(files[-1]).write_text(json.dumps(document))
    ours, theirs = in_turn(runs, lambda: timed(lambda: quiet(VPPCTL, "put", *files)), etcdctl_put)
    yield Result(f"`vppctl put` of {len(files)} files", "`etcdctl put`", ours, theirs, "ms", 60)
    forget()
