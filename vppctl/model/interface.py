"""What an interface is: frozen values that the rest of the project works with, never protobuf messages.

Field names and meanings are those of ligato's `LinuxInterfaces.Interface` and `Interfaces.Interface` (1.0.x).
Excluded: reading and writing documents (`document.py`), and the rules about values (`rules.py`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class NamespaceType(IntEnum):
    """How a namespace is referred to (LinuxInterfaces.Interface.Namespace.NamespaceType)."""

    PID_REF_NS = 0
    MICROSERVICE_REF_NS = 1
    NAMED_NS = 2
    FILE_REF_NS = 3


class VppInterfaceType(IntEnum):
    """The VPP interface types that are supported (interfaces.InterfaceType)."""

    MEMORY_INTERFACE = 2
    AF_PACKET_INTERFACE = 4


class NamespaceRef(NamedTuple):
    """A reference to a network namespace; all defaults: the agent's own."""

    type: NamespaceType = NamespaceType.PID_REF_NS
    pid: int = 0
    microservice: str = ""
    name: str = ""
    filepath: str = ""
    start: int = 0
    """Of the process that is meant, where it is one's: clock ticks since boot; 0: whoever has the number.

    Negative: it was not there yet when revision `-start` of the store was seen. Added by the agent, in no document.
    """

    @property
    def is_default(self) -> bool:
        """Whether this means the agent's own namespace: PID 0, an empty name, an empty path."""
        match self.type:
            case NamespaceType.PID_REF_NS:
                return self.pid == 0
            case NamespaceType.NAMED_NS:
                return self.name == ""
            case NamespaceType.FILE_REF_NS:
                return self.filepath == ""
            case NamespaceType.MICROSERVICE_REF_NS:
                return False

    def __str__(self) -> str:
        """For tables and messages: `default`, `ns1`, `pid:42`, `file:/run/netns/x`, `microservice:web`."""
        if self.is_default:
            return "default"
        match self.type:
            case NamespaceType.PID_REF_NS:
                return f"pid:{self.pid}"
            case NamespaceType.NAMED_NS:
                return self.name
            case NamespaceType.FILE_REF_NS:
                return f"file:{self.filepath}"
            case NamespaceType.MICROSERVICE_REF_NS:
                return f"microservice:{self.microservice}"


DEFAULT_NAMESPACE = NamespaceRef()


class Interface(NamedTuple):
    """One side of a VETH pair (LinuxInterfaces.Interface)."""

    name: str
    """The logical name: last part of the key, and what `peer` refers to."""
    peer: str
    """veth.peer_if_name: the logical name of the other side."""
    description: str = ""
    enabled: bool = False
    phys_address: str = ""
    """Six lower-case octets with colons; empty: the agent chooses a stable one."""
    mtu: int = 0
    """Octets; 0: the kernel's default."""
    host_if_name: str = ""
    """Name in the kernel; empty: the logical name."""
    ip_addresses: tuple[str, ...] = ()
    """`address/prefix` in canonical spelling, sorted as configured."""
    namespace: NamespaceRef = DEFAULT_NAMESPACE

    @property
    def kernel_name(self) -> str:
        """The name that the interface has in the kernel."""
        return self.host_if_name or self.name


class Memif(NamedTuple):
    """A shared memory interface between two VPPs (Interfaces.Interface.Memif); 0 and empty: VPP's default."""

    id: int = 0
    master: bool = False
    mode: int = 0
    socket_filename: str = ""
    secret: str = ""
    ring_size: int = 0
    buffer_size: int = 0
    rx_queues: int = 0
    tx_queues: int = 0


class VppInterface(NamedTuple):
    """An interface in VPP (Interfaces.Interface): AF_PACKET or memif."""

    name: str
    type: VppInterfaceType
    description: str = ""
    enabled: bool = False
    phys_address: str = ""
    mtu: int = 0
    ip_addresses: tuple[str, ...] = ()
    host_if_name: str = ""
    """afpacket.host_if_name: the interface in the agent's own namespace that it is attached to."""
    memif: Memif | None = None
