"""The nouns of reconciliation: what is desired, what is observed, and what is said about each interface."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vppctl.model.interface import Interface
from vppctl.model.problem import Problem

TOLD = 50
"""Problems of one document that are told: a thousand of them are no easier to mend."""


class State(StrEnum):
    """Where a configured interface stands."""

    APPLIED = "APPLIED"
    """In the kernel as configured, verified by reading back."""
    PENDING = "PENDING"
    """Waits for something in the world."""
    FAILED = "FAILED"
    """Tried and refused; tried again with backoff."""
    INVALID = "INVALID"
    """The document has errors; its pair is frozen."""


class Reason(StrEnum):
    """Why an interface is not APPLIED. Stable: scripts match them."""

    NONE = ""
    PEER_NOT_CONFIGURED = "PeerNotConfigured"
    PEER_MISMATCH = "PeerMismatch"
    PEER_INVALID = "PeerInvalid"
    NAMESPACE_NOT_FOUND = "NamespaceNotFound"
    NAMESPACE_FORBIDDEN = "NamespaceForbidden"
    PROCESS_NOT_RUNNING = "ProcessNotRunning"
    MICROSERVICE_NOT_RUNNING = "MicroserviceNotRunning"
    MICROSERVICE_AMBIGUOUS = "MicroserviceAmbiguous"
    FOREIGN_PID = "ForeignPid"
    NAME_TAKEN = "NameTaken"
    NAME_CONFLICT = "NameConflict"
    KERNEL_ERROR = "KernelError"
    VPP_UNAVAILABLE = "VppUnavailable"
    HOST_INTERFACE_MISSING = "HostInterfaceMissing"
    INVALID_CONFIG = "InvalidConfig"
    DUPLICATE_ADDRESS = "DuplicateAddress"
    RESOURCE_EXHAUSTED = "ResourceExhausted"


class NetnsId(NamedTuple):
    """Identity of a network namespace: device and inode of its nsfs file (namespaces(7), ioctl_ns(2))."""

    dev: int
    ino: int


LinkKey = tuple[NetnsId, int]
"""A namespace and the index of a link there."""


class Process(NamedTuple):
    """A running process, by what tells it from others."""

    start: int
    """When it was started, in clock ticks since boot (proc(5), stat)."""
    started: float
    """The same in seconds of the epoch, by the clock as it is now."""
    cgroups: str
    """Its control groups (cgroups(7), /proc/PID/cgroup)."""
    netns: NetnsId | None
    """Its network namespace; None when that may not be looked at."""
    users: frozenset[int] = frozenset()
    """Its user IDs: real, effective, saved and of the file system; empty when it has just ended."""


class Unavailable(NamedTuple):
    """A namespace that cannot be used at present."""

    reason: Reason
    message: str


class Creatable(NamedTuple):
    """A named namespace that does not exist and may be created."""

    name: str


Resolution = NetnsId | Unavailable | Creatable
"""What a namespace reference leads to at present."""


class PairId(NamedTuple):
    """A VETH pair by the logical names of its two sides, `first` < `second`; the unit of work."""

    first: str
    second: str

    @classmethod
    def of(cls, name: str, peer: str) -> PairId:
        """The pair of these two, whichever comes first."""
        return cls(name, peer) if name <= peer else cls(peer, name)


class Invalid(NamedTuple):
    """A document that cannot be read as an interface."""

    problems: tuple[Problem, ...]
    more: int = 0
    """Problems that are not kept."""

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Invalid:
        """As many problems as a value of the store has room for: a document may have thousands."""
        return cls(tuple(problems[:TOLD]), max(0, len(problems) - TOLD))

    def __str__(self) -> str:
        """All problems on one line."""
        told = [str(problem) for problem in self.problems]
        return "; ".join([*told, f"and {self.more} more problems"] if self.more else told)


class Configured(NamedTuple):
    """One key of the store: an interface or why it is none, and the revision that wrote it."""

    name: str
    content: Interface | Invalid
    revision: int


class Link(NamedTuple):
    """One network interface as the kernel reports it (RTM_NEWLINK and RTM_NEWADDR, rtnetlink(7))."""

    netns: NetnsId
    index: int  # type: ignore[assignment]
    name: str
    kind: str = ""
    """IFLA_INFO_KIND: `veth`, `dummy`, ...; empty for hardware and lo."""
    mac: str = ""
    """Six lower-case octets with colons."""
    mtu: int = 0
    up: bool = False
    """Administrative state (IFF_UP)."""
    running: bool = False
    """Operational state (IFLA_OPERSTATE is up)."""
    addresses: tuple[str, ...] = ()
    """`address/prefix` in canonical spelling, sorted; without those that the kernel makes itself (IPv6
    link-local addresses and addresses from router advertisements). Behind it stands, in the words of `ip address`, what
    an address has that this agent gives to none: `10.0.0.1/24 noprefixroute`, `10.0.0.1 peer 10.0.0.2/24`."""
    tentative: tuple[str, ...] = ()
    """Those of `addresses` whose duplicate address detection is not finished or has failed."""
    implied: tuple[str, ...] = ()
    """Those of `addresses` that may be the kernel's own: before Linux 5.18 it does not tell its link-local ones."""
    group: int = 0
    alias: str = ""
    """IFLA_IFALIAS."""
    peer_index: int = 0
    """IFLA_LINK: for a VETH the interface index of its peer, in the peer's namespace."""
    peer_netns: NetnsId | None = None
    """The namespace of the peer; None when it has none or when it is not among the observed ones."""
    statistics: Statistics | None = None
    checksum: bool | None = None
    """Whether TX checksums are left to the link; known only of pairs with an end in the agent's own namespace."""
    duplicates: tuple[str, ...] = ()
    """Those of `addresses` that another interface was found to have (IFA_F_DADFAILED): the kernel does not use them."""
    arp: bool = True
    """Whether it resolves its neighbours (no IFF_NOARP)."""
    multicast: bool = True
    """IFF_MULTICAST."""
    altnames: tuple[str, ...] = ()
    """Alternative names (IFLA_ALT_IFNAME), which no other interface of the namespace can have as its name."""

    @property
    def key(self) -> LinkKey:
        """What tells it from all other links."""
        return self.netns, self.index

    @property
    def peer_key(self) -> LinkKey | None:
        """The same of the other end of a VETH, when it is known where that is."""
        return (self.peer_netns, self.peer_index) if self.peer_netns else None

    def is_tied_to(self, peer: Link) -> bool:
        """Whether this is a VETH whose other end is `peer`, as far as this end says."""
        return self.kind == "veth" and self.peer_netns == peer.netns and self.peer_index == peer.index

    @property
    def word(self) -> str:
        """Its name for a command that a message proposes: whoever created the link chose the name."""
        return shlex.quote(self.name)


