"""What the stream writes: documents of the test's own making, so that nothing of vppctl judges them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class Ref(NamedTuple):
    """A namespace reference: kind `default`, `named`, `pid`, `file` or `microservice`, and its name, number or path."""

    kind: str = "default"
    value: str = ""

    def json(self) -> dict[str, Any] | None:
        match self.kind:
            case "default":
                return None
            case "named":
                return {"type": 2, "name": self.value}
            case "pid":
                return {"type": 0, "pid": int(self.value)}
            case "microservice":
                return {"type": 1, "microservice": self.value}
            case _:
                return {"type": 3, "filepath": self.value}


DEFAULT = Ref()


@dataclass(frozen=True, slots=True)
class Document:
    """One interface as it stands in the store; `broken` names the error that was put into it."""

    name: str
    peer: str
    ref: Ref = DEFAULT
    host: str = ""
    mtu: int = 0
    mac: str = ""
    addresses: tuple[str, ...] = ()
    enabled: bool = True
    broken: str = ""

    @property
    def kernel_name(self) -> str:
        return self.host or self.name

    def text(self) -> str:
        """What is put into the store."""
        return BREAKAGES[self.broken](self.json()) if self.broken else json.dumps(self.json())

    def json(self) -> dict[str, Any]:
        values = {
            "name": self.name,
            "enabled": self.enabled,
            "mtu": self.mtu,
            "phys_address": self.mac,
            "host_if_name": self.host,
            "ip_addresses": list(self.addresses),
            "namespace": self.ref.json(),
            "veth": {"peer_if_name": self.peer},
        }
        return {key: value for key, value in values.items() if value}

    def mended(self) -> Document:
        return replace(self, broken="")


BREAKAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "cut off": lambda document: json.dumps(document)[:-3],
    "mtu": lambda document: json.dumps({**document, "mtu": 10}),
    "address": lambda document: json.dumps({**document, "ip_addresses": ["10.0.0.1"]}),
    "no peer": lambda document: json.dumps({**document, "veth": {}}),
    "other name": lambda document: json.dumps({**document, "name": "other"}),
    "namespace": lambda document: json.dumps({**document, "namespace": {"name": "m0"}}),
    "empty": lambda _: "",
}
