"""Compares this host with a configuration, without an agent and without changing anything."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Sequence
from typing import NamedTuple

from vppctl.agent.bindings import Bindings
from vppctl.agent.intake import configured
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.agent.sources import Sources
from vppctl.errors import VppctlError, cause
from vppctl.linux.hosts import find_hosts
from vppctl.linux.namespaces import raise_file_limit
from vppctl.linux.nsids import NsidTable
from vppctl.linux.privileges import TO_READ, require
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.keys import Kind, config_prefix
from vppctl.reconcile.drift import Drift, kernel_drift, vpp_drift
from vppctl.reconcile.state import ObservedState
from vppctl.reconcile.vpp import VppConfigured, VppMarks, host_names, plan_vpp
from vppctl.store.base import Entry
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError

DETECTION = 3.0
"""Seconds that duplicate address detection may take by default: a random second before it, and one for the answer
(addrconf_dad_kick, net/ipv6/addrconf.c), with one to spare."""


class CheckSettings(NamedTuple):
    """What the agent would have been told."""

    label: str
    allowed_dirs: tuple[str, ...] = ()
    docker_host: str | None = None
    vpp_socket: str | None = None
    create_namespaces: bool = True


def prepare(settings: CheckSettings, entries: Sequence[Entry]) -> tuple[Reconciler, dict[str, VppConfigured]]:
    """A reconciler that knows this configuration and has looked at nothing yet; and what is configured for VPP.

    Raises VppctlError when it may not look.
    """
    require(TO_READ)
    raise_file_limit()
    nsids = NsidTable()
    microservices = Microservices(settings.docker_host, look_at)
    bindings = Bindings(settings.label)
    resolver = Resolver(
        microservices, create=settings.create_namespaces, allowed_dirs=settings.allowed_dirs, bindings=bindings
    )
    reconciler = Reconciler(settings.label, resolver, nsids)
    in_vpp: dict[str, VppConfigured] = {}
    for kind in Kind:
        prefix = config_prefix(settings.label, kind)
        for entry in (entry for entry in entries if entry.key.startswith(prefix)):
            name = entry.key.removeprefix(prefix)
            match configured(kind, name, entry.value or b"", entry.mod_revision, settings.allowed_dirs):
                case VppConfigured() as found:
                    in_vpp[name] = found
                case found:
                    reconciler.desired.put(bindings.bound(found))
    reconciler.desired.serve(host_names(in_vpp))
    _wait_for_docker(microservices, reconciler)
    return reconciler, in_vpp


def check(settings: CheckSettings, entries: Sequence[Entry]) -> list[Drift]:
    """The differences between this host and the configuration in `entries`, by name.

    Raises VppctlError when it may not look, or when the kernel refuses.
    """
    reconciler, in_vpp = prepare(settings, entries)
    try:
        seen = list(reconciler.survey())
        deadline = time.monotonic() + DETECTION
        while any(_is_undecided(observed) for observed, _ in seen) and time.monotonic() < deadline:
            time.sleep(0.1)
            seen = list(reconciler.survey())
        drift = {found for part in seen for found in kernel_drift(reconciler.desired, *part)}
    except OSError as error:
        raise VppctlError(f"the kernel cannot be asked: {cause(error)}") from None
    return sorted(drift.union(_in_vpp(settings, in_vpp) if in_vpp else ()))


def _is_undecided(observed: ObservedState) -> bool:
    """Whether the kernel is still finding out if others have an address of these links."""
    return any(link.running and set(link.tentative) - set(link.duplicates) for link in observed.links.values())


def _wait_for_docker(microservices: Microservices, reconciler: Reconciler) -> None:
    """Ask Docker for its containers when there are microservices."""
    sources = Sources(microservices)
    sources.follow_references(reconciler.desired.references())
    while wait := sources.docker_wait():
        # Its first answer is an event, whatever it is.
        with contextlib.suppress(queue.Empty):
            sources.inbox.get(timeout=wait)


def _in_vpp(settings: CheckSettings, desired: dict[str, VppConfigured]) -> list[Drift]:
    try:
        vpp = Vpp(settings.vpp_socket or DEFAULT_SOCKET, lambda: None)
        try:
            hosts = {name: host.index for name, host in find_hosts(host_names(desired)).items()}
            return list(vpp_drift(plan_vpp(VppMarks(settings.label), desired, vpp.observe(), hosts)))
        finally:
            vpp.close()
    except VppAwayError as error:
        return [Drift(name, "interface", name, f"({error})") for name in desired]
