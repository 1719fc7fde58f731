"""Documents for fuzzing: valid ones drawn from our own JSON Schema, and what becomes of them on a bad day."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

from vppctl.model.keys import Kind
from vppctl.model.schema import json_schema

HOSTILE = [
    "",
    "\x00",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "[bold red]x[/]",
    "[/]",
    "<script>alert(1)</script>",
    "a\nb",
    "\u202eabc",
    "\u2066x\u2069",
    "\ufeff",
    "\u0085",
    "\u2028",
    "\ud800",
    "..",
    "../../etc/passwd",
    "/run/netns/../../etc/passwd",
    "/proc/self/ns/net",
    "/proc/99999999999/ns/net",
    "/proc/1/task/99999999999/ns/net",
    "/proc/1/root/run/netns/x",
    "%d",
    "v%d",
    "-rf",
    "x" * 15,
    "x" * 16,
    "\u00fc" * 8,
    "n" * 255,
    "n" * 256,
    "\u00fc" * 200,
    "x" * 10_000,
    "fe80::1%\x1b[0m/64",
    "fe80::1%eth0",
    "1.2.3.4/8 ",
    "1.2.3.4/\u0668",
    "\u0661.2.3.4/8",
    "0x7f.1/8",
    "00",
    "\u0664",
    "1e3",
    "0",
    "true",
    "null",
    "NaN",
    "02:00:00:00:00:01\n",
]
"""Strings that have hurt somebody somewhere: terminals, markup, paths, formats, encodings, bounds."""
NUMBERS = [0, 1, -1, 67, 68, 65535, 65536, 2**22, 2**31, 2**32 - 1, 2**32, 2**63, 10**400, 1.5, 1e308, -0.0, 1500.0]
VALUES: list[Any] = [None, True, False, [], {}, [[]], [None], {"": None}, *NUMBERS, *HOSTILE]


def documents(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that the schema of this kind accepts, most of which our own rules accept, too."""
    return _schema(json_schema(kind), "").map(_sensible)


def _schema(schema: dict[str, Any], path: str) -> st.SearchStrategy[Any]:
    if path in _SPECIAL:
        return _SPECIAL[path]
    if "properties" in schema:
        return _object(schema, path)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "items" in schema:
        return st.lists(_ADDRESSES, max_size=4)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found: list[st.SearchStrategy[Any]] = []
    if "boolean" in kinds:
        found.append(st.booleans())
    if "integer" in kinds:
        numbers = st.integers(0, min(schema.get("maximum", 9), 2**32 - 1))
        found += [numbers, numbers.map(str), numbers.map(float)]
    elif "string" in kinds:
        found.append(_NAMES)
    return st.one_of(found)


def _object(schema: dict[str, Any], path: str) -> st.SearchStrategy[dict[str, Any]]:
    """An object with what is required, in either spelling, and some of the rest."""
    wanted: set[str] = set()
    needed = []
    for group in schema.get("allOf", ()):
        spellings = [name for choice in group["anyOf"] for name in choice["required"]]
        needed.append(st.sampled_from(spellings))
        wanted.update(spellings)
    members = {k: _schema(v, f"{path}.{k}".lstrip(".")) for k, v in schema["properties"].items()}
    optional = {k: v for k, v in members.items() if k not in wanted}

    @st.composite
    def whole(draw: st.DrawFn) -> dict[str, Any]:
        found = {name: draw(members[name]) for name in (draw(n) for n in needed)}
        return {**found, **draw(st.fixed_dictionaries({}, optional=optional))}

    return whole()


_NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)
_ADDRESSES = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8").map(lambda a: f"{a}/24"),
    st.ip_addresses(v=6, network="2001:db8::/32").map(lambda a: f"{a.exploded}/64"),
)
_MACS = st.integers(0, 2**40 - 1).map(lambda n: (b"\x02" + n.to_bytes(5, "big")).hex(":"))
_FILES = st.one_of(_NAMES.map("/run/netns/{}".format), st.integers(1, 2**22).map("/proc/{}/ns/net".format))
_MTU = st.sampled_from([0, 68, 1500, 9000.0, "1500", 65535])
_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "name": _NAMES,
    "mtu": _MTU,
    "phys_address": _MACS,
    "physAddress": _MACS,
    "namespace.filepath": _FILES,
    "memif.socket_filename": _NAMES.map("/run/{}".format),
    "memif.socketFilename": _NAMES.map("/run/{}".format),
    "memif.ring_size": st.sampled_from([0, 256, 1024, "1024"]),
    "memif.ringSize": st.sampled_from([0, 256, 1024, "1024"]),
    "memif.buffer_size": st.integers(0, 65535),
    "memif.bufferSize": st.integers(0, 65535),
}
_FIELD_OF_TYPE = {0: "pid", 1: "microservice", 2: "name", 3: "filepath"}


