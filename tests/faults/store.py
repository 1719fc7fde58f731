"""etcd through its JSON gateway: a client that shares nothing with vppctl's, and does not mind restarts."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Value(NamedTuple):
    """One key's value, the revision that wrote it, and its lease."""

    value: bytes
    revision: int
    lease: int


class Gateway:
    """One server on a loopback port; every call is a request of its own. Raises OSError while nobody answers."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, path: str, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(request))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from None
        finally:
            connection.close()
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer

    def write(self, puts: Mapping[str, str], deletes: Iterable[str] = ()) -> int:
        """All in one transaction; its revision."""
        operations = [{"requestPut": {"key": _coded(key), "value": _coded(value)}} for key, value in puts.items()]
        gone = [{"requestDeleteRange": {"key": _coded(key)}} for key in deletes]
        return int(self.call("kv/txn", {"success": [*operations, *gone]})["header"]["revision"])

    def read(self, prefix: str) -> dict[str, Value]:
        """All keys with this prefix."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self.call("kv/range", {"key": _coded(prefix), "range_end": _coded(end)})
        return {
            base64.b64decode(kv["key"]).decode(): Value(
                base64.b64decode(kv.get("value", "")), int(kv["mod_revision"]), int(kv.get("lease", "0"))
            )
            for kv in answer.get("kvs", ())
        }

    def revision(self) -> int:
        return int(self.call("kv/range", {"key": _coded("x")})["header"]["revision"])

    def compact(self, revision: int) -> None:
        self.call("kv/compaction", {"revision": str(revision), "physical": True})


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
