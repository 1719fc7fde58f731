"""How long a container runs until its link does: from the start that Docker tells to a carrier on the link."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from tests.bench.timing import Result, quantile
from tests.support.docker import Engine
from tests.support.netns import entered, wait_until

SIOCGIFFLAGS = 0x8913
IFF_UP_RUNNING = 0x41


def running(probe: socket.socket, name: str) -> bool:
    """Whether a link is up and has a carrier; asked through an ioctl, which disturbs nobody."""
    try:
        answer = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
    except OSError:
        return False
    return bool(struct.unpack_from("16sH", answer)[1] & IFF_UP_RUNNING == IFF_UP_RUNNING)


def bench(
    cycles: int, folder: Path, put: Callable[[Path], None], agent: Callable[[], AbstractContextManager[object]]
) -> list[Result]:
    """Start and stop one container so many times under a running agent."""
    subprocess.run(["ip", "netns", "add", "two"], check=True)
    with entered("two"):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    document = folder / "pair.json"
    sides = (("a", "b", {"type": 1, "microservice": "web"}), ("b", "a", {"type": 2, "name": "two"}))
    interfaces = [{"name": n, "enabled": True, "veth": {"peer_if_name": p}, "namespace": s} for n, p, s in sides]
    document.write_text(json.dumps({"interface": interfaces}))
    with probe, Engine(folder) as engine:
        os.environ["DOCKER_HOST"] = engine.host
        put(document)
        with agent():
            container = engine.run("server", "web")
            times = []
            for _ in range(cycles):
                container.kill()
                wait_until(lambda: not running(probe, "b"), "the link to go")
                container.start()
                while not running(probe, "b"):
                    time.sleep(0.0005)
                seen = time.time()
                container.reload()
                started = datetime.fromisoformat(container.attrs["State"]["StartedAt"][:26] + "+00:00").timestamp()
                times.append(seen - started)
    work = "a container's start to its link up"
    return [
        Result(f"{work}: p50 of {cycles}", "", quantile(times, 0.5) * 1e3, 0, "ms", 0),
        Result(f"{work}: p99", "", quantile(times, 0.99) * 1e3, 0, "ms", 0),
    ]
