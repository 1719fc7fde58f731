"""VPP's side: desired interfaces, what VPP has and which host interfaces there are; out come operations. Pure.

An AF_PACKET interface exists in VPP exactly while its host interface does, and is made anew with it. Ours are known by
their tag, `vppctl:<label>:<shape>:<name>`: the shape stands for all that cannot be changed in place, the index of the
host interface among it. What has no tag is touched only when it is what a configuration asks for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vppctl.model.interface import Memif, VppInterface, VppInterfaceType
from vppctl.reconcile.marks import digest
from vppctl.reconcile.state import Invalid, Reason, State

DEFAULT_MTU = 9000
"""Octets; what VPP gives an Ethernet interface without a configured MTU (vnet/ethernet/interface.c)."""
TAG_LIMIT = 63
"""Octets of a tag that VPP keeps (interface.api: string tag[64])."""
MEMIF_SOCKET = "/run/vpp/memif.sock"
"""The socket of a memif that names none: VPP's socket 0."""


class VppConfigured(NamedTuple):
    """One key of the store: a VPP interface or why it is none, and the revision that wrote it."""

    name: str
    content: VppInterface | Invalid
    revision: int


class VppLink(NamedTuple):
    """An interface as VPP reports it."""

    sw_if_index: int
    internal_name: str
    type: VppInterfaceType | None
    mac: str
    mtu: int
    up: bool
    running: bool
    addresses: tuple[str, ...]
    tag: str
    host_if_name: str = ""
    memif: Memif | None = None
    """Without the secret and the queues, which VPP does not tell."""


class CreateInVpp(NamedTuple):
    """Make an interface and put its tag on it."""

    interface: VppInterface
    tag: str


class DeleteInVpp(NamedTuple):
    """Remove an interface."""

    name: str
    link: VppLink


class ChangeInVpp(NamedTuple):
    """Change an interface in place; what is None stays."""

    name: str
    link: VppLink
    up: bool | None = None
    mac: str | None = None
    mtu: int | None = None
    tag: str | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


VppOperation = CreateInVpp | DeleteInVpp | ChangeInVpp


class VppCondition(NamedTuple):
    """What is said about one configured VPP interface."""

    name: str
    state: State
    reason: Reason
    message: str
    revision: int
    interface: VppInterface | None = None
    link: VppLink | None = None


@dataclass(slots=True)
class VppPlan:
    """What to do, deletions first, and what to say; APPLIED only for what needs no operation."""

    operations: list[VppOperation] = field(default_factory=list)
    conditions: dict[str, VppCondition] = field(default_factory=dict)


class VppMarks(NamedTuple):
    """The tags of one label."""

    label: str

    def tag(self, name: str, shape: int) -> str:
        """The tag of an interface.

        Where label and name are too long for it, or not ASCII as VPP's API is, digests stand for them: after a slash,
        which no label has.
        """
        tag = f"{self._prefix}{shape:08x}:{name}"
        if tag.isascii() and len(tag) <= TAG_LIMIT:
            return tag
        return f"{self._short}{shape:08x}:{digest(name, 12).hex()}"

    def former_tag(self, name: str, shape: int) -> str:
        """What earlier versions gave to such an interface. Other labels and names may have the same one."""
        label_sum, name_sum = (zlib.crc32(text.encode(errors="surrogateescape")) for text in (self.label, name))
        return f"vppctl:#{label_sum:08x}:{shape:08x}:{name_sum:08x}"

    def owns(self, link: VppLink) -> bool:
        """Whether an agent of this label made it."""
        return link.tag.startswith((self._prefix, self._short))

    def is_of(self, link: VppLink, name: str) -> bool:
        """Whether it was made for this name, in whatever shape."""
        return self.owns(link) and link.tag in (self.tag(name, shape) for shape in _shapes(link.tag))

    @property
    def _prefix(self) -> str:
        return f"vppctl:{self.label}:"

    @property
    def _short(self) -> str:
        return f"vppctl:/{digest(self.label, 10).hex()}:"


def _shapes(tag: str) -> Iterator[int]:
    for part in tag.split(":"):
        if len(part) == 8:
            try:
                yield int(part, 16)
            except ValueError:
                continue


def shape_of(interface: VppInterface, host_index: int) -> int:
    """A number for all that cannot be changed in place."""
    return zlib.crc32(repr((int(interface.type), interface.host_if_name, host_index, interface.memif)).encode())


def host_names(desired: Mapping[str, VppConfigured]) -> set[str]:
    """The host interfaces that AF_PACKET interfaces are to be attached to."""
    contents = [configured.content for configured in desired.values()]
    return {c.host_if_name for c in contents if isinstance(c, VppInterface) and c.host_if_name}


def plan_vpp(
    marks: VppMarks,
    desired: Mapping[str, VppConfigured],
    observed: Sequence[VppLink],
    hosts: Mapping[str, int],
) -> VppPlan:
    """Plan for all interfaces; `hosts` are the indexes of the host interfaces that exist, by name."""
    return _Planner(marks, desired, observed, hosts).run()


