"""Takeover on a real kernel: what an agent that starts does to pairs that it did not create."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from tests.support.passes import Document, new_reconciler, put
from vppctl.agent.reconciler import Reconciler
from vppctl.reconcile.state import Condition, Reason, State

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "one"), veth("b", "a", "two"))
adopting = pytest.mark.parametrize("adopt", [False, True], ids=["recreate", "adopt"])


def make(here: tuple[str, str], there: tuple[str, str], *more: str) -> None:
    """A pair by hand: namespace and name of each end."""
    for space in {here[0], there[0]} - set(ip("netns").split()):
        ip("netns", "add", space)
    ip(
        "-n",
        here[0],
        "link",
        "add",
        "name",
        here[1],
        *more,
        "type",
        "veth",
        "peer",
        "name",
        there[1],
        "netns",
        there[0],
    )


def indexes(*spaces: str) -> dict[tuple[str, str], int]:
    return {(space, name): link["ifindex"] for space in spaces for name, link in links(space).items()}


def start(documents: Sequence[Document], **options: bool) -> tuple[Reconciler, dict[str, Condition | None]]:
    """An agent that has just started and looked at everything once."""
    reconciler = new_reconciler(**options)
    put(reconciler, documents)
    return reconciler, reconciler.run(0.0)


def reasons(news: dict[str, Condition | None]) -> set[tuple[State, Reason]]:
    return {(condition.state, condition.reason) for condition in news.values() if condition}


TAKEN = {(State.FAILED, Reason.NAME_TAKEN)}
APPLIED = {(State.APPLIED, Reason.NONE)}


@adopting
def test_a_whole_pair(adopt: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    make(("one", "a"), ("two", "b"), "mtu", "1400")
    before = indexes("one", "two")
    logger = logging.getLogger("vppctl")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, "vppctl")
    _, news = start(PAIR, adopt=adopt)
    assert reasons(news) == APPLIED
    assert (indexes("one", "two") == before) == adopt
    assert (links("one")["a"]["ifalias"], links("two")["b"]["ifalias"]) == ("vppctl:vpp1:a", "vppctl:vpp1:b")
    said = [message for message in caplog.messages if message.startswith("taking over")]
    assert len(said) == 1
    for part in (f"'a' in namespace one (index {before['one', 'a']}, ", "'b' in namespace two (index ", "MTU 1400"):
        assert part in said[0]
    assert said[0].endswith("it is marked as the agent's" if adopt else "it is deleted and created again")
    over = next(message for message in caplog.messages if message.startswith("the start is over"))
    assert "1 taken over" in over
    assert caplog.messages.index(said[0]) < caplog.messages.index(over)


@adopting
def test_a_whole_pair_is_left_alone_with_no_takeover(adopt: bool) -> None:
    make(("one", "a"), ("two", "b"))
    before = indexes("one", "two")
    reconciler, news = start(PAIR, adopt=adopt, takeover=False)
    assert reasons(news) == TAKEN
    reconciler.backlog.add(reconciler.all_pairs())
    assert reasons(reconciler.run(1.0)) == TAKEN
    assert indexes("one", "two") == before


@adopting
@pytest.mark.parametrize(
    ("here", "there"),
    [
        pytest.param(("one", "a"), ("host", "veth12ab"), id="eth0 of a container"),
        pytest.param(("host", "veth12ab"), ("two", "b"), id="the second end alone"),
        pytest.param(("one", "a"), ("two", "c"), id="the peer under another name"),
        pytest.param(("one", "b"), ("two", "b"), id="the first end under another name"),
        pytest.param(("one", "a"), ("one", "b"), id="the peer in the first one's namespace"),
    ],
)
def test_one_end_in_its_place(adopt: bool, here: tuple[str, str], there: tuple[str, str]) -> None:
    make(here, there)
    before = indexes(here[0], there[0])
    for _ in range(2):
        _, news = start(PAIR, adopt=adopt)
        assert reasons(news) == TAKEN
        assert indexes(here[0], there[0]) == before


@adopting
def test_the_places_of_two_pairs_held_by_one(adopt: bool) -> None:
    documents = (*PAIR, veth("c", "d", "one"), veth("d", "c", "two"))
    make(("one", "a"), ("two", "d"))
    before = indexes("one", "two")
    assert reasons(start(documents, adopt=adopt)[1]) == TAKEN
    assert indexes("one", "two") == before


@adopting
@pytest.mark.parametrize("marks", [("alias", "vppctl:red:a"), ("group", "1979711488")], ids=["alias", "group"])
@pytest.mark.parametrize("end", [("one", "a"), ("two", "b")], ids=["first", "second"])
def test_one_mark_of_another_agent_at_one_end(adopt: bool, marks: tuple[str, str], end: tuple[str, str]) -> None:
    make(("one", "a"), ("two", "b"))
    ip("-n", end[0], "link", "set", "dev", end[1], *marks)
    before = indexes("one", "two")
    assert reasons(start(PAIR, adopt=adopt)[1]) == TAKEN
    assert indexes("one", "two") == before


@adopting
def test_whole_pairs_halves_and_nothing_in_one_start(adopt: bool) -> None:
    documents: list[Document] = []
    for number in range(24):
        names = (f"a{number}", f"b{number}")
        documents += [veth(names[0], names[1], "one"), veth(names[1], names[0], "two")]
        if number % 3 == 0:
            make(("one", names[0]), ("two", names[1]))
        elif number % 3 == 1:
            make(("one", names[0]), ("host", names[1]))
    before = indexes("one", "two", "host")
    _, news = start(documents, adopt=adopt)
    after = indexes("one", "two", "host")
    for number in range(24):
        names = (f"a{number}", f"b{number}")
        expected = State.FAILED if number % 3 == 1 else State.APPLIED
        assert {c.state for name in names if (c := news[name])} == {expected}
        if number % 3 == 1:
            assert after["host", names[1]] == before["host", names[1]]
            assert ("two", names[1]) not in after


def test_a_name_is_looked_at_again_when_the_link_gets_another_one() -> None:
    """An event has the new name alone, and the index."""
    make(("one", "a"), ("host", "veth12ab"))
    reconciler, news = start(PAIR)
    assert reasons(news) == TAKEN
    link = links("one")["a"]["ifindex"]
    netns = next(netns for netns, name in reconciler.desired._claims if name == "a")
    ip("-n", "one", "link", "set", "dev", "a", "name", "eth0")
    assert reconciler.memory.at(netns, link, "eth0") == {"a"}
    assert reconciler.memory.at(netns, link, "") == set(), "its addresses are nobody's business"
    reconciler.enqueue({"a"}, 1.0, 0.0)
    assert reasons(reconciler.run(2.0)) == APPLIED
    assert reconciler.memory.at(netns, link, "eth1") == set()


def test_a_second_survey_sees_the_strays_that_the_first_has_seen() -> None:
    """`check` looks again while the kernel is finding out about duplicates, and a start is planned twice."""
    start(PAIR)
    reconciler = new_reconciler()
    put(reconciler, [veth("c", "d")])
    strays = [[len(delete.links) for _, plan in reconciler.survey() for delete in plan.deletes] for _ in range(2)]
    assert strays == [[1], [1]]
