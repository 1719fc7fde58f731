"""Links with our marks that others create, where nothing is configured: they cost no pair anything."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from itertools import count, islice, pairwise

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from tests.support.passes import delete, new_reconciler, put, states
from vppctl.agent.cleanup import cleanup
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.strays import PAUSE_FIRST, PAUSE_LAST
from vppctl.errors import VppctlError
from vppctl.linux import executor, wire
from vppctl.linux.executor import Executor
from vppctl.linux.monitor import LinkMonitor, LinksChanged
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.reconcile.marks import DELETION_BASE, Marks
from vppctl.reconcile.state import Condition, Reason, State

pytestmark = pytest.mark.kernel
PAIR = [veth("lat1", "lat2", "one"), veth("lat2", "lat1", "two")]
MARKS = Marks("vpp1")


class Stranger:
    """Somebody who may change links in a namespace of his own, and creates there what looks like ours."""

    def __init__(self) -> None:
        ip("netns", "add", "his")

    def create(
        self, name: str = "x", *, alias: str = "vppctl:vpp1:lat1", group: int = MARKS.group, index: int = 77
    ) -> None:
        """A pair with the same index each time, so that it is not known by that."""
        ip("-n", "his", "link", "add", "name", name, "index", f"{index}", "type", "veth", "peer", "name", f"{name}p")
        ip("-n", "his", "link", "set", name, "alias", alias, "group", str(group))

    def links(self) -> set[str]:
        return set(links("his"))


@pytest.fixture
def stranger() -> Stranger:
    return Stranger()


@pytest.fixture
def reconciler() -> Reconciler:
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    return reconciler


def indexes() -> list[int]:
    return [links(space)[name]["ifindex"] for space, name in (("one", "lat1"), ("two", "lat2"))]


def sweep(reconciler: Reconciler, now: float) -> dict[str, Condition | None]:
    reconciler.sweep()
    return reconciler.run(now)


def test_a_stray_is_deleted_and_no_pair_is_looked_at_for_it(reconciler: Reconciler, stranger: Stranger) -> None:
    before = indexes()
    stranger.create()
    assert sweep(reconciler, 1.0) == {}
    assert not stranger.links()
    assert indexes() == before


def test_an_end_that_somebody_moves_is_its_pairs_affair(reconciler: Reconciler, stranger: Stranger) -> None:
    ip("-n", "one", "link", "set", "lat1", "netns", "his")
    assert states(sweep(reconciler, 1.0)) == {State.APPLIED}
    assert links("one").keys() == {"lat1"}
    assert not stranger.links()


def test_strays_of_one_namespace_are_deleted_ever_more_seldom(reconciler: Reconciler, stranger: Stranger) -> None:
    deleted = []
    for now in range(0, 3000, 20):
        if not stranger.links():
            stranger.create()
        assert sweep(reconciler, float(now)) == {}
        if not stranger.links():
            deleted.append(now)
    pauses = [later - before for before, later in pairwise(deleted)]
    assert pauses[0] == PAUSE_FIRST
    assert pauses[-1] == PAUSE_LAST
    assert pauses == sorted(pauses)


def test_one_that_comes_again_while_a_pass_goes_on(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start all that has our marks is looked at with its pair; it is deleted once, and the pair is healthy."""
    stranger.create()
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    execute, times = reconciler.executor.execute, []

    def followed(*arguments: object) -> object:
        result = execute(*arguments)  # type: ignore[arg-type]
        if not stranger.links():
            times.append(1)
            stranger.create()
        return result

    monkeypatch.setattr(reconciler.executor, "execute", followed)
    news = reconciler.run(0.0)
    assert states(news) == {State.APPLIED}
    assert len(times) == 1
    # Afterwards, events about it concern nobody.
    monitor_says = [reconciler.memory.at(netns, 77, "x") for netns in list(reconciler.memory.ways)]
    assert not any(monitor_says)


def test_events_about_strays_start_no_pass(reconciler: Reconciler, stranger: Stranger) -> None:
    heard: set[str] = set()

    def hear(event: object) -> None:
        assert isinstance(event, LinksChanged)
        for netns, index, name in event.links:
            heard.update(reconciler.memory.at(netns, index, name), reconciler.desired.claimants((netns, name)))

    stranger.create()
    sweep(reconciler, 1.0)  # From here on events of his namespace are heard.
    monitor = LinkMonitor(reconciler.nsids, hear)
    for _ in range(5):
        stranger.create()
        ip("-n", "his", "link", "set", "x", "mtu", "1300")
        ip("-n", "his", "link", "del", "x")
    monitor.flush()
    assert not heard
    ip("-n", "one", "link", "set", "lat1", "mtu", "1300")
    monitor.flush()
    assert heard == {"lat1"}


