"""An engine that answers oddly: it ends nobody, hides no other container, and all is well again when it is. FAKE."""

from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.fake_docker import FakeEngine
from tests.support.netns import links_of, wait_until
from vppctl import docker_answers, microservices
from vppctl import engine as engines
from vppctl.linux.processes import look_at

pytestmark = pytest.mark.kernel

OTHER: dict[str, dict[str, Any]] = {
    "config-null": {"Config": None},
    "state-null": {"State": None},
    "env-of-numbers": {"Config": {"Env": [1, None, {}]}},
    "env-is-an-object": {"Config": {"Env": {"MICROSERVICE_LABEL": "web"}}},
    "pid-is-text": {"State": {"Running": True, "Pid": "many"}},
    "pid-is-true": {"State": {"Running": True, "Pid": True}},
    "pid-is-huge": {"State": {"Running": True, "Pid": 1 << 70}},
    "pid-is-negative": {"State": {"Running": True, "Pid": -1}},
    "running-is-text": {"State": {"Running": "false", "Pid": 1}},
    "another": {"Id": "one"},
    "config-missing": {"Config": {}, "State": {}},
}


@pytest.fixture
def engine(vppctl: Vppctl) -> Iterator[FakeEngine]:
    with FakeEngine(vppctl.folder) as engine:
        vppctl.environment["DOCKER_HOST"] = engine.host
        yield engine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process; an agent has a process of its own."""
    monkeypatch.setattr(microservices, "PAUSE", 0.05)
    monkeypatch.setattr(microservices, "BACKOFF_FIRST", 0.05)


@pytest.fixture
def process() -> Iterator[int]:
    """A process in a network namespace of its own, as a container's."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as sleeper:
        yield sleeper.pid
        sleeper.kill()


WEB = veth("a", "b", {"type": 1, "microservice": "web"})
PEER = veth("b", "a")


def test_an_engine_that_does_not_know_what_time_it_is(vppctl: Vppctl, engine: FakeEngine, process: int) -> None:
    """Once: thread docker has died, exit 1, and all pairs were without an agent."""
    engine.info = {}
    with Agent(vppctl):
        vppctl.put(WEB, PEER)
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        engine.add("one", "web", process)
        engine.tell({"Action": "start", "Actor": {"ID": "one"}})
        vppctl.wait_state("a", "APPLIED")
        assert links_of(process) == {"a"}


@pytest.mark.parametrize("info", [{"SystemTime": "noon"}, {"SystemTime": 5}, {"SystemTime": {"a": 1}}], ids=str)
def test_a_time_that_is_none(engine: FakeEngine, info: Any) -> None:
    engine.info = info
    follow(engine, lambda: None, lambda: None)


@pytest.mark.parametrize("info", [None, 500, b"<html>no JSON"], ids=str)
def test_what_is_no_engine_is_reported_and_asked_again(engine: FakeEngine, info: Any) -> None:
    whole, engine.info = engine.info, info
    engine.add("one", "web", 1)
    with following(engine) as found:
        wait_until(lambda: "Docker cannot be asked at" in found.trouble, "the reason to be reported")
        engine.info = whole
        wait_until(lambda: found.find("web"), "the container to be known")
        wait_until(lambda: not found.trouble, "all to be well again")


def test_odd_containers_hide_no_other(vppctl: Vppctl, engine: FakeEngine, process: int) -> None:
    for name, odd in OTHER.items():
        engine.add(name, "web2", 1, **odd)
    engine.add("one", "web", process)
    with Agent(vppctl) as agent:
        vppctl.put(WEB, PEER, wait=True)
        # Neither does one that is odd when an event speaks of it, nor one that fails to be inspected.
        engine.containers |= {"late": 500, "deep": b"[" * 100_000, "absent": 404}
        for key in engine.containers:
            engine.tell({"Action": "start", "Actor": {"ID": key}})
        wait_until(lambda: "container late cannot be read" in agent.log.read_text(), "it to be looked at")
        assert vppctl.state("a")["state"] == "APPLIED"


