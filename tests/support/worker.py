"""Starts a process of a parallel run in namespaces of its own: `python -m tests.support.worker ARGUMENTS-OF-PYTHON`.

For pytest-xdist, whose processes have threads before any hook of ours runs, so that it is too late to fork there.
"""

from __future__ import annotations

import os
import sys

from tests.support import netns

if __name__ == "__main__":
    if os.geteuid() == 0:
        netns.isolate()
    os.environ["VPPCTL_TEST_WORKER"] = "isolated"
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