def test_a_name_that_waits_for_its_namespace_is_not_failed_by_a_stray(stranger: Stranger) -> None:
    reconciler = new_reconciler()
    put(reconciler, [PAIR[0]])
    reconciler.run(0.0)
    stranger.create()
    reconciler.backlog.add(reconciler.all_pairs())
    condition = sweep(reconciler, 1.0)["lat1"]
    assert condition
    assert (condition.state, condition.reason) == (State.PENDING, Reason.PEER_NOT_CONFIGURED)
    assert not stranger.links()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel deletes no link with index 77, and no group in which that is."""
    batch = Rtnl.batch
    refused = {wire.delete_link(77)}

    def refusing(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        for message in messages:
            if (
                wire.HEADER.unpack_from(message)[1] == wire.RTM_SETLINK
                and wire.IFINFO.unpack_from(message, 16)[2] == 77
            ):
                group = wire.attributes(message, 16 + wire.IFINFO.size)[wire.IFLA_GROUP]
                refused.add(wire.delete_group(wire.UINT.unpack(group)[0]))
        answers = batch(self, [m for m in messages if m not in refused])
        for number, message in enumerate(messages):
            if message in refused:
                answers.insert(number, Answer(errno.EOPNOTSUPP))
        return answers

    monkeypatch.setattr(Rtnl, "batch", refusing)


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("at_start", [True, False])
def test_what_cannot_be_deleted_is_logged_once_and_stays(
    stranger: Stranger, at_start: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    if not at_start:
        reconciler.run(0.0)
    stranger.create()
    if at_start:
        assert states(reconciler.run(0.0)) == {State.APPLIED}
    for now in range(1, 4000, 500):
        reconciler.backlog.add(reconciler.all_pairs())
        assert states(sweep(reconciler, float(now))) == {State.APPLIED}
    assert stranger.links() == {"x", "xp"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "cannot delete 'x'" in line
    # The pair moves all the same.
    put(reconciler, [veth("lat1", "lat2", "three")])
    assert states(reconciler.run(5000.0)) == {State.APPLIED}
    assert "lat1" in links("three")
    delete(reconciler, PAIR)
    assert states(reconciler.run(5001.0)) == set()
    assert not links("three")
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("refused")
def test_what_cannot_be_deleted_in_a_configured_place_is_the_pairs_affair(stranger: Stranger) -> None:
    stranger.create()
    reconciler = new_reconciler()
    put(reconciler, [*PAIR, veth("x", "y", "his"), veth("y", "x", "his")])
    news = reconciler.run(0.0)
    for name, state in {"lat1": State.APPLIED, "lat2": State.APPLIED, "x": State.FAILED, "y": State.FAILED}.items():
        condition = news[name]
        assert condition
        assert condition.state is state
    assert news["x"]
    assert news["x"].reason is Reason.KERNEL_ERROR


def test_a_loopback_interface_with_all_our_marks(reconciler: Reconciler, stranger: Stranger) -> None:
    """Without privileges: in a namespace of one's own even lo can be renamed and marked."""
    stranger.create()
    sweep(reconciler, 1.0)
    ip("-n", "his", "link", "set", "lo", "name", "x")
    ip("-n", "his", "link", "set", "x", "alias", "vppctl:vpp1:lat1", "group", str(MARKS.group))
    for now in (100.0, 200.0):
        reconciler.backlog.add(reconciler.all_pairs())
        assert states(sweep(reconciler, now)) == {State.APPLIED}
    put(reconciler, [veth("lat1", "lat2", "three")])
    assert states(reconciler.run(300.0)) == {State.APPLIED}
    again = new_reconciler()
    put(again, [veth("lat1", "lat2", "three"), PAIR[1]])
    assert states(again.run(400.0)) == {State.APPLIED}
    assert "x" in stranger.links()


@pytest.mark.parametrize("mark", [{"group": 0}, {"alias": ""}, {"alias": "vppctl:h12521763:#lat1"}])
def test_one_mark_alone_makes_no_link_ours(stranger: Stranger, mark: dict[str, str]) -> None:
    stranger.create(**mark)  # type: ignore[arg-type]
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    reconciler.run(0.0)
    sweep(reconciler, 1.0)
    assert stranger.links() == {"x", "xp"}


