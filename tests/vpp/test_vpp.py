"""AF_PACKET and memif interfaces in VPP: order, removal, return, changes, neighbours, and a VPP that goes."""

from __future__ import annotations

import itertools
import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.netns import ip, links, wait_until
from tests.support.vpp import StandInControl
from tests.vpp.conftest import Bench
from vppctl.agent.vpp_worker import GAP
from vppctl.model.interface import Memif, VppInterface, VppInterfaceType
from vppctl.model.problem import Problem
from vppctl.reconcile.state import Invalid, Reason, State
from vppctl.reconcile.vpp import ChangeInVpp, CreateInVpp, DeleteInVpp, VppConfigured
from vppctl.vpp import Vpp

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


def afpacket(name: str = "af", host: str = "h", **more: Any) -> VppInterface:
    return VppInterface(name, VppInterfaceType.AF_PACKET_INTERFACE, enabled=True, host_if_name=host, **more)


def memif(name: str = "mem", **more: Any) -> VppInterface:
    section = Memif(**{"id": 7, "master": True, "socket_filename": "/run/vpp/test7.sock", **more})
    return VppInterface(name, VppInterfaceType.MEMORY_INTERFACE, enabled=True, memif=section)


def add_host(name: str = "h", mac: str = "02:00:00:00:00:01") -> None:
    ip("link", "add", "name", name, "address", mac, "type", "veth", "peer", "name", f"{name}-peer")


def test_it_follows_its_host_interface(bench: Bench) -> None:
    bench.put(afpacket(ip_addresses=("10.1.1.1/24", "2001:db8:1::1/64"), mtu=1400))
    said = bench.wait("af", State.PENDING, Reason.HOST_INTERFACE_MISSING)
    assert "'h' does not exist" in said.message
    assert bench.links() == {}
    add_host()
    bench.worker.wake()
    said = bench.wait("af", State.APPLIED)
    found = bench.links()["host-h"]
    assert (found.up, found.mtu, found.addresses) == (True, 1400, ("10.1.1.1/24", "2001:db8:1::1/64"))
    assert said.link == found
    ip("link", "del", "dev", "h")
    bench.worker.wake()
    bench.wait("af", State.PENDING, Reason.HOST_INTERFACE_MISSING)
    assert bench.links() == {}
    add_host()
    bench.worker.wake()
    bench.wait("af", State.APPLIED)
    bench.delete("af")
    wait_until(lambda: bench.links() == {}, "the interface to go")
    wait_until(lambda: bench.said["af"] is None, "nothing to be said of it any more")
    assert "h" in links()


def test_a_host_interface_that_was_made_again_meanwhile(bench: Bench) -> None:
    add_host()
    bench.put(afpacket())
    before = bench.wait("af", State.APPLIED).link
    ip("link", "del", "dev", "h")
    add_host()
    bench.worker.wake()
    wait_until(lambda: bench.links().get("host-h") not in (None, before), "it to be attached to the new one")
    bench.wait("af", State.APPLIED)


def test_changes_in_place(bench: Bench) -> None:
    add_host()
    bench.put(afpacket(ip_addresses=("10.1.1.1/24",), phys_address="02:00:00:00:aa:01"))
    before = bench.wait("af", State.APPLIED).link
    assert before is not None
    assert (before.mac, before.mtu) == ("02:00:00:00:aa:01", 9000)
    changed = afpacket(ip_addresses=("10.1.1.2/24",), phys_address="02:00:00:00:aa:02", mtu=1300)._replace(
        enabled=False
    )
    bench.put(changed)
    wait_until(lambda: bench.links()["host-h"].addresses == ("10.1.1.2/24",), "the change")
    said = bench.wait("af", State.APPLIED)
    assert said.link is not None
    wait_until(lambda: not bench.links()["host-h"].up, "it to be down")
    after = bench.links()["host-h"]
    assert (after.sw_if_index, after.mac, after.mtu) == (before.sw_if_index, "02:00:00:00:aa:02", 1300)
    assert links()["h"]["address"] == "02:00:00:00:00:01", "the host interface is not VPP's to change"


def test_a_change_of_the_host_interface_makes_it_again(bench: Bench) -> None:
    add_host("h")
    add_host("h2", "02:00:00:00:00:02")
    bench.put(afpacket())
    bench.wait("af", State.APPLIED)
    bench.put(afpacket(host="h2"))
    wait_until(lambda: set(bench.links()) == {"host-h2"}, "it to move")


