"""Ratios of speed against peers in the same run: `.venv/bin/python -m tests.bench`, as root; `--help` has the sizes.

Works inside network and mount namespaces of its own, with an etcd of its own; prints one line a target: our median,
the peer's median, and the ratio. Ratios are to be quoted, seconds are not.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import microservices
from tests.support.etcd import Etcd
from tests.support.netns import entered, ip, isolate, links, wait_until

BIN = Path(sys.executable).parent
VPPCTL = str(BIN / "vppctl")


def quiet(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, target: float, runs: int, ours: Callable[[], float], peer: Callable[[], float]) -> None:
    """The two in turn, and the ratio of their medians."""
    pairs = [(ours(), peer()) for _ in range(runs)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name:34} {mine * 1e3:9.1f} ms {other * 1e3:9.1f} ms  {mine / other:6.2f} x  target {target:g} x", flush=True
    )


def interfaces(count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for n in range(count):
        high, low = divmod(n, 250)
        for side, peer, space, host in (("a", "b", "ns1", 1), ("b", "a", "ns2", 2)):
            found.append(
                {
                    "name": f"{side}{n}",
                    "enabled": True,
                    "mtu": 1500,
                    "phys_address": f"02:{host:02x}:00:00:{high:02x}:{low:02x}",
                    "ip_addresses": [f"10.{high}.{low}.{host}/24", f"2001:db8:{high}:{low}::{host}/64"],
                    "namespace": {"type": 2, "name": space},
                    "veth": {"peer_if_name": f"{peer}{n}"},
                }
            )
    return found


def batches(path: Path, count: int) -> tuple[Path, Path]:
    """What a script would feed to `ip -batch`, to make the same pairs and to remove them."""
    make: list[str] = []
    sides = interfaces(count)
    for a, b in zip(sides[::2], sides[1::2], strict=True):
        make.append(
            f"link add {a['name']} netns ns1 address {a['phys_address']} mtu 1500 type veth "
            f"peer name {b['name']} netns ns2 address {b['phys_address']} mtu 1500"
        )
    for space, column in (("ns1", sides[::2]), ("ns2", sides[1::2])):
        lines = []
        for side in column:
            lines += [f"addr add {address} dev {side['name']}" for address in side["ip_addresses"]]  # type: ignore[attr-defined]
            lines.append(f"link set {side['name']} up")
        (path / f"make-{space}").write_text("\n".join(lines) + "\n")
    (path / "make").write_text("\n".join(make) + "\n")
    (path / "remove").write_text("".join(f"link del {side['name']}\n" for side in sides[::2]))
    return path / "make", path / "remove"


def veths(space: str) -> int:
    """Read from proc, which takes no lock that the agent needs."""
    try:
        with entered(space), open("/proc/thread-self/net/dev") as devices:
            return sum(line.lstrip()[:1] in "ab" for line in devices)
    except OSError as error:
        # Its file comes before the namespace is mounted on it.
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        return 0


def wipe() -> None:
    for space in ("ns1", "ns2"):
        subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)
    # The kernel takes namespaces down in the background, batch after batch (netns_wq, net/core/net_namespace.c), and a
    # measurement must not pay for the one before: when the link into the one that went last has gone, so have all.
    ip("netns", "add", "last")
    ip("link", "add", "last0", "type", "veth", "peer", "name", "last1", "netns", "last")
    ip("netns", "del", "last")
    wait_until(lambda: not links(), "the kernel to take the namespaces down", 120)


@contextmanager
def agent(*options: str) -> Iterator[None]:
    process = subprocess.Popen([VPPCTL, "agent", "run", *options], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for(count: int) -> None:
    deadline = time.monotonic() + 120
    while veths("ns1") != count:
        assert time.monotonic() < deadline, f"{veths('ns1')} links, not {count}"
        time.sleep(0.005)


def bench(count: int, runs: int, path: Path) -> None:
    document = path / "pairs.json"
    document.write_text(json.dumps({"interface": interfaces(count)}))
    make, remove = batches(path, count)

    def by_ip() -> float:
        wipe()

        def work() -> None:
            quiet("ip", "netns", "add", "ns1")
            quiet("ip", "netns", "add", "ns2")
            quiet("ip", "-batch", str(make))
            quiet("ip", "-n", "ns1", "-batch", f"{make}-ns1")
            quiet("ip", "-n", "ns2", "-batch", f"{make}-ns2")

        return timed(work)

    def by_agent() -> float:
        wipe()
        return timed(lambda: quiet(VPPCTL, "agent", "run", "--once"))

    quiet(VPPCTL, "put", str(document))
    compare(f"{count} pairs, cold agent: ip -batch", 1.2, runs, by_agent, by_ip)

    def delete_by_agent() -> float:
        wipe()
        quiet(VPPCTL, "put", str(document))
        with agent():
            wait_for(count)
            names = [f"a{n}" for n in range(count)]

            def work() -> None:
                quiet(VPPCTL, "del", *names)
                wait_for(0)

            return timed(work)

    def delete_by_ip() -> float:
        by_ip()
        return timed(lambda: quiet("ip", "-n", "ns1", "-batch", str(remove)))

    compare(f"delete {count} pairs: ip -batch", 0.06, max(1, runs // 3), delete_by_agent, delete_by_ip)
    quiet(VPPCTL, "del", "--ignore-not-found", *[f"{side}{n}" for n in range(count) for side in "ab"])

    veth1 = "json/veth1.json"
    value = json.dumps(json.loads(Path(veth1).read_text()))
    compare(
        "put one file: etcdctl put",
        9,
        runs * 5,
        lambda: timed(lambda: quiet(VPPCTL, "put", veth1)),
        lambda: timed(lambda: quiet("etcdctl", "put", "/bench", value)),
    )
    compare(
        "--help: python -c pass",
        6,
        runs * 5,
        lambda: timed(lambda: quiet(VPPCTL, "--help")),
        lambda: timed(lambda: quiet(sys.executable, "-c", "pass")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=100, help="starts of a container; 0 for none")
    arguments = parser.parse_args()
    isolate()
    with tempfile.TemporaryDirectory() as folder, Etcd(Path(folder)) as etcd:
        os.environ["ETCDCTL_ENDPOINTS"] = etcd.endpoint
        if arguments.pairs:
            bench(arguments.pairs, arguments.runs, Path(folder))
        if arguments.cycles:
            microservices.bench(arguments.cycles, Path(folder), lambda file: quiet(VPPCTL, "put", str(file)), agent)


if __name__ == "__main__":
    main()
