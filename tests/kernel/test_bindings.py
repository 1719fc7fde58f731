"""The notes about processes, as an agent that was killed, a full disk or another boot may leave them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.numbers import numbered
from vppctl.agent.bindings import AWAITED, SPARE, Bindings
from vppctl.model.interface import Interface, NamespaceRef
from vppctl.reconcile.state import Configured

pytestmark = pytest.mark.kernel
FILE = Path("/run/vppctl/processes-t")


@pytest.fixture(autouse=True)
def nothing_before() -> None:
    FILE.unlink(missing_ok=True)


def document(pid: int, revision: int, name: str = "a") -> Configured:
    return Configured(name, Interface(name, "b", namespace=NamespaceRef(pid=pid)), revision)


def start(bindings: Bindings, found: Configured) -> int:
    bound = bindings.bound(found).content
    assert isinstance(bound, Interface)
    return bound.namespace.start


def test_it_is_kept_and_private() -> None:
    bindings = Bindings("t", keep=True)
    with numbered() as process:
        first = start(bindings, document(process.pid, 7))
        assert first > 0
        bindings.save(whole=True)
        assert FILE.stat().st_mode & 0o777 == 0o600
    assert start(Bindings("t"), document(process.pid, 7)) == first
    assert start(Bindings("t"), document(process.pid, 8)) == -8
    assert start(Bindings("other"), document(process.pid, 7)) == -7


def test_of_a_file_that_is_damaged_the_rest_counts() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    FILE.write_text(
        f"\n50 7 1234 {boot}\n\n51 7 99"  # cut, and gone on by the next agent
        f"\n52 7 1235 {boot}\n\x00\xff\n53 7 x {boot}\n54 7 1 {boot} 5\n\n{'9' * 5000} 7 1 {boot}\n",
        encoding="latin-1",
    )
    bindings = Bindings("t")
    found = [start(bindings, document(pid, 7)) for pid in (50, 52)]
    assert found == [1234, 1235]
    assert 51 not in {pid for pid, _ in bindings._starts}


def test_processes_of_another_boot_have_ended() -> None:
    with numbered() as process:
        same = Bindings("t", keep=True)
        noted = start(same, document(process.pid, 7))
        same.bound(document(4_000_000, 7, "c"))
        same.save()
        FILE.write_text(FILE.read_text().replace(same._boot.decode(), "0" * len(same._boot)))
        later = Bindings("t")
        assert start(later, document(process.pid, 7)) not in (noted, 0)
        assert start(later, document(process.pid, 7)) > 0
        assert later._starts[4_000_000, 7] == AWAITED


def test_it_is_written_anew_when_most_of_it_is_of_documents_that_are_gone() -> None:
    bindings = Bindings("t", keep=True)
    with numbered() as process:
        for revision in range(1, 3 * SPARE):
            bindings.bound(document(process.pid, revision))
            bindings.save(whole=True)
        newest = document(process.pid, 3 * SPARE - 1)
        assert FILE.read_text().count(f"{process.pid} ") < 2 * SPARE
        assert start(Bindings("t"), newest) == start(bindings, newest) > 0


def test_it_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    FILE.symlink_to("/run/vppctl/elsewhere")
    try:
        bindings = Bindings("t", keep=True)
        for revision in (1, 2):
            assert start(bindings, document(os.getpid(), revision))
            bindings.save()
        assert not Path("/run/vppctl/elsewhere").exists()
        warnings = [r.getMessage() for r in caplog.records if "cannot be written" in r.getMessage()]
        assert len(warnings) == 1
    finally:
        FILE.unlink()
