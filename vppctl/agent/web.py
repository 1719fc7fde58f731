"""/healthz, /readyz and /metrics over HTTP, for probes and Prometheus. Off unless asked for.

On loopback or a unix socket alone: it has no authentication, and says which interfaces there are. A browser on this
host is on loopback, too, and a page from elsewhere may have a name that leads here (DNS rebinding): a request must name
a host that is this one.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import logging
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from vppctl.agent.facts import Facts
from vppctl.errors import UsageError, VppctlError, cause, shortage

log = logging.getLogger("vppctl.agent.web")


CONNECTIONS = 16
"""At the same time: every local user may connect, and each has a thread."""
DEADLINE = 10.0
"""Seconds for a whole request: `timeout` is for each octet of it."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")

SHORTAGE_PAUSE = 1.0
"""Seconds until a connection that could not be taken is tried again."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = 5

    def setup(self) -> None:
        """As it is, with an end."""
        super().setup()
        self._end = threading.Timer(DEADLINE, self._cut)
        self._end.daemon = True
        self._end.start()

    def finish(self) -> None:
        """As it is, without the end."""
        self._end.cancel()
        super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def parse_request(self) -> bool:
        """As it is; and what is asked of another host is answered by nobody here."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host", [])
        # HTTP/1.1 requires exactly one (RFC 9112, section 3.2), and so does every browser; older probes have none.
        if len(hosts) > 1 or (not hosts and self.request_version >= "HTTP/1.1"):
            self.send_error(400, explain="a request has one Host")
        elif hosts and not self.server.answers(hosts[0]):
            self.send_error(421, explain="only requests for loopback are answered, and for hosts of --http-host")
        else:
            return True
        return False

    def do_GET(self) -> None:
        """Answer a probe or a scrape."""
        facts = self.server.facts
        match self.path.partition("?")[0]:
            case "/healthz":
                self._answer("" if facts.alive() else "the deciding thread hangs")
            case "/readyz":
                self._answer("" if facts.ready else "the first full comparison is not done")
            case "/metrics":
                self._metrics()
            case _:
                self.send_error(404)

    def _metrics(self) -> None:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self.server.facts)
        self._send(200, generate_latest(registry), CONTENT_TYPE_LATEST)

    def _answer(self, problem: str) -> None:
        """A problem is a reason to start again; what fails outside is none, and stands on a line of its own."""
        troubles = self.server.facts.troubles()
        text = f"{problem or 'ok'}\n" + (f"degraded: {troubles}\n" if troubles else "")
        self._send(503 if problem else 200, text.encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """A probe every second is no news."""
        log.debug(format, *args)

    def address_string(self) -> str:
        """A unix socket has no address of the other side."""
        return str(self.client_address[0]) if self.client_address else "unix"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4 * CONNECTIONS
    """So that those who are refused hear it at once."""

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        facts: Facts,
        on_trouble: Callable[[str], None],
        hosts: Collection[str],
    ) -> None:
        self.address_family, self.facts = family, facts
        self._hosts = {_plain(host) for host in hosts}
        self._serving, self._on_trouble = False, on_trouble
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def answers(self, host: str) -> bool:
        """Whether a request for this Host is one for here. No page of a browser reaches a unix socket."""
        if self.address_family == socket.AF_UNIX:
            return True
        name = _plain(_without_port(host))
        return name == "localhost" or name in self._hosts or _is_loopback(name)

    def run(self) -> None:
        """Serve until the end; an error begins it again."""
        self._serving = True
        try:
            self.serve_forever(0.2)
        finally:
            self._serving = False

    def end(self) -> None:
        """Stop serving."""
        if self._serving:
            self.shutdown()
        self.server_close()

    def get_request(self) -> Any:
        """The next connection; while there is no descriptor for it, it waits, and the thread does not spin."""
        try:
            found = super().get_request()
        except OSError as error:
            if shortage(error):
                self._on_trouble(f"no connection can be taken: {cause(error)}")
                time.sleep(SHORTAGE_PAUSE)
            raise
        self._on_trouble("")
        return found

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, while there is room for one."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The body of that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news, nor is one too many."""
        log.debug("a request failed", exc_info=True)

    def server_bind(self) -> None:
        """Without the lookup of a host name that HTTPServer does; a socket file is its owner's alone from the start."""
        if self.address_family == socket.AF_UNIX:
            # unix_bind gives the file the mode of the socket, less the umask.
            os.fchmod(self.socket.fileno(), 0o600)
        self.socket.bind(self.server_address)


def listen(
    address: str, facts: Facts, on_trouble: Callable[[str], None], hosts: Collection[str] = ()
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Listen at `address`; returns what serves, as the body of a thread, and what ends that.

    Requests are answered that are for loopback or for one of `hosts`.
    Raises UsageError and VppctlError.
    """
    family, where = parse(address)
    if family is socket.AF_UNIX and not _is_served(where):
        _remove_stale(where)
    try:
        server = _Server(family, where, facts, on_trouble, hosts)
    except OSError as error:
        raise VppctlError(f"--http {address}: cannot be served: {error.strerror}; choose another address") from None

    def end() -> None:
        server.end()
        if family is socket.AF_UNIX:
            _remove_stale(where)

    return server.run, end


def parse(address: str) -> tuple[socket.AddressFamily, Any]:
    """`127.0.0.1:PORT`, `[::1]:PORT`, `localhost:PORT` or `unix:PATH`. Raises UsageError."""
    if address.startswith("unix:/"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    found = _address(host)
    if found is None or not found.is_loopback or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--http {address!r} is no loopback address; write 127.0.0.1:9090, [::1]:9090 or unix:/PATH")
    return (socket.AF_INET6 if found.version == 6 else socket.AF_INET), (host, int(port))


def check_host(host: str) -> str:
    """A name or address as requests have it in their Host, without a port. Raises UsageError."""
    if _HOST.fullmatch(host) or _address(_plain(host)):
        return host
    raise UsageError(f"--http-host {host!r} is no name or address of a host; write one such as metrics.example.net")


def _without_port(host: str) -> str:
    """The name or address that a Host header names; port forwarding may have changed the port."""
    head, colon, port = host.rpartition(":")
    return head if colon and port.isascii() and port.isdigit() and not head.endswith(":") else host


def _plain(host: str) -> str:
    """A name or address in one spelling."""
    return host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _is_loopback(host: str) -> bool:
    found = _address(host)
    return found is not None and found.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_served(path: str) -> bool:
    """Whether somebody answers there."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def _remove_stale(path: str) -> None:
    """A socket that an earlier run has left; nothing else is removed."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        return