class Statistics(NamedTuple):
    """Counters of a link since it was created (struct rtnl_link_stats64, linux/if_link.h)."""

    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    in_errors: int = 0
    out_errors: int = 0
    in_dropped: int = 0
    out_dropped: int = 0


@dataclass(frozen=True, slots=True)
class ObservedState:
    """The links that were looked at. Absence of a link says that it is absent only where one was looked for."""

    links: Mapping[tuple[NetnsId, str], Link] = field(default_factory=dict)
    """By namespace and kernel name."""
    altnames: Mapping[tuple[NetnsId, str], Link] = field(default_factory=dict)
    """By namespace and alternative name."""
    reached: Collection[NetnsId] = frozenset()
    """Namespaces that were entered. Links of others were read by the id of their namespace."""
    unseen: Mapping[NetnsId, OSError] = field(default_factory=dict)
    """Namespaces that could not be asked, and why: nothing is known of what is there."""

    @classmethod
    def of(cls, links: list[Link]) -> ObservedState:
        """From the links themselves."""
        altnames = {(link.netns, name): link for link in links if link.altnames for name in link.altnames}
        return cls({(link.netns, link.name): link for link in links}, altnames)


class Condition(NamedTuple):
    """What is said about one configured interface."""

    name: str
    state: State
    reason: Reason = Reason.NONE
    message: str = ""
    revision: int = 0
    """Revision of the configuration that this is about."""
    link: Link | None = None
