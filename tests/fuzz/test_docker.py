"""A container engine that answers anything: there is no exception that ends its thread, and no container that is none.

First by the objects that the library gives, then by the bytes of HTTP. The short form is a part of every run. The long
one: see README.md in this folder.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import docker
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.strategies import VALUES, spoil
from vppctl import engine, microservices
from vppctl.microservices import Microservices
from vppctl.reconcile.state import Process

TOTAL = int(os.environ.get("VPPCTL_TEST_FUZZ", "400"))
"""Examples of each test."""
SEED = int(os.environ.get("VPPCTL_TEST_SEED", "6"))
LONG = TOTAL > 1_000
INFO = {"SystemTime": "2026-01-01T00:00:00.000000000Z", "CgroupDriver": "systemd", "ServerVersion": "27"}
ACTIONS = ("start", "die", "rename", "destroy", "exec_create: sh", "health_status: healthy")
counts: Counter[str] = Counter()

examples = settings(
    max_examples=TOTAL,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Any:
    """What was tried, for the record."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if LONG and capture:
        with capture.global_and_fixture_disabled():
            print(f"\nfuzz: seed {SEED}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PAUSE", "BACKOFF_FIRST", "BACKOFF_LAST"):
        monkeypatch.setattr(microservices, name, 0.0)
    monkeypatch.setattr(engine, "LIMIT", 256 << 10)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def inspection(key: str, label: str, pid: int) -> dict[str, Any]:
    """As an engine describes a running container."""
    return {
        "Id": key,
        "Name": f"/{label}",
        "Config": {"Env": ["PATH=/bin", f"MICROSERVICE_LABEL={label}"], "Labels": {}},
        "State": {"Running": True, "Pid": pid, "StartedAt": "2026-01-01T00:00:00.5Z", "Paused": False},
        "NetworkSettings": {"SandboxKey": "/run/docker/netns/x"},
    }


KEYS = {f"{number}" * 64: (f"web{number}", 100 + number) for number in range(1, 4)}


class Rounds(threading.Event):
    """Stops whoever asks it after so many connections."""

    left = 3

    def is_set(self) -> bool:
        return self.left <= 0


