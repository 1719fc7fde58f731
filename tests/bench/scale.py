"""Many pairs at once: made, put and made, removed, found again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.pairs import Batches, addressed, agent, interfaces, tentative, veths, wait_for, wipe, write
from tests.bench.timing import VPPCTL, Result, in_turn, quiet, timed
from tests.support.netns import entered, ip

FEW = 3
"""Runs are divided by this where one takes many seconds."""
BOTH = ("ns1", "ns2")


def cold(count: int, runs: int, folder: Path) -> Result:
    """A cold agent, from its start to its end, with everything read back."""
    batches = Batches(folder, count)
    quiet(VPPCTL, "put", write(folder / "pairs.json", interfaces(count)))
    ours, theirs = in_turn(runs, cold_agent, lambda: made_by(batches))
    forget()
    return Result(f"{count} pairs, from a cold agent to verified", "`ip -batch`", ours, theirs, "ms", 1.0)


def cold_agent(*options: str) -> float:
    """From nothing in the kernel."""
    wipe()
    return timed(lambda: quiet(VPPCTL, "agent", "run", "--once", *options))


def made_by(batches: Batches) -> float:
    """The same by `ip -batch`."""
    wipe()
    return timed(batches.make)


def warm(count: int, runs: int, folder: Path) -> Result:
    """One put under a running agent, until the last address is there."""
    batches = Batches(folder, count)
    file = write(folder / "pairs.json", interfaces(count))

    def put_and_applied() -> float:
        wipe()
        forget()
        with agent():
            quiet(VPPCTL, "put", "json/veth1.json")
            quiet(VPPCTL, "status", "veth1")

            def work() -> None:
                quiet(VPPCTL, "put", file)
                wait_for(count, addressed, BOTH)

            return timed(work)

    ours, theirs = in_turn(runs, put_and_applied, lambda: made_by(batches))
    forget()
    return Result(f"{count} pairs put and made by a running agent", "`ip -batch`", ours, theirs, "ms", 1.5)


def remove_hub(count: int, runs: int, folder: Path) -> Result:
    """One end of each pair deleted, all in one namespace, until no link is left."""
    batches = Batches(folder, count)
    file = write(folder / "pairs.json", interfaces(count))

    def by_agent() -> float:
        wipe()
        quiet(VPPCTL, "put", file)
        with agent():
            wait_for(count, addressed, BOTH)
            return timed(lambda: delete(count, BOTH))

    def by_ip() -> float:
        made_by(batches)
        return timed(batches.remove)

    ours, theirs = in_turn(max(1, runs // FEW), by_agent, by_ip)
    forget()
    return Result(f"{count} pairs deleted, hub in one namespace", "`ip -batch`", ours, theirs, "ms", 0.04)


def remove_spread(count: int, runs: int, folder: Path) -> Result:
    """The same with every end in a namespace of its own, which `ip` has to be started in anew each time."""
    sides = interfaces(count, spread=True)
    file = write(folder / "spread.json", sides)

    def made() -> None:
        wipe()
        forget()
        quiet(VPPCTL, "put", file)
        quiet(VPPCTL, "agent", "run", "--once")

    def by_agent() -> float:
        made()
        with agent("--resync", "adopt"):
            quiet(VPPCTL, "wait", *[side["name"] for side in sides], "--for", "applied", "--timeout", "120s")
            return timed(lambda: delete(count, [f"sa{n}" for n in range(count)]))

    def by_ip() -> float:
        made()

        def work() -> None:
            for n in range(count):
                quiet("ip", "-n", f"sa{n}", "link", "del", "dev", f"a{n}")

        return timed(work)

    ours, theirs = in_turn(1, by_agent, by_ip)
    forget()
    wipe()
    return Result(f"{count} pairs deleted, each end in a namespace of its own", "`ip -n`", ours, theirs, "ms", 0.12)


def adopt(count: int, runs: int, folder: Path) -> Result:
    """A restart that finds everything as it should be, against making it; the kernel must not hear of it."""
    quiet(VPPCTL, "put", write(folder / "pairs.json", interfaces(count)))

    def again() -> float:
        # Until then the kernel itself has something to tell.
        wait_for(0, tentative, BOTH)
        with silence(BOTH):
            return timed(lambda: quiet(VPPCTL, "agent", "run", "--once", "--resync", "adopt"))

    theirs, ours = in_turn(max(1, runs // FEW), cold_agent, again)
    forget()
    return Result(f"restart with {count} correct pairs, `--resync adopt`", "making them", ours, theirs, "ms", 0.3)


def delete(count: int, spaces: Sequence[str]) -> None:
    """One end of each pair, until no link is left in these namespaces."""
    quiet(VPPCTL, "del", *[f"a{n}" for n in range(count)])
    wait_for(0, veths, spaces)


@contextmanager
def silence(spaces: Sequence[str]) -> Iterator[None]:
    """Nothing about links or addresses may change in these namespaces meanwhile."""
    listeners = []
    for space in spaces:
        with entered(space):
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)
        listener.bind((0, 0x1 | 0x10 | 0x100))
        listeners.append(listener)
    yield
    for listener in listeners:
        with listener:
            try:
                raise AssertionError(f"the kernel was changed: {listener.recv(4096).hex()}")
            except BlockingIOError:
                continue


def by_size(sizes: list[int], runs: int, folder: Path) -> dict[str, list[float]]:
    """Milliseconds to make so many pairs, by who makes them; for a plot."""
    found: dict[str, list[float]] = {"vppctl agent": [], "ip -batch": [], "pyroute2": [], "one ip a step": []}
    for count in sizes:
        batches = Batches(folder, count)
        quiet(VPPCTL, "put", write(folder / "pairs.json", interfaces(count)))

        def step_by_step(batches: Batches = batches) -> float:
            wipe()
            return timed(batches.make_step_by_step)

        works: list[Callable[[], float]] = [
            cold_agent,
            lambda: made_by(batches),  # noqa: B023 - called at once
            lambda: by_pyroute2(count),  # noqa: B023
        ]
        if count <= 100:
            works.append(step_by_step)
        for name, value in zip(found, in_turn(runs if count < 1000 else 1, *works), strict=False):
            found[name].append(value)
        forget()
    return found


def by_pyroute2(count: int) -> float:
    """pyroute2's own calls, in a process of their own."""
    wipe()
    for space in BOTH:
        ip("netns", "add", space)
    return timed(lambda: quiet(sys.executable, "-m", "tests.bench.by_pyroute2", str(count)))


