"""What `agent run` was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vppctl.store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The options of the agent."""

    store: StoreSettings
    label: str
    version: str
    once: bool = False
    resync: str = "recreate"
    takeover: bool = True
    """Whether unmarked pairs that stand as they are configured become the agent's at its start."""
    create_namespaces: bool = True
    allowed_dirs: tuple[str, ...] = ()
    log_format: str = "text"
    log_level: str = "info"
    docker_host: str | None = None
    vpp_socket: str | None = None
    stats_interval: float = 10.0
    """Seconds between two readings of the counters; 0: never."""
    http: str | None = None
    """Where probes and Prometheus ask: loopback, or unix:PATH."""
    http_hosts: tuple[str, ...] = ()
    """Names in the Host of requests that are answered, beside loopback's."""
    reread: Callable[[], StoreSettings] | None = None
    """Which store it is by what files and environment say now; for SIGHUP. Raises VppctlError."""
    on_status: Callable[[list[dict[str, Any]]], None] | None = None
