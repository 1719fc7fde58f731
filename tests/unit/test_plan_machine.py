"""A state machine of random configuration, namespaces and interference, against the simulated kernel.

After every step: the plan applied makes observed equal desired, touches nothing foreign, and is empty the second time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.simkernel import SimulatedKernel, foreign, netns
from vppctl.model.interface import DEFAULT_NAMESPACE, Interface, NamespaceRef, NamespaceType
from vppctl.model.problem import Problem
from vppctl.reconcile.desired import DesiredState
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.ownership import owned
from vppctl.reconcile.plan import DEFAULT_MTU, Policy, plan
from vppctl.reconcile.state import (
    Configured,
    Creatable,
    Invalid,
    Link,
    LinkKey,
    PairId,
    Reason,
    Resolution,
    State,
    Unavailable,
)

NAMES = st.sampled_from("abcdef")
SPACES = [DEFAULT_NAMESPACE] + [NamespaceRef(NamespaceType.NAMED_NS, name=f"ns{n}") for n in range(3)]
KERNEL_NAMES = st.sampled_from(["", "x", "y", "a"])
ADDRESSES = st.lists(st.sampled_from(["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"]), max_size=3, unique=True)


class PlannerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = SimulatedKernel()
        self.desired = DesiredState(Marks("vpp1"))
        self.present: dict[NamespaceRef, NamespaceRef | None] = {}
        self.revision = 0
        self.start = False
        self.adopt = False
        self.takeover = True
        self.resolutions: dict[NamespaceRef, Resolution] = {s: netns(i) for i, s in enumerate(SPACES)}
        self.number = 10

    @rule(
        name=NAMES,
        peer=NAMES,
        kernel_name=KERNEL_NAMES,
        space=st.sampled_from(SPACES),
        addresses=ADDRESSES,
        enabled=st.booleans(),
        mtu=st.sampled_from([0, 1500, 9000]),
    )
    def put(
        self,
        name: str,
        peer: str,
        kernel_name: str,
        space: NamespaceRef,
        addresses: list[str],
        enabled: bool,
        mtu: int,
    ) -> None:
        if name != peer:
            content = Interface(
                name,
                peer,
                enabled=enabled,
                mtu=mtu,
                host_if_name=kernel_name,
                ip_addresses=tuple(addresses),
                namespace=space,
            )
            self.configure(name, content)

    @rule(name=NAMES, peer=NAMES, spaces=st.tuples(st.sampled_from(SPACES), st.sampled_from(SPACES)))
    def put_both(self, name: str, peer: str, spaces: tuple[NamespaceRef, NamespaceRef]) -> None:
        if name != peer:
            self.configure(name, Interface(name, peer, namespace=spaces[0]))
            self.configure(peer, Interface(peer, name, namespace=spaces[1]))

    @rule(name=NAMES)
    def spoil(self, name: str) -> None:
        self.configure(name, Invalid((Problem("name", "spoiled"),)))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.desired.delete(name)

    @rule(space=st.sampled_from(SPACES[1:]), creatable=st.booleans())
    def lose_namespace(self, space: NamespaceRef, creatable: bool) -> None:
        gone = self.resolutions[space]
        if isinstance(gone, type(netns(0))):
            self.kernel.remove_namespace(gone)
        missing = Unavailable(Reason.NAMESPACE_NOT_FOUND, "it is gone")
        self.resolutions[space] = Creatable(space.name) if creatable else missing
        self.kernel.named.pop(space.name, None)

    @rule(space=st.sampled_from(SPACES[1:]))
    def new_namespace(self, space: NamespaceRef) -> None:
        if isinstance(self.resolutions[space], Unavailable):
            self.number += 1
            self.resolutions[space] = netns(self.number)

    @rule(space=st.sampled_from(SPACES), name=st.sampled_from(["x", "y", "a", "b"]), kind=st.sampled_from(["", "veth"]))
    def add_foreign(self, space: NamespaceRef, name: str, kind: str) -> None:
        where = self.resolutions[space]
        if isinstance(where, type(netns(0))) and not self.kernel.at(where, name):
            self.kernel.add_foreign(where, name, kind)

    @rule(
        spaces=st.tuples(st.sampled_from(SPACES), st.sampled_from(SPACES)),
        names=st.tuples(st.sampled_from("xyab"), st.sampled_from("xyab")),
    )
    def add_foreign_pair(self, spaces: tuple[NamespaceRef, NamespaceRef], names: tuple[str, str]) -> None:
        here, there = zip((self.resolutions[space] for space in spaces), names, strict=True)
        if here == there or not all(isinstance(where, type(netns(0))) for where, _ in (here, there)):
            return
        if not any(self.kernel.at(*place) for place in (here, there)):  # type: ignore[arg-type]
            self.kernel.add_foreign_pair(here, there)  # type: ignore[arg-type]

    @rule(data=st.data())
    def remove_link(self, data: st.DataObject) -> None:
        if self.kernel.links:
            self.kernel.remove(*data.draw(st.sampled_from(sorted(self.kernel.links))))

    @rule(
        data=st.data(),
        change=st.sampled_from(
            [{"mtu": 1234}, {"up": True}, {"addresses": ("10.7.7.7/8",)}, {"alias": ""}, {"name": "renamed"}]
        ),
    )
    def drift(self, data: st.DataObject, change: dict[str, object]) -> None:
        if ours := self.ours():
            link = self.kernel.links[data.draw(st.sampled_from(sorted(ours)))]
            if "name" not in change or not self.kernel.at(link.netns, "renamed"):
                self.kernel.change(link, **change)

    @rule(adopt=st.booleans(), takeover=st.booleans())
    def restart(self, adopt: bool, takeover: bool) -> None:
        self.start, self.adopt, self.takeover = True, adopt, takeover

    def configure(self, name: str, content: Interface | Invalid) -> None:
        self.revision += 1
        self.desired.put(Configured(name, content, self.revision))

    def resolve(self) -> None:
        for space, resolution in self.resolutions.items():
            if isinstance(resolution, Creatable) and space.name in self.kernel.named:
                self.resolutions[space] = self.kernel.named[space.name]
        for reference in self.desired.references():
            self.desired.resolve(reference, self.resolutions[reference])

    def scope(self) -> set[PairId]:
        ours = [self.kernel.links[key] for key in self.ours()]
        return self.desired.all_pairs() | {self.desired.pair_of(self.desired.owner(link)) for link in ours}

    def ours(self) -> set[LinkKey]:
        return owned(self.desired, self.kernel.links.values())

    @invariant()
    def converges(self) -> None:
        strangers = {
            key: link
            for key, link in foreign(self.kernel, {self.desired.marks.group}).items()
            if not (self.start and self.takeover and self.stands_as_configured(link))
        }
        frozen = {k: link for k, link in self.kernel.links.items() if self.is_frozen(link)}
        policy = Policy(start=self.start, adopt=self.adopt, takeover=self.takeover)
        for _ in range(6):
            self.resolve()
            result = plan(self.desired, self.kernel.observe(), self.scope(), policy)
            if not result:
                break
            self.kernel.apply(result)
            policy = Policy()
        assert not result, "the second plan is not empty"
        self.start = False
        for key, link in {**strangers, **frozen}.items():
            assert self.kernel.links.get(key) == link, "touched what is foreign or frozen"
        # One address at both ends is an error of the two together, and the links are there.
        applied = {
            name
            for name, c in result.conditions.items()
            if c.state is State.APPLIED or c.reason is Reason.DUPLICATE_ADDRESS
        }
        for name in applied:
            self.matches(name)
        ours = [self.kernel.links[key] for key in self.ours()]
        extra = [link for link in ours if self.desired.owner(link) not in applied and not self.is_frozen(link)]
        assert not extra, "an orphan"
        assert set(result.conditions) == set(self.desired.configured)

    def stands_as_configured(self, link: Link) -> bool:
        """Whether it and its other end are in the places of one pair of documents."""
        peer = self.kernel.links.get((link.peer_netns, link.peer_index)) if link.peer_netns else None
        if peer is None:
            return False
        self.resolve()
        here, there = (set(self.desired.claimants((end.netns, end.name))) for end in (link, peer))
        return any(self.desired.pair_of(name) == self.desired.pair_of(other) for name in here for other in there)

    def is_frozen(self, link: Link) -> bool:
        """Marked for a name whose document is invalid, or tied to such a one."""
        peer = self.kernel.links.get((link.peer_netns, link.peer_index)) if link.peer_netns else None
        ours = self.ours()
        ends = [end for end in (link, peer) if end and end.key in ours]
        return link.key in ours and any(self.desired.is_invalid(self.desired.owner(end)) for end in ends)

    def matches(self, name: str) -> None:
        interface = self.desired.interface(name)
        assert interface
        claim = self.desired.claim(interface)
        assert claim
        link = self.kernel.at(*claim)
        assert link
        peer = self.kernel.links[link.peer_netns, link.peer_index]  # type: ignore[index]
        assert self.desired.owner(peer) == interface.peer
        assert (link.mtu, link.up) == (interface.mtu or DEFAULT_MTU, interface.enabled)
        assert sorted(link.addresses) == sorted(interface.ip_addresses)
        assert link.alias == self.desired.marks.alias(name)


TestPlannerMachine = PlannerMachine.TestCase
TestPlannerMachine.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
