"""The generated messages and stubs of package etcd3, without its client, which nobody here uses.

That client and what it needs take a tenth of the time of a whole `vppctl put` to load.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


def _load() -> Any:
    """etcd3.etcdrpc, as the package itself would import it. Raises ImportError."""
    if "etcd3" not in sys.modules and (spec := importlib.util.find_spec("etcd3")) and spec.submodule_search_locations:
        # In the place of the package only while its folder is needed: who imports it later gets the whole of it.
        package = ModuleType("etcd3")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["etcd3"] = package
        try:
            return importlib.import_module("etcd3.etcdrpc")
        finally:
            del sys.modules["etcd3"]
    return importlib.import_module("etcd3.etcdrpc")


etcdrpc = _load()
