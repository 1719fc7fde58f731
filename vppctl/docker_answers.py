"""Reads what a Docker engine, or one that speaks its API, answers; nothing in it is taken for granted.

Neighbour: `microservices.py`, which asks. What is missing or of another type than the API says raises OddError, so that
one container, event or answer is skipped and all others count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

LABEL_VARIABLE = "MICROSERVICE_LABEL"
"""What marks a container as a microservice, in its environment (ligato, linuxplugin/ifplugin)."""
PID_MAX_LIMIT = 1 << 22
"""linux/threads.h"""
EVENT_LIMIT = 1 << 20
"""Bytes of one event that are read."""
_CHANGES = frozenset(["start", "restart", "die", "died", "stop", "destroy", "remove", "rename"])
"""Events after which a container is looked at; Podman's names among them."""


class OddError(ValueError):
    """The engine's answer is not what its API says."""


class Described(NamedTuple):
    """A running container with a microservice label; texts that the engine does not give are empty."""

    label: str
    name: str
    pid: int
    started_at: str
    sandbox: str
    """The file of its network namespace on the engine's host."""


def described(answer: Any, key: str) -> Described | None:
    """What an inspection found of the container with this id; None when it is not running or has no label.

    Raises OddError.
    """
    _part(answer, dict, "the answer about it")
    if answer.get("Id", key) != key:
        # A name or a short id leads to a container, too, which would count twice.
        raise OddError("the answer is about another container")
    environment = _part(answer.get("Config"), dict, "its Config").get("Env")
    entries = [] if environment is None else _part(environment, list, "its Config.Env")
    variables = dict(entry.partition("=")[::2] for entry in entries if isinstance(entry, str))
    state = _part(answer.get("State"), dict, "its State")
    label, pid = variables.get(LABEL_VARIABLE), state.get("Pid")
    if not label or not _part(state.get("Running"), bool, "its State.Running") or pid == 0:
        return None
    if isinstance(pid, bool) or not 0 < _part(pid, int, "its State.Pid") <= PID_MAX_LIMIT:
        raise OddError(f"its State.Pid is {str(pid)[:20]}, which no process has")
    network = answer.get("NetworkSettings")
    sandbox = network.get("SandboxKey") if isinstance(network, dict) else ""
    return Described(label, _text(answer.get("Name")).lstrip("/"), pid, _text(state.get("StartedAt")), _text(sandbox))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _part(value: Any, kind: type, what: str) -> Any:
    """`value`, of which the API says that it is of this kind. Raises OddError."""
    if not isinstance(value, kind):
        raise OddError(f"{what} is {'null' if value is None else f'a {type(value).__name__}'}, not a {kind.__name__}")
    return value


def ids(listed: Any) -> list[str]:
    """The ids of a list of containers. An empty list may be null: it is so in Go."""
    containers = [] if listed is None else _part(listed, list, "the list of containers")
    return [c["Id"] for c in containers if isinstance(c, dict) and isinstance(c.get("Id"), str)]


def concerned(event: Any) -> str | None:
    """The id of the container that is to be looked at after this event; None for none. Raises OddError."""
    _part(event, dict, "an event")
    action = event.get("Action", event.get("status"))
    if not isinstance(action, str) or action not in _CHANGES:
        return None
    actor = event.get("Actor")
    key = (actor if isinstance(actor, dict) else {}).get("ID", event.get("id"))
    return str(_part(key, str, f"the id in an event of {action}"))


def events(stream: Iterable[bytes | str]) -> Iterator[Any]:
    """The events of a stream, which are JSON, one a line. Raises OddError."""
    rest = b""
    for chunk in chain(stream, [b"\n"]):
        *lines, rest = (rest + (chunk.encode() if isinstance(chunk, str) else chunk)).split(b"\n")
        for line in filter(bytes.strip, lines):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                raise OddError("an event is no JSON") from None
            yield event
        if len(rest) > EVENT_LIMIT:
            raise OddError(f"an event is longer than {EVENT_LIMIT} bytes")


def clock(info: Any) -> int | None:
    """The engine's time in whole seconds, for an event that is reported twice does no harm; None: it tells none."""
    from datetime import datetime

    text = _part(info, dict, "the answer to /info").get("SystemTime")
    try:
        zone = text[-6:] if text[-6] in "+-" else "+00:00"
        return int(datetime.fromisoformat(text[:19] + zone).timestamp())
    except (TypeError, ValueError, LookupError, OverflowError):
        return None


def epoch(text: str) -> float | None:
    """Seconds of the epoch of a container's start; None for none, which the engine writes as the year 1."""
    from datetime import datetime

    # Nanoseconds, and digits left out at will.
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not found or text < "1970":
        return None
    whole, fraction, zone = found.groups()
    try:
        return datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).timestamp() + float(f"0{fraction or '.0'}")
    except (ValueError, OverflowError):
        return None
