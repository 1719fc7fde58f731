"""What the agent would do if it were started now: it looks, plans, and stops there.

Needs no lock, for it changes nothing: neither the kernel nor the store, and an agent of the label may be running.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from vppctl.agent.check import CheckSettings, prepare
from vppctl.agent.reconciler import Reconciler
from vppctl.errors import VppctlError, cause
from vppctl.linux.hosts import find_hosts
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.drift import Drift
from vppctl.reconcile.forecast import IN_VPP, Action, Forecast, Step, differences, in_order, vpp_steps
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Creatable, NetnsId, ObservedState, PairId, Reason
from vppctl.reconcile.vpp import VppConfigured, VppMarks, host_names, plan_vpp
from vppctl.store.base import Entry
from vppctl.vpp import DEFAULT_SOCKET, Vpp, VppAwayError

NEW = -1
"""In the place of the index of a link that is not created yet."""


def forecast(settings: CheckSettings, entries: Sequence[Entry], *, adopt: bool, takeover: bool) -> list[Step]:
    """What a start with this configuration would do, object by object.

    Raises VppctlError when it may not look, or when the kernel refuses.
    """
    reconciler, in_vpp = prepare(settings, entries)
    policy = Policy(start=True, adopt=adopt, takeover=takeover)
    try:
        standing: dict[str, list[Drift]] = {}
        for observed, adopting in reconciler.survey(policy._replace(adopt=True)):
            standing |= differences(reconciler.desired, observed, adopting)
        found: list[Step] = []
        hosts = {name: host.index for name, host in find_hosts(host_names(in_vpp)).items()}
        for observed, planned in reconciler.survey(policy):
            names = {netns: str(reference) for netns, reference in reconciler.memory.ways.items()}
            reader = Forecast(reconciler.desired, standing, names)
            _complete(reconciler.desired, observed, planned, policy)
            found += reader.steps(observed, planned)
            _follow(hosts, reconciler, observed, planned)
    except OSError as error:
        raise VppctlError(f"the kernel cannot be asked: {cause(error)}") from None
    return in_order([*found, *_in_vpp(settings, in_vpp, hosts)])


def _complete(desired: DesiredState, observed: ObservedState, planned: Plan, policy: Policy) -> None:
    """Add to the plan what comes once its namespaces are created, which are empty then."""
    awaited = {space.name for space in planned.namespaces}
    pairs: set[PairId] = {pair for space in planned.namespaces for pair in space.pairs}
    if not awaited:
        return
    new = [r for r in desired.references() if (p := desired.resolutions.get(r)) and p == Creatable(r.name)]
    new = [reference for reference in new if reference.name in awaited]
    for number, reference in enumerate(new):
        desired.resolve(reference, NetnsId(0, number))
    following = plan(desired, observed, pairs, policy)
    for reference in new:
        desired.resolve(reference, Creatable(reference.name))
    planned.creates += following.creates
    planned.conditions.update(following.conditions)


def _follow(hosts: dict[str, int], reconciler: Reconciler, observed: ObservedState, planned: Plan) -> None:
    """Have the host interfaces of VPP be what they are after this plan."""
    own = reconciler.nsids.own
    links = {(link.netns, link.index): link for link in observed.links.values()}
    for operation in planned.deletes:
        for to_delete in operation.links:
            link = links[operation.netns, to_delete.index]
            for netns, index in ((link.netns, link.index), (link.peer_netns, link.peer_index)):
                if netns == own:
                    gone = [name for name, there in hosts.items() if there == index]
                    for name in gone:
                        del hosts[name]
    for create in planned.creates:
        hosts.update({end.name: NEW for end in (create.first, create.second) if end.netns == own})


def _in_vpp(settings: CheckSettings, desired: dict[str, VppConfigured], hosts: dict[str, int]) -> Iterator[Step]:
    path = settings.vpp_socket or DEFAULT_SOCKET
    if not desired and settings.vpp_socket is None and not os.path.exists(path):
        return
    try:
        vpp = Vpp(path, lambda: None)
        try:
            yield from vpp_steps(plan_vpp(VppMarks(settings.label), desired, vpp.observe(), hosts))
        finally:
            vpp.close()
    except VppAwayError as error:
        for name in desired:
            yield Step(Action.WAIT, name, "", IN_VPP, f"PENDING {Reason.VPP_UNAVAILABLE}: {error}", differs=False)