class Engine:
    """A FAKE client of the library: each answer is one of a healthy engine, or one that somebody has spoiled."""

    def __init__(self, random: Random, often: float, rounds: Rounds) -> None:
        self._random, self._often, self._rounds = random, often, rounds
        self.described: set[tuple[str, str, int]] = set()
        """Id, label and PID of each running container that was ever described."""

    def info(self) -> Any:
        self._rounds.left -= 1
        return self._given(INFO)

    def containers(self) -> Any:
        return self._given([{"Id": key, "Names": ["/x"]} for key in KEYS if self._random.random() < 0.9])

    def inspect_container(self, key: str) -> Any:
        if key not in KEYS or self._random.random() < 0.1:
            raise docker.errors.NotFound("no such container")
        found = self._given(inspection(key, *KEYS[key]))
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            if found["State"]["Running"] is True and found.get("Id", key) == key:
                pid = found["State"]["Pid"]
                labels = [
                    e.partition("=")[2] for e in found["Config"]["Env"] if str(e).startswith("MICROSERVICE_LABEL=")
                ]
                self.described.update((key, name, pid) for name in labels if type(pid) is int)
        return found

    def events(self, **_: Any) -> Any:
        lines = b""
        for _number in range(self._random.randrange(4)):
            key = self._random.choice(list(KEYS))
            event: dict[str, Any] = {
                "Action": self._random.choice(ACTIONS),
                "Actor": {"ID": key},
                "Type": "container",
                "time": 1,
            }
            data = json.dumps(self._given(event)).encode()
            if self._random.random() < self._often / 4:
                at = self._random.randrange(len(data) or 1)
                data = data[:at] + self._random.randbytes(2) + data[at + self._random.randrange(5) :]
            lines += data + b"\n"
        cuts = sorted(self._random.randrange(len(lines) + 1) for _ in range(3))
        pieces = [lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
        return _Stream(piece.decode(errors="replace") if self._random.random() < 0.1 else piece for piece in pieces)

    def close(self) -> None:
        """Nothing is open."""

    def _given(self, answer: Any) -> Any:
        if self._random.random() >= self._often:
            return copy.deepcopy(answer)
        counts["answers spoiled"] += 1
        match self._random.randrange(8):
            case 0:
                return copy.deepcopy(self._random.choice(VALUES))
            case 1:
                error = self._random.choice((docker.errors.APIError, requests.ConnectionError, OSError, ValueError))
                raise error("odd")
            case _:
                answer = copy.deepcopy(answer)
                for _ in range(self._random.choice((1, 1, 2))):
                    answer = spoil(answer, self._random)
                return answer


class _Stream:
    def __init__(self, pieces: Iterator[bytes | str]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes | str]:
        return self._pieces

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.timeout(14400 if LONG else 300)
def test_only_what_is_described_is_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, a time that was an object ended the thread, and a PID that was `true` led to the process 1."""

    def look_at(pid: Any) -> Process | None:
        assert type(pid) is int
        assert 0 < pid <= 1 << 22
        return Process(5, 1767225600.0, "/docker/" + "1" * 64, None) if pid % 2 else None

    monkeypatch.setattr(engine, "find", lambda _: engine.Endpoint("unix:///nowhere"))

    @seed(SEED)
    @examples
    @given(st.integers(0, 2**32))
    def holds(number: int) -> None:
        counts["engines by objects"] += 1
        random, rounds = Random(number), Rounds()
        client = Engine(random, random.choice((0.05, 0.3)), rounds)
        followed = Microservices(None, look_at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "connect", lambda *_: client)
            followed.run(rounds, lambda _: None)
        for container in followed._containers.values():
            assert (container.id, container.label, container.pid) in client.described
            assert container in followed.find(container.label)

    holds()


# The same by bytes


def _body(path: str, random: Random) -> bytes:
    if path.endswith("/version"):
        answer: Any = {"ApiVersion": random.choice(("1.41", "1.41", "1.41", "1.1", "x", "1.41.9", "\u0664.1"))}
    elif path.endswith("/info"):
        answer = INFO
    elif path.endswith("/containers/json"):
        answer = [{"Id": key} for key in KEYS]
    elif "/events" in path:
        answer = {"Action": "start", "Actor": {"ID": random.choice(list(KEYS))}}
    else:
        key = path.split("/")[-2]
        answer = inspection(key, *KEYS.get(key, ("none", 1)))
    if random.random() < 0.15:
        answer = spoil(copy.deepcopy(answer), random)
    data = json.dumps(answer).encode() + b"\n"
    match random.randrange(30):
        case 0:
            return random.randbytes(random.randrange(100))
        case 1:
            return b"[" * random.choice((2000, 100_000))
        case 2:
            return data[: random.randrange(len(data))]
        case 3:
            return data + b" " * (300 << 10)
        case 4:
            return b"<html>" + data
        case _:
            return data


def _response(path: str, random: Random) -> bytes:
    """An answer of HTTP/1.1, most often a good one."""
    body, odd = _body(path, random), random.random() < 0.3
    status = random.choice((200, 204, 301, 404, 404, 500, 503, 100, 101, 999)) if odd else 200
    kinds = ("application/json", "text/html; charset=\x80", "application/json; charset=utf-7", "", "x/y; charset=nope")
    headers = [f"Content-Type: {random.choice(kinds) if odd else kinds[0]}", "Connection: close"]
    if odd and random.random() < 0.3:
        headers.append(f"Content-Encoding: {random.choice(('gzip', 'deflate', 'br', 'zstd', 'x'))}")
        if random.random() < 0.5:
            body = gzip.compress(body)[: random.choice((None, -4, 5))]
    if odd and random.random() < 0.2:
        headers.append(random.choice(("Location: /x", "X" * 70_000, "Set-Cookie: \x01", "no colon", ": empty", "\0")))
    if "/events" in path or random.random() < 0.5:
        headers.append("Transfer-Encoding: chunked")
        body = _chunks(body, random, odd)
    elif not odd or random.random() < 0.6:
        size: Any = len(body)
        headers.append(
            f"Content-Length: {random.choice((size, size + 1, 0, -1, 10**12, 'x', size // 2)) if odd else size}"
        )
    first = f"HTTP/1.1 {status} {random.choice(('OK', '', 'No' * 99))}"
    if odd and random.random() < 0.15:
        first = random.choice(("", "HTTP/9.9 200", "HTTP/1.1 x", "SSH-2.0-x", "HTTP/1.1", "HTTP/1.1 -1 no"))
    whole = "\r\n".join([first, *headers, "", ""]).encode("latin-1", errors="replace") + body
    return whole[: random.randrange(len(whole) + 1)] if odd and random.random() < 0.2 else whole


def _chunks(body: bytes, random: Random, odd: bool) -> bytes:
    found, at = b"", 0
    while at < len(body):
        size = random.choice((1, 20, 200, 100_000))
        piece = body[at : at + size]
        shown = (
            random.choice((b"-1", b"zz", b"ffffffffff", b"", b"0"))
            if odd and random.random() < 0.1
            else b"%x" % len(piece)
        )
        found += shown + b"\r\n" + piece + (b"" if odd and random.random() < 0.1 else b"\r\n")
        at += size
    return found + (b"" if odd and random.random() < 0.3 else b"0\r\n\r\n")


class HttpEngine:
    """A FAKE engine on a unix socket; `random` decides what it answers."""

    def __init__(self, path: str) -> None:
        self.random = Random(0)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    request = b""
                    while b"\r\n\r\n" not in request and (more := connection.recv(1 << 16)):
                        request += more
                    if request:
                        counts["HTTP answers"] += 1
                        path = request.split(b" ")[1].split(b"?")[0].decode()
                        connection.sendall(_response(path, self.random))


@pytest.mark.timeout(14400 if LONG else 300)
def test_any_bytes_are_an_answer_or_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, an error whose body was a list ended the thread, and one answer nested too deeply hid all containers."""
    server = HttpEngine(f"{tmp_path}/engine.sock")
    rounds, connect = Rounds(), engine.connect

    def counting(*arguments: Any) -> Any:
        rounds.left -= 1
        return connect(*arguments)

    monkeypatch.setattr(engine, "connect", counting)

    @seed(SEED)
    @settings(examples, max_examples=max(1, TOTAL // 5) if not LONG else TOTAL)
    @given(st.integers(0, 2**32))
    def holds(number: int) -> None:
        counts["engines by bytes"] += 1
        server.random, rounds.left = Random(number), 2
        followed = Microservices(f"unix://{tmp_path}/engine.sock", lambda _: None)
        followed.run(rounds, lambda _: None)
        assert len(followed.trouble) < 1500
        counts["containers found"] += len(followed._containers)

    holds()
    server.close()
