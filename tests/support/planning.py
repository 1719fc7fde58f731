"""A desired state over a simulated kernel, for the tests of the planner."""

from __future__ import annotations

from dataclasses import replace

from tests.support.simkernel import SimulatedKernel, netns
from vppctl.model.interface import Interface, NamespaceRef, NamespaceType
from vppctl.model.problem import Problem
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.plan import Plan, Policy, plan
from vppctl.reconcile.state import Configured, Invalid, Link, NetnsId, Reason, Resolution, Unavailable

NS1, NS2 = (NamespaceRef(NamespaceType.NAMED_NS, name=name) for name in ("ns1", "ns2"))
A = Interface("a", "b", enabled=True, mtu=1500, ip_addresses=("192.168.22.1/24", "2001:db8::1/64"), namespace=NS1)
B = Interface("b", "a", enabled=True, namespace=NS2)
BROKEN = Invalid((Problem("mtu", "too small"),))


class Setup:
    """A desired state over a simulated kernel, with the two usual namespaces present."""

    def __init__(self, label: str = "vpp1") -> None:
        self.desired = DesiredState(Marks(label))
        self.kernel = SimulatedKernel()
        self.revision = 0
        self.spaces: dict[NamespaceRef, Resolution] = {NS1: netns(1), NS2: netns(2)}

    def put(self, *contents: Interface) -> None:
        for content in contents:
            self.revision += 1
            self.desired.put(Configured(content.name, content, self.revision))
        self.resolve()

    def spoil(self, name: str) -> None:
        self.revision += 1
        self.desired.put(Configured(name, BROKEN, self.revision))

    def resolve(self) -> None:
        for reference in self.desired.references():
            missing = Unavailable(Reason.NAMESPACE_NOT_FOUND, f"namespace {reference} does not exist")
            self.desired.resolve(reference, self.spaces.get(reference, missing))

    def plan(self, policy: Policy | None = None) -> Plan:
        ours = owned(self.desired, self.kernel.links.values())
        extra = {self.desired.pair_of(self.desired.owner(self.kernel.links[key])) for key in ours}
        spaces = frozenset(space for space in self.spaces.values() if isinstance(space, NetnsId))
        observed = replace(self.kernel.observe(), reached=spaces)
        return plan(self.desired, observed, self.desired.all_pairs() | extra, policy)

    def settle(self, policy: Policy | None = None, rounds: int = 4) -> Plan:
        result = self.plan(policy)
        for _ in range(rounds):
            if not result:
                break
            self.kernel.apply(result)
            result = self.plan()
        assert not result, "the planner does not come to rest"
        return result

    def link(self, name: str) -> Link:
        interface = self.desired.interface(name)
        assert interface
        claim = self.desired.claim(interface)
        assert claim
        link = self.kernel.at(*claim)
        assert link
        return link
