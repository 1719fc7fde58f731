"""Which store, and how to reach it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from vppctl.errors import UsageError
from vppctl.store.base import Store

DEFAULT_URL = "etcd://127.0.0.1:2379"
DEFAULT_TIMEOUT = 5.0
_SCHEME = re.compile("(https?|etcds?)://", re.IGNORECASE)
_SOCKET = re.compile("(unixs?):(?://)?(/.+)", re.IGNORECASE)
_BARE_SOCKET = re.compile("unixs?:", re.IGNORECASE)
_PLAIN, _SECURE = ("http", "unix"), ("https", "etcds", "unixs")
# What else there is has a meaning of its own in the address that gRPC is given: `a?b`, `a#b`, `%2f`.
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(:([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Everything that `open_store` needs; the password never shows in a repr."""

    endpoints: tuple[str, ...] = ()
    """`HOST:PORT` of etcd's members; empty for the embedded store."""
    path: str = ""
    """File of the embedded store; empty for etcd."""
    secure: bool = False
    cacert: str = ""
    cert: str = ""
    key: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    """Where the password came from, if it was a file: it may be changed there."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one request may take."""


def parse_store_url(url: str) -> StoreSettings:
    """What `etcd://H:P[,...]`, `https://...`, `unix:PATH`, `sqlite:PATH` or `embedded` names. Raises UsageError."""
    if url == "embedded":
        return StoreSettings(path=embedded_path())
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme == "sqlite":
        path = rest.removeprefix("//") if rest.startswith("///") else rest
        if not path:
            raise UsageError("--store sqlite: has no path; write sqlite:/var/lib/vppctl/store.db")
        return StoreSettings(path=os.path.abspath(path))
    if scheme in ("unix", "unixs") or (scheme in ("etcd", "http", "https", "etcds") and rest.startswith("//")):
        return StoreSettings(endpoints=parse_endpoints(url), secure=wants_tls(url))
    raise UsageError(f"--store {url!r} is no store; write etcd://HOST:PORT, https://HOST:PORT, sqlite:PATH or embedded")


def parse_endpoints(text: str) -> tuple[str, ...]:
    """`HOST:PORT,...`, with the port 2379 where none is given, and `unix:PATH`; each once. Raises UsageError.

    A scheme, blanks around it, a slash behind it and a comma at the end are left out, as etcdctl does.
    """
    found: dict[str, None] = {}
    if wants_tls(text) and (plain := [part for part in _parts(text) if _scheme(part) in _PLAIN]):
        hint = "all are reached with TLS, or none; write one scheme"
        raise UsageError(f"{plain[0].rpartition('@')[2]!r} stands beside one with TLS: {hint}")
    for part in _parts(text) or [""]:
        bare = _SCHEME.sub("", part, count=1)
        if path := _SOCKET.fullmatch(bare):
            found[f"unix:/{path[2].lstrip('/')}"] = None
            continue
        if bare == part and (scheme := _BARE_SOCKET.match(part)):
            text = (
                f"a socket's path starts with a slash; write {scheme[0]}/PATH, or http://{part} for a host of this name"
            )
            raise UsageError(f"{part!r} is no endpoint; {text}")
        bare = bare.rstrip("/")
        match = _ENDPOINT.fullmatch(bare)
        if not match or int(match[3] or 1) > 65535:
            user, at, rest = bare.rpartition("@")
            hint = "write HOST:PORT, and the user as --user" if at else "write HOST:PORT"
            # What stands before it may be a password.
            raise UsageError(f"{'...@' if user else ''}{rest!r} is no endpoint; {hint}")
        found[f"{match[1]}:{match[3] or 2379}"] = None
    return tuple(found)


def wants_tls(text: str) -> bool:
    """Whether the scheme of one of these endpoints is one with TLS."""
    return any(_scheme(part) in _SECURE for part in _parts(text))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _scheme(part: str) -> str:
    return part.partition(":")[0].lower() if _SCHEME.match(part) or _SOCKET.match(part) else ""


def host_and_port(endpoint: str) -> tuple[str, int]:
    """The parts of `HOST:PORT`, an IPv6 address without its brackets."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def embedded_path() -> str:
    """The embedded store's file: in the state directory of the system for root, of the user otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/vppctl/store.db"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "vppctl", "store.db")


def open_store(settings: StoreSettings) -> Store:
    """The store, whose adapter is loaded only now. Raises StoreError."""
    if settings.path:
        from vppctl.store.sqlite import SqliteStore

        return SqliteStore(settings)
    from vppctl.store.etcd import EtcdStore

    return EtcdStore(settings)