@pytest.mark.parametrize("label", ["vpp1", "h12521763"])
@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("macs", [("", ""), ("02:00:00:00:00:0a", "02:00:00:00:00:0b")])
def test_killed_before_the_marks_were_set(
    label: str, configured: bool, macs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start of this label finds its pair, and one of a label with the same number lets it be."""
    documents = [
        PAIR[0] | ({"phys_address": macs[0]} if macs[0] else {}),
        PAIR[1] | ({"phys_address": macs[1]} if macs[1] else {}),
    ]
    killed = new_reconciler()
    put(killed, documents)
    with monkeypatch.context() as patched:
        patched.setattr(executor, "run_steps", lambda *_: None)
        killed.run(0.0)
    assert [links("one")["lat1"].get("ifalias"), links("two")["lat2"].get("ifalias")] == [None, None]
    before = indexes()
    reconciler = new_reconciler(label)
    if configured:
        put(reconciler, documents)
    news = reconciler.run(1.0)
    sweep(reconciler, 100.0)
    if label != "vpp1":
        assert indexes() == before
        assert {c.reason for c in news.values() if c} == ({Reason.NAME_TAKEN} if configured else set())
    elif configured:
        assert states(news) == {State.APPLIED}
        assert links("one")["lat1"]["ifalias"] == "vppctl:vpp1:lat1"
    else:
        assert not links("one")
        assert not links("two")


def test_a_link_that_cannot_be_deleted_in_the_group_of_a_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may change links in the namespace could have kept the agent from deleting any there."""
    reconciler = new_reconciler()
    documents = [veth(f"{side}{n}", f"{other}{n}", "one") for n in range(3) for side, other in ("ab", "ba")]
    put(reconciler, documents)
    reconciler.run(0.0)
    monkeypatch.setattr("os.urandom", lambda size: b"\1" * size)
    ip("-n", "one", "link", "set", "lo", "group", str(DELETION_BASE | 0x010101))
    ip("-n", "one", "link", "add", "name", "other", "type", "veth", "peer", "name", "twin")
    delete(reconciler, documents)
    reconciler.run(1.0)
    assert set(links("one")) == {"other", "twin"}


def test_what_is_in_a_group_of_deletions_is_not_ours_for_that(stranger: Stranger) -> None:
    """Somebody puts the eth0 of his container there."""
    stranger.create("eth0", alias="", group=DELETION_BASE | 0x010101)
    reconciler = new_reconciler()
    put(reconciler, [*PAIR, veth("eth0", "y", "his"), veth("y", "eth0", "two")])
    news = reconciler.run(0.0)
    assert news["eth0"]
    assert news["eth0"].reason is Reason.NAME_TAKEN
    sweep(reconciler, 100.0)
    delete(reconciler, PAIR)
    reconciler.run(200.0)
    assert stranger.links() == {"eth0", "eth0p"}


def test_killed_while_it_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [veth(f"{side}{n}", f"{other}{n}", "one") for n in range(3) for side, other in ("ab", "ba")]
    killed = new_reconciler()
    put(killed, documents)
    killed.run(0.0)
    delete(killed, documents)
    with monkeypatch.context() as patched:
        patched.setattr(wire, "delete_group", lambda _group: wire.get_link("lo"))
        killed.run(1.0)
    assert len(links("one")) == 6
    assert {int(link["group"]) >> 24 for link in links("one").values()} >= {DELETION_BASE >> 24}
    new_reconciler().run(2.0)
    assert not links("one")


def test_a_cleanup_ends_while_somebody_creates_more(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    execute, index = Executor.execute, count(100)

    def followed(*arguments: object) -> object:
        result = execute(*arguments)  # type: ignore[arg-type]
        stranger.create(index=next(index))
        return result

    monkeypatch.setattr(Executor, "execute", followed)
    stranger.create()
    removed = list(islice(cleanup("vpp1", None, dry_run=False), 100))
    assert 1 <= len(removed) < 20


def test_a_cleanup_leaves_what_has_one_mark_alone(stranger: Stranger) -> None:
    stranger.create(group=0)
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    reconciler.run(0.0)
    assert sorted(cleanup("vpp1", None, dry_run=False)) == ["lat1 in namespace one", "lat2 in namespace two"]
    assert stranger.links() == {"x", "xp"}
    assert not links("one")


@pytest.mark.usefixtures("refused")
def test_a_cleanup_removes_all_but_what_cannot_be_deleted(stranger: Stranger) -> None:
    stranger.create()
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    reconciler.run(0.0)
    with pytest.raises(VppctlError, match="cannot delete 'x': Operation not supported"):
        list(cleanup("vpp1", None, dry_run=False))
    assert not links("one")
    assert stranger.links() == {"x", "xp"}