def forget() -> None:
    """The store holds nothing of what was put."""
    subprocess.run(["etcdctl", "del", "/vnf-agent/", "--prefix"], check=True, stdout=subprocess.DEVNULL)


def used(process: subprocess.Popen[bytes], seconds: float) -> float:
    """The share of a core that a process uses over so many seconds."""
    before = cpu_seconds(process.pid)
    time.sleep(seconds)
    return (cpu_seconds(process.pid) - before) / seconds


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15 of stat, in ticks of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Resident MiB of a process now and at most (proc(5), VmRSS and VmHWM)."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return tuple(int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def rest(count: int, _runs: int, folder: Path) -> list[Result]:
    """An agent with so many pairs and nothing to do, statistics on, over two audits."""
    quiet(VPPCTL, "put", write(folder / "pairs.json", interfaces(count)))
    wipe()
    with agent() as process:
        wait_for(count, addressed, BOTH)
        quiet(VPPCTL, "wait", "a0", f"b{count - 1}", "--for", "applied", "--timeout", "120s")
        # The kernel is busy with duplicate address detection for a while, and tells of each.
        wait_for(0, tentative, BOTH)
        used(process, 15)
        share = used(process, 130)
        now, most = memory(process)
    print(json.dumps({"rss": round(now, 1), "hwm": round(most, 1)}), file=sys.stderr)
    forget()
    wipe()
    return [
        Result(f"agent's memory with {2 * count} interfaces", "", most, 0, "MiB", 150),
        Result(f"agent at rest with {2 * count} interfaces, statistics on", "", share * 100, 0, "% of a core", 2),
    ]
