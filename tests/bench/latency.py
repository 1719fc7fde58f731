"""One change at a time, under an agent that has much or little already. Waits on the kernel's own events."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.bench.pairs import Document, addressed, agent, interfaces, tentative, wait_for, wipe, write
from tests.bench.scale import BOTH, forget
from tests.bench.timing import VPPCTL, Result, quantile, quiet
from tests.support.etcd import Etcd
from tests.support.netns import entered, wait_until
from vppctl.linux import wire
from vppctl.model.keys import config_key, status_key
from vppctl.store.base import Delete, Put, Store
from vppctl.store.settings import open_store, parse_store_url

IFF_RUNNING = 0x40
PATIENCE = 10.0
"""Seconds after which a change counts as lost."""


class Links:
    """The events of a namespace's links."""

    def __init__(self, space: str) -> None:
        with entered(space):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0x1 | 0x10))  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR
        self._socket.settimeout(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until(self, name: str, fits: Callable[[int, int, dict[int, bytes]], bool]) -> None:
        """Wait for an event of this link whose type, flags and attributes fit."""
        while True:
            for kind, _, _, _, body in wire.messages(self._socket.recv(1 << 16)):
                if kind not in (wire.RTM_NEWLINK, wire.RTM_DELLINK):
                    continue
                attributes = wire.attributes(body, wire.IFINFO.size)
                if wire.string(attributes.get(wire.IFLA_IFNAME, b"")) != name:
                    continue
                if fits(kind, wire.IFINFO.unpack_from(body)[3], attributes):
                    return

    def until_address(self, host: str) -> None:
        """Wait until this IPv4 address is there."""
        wanted = socket.inet_aton(host)
        while True:
            for kind, _, _, _, body in wire.messages(self._socket.recv(1 << 16)):
                if kind == wire.RTM_NEWADDR and wire.attributes(body, wire.IFADDR.size)[wire.IFA_LOCAL] == wanted:
                    return


def put(store: Store, document: Document) -> None:
    store.commit([Put(config_key("vpp1", document["name"]), json.dumps(document).encode())])


@contextmanager
def busy_agent(count: int, folder: Path, etcd: Etcd) -> Iterator[Store]:
    """An agent with so many pairs, and a store to change them in."""
    wipe()
    forget()
    quiet(VPPCTL, "put", write(folder / "pairs.json", interfaces(count)))
    store = open_store(parse_store_url(f"etcd://{etcd.endpoint}"))
    try:
        with agent():
            wait_for(count, addressed, BOTH)
            quiet(VPPCTL, "wait", "a0", f"b{count - 1}", "--for", "applied", "--timeout", "120s")
            wait_for(0, tentative, BOTH)
            yield store
    finally:
        store.close()
        forget()
        wipe()


def one_put(count: int, times: int, folder: Path, etcd: Etcd) -> list[Result]:
    """The second side of a pair is put; how long until its link is up and runs."""
    first, second = interfaces(1, first=count)
    found = []
    with busy_agent(count, folder, etcd) as store, Links("ns2") as events:
        put(store, first)
        for _ in range(times):
            start = time.perf_counter()
            put(store, second)
            events.until(second["name"], lambda kind, flags, _: kind == wire.RTM_NEWLINK and bool(flags & IFF_RUNNING))
            found.append((time.perf_counter() - start) * 1e3)
            store.commit([Delete(config_key("vpp1", second["name"]))])
            events.until(second["name"], lambda kind, _, __: kind == wire.RTM_DELLINK)
            # The kernel takes its time with the rest of the deletion, and the agent is idle only when it has said so.
            wait_until(lambda: store.get(status_key("vpp1", second["name"])) is None, "the agent to be done")
    work = f"one put to link up, agent idle with {count} pairs"
    return [
        Result(f"{work}: p50 of {times}", "", quantile(found, 0.5), 0, "ms", 10),
        Result(f"{work}: p99", "", quantile(found, 0.99), 0, "ms", 40),
    ]


def one_change(few: int, many: int, times: int, folder: Path, etcd: Etcd) -> Result:
    """An address comes, with many pairs present and with few.

    Not an MTU, for which the kernel itself walks all routes: 0.01 ms with 10 pairs, 2.4 ms with 5000.
    """

    def median(count: int) -> float:
        found = []
        with busy_agent(count, folder, etcd) as store, Links("ns1") as events:
            sides = interfaces(count)[::2]
            for number in range(times):
                side = sides[number % len(sides)]
                host = f"10.200.{number}.1"
                start = time.perf_counter()
                put(store, {**side, "ip_addresses": [*side["ip_addresses"], f"{host}/24"]})
                events.until_address(host)
                found.append((time.perf_counter() - start) * 1e3)
        return quantile(found, 0.5)

    theirs, ours = median(few), median(many)
    return Result(f"one change with {many} pairs present", f"with {few} pairs", ours, theirs, "ms", 1.3)