def test_what_is_known_stays_when_the_engine_describes_it_no_more(
    vppctl: Vppctl, engine: FakeEngine, process: int
) -> None:
    engine.add("one", "web", process)
    with Agent(vppctl) as agent:
        vppctl.put(WEB, PEER, wait=True)
        whole, engine.containers["one"] = engine.containers["one"], {"Id": "one", "Config": None}
        engine.tell({"Action": "rename", "Actor": {"ID": "one"}})
        wait_until(lambda: "its Config is null" in agent.log.read_text(), "it to be looked at")
        assert vppctl.state("a")["state"] == "APPLIED"
        engine.containers["one"] = {**whole, "State": {"Running": False}}
        engine.tell({"Action": "die", "Actor": {"ID": "one"}})
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        assert links_of(process) == set()


@pytest.mark.parametrize(
    "odd",
    [
        [],
        None,
        "text",
        {},
        {"Action": ["start"]},
        {"Action": "start"},
        {"Action": "start", "Actor": None},
        {"Action": "start", "Actor": {"ID": 5}},
        {"status": "start", "id": None},
        b"no json\n",
        b"[" * 3000 + b"\n",
        b"x" * (2 << 20),
    ],
    ids=lambda odd: str(odd)[:20],
)
def test_events_that_cannot_be_read(engine: FakeEngine, odd: Any) -> None:
    """Directly, so that it takes no agent each: afterwards a container that has started is known."""
    follow(engine, lambda: engine.tell(odd), lambda: engine.tell({"status": "start", "id": "one"}))


@pytest.mark.parametrize("listed", [[], [None, 5, {}, {"Id": 7}]], ids=str)
def test_a_list_that_is_short(engine: FakeEngine, listed: Any) -> None:
    """A list is evidence of what is in it alone: who is known and not listed is asked about."""
    known = follow(engine, lambda: setattr(engine, "listed", listed), lambda: engine.tell([]))
    assert [c.id for c in known.find("web")] == ["one"]


@pytest.mark.parametrize("pid", [True, -1, 1 << 70, None], ids=str)
def test_a_pid_that_no_process_has(engine: FakeEngine, pid: Any) -> None:
    """Once, `true` was the process 1."""
    engine.add("one", "web", 1, State={"Running": True, "Pid": pid})
    engine.add("two", "other", 1)
    with following(engine) as found:
        wait_until(lambda: found.find("other"), "the other container to be known")
        assert found.find("web") == []
        assert "container one cannot be read" in found.trouble


def test_a_container_by_another_name_is_no_other(engine: FakeEngine) -> None:
    """Once, what a name leads to was one more container of that label."""
    engine.add("one", "web", 1)
    engine.containers["name"] = engine.containers["one"]
    with following(engine) as found:
        wait_until(lambda: "container name cannot be read" in found.trouble, "both to be looked at")
        assert [c.id for c in found.find("web")] == ["one"]


def test_one_that_is_nested_too_deeply_hides_no_other(engine: FakeEngine) -> None:
    engine.containers["deep"] = b"[" * 100_000
    engine.add("two", "other", 1)
    with following(engine) as found:
        wait_until(lambda: found.find("other"), "the other container to be known")
        assert "nested too deeply" in found.trouble


@contextlib.contextmanager
def following(engine: FakeEngine) -> Iterator[microservices.Microservices]:
    """Follow the engine in a thread, which must be alive at the end."""
    found = microservices.Microservices(engine.host, look_at)
    stop = threading.Event()
    thread = threading.Thread(target=found.run, args=(stop, lambda _news: None))
    thread.start()
    try:
        yield found
        assert thread.is_alive()
    finally:
        stop.set()

        def ended() -> bool:
            found.close()
            return not thread.is_alive()

        wait_until(ended, "the thread to end")


