"""The same changes by the agent: each is one transaction in etcd, and over when the agent reports it as done."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from tests.bench.pairs import terminated
from tests.bench.scale import cpu_seconds
from tests.bench.shapes.look import PATIENCE
from tests.bench.timing import VPPCTL
from tests.support.etcd import Etcd
from tests.support.netns import wait_until
from tests.support.shapes import Document
from vppctl.model.keys import config_key, status_prefix
from vppctl.store.base import Changed, Delete, Operation, Put
from vppctl.store.settings import open_store, parse_store_url

LABEL = "bench"
ETCD_OPTIONS = ("--max-txn-ops=50000", "--max-request-bytes=67108864", "--quota-backend-bytes=4294967296")
"""All of a shape goes into one transaction."""
IDLE = 0.2
"""Seconds without work after which an agent counts as idle."""


class ByAgent:
    """A running agent, its store, and what it reports."""

    def __init__(self, etcd: Etcd, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._store = open_store(parse_store_url(f"etcd://{etcd.endpoint}"))
        self._prefix = status_prefix(LABEL)
        listed = self._store.list(self._prefix)
        self._reports = {e.key.removeprefix(self._prefix): json.loads(e.value or b"{}") for e in listed.entries}
        self._watch = self._store.watch(self._prefix, listed.revision + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        self._store.close()

    def write(self, before: Sequence[Document], after: Sequence[Document], *, again: bool = False) -> int:
        """Make the store hold `after` instead of `before`, in one transaction; with `again` what is the same, too."""
        old = {document["name"]: document for document in before}
        new = {document["name"]: document for document in after}
        operations: list[Operation] = [Delete(config_key(LABEL, name)) for name in old if name not in new]
        operations += [
            Put(config_key(LABEL, name), json.dumps(document).encode())
            for name, document in new.items()
            if again or old.get(name) != document
        ]
        return self._store.commit(operations).revision

    def wait_reported(self, names: Sequence[str], fits: Callable[[dict[str, Any] | None], bool]) -> None:
        """Until the report about each of these interfaces fits; None is no report."""
        deadline = time.monotonic() + PATIENCE
        missing = {name for name in names if not fits(self._reports.get(name))}
        while missing:
            some = sorted(missing)[0]
            assert time.monotonic() < deadline, f"{len(missing)} reports, such as {self._reports.get(some) or some}"
            missing -= {name for name in self._hear() & missing if fits(self._reports.get(name))}

    def _hear(self) -> set[str]:
        """The interfaces that the next message is about."""
        message = self._watch.next(1.0)
        if not isinstance(message, Changed):
            return set()
        names = set()
        for entry in message.entries:
            names.add(name := entry.key.removeprefix(self._prefix))
            if entry.value is None:
                self._reports.pop(name, None)
            else:
                self._reports[name] = json.loads(entry.value)
        return names

    def wait_idle(self) -> None:
        """Until the agent has done nothing for a while: what follows a change is not to be part of the next."""
        used = [0.0, cpu_seconds(self.process.pid)]

        def still() -> bool:
            time.sleep(IDLE)
            used[:] = used[1], cpu_seconds(self.process.pid)
            return used[1] - used[0] < IDLE / 10

        wait_until(still, "the agent to have nothing to do", PATIENCE)


def applied(revision: int) -> Callable[[dict[str, Any] | None], bool]:
    """As reported of this revision of the configuration or a later one."""
    return lambda report: bool(report) and report["state"] == "APPLIED" and report["config_revision"] >= revision  # type: ignore[index]


def pending(report: dict[str, Any] | None) -> bool:
    return bool(report) and report["state"] == "PENDING"  # type: ignore[index]


def absent(report: dict[str, Any] | None) -> bool:
    return report is None


@contextmanager
def running(etcd: Etcd) -> Iterator[ByAgent]:
    """An agent without any configuration."""
    etcd.ctl("del", "/vnf-agent/", "--prefix")
    command = [VPPCTL, "--store", f"etcd://{etcd.endpoint}", "--label", LABEL, "agent", "run"]
    with terminated(command) as process, ByAgent(etcd, process) as found:
        wait_until(lambda: etcd.ctl("get", f"/vnf-agent/{LABEL}/check/", "--prefix"), "the agent to be there", 30)
        yield found
