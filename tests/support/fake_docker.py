"""A FAKE Docker engine: a few answers of its API on a unix socket, which a test makes as odd as it likes.

A real engine cannot be made to answer like this; what a real one does is tested with one (tests/docker).
"""

from __future__ import annotations

import http.server
import json
import queue
import socketserver
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self


class FakeEngine:
    """Answers are attributes: a value is sent as JSON, bytes as they are, a number as that status."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fake-docker.sock"
        self.host = f"unix://{self.path}"
        self.info: Any = {"SystemTime": "2026-01-01T00:00:00.0Z"}
        self.listed: Any = None
        """What a list of containers gives; by default an entry for each of `containers`."""
        self.containers: dict[str, Any] = {}
        """What an inspection gives, by id."""
        self.lists = 0
        """Lists that were asked for."""
        self._streams: list[queue.SimpleQueue[bytes | None]] = []
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self._server = _Server(str(self.path), _Handler)
        self._server.engine = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server
        self._server.shutdown()
        for stream in self._streams:
            stream.put(None)
        self._server.server_close()
        self.path.unlink()

    def add(self, key: str, label: str, pid: int, **more: Any) -> None:
        """A running container, as a real engine describes it."""
        self.containers[key] = {
            "Id": key,
            "Name": f"/{key}",
            "Config": {"Env": [f"MICROSERVICE_LABEL={label}"]},
            "State": {"Running": True, "Pid": pid, "StartedAt": datetime.now(UTC).isoformat()},
            **more,
        }

    def tell(self, event: Any) -> None:
        """Send this event to all that listen."""
        data = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
        for stream in self._streams:
            stream.put(data)

    def answer(self, path: str) -> Any:
        """What is answered at `path`, which has no version any more; None: not found."""
        if path == "/version":
            return {"ApiVersion": "1.41", "Version": "fake"}
        if path == "/info":
            return self.info
        if path == "/containers/json":
            self.lists += 1
            return [{"Id": key} for key in self.containers] if self.listed is None else self.listed
        return self.containers.get(path.split("/")[2], 404)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    engine: FakeEngine


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/v1."):
            path = path[path.index("/", 1) :]
        if path == "/events":
            self._stream()
            return
        found = self.server.engine.answer(path)
        status = found if type(found) is int else 200
        body = (
            found if isinstance(found, bytes) else json.dumps(found if status == 200 else {"message": "odd"}).encode()
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        stream: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.server.engine._streams.append(stream)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (data := stream.get()) is not None:
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            except OSError:
                return
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """A test reads what it needs elsewhere."""

    def address_string(self) -> str:
        return "unix"