def test_neighbours_are_left_alone_and_what_matches_is_taken_over(bench: Bench) -> None:
    add_host("h")
    add_host("h2", "02:00:00:00:00:02")
    vpp = Vpp(bench.path, lambda: None)
    assert not vpp.execute(CreateInVpp(afpacket("theirs", "h"), "vppctl:other:00000000:theirs"))
    assert not vpp.execute(CreateInVpp(afpacket("by hand", "h2"), "by hand"))
    bench.put(afpacket("one", "h"))
    said = bench.wait("one", State.FAILED, Reason.NAME_TAKEN)
    assert "another agent" in said.message
    before = bench.links()["host-h2"]
    assert before.tag == "by hand"
    bench.put(afpacket("two", "h2", mtu=1400))
    bench.wait("two", State.APPLIED)
    after = bench.links()["host-h2"]
    assert (after.sw_if_index, after.mtu) == (before.sw_if_index, 1400)
    assert after.tag.startswith("vppctl:vpp1:")
    assert not vpp.execute(DeleteInVpp("theirs", bench.links()["host-h"]))
    vpp.close()
    bench.worker.wake()
    bench.wait("one", State.APPLIED)


def test_what_an_earlier_run_left_is_kept_or_removed(bench: Bench) -> None:
    add_host("h")
    add_host("h2", "02:00:00:00:00:02")
    bench.put(afpacket("one", "h"), afpacket("two", "h2"))
    bench.wait("one", State.APPLIED)
    bench.wait("two", State.APPLIED)
    before = bench.links()
    bench.stop()
    del bench.desired["two"]
    bench.start()
    bench.put()
    wait_until(lambda: bench.links() == {"host-h": before["host-h"]}, "the orphan to go, and only that")


def test_memif(bench: Bench) -> None:
    bench.put(memif(secret="one"))
    before = bench.wait("mem", State.APPLIED).link
    assert before is not None
    assert before.memif is not None
    # Sizes are told of a connected one only.
    assert (before.memif.id, before.memif.master, before.memif.socket_filename) == (7, True, "/run/vpp/test7.sock")
    bench.put(memif(secret="two"))
    wait_until(lambda: {i.tag for i in bench.links().values()} - {before.tag}, "a new secret to make it again")
    bench.wait("mem", State.APPLIED)
    bench.delete("mem")
    wait_until(lambda: bench.links() == {}, "it to go")


def test_somebody_else_changes_it(bench: Bench) -> None:
    add_host()
    bench.put(afpacket(ip_addresses=("10.1.1.1/24",)))
    link = bench.wait("af", State.APPLIED).link
    assert link is not None
    vpp = Vpp(bench.path, lambda: None)
    vpp.execute(ChangeInVpp("af", link, up=False, remove=("10.1.1.1/24",)))
    vpp.close()
    bench.worker.wake()
    wait_until(lambda: bench.links()["host-h"] == link, "the repair")


def test_two_want_one_host_interface_and_one_has_errors(bench: Bench) -> None:
    add_host()
    bench.put(afpacket("a"))
    bench.wait("a", State.APPLIED)
    bench.put(afpacket("b"))
    assert "'a'" in bench.wait("b", State.FAILED, Reason.NAME_CONFLICT).message
    before = bench.links()
    bench.desired["a"] = VppConfigured("a", Invalid((Problem("mtu", "is wrong"),)), 2)
    del bench.desired["b"]
    bench.put()
    assert bench.wait("a", State.INVALID, Reason.INVALID_CONFIG).message == "mtu: is wrong"
    assert bench.links() == before


def test_vpp_goes_and_returns(bench: Bench) -> None:
    add_host()
    bench.put(afpacket(ip_addresses=("10.1.1.1/24",)), memif())
    bench.wait("af", State.APPLIED)
    bench.wait("mem", State.APPLIED)
    bench.control.restart()
    wait_until(
        lambda: {link.tag.rpartition(":")[2] for link in bench.links().values()} == {"af", "mem"}, "all again", 30
    )
    assert bench.wait("af", State.APPLIED, timeout=30).link is not None


def test_vpp_hangs_and_wakes_up(bench: Bench) -> None:
    add_host()
    bench.put(afpacket())
    bench.wait("af", State.APPLIED)
    bench.control.hang(True)
    try:
        bench.put(afpacket(mtu=1400))
        assert "does not answer" in bench.wait("af", State.PENDING, Reason.VPP_UNAVAILABLE, timeout=30).message
    finally:
        bench.control.hang(False)
    bench.wait("af", State.APPLIED, timeout=40)
    assert bench.links()["host-h"].mtu == 1400


def test_many_connections_leave_no_descriptor(bench: Bench) -> None:
    def connect() -> None:
        Vpp(bench.path, lambda: None).close()

    for _ in range(3):
        connect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        connect()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the descriptors to be closed")


