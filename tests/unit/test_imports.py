"""Importing the program depends on nothing that a host may have another way."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import importlib, os, pkgutil, platform, sys
found = os.uname_result(("Linux", "host", sys.argv[1], "#1", "x86_64"))
os.uname = lambda: found
platform.release = lambda: found.release
import vppctl
for module in pkgutil.walk_packages(vppctl.__path__, "vppctl."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("release", ["6.16+deb14-amd64", "7", "", "rolling"])
def test_no_name_of_a_kernel_stops_it(release: str) -> None:
    """Once, the release was read as two numbers when the module was loaded: ValueError, whatever the command."""
    result = subprocess.run([sys.executable, "-c", CODE, release], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
