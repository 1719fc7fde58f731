"""A network between client and server that loses what a test chooses: a request, or its answer."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Passes on connections to a port of this host, until a request with `marker` comes by.

    Then the connection ends: before the request with `lose_request`, after it was carried out with `lose_answer`.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._marker = b""
        self._until: Callable[[], bool] | None = None
        self._skip = 0
        self.cuts = 0
        """How often a connection was ended."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(10)
        self._listener.close()

    def lose_request(self, marker: bytes) -> None:
        """The next request with this text does not arrive."""
        self._until, self._skip, self._marker = None, 0, marker

    def lose_answer(self, marker: bytes, until: Callable[[], bool], skip: int = 0) -> None:
        """The next request with this text arrives, after `skip` others; its answer does not.

        The connection ends when `until` says that the server has carried it out.
        """
        self._until, self._skip, self._marker = until, skip, marker

    def _run(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        near: set[socket.socket] = set()

        def end(one: socket.socket) -> None:
            other = pairs.pop(one)
            del pairs[other]
            near.difference_update((one, other))
            one.close()
            other.close()

        while not self._end.is_set():
            for ready in select.select([self._listener, *pairs], [], [], 0.02)[0]:
                if ready is self._listener:
                    client = self._listener.accept()[0]
                    try:
                        server = socket.create_connection(("127.0.0.1", self._target))
                    except OSError:
                        client.close()
                        continue
                    pairs[client], pairs[server] = server, client
                    near.add(client)
                elif ready in pairs:
                    data = b""
                    with contextlib.suppress(OSError):
                        data = ready.recv(1 << 20)
                    if not data or (ready in near and self._cut(data, pairs[ready])):
                        end(ready)
                        continue
                    with contextlib.suppress(OSError):
                        pairs[ready].sendall(data)
        for one in list(pairs):
            one.close()

    def _cut(self, data: bytes, server: socket.socket) -> bool:
        """Whether this request ends its connection."""
        if not self._marker or self._marker not in data:
            return False
        if self._skip:
            self._skip -= 1
            return False
        self._marker = b""
        self.cuts += 1
        if self._until is None:
            return True
        server.sendall(data)
        while not self._until() and not self._end.is_set():
            select.select([server], [], [], 0.01)
        return True