def follow(engine: FakeEngine, disturb: Any, go_on: Any) -> microservices.Microservices:
    """Follow the engine, disturb it, start a container, and wait until that is known, or a list after that."""
    with following(engine) as found:
        wait_until(lambda: found.answered and engine._streams, "the engine to be followed")
        engine.add("one", "web", 1)
        engine.tell({"Action": "start", "Actor": {"ID": "one"}})
        wait_until(lambda: found.find("web"), "the container to be known")
        disturb()
        engine.add("two", "two", 1)
        lists = engine.lists
        go_on()
        engine.tell({"Action": "start", "Actor": {"ID": "two"}})
        wait_until(lambda: found.find("two") or engine.lists > lists, "the engine to be followed again")
        wait_until(lambda: found.find("two") or engine.listed is not None, "the container to be known")
        return found


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"[" * (1 << 16))


def endless_gzip(connection: socket.socket) -> None:
    zeros = gzip.compress(b" " * (2 << 20))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zeros)


def endless_error(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 No\r\n\r\n")
    while True:
        connection.sendall(b"[" * (1 << 16))


def redirecting(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /version\r\nContent-Length: 0\r\n\r\n")


def endless_redirect(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 999999999999\r\n\r\n")
    while True:
        connection.sendall(b"[" * (1 << 16))


def error_that_is_a_list(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]")


def error_without_a_message(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}")


def error_whose_message_is_a_number(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\n{"message":7}')


def endless_nesting(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000)


def endless_chunk(connection: socket.socket, sent: list[int]) -> None:
    """An engine until it is asked for its events; `sent` gets how many bytes of one were taken."""
    answers = {b"/version": b'{"ApiVersion": "1.41"}', b"/info": b"{}", b"/containers/json": b"[]"}
    while (request := connection.recv(1 << 16)) and b"/events?" not in request:
        answer = next(answer for path, answer in answers.items() if path in request)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
    if not request:
        return
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000\r\n")
    count = 0
    try:
        while count < 64 << 20:
            count += connection.send(b"[" * (1 << 16))
    finally:
        sent.append(count)


def long_line(connection: socket.socket) -> None:
    connection.sendall(b"x" * 60_000 + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (endless, "longer than 1 MiB"),
        (endless_gzip, "longer than 1 MiB"),
        (endless_error, "longer than 1 MiB"),
        (redirecting, "a redirect"),
        (endless_redirect, "longer than 1 MiB"),
        (error_that_is_a_list, "status 500"),
        (error_without_a_message, "status 404"),
        (error_whose_message_is_a_number, "status 404"),
        (endless_nesting, "nested too deeply"),
        (long_line, "xxx ..."),
    ],
)
def test_an_answer_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[socket.socket], None], what: str
) -> None:
    """Once: a gigabyte in some seconds, and a state that said "has not been asked yet"."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    answer(connection)

    monkeypatch.setattr(engines, "LIMIT", 1 << 20)
    stop = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/engine.sock")
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        found = microservices.Microservices(f"unix://{tmp_path}/engine.sock", look_at)
        found.run(stop, lambda _: stop.set())
        listener.shutdown(socket.SHUT_RDWR)
    assert what in found.trouble
    assert len(found.trouble) < 400


def test_an_event_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, a chunk was read whole, whatever its size, before its first event was looked at."""
    sent: list[int] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            endless_chunk(connection, sent)

    monkeypatch.setattr(docker_answers, "EVENT_LIMIT", 64 << 10)
    stop = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/engine.sock")
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        found = microservices.Microservices(f"unix://{tmp_path}/engine.sock", look_at)
        thread = threading.Thread(target=found.run, args=(stop, lambda _: None))
        thread.start()
        wait_until(lambda: len(sent) > 2, "the events to be asked for again")
        stop.set()
        wait_until(lambda: not thread.is_alive(), "the thread to end")
        listener.shutdown(socket.SHUT_RDWR)
    assert max(sent) < 8 << 20
