"""The house's own rules, held by machine: generated code, sizes, docs in step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vppctl.cli.legacy import _PLAIN, _WITH_ARGUMENTS
from vppctl.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["linux_interfaces", "vpp_interfaces"])
def test_generating_the_protos_again_changes_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools")
    proto = f"vppctl/model/{name}.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, proto], cwd=ROOT, check=True)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        made = tmp_path / "vppctl" / "model" / f"{name}{suffix}"
        assert made.read_text() == (ROOT / "vppctl" / "model" / f"{name}{suffix}").read_text()


def test_files_are_short() -> None:
    files = [f for f in (ROOT / "vppctl").rglob("*.py") if not f.name.endswith("_pb2.py")]
    assert [f.name for f in files if len(f.read_text().splitlines()) > 300] == []


def test_presets_are_the_examples() -> None:
    from vppctl.model.presets import PRESETS, load

    for name in PRESETS:
        assert load(name) == (ROOT / "json" / f"{name}.json").read_bytes()


def test_the_readme_names_every_command_and_old_spelling() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [c for c in COMMANDS if f"| `{c} " not in readme and f"| `{c}`" not in readme] == []
    assert [w for w in (*_PLAIN, *_WITH_ARGUMENTS) if f"`{w}" not in readme] == []


@pytest.mark.machine
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="is about tests side by side")
def test_tests_of_one_group_run_in_one_worker(request: pytest.FixtureRequest) -> None:
    """pytest-xdist tells a group by what it puts behind the test's id, which not every pytest lets it."""
    assert request.node.nodeid.endswith("@machine")
