"""Compares this host with a configuration, without an agent and without changing anything."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.agent.sources import Sources
from vppctl.linux.hosts import find_hosts
from vppctl.linux.namespaces import raise_file_limit, start_of
from vppctl.linux.nsids import NsidTable
from vppctl.microservices import Microservices
from vppctl.model.document import decode_bytes
from vppctl.model.interface import Interface, VppInterface
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.drift import Drift, kernel_drift, vpp_drift
from vppctl.reconcile.state import Configured, Invalid
from vppctl.reconcile.vpp import VppConfigured, VppMarks, host_names, plan_vpp
from vppctl.store.base import Entry
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError


class CheckSettings(NamedTuple):
    """What the agent would have been told."""

    label: str
    allowed_dirs: tuple[str, ...] = ()
    docker_host: str | None = None
    vpp_socket: str | None = None


def check(settings: CheckSettings, entries: Sequence[Entry]) -> list[Drift]:
    """The differences between this host and the configuration in `entries`, by name. Raises OSError."""
    raise_file_limit()
    nsids = NsidTable()
    microservices = Microservices(settings.docker_host, start_of)
    resolver = Resolver(microservices, create=True, allowed_dirs=settings.allowed_dirs)
    reconciler = Reconciler(settings.label, resolver, nsids)
    in_vpp: dict[str, VppConfigured] = {}
    for name, content, revision in _contents(settings, entries):
        if isinstance(content, VppConfigured):
            in_vpp[name] = content
        else:
            reconciler.desired.put(Configured(name, content, revision))
    reconciler.desired.serve(host_names(in_vpp))
    _wait_for_docker(microservices, reconciler)
    observed, plan = reconciler.survey()
    found = list(kernel_drift(reconciler.desired, observed, plan))
    if in_vpp:
        found += _in_vpp(settings, in_vpp)
    return sorted(found)


def _contents(
    settings: CheckSettings, entries: Iterable[Entry]
) -> Iterable[tuple[str, Interface | Invalid | VppConfigured, int]]:
    for kind in Kind:
        prefix = config_prefix(settings.label, kind)
        for entry in entries:
            if entry.key.startswith(prefix):
                name = entry.key.removeprefix(prefix)
                decoded = decode_bytes(
                    entry.value or b"", kind=kind, name=name, tolerant=True, allowed_dirs=settings.allowed_dirs
                )
                content = decoded.interface or Invalid(decoded.problems)
                if not isinstance(content, Interface) and kind is Kind.VPP:
                    yield name, VppConfigured(name, content, entry.mod_revision), entry.mod_revision
                elif not isinstance(content, VppInterface):
                    yield name, content, entry.mod_revision


def _wait_for_docker(microservices: Microservices, reconciler: Reconciler) -> None:
    """Ask Docker for its containers when there are microservices."""
    sources = Sources(microservices)
    sources.follow_references(reconciler.desired.references())
    while wait := sources.docker_wait():
        try:
            sources.inbox.get(timeout=min(wait, 0.1))
        except queue.Empty:
            continue


def _in_vpp(settings: CheckSettings, desired: dict[str, VppConfigured]) -> Iterable[Drift]:
    try:
        vpp = Vpp(settings.vpp_socket or DEFAULT_SOCKET, lambda: None)
    except VppAwayError as error:
        return [Drift(name, "interface", configured.name, f"({error})") for name, configured in desired.items()]
    try:
        hosts = {name: host.index for name, host in find_hosts(host_names(desired)).items()}
        return list(vpp_drift(plan_vpp(VppMarks(settings.label), desired, vpp.observe(), hosts)))
    except VppAwayError as error:
        return [Drift(name, "interface", configured.name, f"({error})") for name, configured in desired.items()]
    finally:
        vpp.close()