def _sensible(document: dict[str, Any]) -> dict[str, Any]:
    """Without the contradictions that a schema cannot see, so that enough is accepted."""
    for name in ("host_if_name", "phys_address", "ip_addresses"):
        other = name.split("_")[0] + "".join(part.capitalize() for part in name.split("_")[1:])
        if name in document:
            document.pop(other, None)
    section = document.get("namespace")
    if section:
        kinds = {"PID_REF_NS": 0, "MICROSERVICE_REF_NS": 1, "NAMED_NS": 2, "FILE_REF_NS": 3}
        kind = section.get("type") or 0
        wanted = _FIELD_OF_TYPE[kinds[kind] if kind in kinds else int(kind)]
        document["namespace"] = {k: v for k, v in section.items() if k in ("type", wanted)}
    if memif := document.get("memif"):
        for name in [n for n in memif if "_" in n]:
            memif.pop(name.split("_")[0] + name.split("_")[1].capitalize(), None)
    if document.get("type") in (2, "2", "MEMORY_INTERFACE"):
        document.pop("afpacket", None)
    elif "type" in document:
        document.pop("memif", None)
    return document


def mutants(document: dict[str, Any], random: Random, count: int) -> list[bytes]:
    """The document itself, and `count` that somebody has spoiled, some of them more than once."""
    found = [json.dumps(document).encode()]
    for _ in range(count):
        broken = json.loads(json.dumps(document))
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            broken = spoil(broken, random)
        data = json.dumps(broken, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
        if random.random() < 0.4:
            data = random.choice(_BYTES)(data, random)
        found.append(data)
    return found


def spoil(document: Any, random: Random) -> Any:
    """Another value, another key, or something deep in one place of the document."""
    places = list(_places(document))
    if not places:
        return copy.deepcopy(random.choice(VALUES))
    holder, key = random.choice(places)
    match random.randrange(6):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(random.choice(VALUES))
        case 3 if isinstance(holder, dict):
            holder[random.choice(HOSTILE)] = holder.pop(key)
        case 4:
            holder[key] = _deep(holder[key], random.choice((3, 31, 32, 33, 200)))
        case _:
            member = holder[key]
            # Lists of lists of lists would be the fuzzer's own undoing.
            holder[key] = [member] * (2 if isinstance(member, list | dict) else random.choice((2, 1024, 1025)))
    return document


def _deep(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _places(value: Any) -> Any:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield value, key
        yield from _places(member)


def _flip(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) or 1)
    return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _twice(data: bytes, random: Random) -> bytes:
    """A member given twice, with another value the second time."""
    key = random.choice((b'"name"', b'"mtu"', b'"\\u006eame"', b'"veth"'))
    return data[:-1] + b"," + key + b":" + json.dumps(random.choice(VALUES)).encode() + b"}"


def _nested(data: bytes, random: Random) -> bytes:
    depth = random.choice((40, 5000))
    return b"[" * depth + data + b"]" * random.choice((depth, 0))


def _digits(data: bytes, random: Random) -> bytes:
    return data.replace(b":", b":" + b"9" * random.choice((20, 5000)), 1)


def _inserted(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    some = random.choice(
        (b"\x00", b"\x1b[2J", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xef\xbb\xbf", b"NaN", b",")
    )
    return data[:at] + some + data[at:]


def _padded(data: bytes, random: Random) -> bytes:
    return data + b" " * random.choice((1, 65536 - len(data) % 65536, 65537))


_BYTES: list[Callable[[bytes, Random], bytes]] = [_flip, _flip, _cut, _twice, _nested, _digits, _inserted, _padded]
