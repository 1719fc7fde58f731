"""gRPC, and the generated messages and stubs of package etcd3, without those halves of both that nobody here uses.

They take a tenth of the time of a whole `vppctl put` to load. Who imports them later gets them all the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["etcdrpc", "grpc"]


@contextmanager
def _placeholder(name: str, path: list[str] | None = None) -> Iterator[None]:
    """A module of this name stands in the way of the real one meanwhile; `path`: where modules below it are found."""
    module = ModuleType(name)
    if path is not None:
        module.__path__ = path
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        parent = sys.modules.get(name.rpartition(".")[0])
        if parent and hasattr(parent, name.rpartition(".")[2]):
            delattr(parent, name.rpartition(".")[2])


def _load_grpc() -> Any:
    """GRPC without grpc.aio, which it imports only to have it at hand."""
    # Its C core writes to standard error on its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if "grpc" not in sys.modules:
        with _placeholder("grpc.aio"):
            return importlib.import_module("grpc")
    return importlib.import_module("grpc")


def _load_messages() -> Any:
    """etcd3.etcdrpc without etcd3's client."""
    spec = importlib.util.find_spec("etcd3")
    if "etcd3" not in sys.modules and spec and spec.submodule_search_locations:
        with _placeholder("etcd3", list(spec.submodule_search_locations)):
            return importlib.import_module("etcd3.etcdrpc")
    return importlib.import_module("etcd3.etcdrpc")


if TYPE_CHECKING:
    import grpc
else:
    grpc = _load_grpc()
etcdrpc = _load_messages()