def test_what_the_library_cannot_pack_fails_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Once, it ended the agent, which took its values into the log, secrets among them."""
    add_host()
    bench.put(memif("bad", id=8, secret="hunt\u00e9r2"), afpacket())
    bench.wait("af", State.APPLIED)
    said = bench.wait("bad", State.FAILED, Reason.KERNEL_ERROR)
    assert "memif_create_v2 cannot be packed" in said.message
    assert "hunt" not in said.message + caplog.text
    bench.put(memif("bad", id=8, secret="hunter2"))
    bench.wait("bad", State.APPLIED)


def test_a_name_that_is_not_ascii(bench: Bench) -> None:
    add_host()
    bench.put(afpacket("schnittstelle-\u00fc"))
    bench.wait("schnittstelle-\u00fc", State.APPLIED)
    bench.delete("schnittstelle-\u00fc")
    wait_until(lambda: bench.links() == {}, "the interface to go")


def test_what_others_change_again_and_again(bench: Bench) -> None:
    """Once, it was changed back as often as VPP said so, and reported as APPLIED."""
    add_host()
    bench.put(afpacket(mtu=1400))
    bench.wait("af", State.APPLIED)
    vpp = Vpp(bench.path, lambda: None)
    undone = 0

    def undo() -> bool:
        nonlocal undone
        link = bench.links()["host-h"]
        if link.mtu == 1400:
            assert not vpp.execute(ChangeInVpp("af", link, mtu=1300))
            undone += 1
            bench.worker.wake()
        said = bench.said["af"]
        return said is not None and said.state is State.FAILED

    try:
        wait_until(undo, "the fight to be named", 20)
        said = bench.wait("af", State.FAILED, Reason.KERNEL_ERROR)
        assert "something else keeps changing it: mtu of 'af' is set to 1300 instead of 1400" in said.message
        assert undone < 15
        bench.put(afpacket(mtu=1300))
        bench.wait("af", State.APPLIED, timeout=2)
        bench.put(afpacket(mtu=1400))
        bench.wait("af", State.APPLIED, timeout=2)
    finally:
        vpp.close()


def test_events_without_end_cost_a_few_looks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    add_host()
    bench.put(afpacket())
    bench.wait("af", State.APPLIED)
    looks: list[float] = []
    look = bench.worker.look

    def counted() -> float:
        looks.append(time.monotonic())
        return look()

    monkeypatch.setattr(bench.worker, "look", counted)

    def woken() -> bool:
        bench.worker.wake()
        return len(looks) >= 5

    wait_until(woken, "some looks")
    assert all(later - earlier >= GAP for earlier, later in itertools.pairwise(looks))


def test_an_index_that_another_interface_has_by_now(bench: Bench) -> None:
    """VPP gives an index to the next interface that is created: that one is neither deleted nor changed."""
    vpp = Vpp(bench.path, lambda: None)
    assert not vpp.execute(CreateInVpp(memif("one"), "vppctl:vpp1:00000000:one"))
    (one,) = vpp.observe()
    assert not vpp.execute(DeleteInVpp("one", one))
    if isinstance(bench.control, StandInControl):
        bench.control.vpp.next = one.sw_if_index
    assert not vpp.execute(CreateInVpp(memif("two", id=8), "vppctl:other:00000000:two"))
    (two,) = before = vpp.observe()
    assert two.sw_if_index == one.sw_if_index
    assert not vpp.execute(DeleteInVpp("one", one))
    assert "not the same interface" in vpp.execute(ChangeInVpp("one", one, up=True, mtu=1300, tag="mine"))
    assert vpp.observe() == before
    vpp.close()


ODD: dict[str, Any] = {
    "show_version": SimpleNamespace(retval=0),
    "want_interface_events": None,
    "sw_interface_dump": [SimpleNamespace(sw_if_index=0), SimpleNamespace(sw_if_index=0)],
    "af_packet_dump": [SimpleNamespace(sw_if_index=1, host_if_name=None)],
    "memif_dump": [None],
    "memif_socket_filename_dump": {},
    "af_packet_create_v3": SimpleNamespace(retval=0, sw_if_index=0),
    "sw_interface_set_flags": SimpleNamespace(retval="no"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_reply_that_is_not_as_the_api_says(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, AttributeError, TypeError or IndexError ended VPP's thread; of two of one index the last counted."""
    if not isinstance(bench.control, StandInControl):
        pytest.skip("a real VPP answers as its API says")
    add_host()
    with monkeypatch.context() as patch:
        patch.setattr(bench.control.vpp, name, lambda **_: ODD[name])
        bench.put(afpacket())
        wait_until(lambda: "af" in bench.said, "a state")
        said = bench.said["af"]
        assert said
        assert said.state in (State.PENDING, State.FAILED), said
        assert said.message
        assert bench.thread.is_alive()
    bench.wait("af", State.APPLIED)