class _Planner:
    def __init__(
        self,
        marks: VppMarks,
        desired: Mapping[str, VppConfigured],
        observed: Sequence[VppLink],
        hosts: Mapping[str, int],
    ) -> None:
        self.marks, self.desired, self.observed, self.hosts = marks, desired, observed, hosts
        self.result = VppPlan()
        self.kept: set[int] = set()

    def run(self) -> VppPlan:
        creates: list[VppOperation] = []
        taken: dict[object, str] = {}
        for name in sorted(self.desired, key=lambda n: (self._holding(n) is None, n)):
            configured = self.desired[name]
            content = configured.content
            if isinstance(content, Invalid):
                self.kept |= {link.sw_if_index for link in self.observed if self.marks.is_of(link, name)}
                text = str(content)
                self._say(configured, State.INVALID, Reason.INVALID_CONFIG, text)
                continue
            winner = taken.setdefault(_place(content), name)
            if winner != name:
                text = f"{_describe(content)} is configured for {winner!r} too; choose another"
                self._say(configured, State.FAILED, Reason.NAME_CONFLICT, text)
            elif operation := self._one(configured, content):
                creates.append(operation)
        strays = [link for link in self.observed if self.marks.owns(link) and link.sw_if_index not in self.kept]
        deletes = [DeleteInVpp(link.tag.rpartition(":")[2], link) for link in strays]
        self.result.operations = [*deletes, *creates]
        return self.result

    def _holding(self, name: str) -> VppLink | None:
        return next((link for link in self.observed if self.marks.is_of(link, name)), None)

    def _one(self, configured: VppConfigured, interface: VppInterface) -> VppOperation | None:
        host_index = 0
        if interface.type is VppInterfaceType.AF_PACKET_INTERFACE:
            if interface.host_if_name not in self.hosts:
                text = f"host interface {interface.host_if_name!r} does not exist in the agent's namespace"
                self._say(configured, State.PENDING, Reason.HOST_INTERFACE_MISSING, text)
                return None
            host_index = self.hosts[interface.host_if_name]
        shape = shape_of(interface, host_index)
        tag = self.marks.tag(interface.name, shape)
        found = next((link for link in self.observed if _matches(link, interface)), None)
        former = self.marks.former_tag(interface.name, shape)
        if found and found.tag.startswith("vppctl:") and not self.marks.owns(found) and found.tag != former:
            text = f"{_describe(interface)} is taken by {found.internal_name}, which another agent made ({found.tag})"
            self._say(configured, State.FAILED, Reason.NAME_TAKEN, text)
            return None
        if found is None or (self.marks.owns(found) and found.tag != tag):
            self._say(configured, State.PENDING, Reason.NONE, "being created")
            return CreateInVpp(interface, tag)
        self.kept.add(found.sw_if_index)
        change = _change(found, interface, tag)
        if change:
            self._say(configured, State.PENDING, Reason.NONE, "being changed", found)
        else:
            self._say(configured, State.APPLIED, Reason.NONE, "", found)
        return change

    def _say(
        self, configured: VppConfigured, state: State, reason: Reason, text: str, link: VppLink | None = None
    ) -> None:
        interface = configured.content if isinstance(configured.content, VppInterface) else None
        name = configured.name
        self.result.conditions[name] = VppCondition(name, state, reason, text, configured.revision, interface, link)


def _place(interface: VppInterface) -> object:
    """What two interfaces cannot share."""
    memif = interface.memif
    if memif is None:
        return interface.host_if_name
    return memif.socket_filename or MEMIF_SOCKET, memif.id, memif.master


def _describe(interface: VppInterface) -> str:
    memif = interface.memif
    if memif is None:
        return f"host interface {interface.host_if_name!r}"
    return f"memif {memif.id} of {memif.socket_filename or MEMIF_SOCKET}"


def _matches(link: VppLink, interface: VppInterface) -> bool:
    """Whether the link stands where the interface belongs."""
    if link.type is not interface.type:
        return False
    if interface.memif is None or link.memif is None:
        return link.host_if_name == interface.host_if_name
    wanted, there = interface.memif, link.memif
    sockets = (wanted.socket_filename or MEMIF_SOCKET, there.socket_filename or MEMIF_SOCKET)
    return (wanted.id, wanted.master) == (there.id, there.master) and sockets[0] == sockets[1]


def _change(link: VppLink, interface: VppInterface, tag: str) -> ChangeInVpp | None:
    """What makes an existing link what it should be; None when it is."""
    mac, mtu = interface.phys_address or link.mac, interface.mtu or DEFAULT_MTU
    change = ChangeInVpp(
        interface.name,
        link,
        up=interface.enabled if interface.enabled != link.up else None,
        mac=mac if mac != link.mac else None,
        mtu=mtu if mtu != link.mtu else None,
        tag=tag if tag != link.tag else None,
        add=tuple(a for a in interface.ip_addresses if a not in link.addresses),
        remove=tuple(a for a in link.addresses if a not in interface.ip_addresses),
    )
    return None if change == ChangeInVpp(interface.name, link) else change
