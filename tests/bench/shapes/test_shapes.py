"""The bench itself: each way of change of each shape has its effect, by the agent and by hand. No time is judged."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench.shapes import by_agent, by_hand, look, rounds
from tests.bench.shapes.by_hand import Files
from tests.bench.shapes.figures import Figure, Figures, markdown
from tests.bench.shapes.ways import WAYS, Until, ways_of
from tests.support.etcd import Etcd
from tests.support.netns import ip, wait_until
from tests.support.shapes import SHAPES, Document, shape

PAIRS = 3
BY_HAND = ("star-default", "mesh", "one", "one-default")
"""Scripts depend on whether namespaces have names, on how many there are, and on which of them hold an end of each
pair: what the other shapes have of that is in these, in `own`, and in the whole measurement of `star-process`."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the waiting that makes one measurement independent of the one before."""
    monkeypatch.setattr(by_agent, "IDLE", 0.02)
    monkeypatch.setattr(look, "wait_for_detection", lambda _spaces: None)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any waiting for what only a measurement would notice: the test above it has all of that."""

    def wipe() -> None:
        names = "".join(f"netns del {name}\n" for name in look.named())
        if names:
            subprocess.run(["ip", "-batch", "-"], input=names, text=True, check=True)
        # What has an end here goes with its peer's namespace, in the background.
        wait_until(lambda: not look.seen(look.Space()), "the kernel to take the namespaces down")

    monkeypatch.setattr(rounds, "wipe", wipe)
    monkeypatch.setattr(by_agent.ByAgent, "wait_idle", lambda _agent: None)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "files").mkdir()
    return Files(tmp_path / "files")


@pytest.mark.kernel
@pytest.mark.etcd
def test_a_measurement_has_a_figure_for_each_way_of_change(tmp_path: Path, files: Files) -> None:
    with Etcd(tmp_path, *by_agent.ETCD_OPTIONS) as etcd:
        found = rounds.measure("star-process", PAIRS, WAYS, 1, etcd, files.folder, Figures())
    assert [figure.way for figure in found] == [way.name for way in WAYS]
    assert all(figure.ours > 0 and figure.theirs > 0 for figure in found)


@pytest.mark.kernel
@pytest.mark.etcd
@pytest.mark.usefixtures("untimed")
def test_the_agent_takes_each_shape_through_each_way_of_change(tmp_path: Path, files: Files) -> None:
    """`one_round` compares the kernel with what is wanted after each of them. The shape above is left out."""
    look.without_detection([look.Space()])
    with Etcd(tmp_path, *by_agent.ETCD_OPTIONS) as etcd, by_agent.running(etcd) as agent:
        for name in (name for name in SHAPES if name != "star-process"):
            taken: dict[str, list[tuple[float, float]]] = {}
            with rounds.hub(name) as pid:
                documents = shape(name, PAIRS, pid=pid).documents
                rounds.one_round(rounds.AgentParty(agent, files, taken), documents, WAYS)
            assert list(taken) == [way.name for way in ways_of(name)], name


@pytest.mark.kernel
@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    ("number", "shapes"),
    [(0, BY_HAND), (1, ("own",))],
    ids=["one namespace after the other", "several at once"],
)
def test_by_hand_a_shape_goes_through_each_way_of_change(number: int, shapes: Sequence[str], files: Files) -> None:
    look.without_detection([look.Space()])
    for name in shapes:
        hand = rounds.HandParty(files, {})
        hand.number = number
        with rounds.hub(name) as pid:
            documents = shape(name, PAIRS, pid=pid).documents
            rounds.one_round(hand, documents, WAYS)
        assert list(hand.taken) == [way.name for way in ways_of(name)], name


@pytest.mark.kernel
def test_link_by_link_is_another_way_to_delete_all(files: Files) -> None:
    documents = standing(files)
    rounds.HandParty(files, {}).one_by_one(documents)
    look.verify(look.wanted((), look.spaces_of(documents)))


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("link set a0001 mtu 1400", "MTU 1400"),
        ("link set a0001 down", "down"),
        ("addr add 10.9.9.9/32 dev a0001", "10.9.9.9"),
        ("addr del 10.0.0.5/30 dev a0001", "a0001"),
        ("link del a0001", "a0001"),
        ("link add other type veth", "other"),
    ],
)
def test_what_a_change_has_left_out_is_found(command: str, fault: str, files: Files) -> None:
    documents = standing(files)
    wanted = look.wanted(documents, look.spaces_of(documents))
    look.verify(wanted)
    ip("-n", "s0000", *command.split())
    with pytest.raises(AssertionError, match=fault):
        look.verify(wanted)


@pytest.mark.kernel
def test_pairs_that_are_tied_otherwise_are_found(files: Files) -> None:
    documents = standing(files)
    swapped = next(way for way in WAYS if way.name == "swap").change(documents)
    with pytest.raises(AssertionError, match="tied"):
        look.verify(look.wanted(swapped, look.spaces_of(documents)))


def standing(files: Files) -> list[Document]:
    """Pairs created by hand."""
    documents = list(shape("pairs", 2).documents)
    for script in by_hand.make(files, documents)[:1]:
        by_hand.run(script, files.folder)
    return documents


def figure(way: str, pairs: int, ours: float, theirs: float, **others: float) -> Figure:
    found = {"`ip -batch`, one by one": others["one_by_one"]} if others else {}
    return Figure("pairs", way, pairs, ours, Until.KERNEL, ours, "`ip -batch`", theirs, found)


def test_what_misses_a_target_is_listed_and_marked() -> None:
    figures = Figures()
    figures.add([figure("mtu", 100, 10, 10), figure("mtu", 1000, 160, 100)])
    figures.add([figure("rename", 100, 10, 10), figure("rename", 1000, 310, 100)])
    figures.add([figure("swap", 100, 10, 10), figure("swap", 1000, 160, 160)])
    figures.add([figure("delete-both", 1000, 70, 100, one_by_one=1000)])
    assert figures.missed() == [
        "pairs, rename, 1000 pairs: 3.10 x `ip -batch`, not 3",
        "pairs, delete-both, 1000 pairs: 0.070 x `ip -batch` one by one, not 0.06",
        "pairs, mtu: cost a pair grows by 1.60, by hand 1.00",
        "pairs, rename: cost a pair grows by 3.10, by hand 1.00",
    ]
    tables = markdown(figures)
    assert "| all renamed | **3.10** |" in tables
    assert "| all MTUs changed | **1.6 / 1.0** |" in tables
    assert "| peers swapped | 1.6 / 1.6 |" in tables


def test_figures_are_kept_from_run_to_run(tmp_path: Path) -> None:
    first = Figures(tmp_path / "figures")
    first.add([figure("mtu", 100, 10, 10)])
    first.save()
    second = Figures(tmp_path / "figures")
    assert ("pairs", "mtu", 100) in second
    assert second.sorted() == first.sorted()
