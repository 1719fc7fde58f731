"""The rules about values: each says what is wrong with a value and how to mend it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.model.structure import Reader
from vppctl.model.text import shown

MAX_NAME = 255
"""Octets of a logical name: it becomes a part of a key."""
MAX_KERNEL_NAME = 15
"""Octets of a name in the kernel (IFNAMSIZ - 1, linux/if.h)."""
MIN_MTU, MAX_MTU = 68, 65535
"""Octets: ETH_MIN_MTU and ETH_MAX_MTU (linux/if_ether.h)."""
MIN_MTU_IPV6 = 1280
"""Octets: below it the kernel takes IPv6 off the link and no IPv6 address on it (IPV6_MIN_MTU, net/ipv6.h)."""
MAX_PID = 2**22
"""PID_MAX_LIMIT (linux/threads.h)."""
MAX_PATH = 4095
"""Octets of a path (PATH_MAX - 1, linux/limits.h)."""
NAMESPACE_DIRS = ("/run/netns", "/var/run/netns", "/run/docker/netns")
"""Where namespace files may be, beside /proc; more by option."""

RESERVED_NAMES = {
    "all": "stands for all interfaces below /proc/sys/net/ipv4/conf",
    "default": "stands for new interfaces below /proc/sys/net/ipv4/conf",
}
"""Names that no interface can have, and why: the kernel refuses them (devinet_sysctl_register, net/ipv4/devinet.c)."""
LOOPBACK = "lo"

MAC = re.compile("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
KERNEL_NAME = re.compile(r"[A-Za-z0-9_.@+=,-]{1,15}")
CREATED_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.@+=,-]{{0,{MAX_NAME - 1}}}")
"""Names of namespaces that the agent creates: no shell, completion script or program takes them for anything else."""
PLAIN_NAME = "write letters, digits, '_', '-', '.', '@', '+', '=' and ',', with a letter, a digit or '_' first"
PROC_FILE = re.compile(r"/proc/(?P<pid>[1-9][0-9]*)/(?P<file>(task/(?P<tid>[1-9][0-9]*)/)?ns/net)")
"""A process's or a thread's namespace, by number."""
_PREFIX = re.compile("[0-9]{1,3}")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "(?:[1-9a-f][0-9a-f]{0,3})"
_PLAIN_ADDRESS = re.compile(
    # IPv4 of a host, neither 0.0.0.0/8 nor multicast and beyond ...
    rf"(?:(?:(?:22[0-3]|2[01][0-9]|1[0-9][0-9]|[1-9][0-9]?)(?:\.{_OCTET}){{3}}/(?:3[0-2]|[12]?[0-9]))"
    # ... and IPv6 of 2000::/3 or fd00::/8 as RFC 5952 writes it: two or more zeros shortened, single ones elsewhere.
    rf"|(?:[23][0-9a-f]{{3}}|fd[0-9a-f]{{2}})(?::{_GROUP}|:0(?=:[1-9a-f])){{0,4}}::{_GROUP}"
    r"/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))"
)
"""Addresses that are canonical already and need no parser: most of those that are configured."""


def process_of(reference: NamespaceRef) -> int:
    """The process whose namespace a reference means, by number; 0: none's."""
    if reference.type is NamespaceType.PID_REF_NS:
        return reference.pid
    if reference.type is NamespaceType.FILE_REF_NS and (process := PROC_FILE.fullmatch(reference.filepath)):
        return int(process["pid"])
    return 0


def is_created(name: str) -> bool:
    """Whether the agent creates a named namespace of this name; one of another name may be entered, when it exists.

    Whoever writes a document chooses the name, and root's shell completes the names below /run/netns.
    """
    return bool(CREATED_NAME.fullmatch(name))


def is_clean(text: str) -> bool:
    """Whether there are no control characters, line ends and the like in it."""
    return text.isprintable()


def check_name(reader: Reader, path: str, name: str, what: str = "name") -> bool:
    """A logical name: it is the last part of a key."""
    problem = ""
    if not name:
        problem = f"the {what} is missing; write a name"
    elif "/" in name:
        problem = f"{shown(name)} has a slash; a {what} is one part of a key, write it without"
    elif not is_clean(name):
        problem = f"{shown(name)} has control characters; remove them"
    elif name in (".", ".."):
        problem = f"{shown(name)} is no name; choose another"
    elif len(name.encode()) > MAX_NAME:
        problem = f"{shown(name)} is {len(name.encode())} bytes long; write at most {MAX_NAME}"
    if problem:
        reader.complain(path, problem)
    return not problem


def check_kernel_name(reader: Reader, path: str, name: str, *, implied: bool = False) -> None:
    """A name that the kernel takes, and that no program and no terminal takes for something else."""
    mend = "set host_if_name to" if implied else "write"
    octets = len(name.encode())
    if octets > MAX_KERNEL_NAME:
        text = f"is {octets} bytes long, too long for the kernel; {mend} a name of at most {MAX_KERNEL_NAME}"
        reader.complain(path, f"{shown(name)} {text}")
    elif name in (".", "..") or not KERNEL_NAME.fullmatch(name):
        text = f"is no interface name for the kernel; {mend} one of letters, digits, '-', '_' and '.'"
        reader.complain(path, f"{shown(name)} {text}")
    elif why := RESERVED_NAMES.get(name):
        reader.complain(path, f"{shown(name)} is no interface name: it {why}; {mend} another")


def check_own_kernel_name(reader: Reader, path: str, name: str, *, implied: bool = False) -> None:
    """A kernel name for a new interface: every namespace has its loopback interface already."""
    if name == LOOPBACK:
        mend = "set host_if_name to" if implied else "write"
        reader.complain(path, f"'{name}' is the loopback interface of every namespace; {mend} another name")
    elif name.startswith("-"):
        mend = "set host_if_name to" if implied else "write"
        reader.complain(path, f"{shown(name)} begins like an option of a program; {mend} a name without the dash")
    else:
        check_kernel_name(reader, path, name, implied=implied)


def check_mac(reader: Reader, path: str, mac: str) -> None:
    """A unicast MAC address, six octets with colons."""
    if not MAC.fullmatch(mac):
        reader.complain(path, f"{shown(mac)} is no MAC address; write six octets, such as 02:00:00:00:00:01")
    elif int(mac[:2], 16) & 1:
        rest = mac[2:]
        good = f"{int(mac[:2], 16) & 0xFE or (0 if rest.strip('0:') else 2):02x}{rest}"
        reader.complain(path, f"{shown(mac)} is a multicast address; write a unicast one, such as {good}")
    elif not mac.strip("0:"):
        reader.complain(path, f"{shown(mac)} is all zero; write another one or leave it out")


def check_mtu(reader: Reader, path: str, mtu: int) -> None:
    """0, which means unset, or what an Ethernet device takes."""
    if mtu and not MIN_MTU <= mtu <= MAX_MTU:
        reader.complain(path, f"{mtu} is out of range; write {MIN_MTU} to {MAX_MTU}, or 0 for the default")


def check_mtu_for(reader: Reader, path: str, mtu: int, addresses: Sequence[str]) -> None:
    """The kernel has no IPv6 on a link with a smaller MTU than IPv6 needs (RFC 8200, section 5)."""
    if MIN_MTU <= mtu < MIN_MTU_IPV6 and (first := next((a for a in addresses if ":" in a), "")):
        text = f"is too small for IPv6 address '{first}'; write at least {MIN_MTU_IPV6}, or remove the address"
        reader.complain(path, f"{mtu} {text}")


def addresses(reader: Reader, path: str, values: Sequence[str]) -> tuple[str, ...]:
    """The addresses in canonical spelling; those with problems are left out."""
    found: dict[str, int] = {}
    hosts: dict[str, int] = {}
    for number, value in enumerate(values):
        where = f"{path}[{number}]"
        problem, canonical = _address(value)
        if problem:
            if not any(p.path == where for p in reader.problems):
                reader.complain(where, f"{shown(value)} {problem}")
        elif canonical in found:
            reader.complain(where, f"{shown(value)} is the same as {path}[{found[canonical]}]; remove one of them")
        else:
            found[canonical] = number
            # Of IPv6 a link has a host's address once, with one prefix (ipv6_add_addr, net/ipv6/addrconf.c).
            if ":" in canonical and (first := hosts.setdefault(canonical.partition("/")[0], number)) != number:
                text = f"is the address of {path}[{first}] with another prefix length; remove one of them"
                reader.complain(where, f"{shown(value)} {text}")
    return tuple(found)


def check_addresses_in_vpp(reader: Reader, path: str, addresses: Sequence[str]) -> None:
    """What VPP refuses on one interface (ip4_add_del_interface_address, vnet/ip/ip4_forward.c, and its IPv6 twin)."""
    import ipaddress

    found = [ipaddress.ip_interface(address) for address in addresses]
    lengths = sorted({(one.version, one.network.prefixlen) for one in found})
    exact: dict[tuple[int, int, int], int] = {}
    longer: dict[tuple[int, int, int], int] = {}
    for number, one in enumerate(found):
        where = f"{path}[{number}]"
        if one.version == 6 and one.is_link_local:
            reader.complain(where, f"'{one}' is a link-local address, which VPP chooses itself; remove it")
            continue
        for length in (length for version, length in lengths if version == one.version):
            if length > one.network.prefixlen:
                break
            # Two prefixes overlap when they agree in the bits of the shorter one.
            head = (one.version, length, int(one) >> (one.max_prefixlen - length))
            own = length == one.network.prefixlen
            earlier = (longer if own else exact).get(head)
            (exact if own else longer).setdefault(head, number)
            if earlier is not None:
                text = f"overlaps {path}[{earlier}], '{found[earlier]}'; give both one prefix length, or remove one"
                reader.complain(where, f"'{one}' {text}")
                break


def _address(value: str) -> tuple[str, str]:
    """What is wrong with an `address/prefix`, and its canonical spelling."""
    if _PLAIN_ADDRESS.fullmatch(value):
        return "", value
    # Seldom needed, as most addresses are plain, and a tenth of what this package takes to load.
    import ipaddress

    host, slash, prefix = value.partition("/")
    try:
        address = ipaddress.IPv6Address(host) if ":" in host else ipaddress.IPv4Address(host)
    except ValueError:
        return "is no IP address; write address/prefix, such as 192.168.22.1/24", ""
    bits = address.max_prefixlen
    # Before the host is repeated: a zone is free text.
    if getattr(address, "scope_id", None):
        return "has a zone; leave out what follows the '%'", ""
    if not slash:
        return f"has no prefix length; write '{host}/{24 if bits == 32 else 64}'", ""
    if not _PREFIX.fullmatch(prefix):
        return f"has no number behind the slash; write a prefix length from 0 to {bits}", ""
    if int(prefix) > bits:
        return f"has a prefix length beyond {bits}; write 0 to {bits}", ""
    if address.packed[0] in (range(0xE0, 0xF0) if bits == 32 else (0xFF,)):
        return "is a multicast address; write one of a host", ""
    if not any(address.packed):
        return "is the unspecified address; write one of a host", ""
    if bits == 128 and int(address) == 1:
        return "is the loopback address, which belongs to 'lo' alone; write another one", ""
    return "", f"{address}/{int(prefix)}"


def check_namespace(reader: Reader, path: str, ref: NamespaceRef, allowed_dirs: Sequence[str]) -> None:
    """Exactly the field that the type calls for, with a value that it may have."""
    given = {
        NamespaceType.PID_REF_NS: ("pid", ref.pid),
        NamespaceType.MICROSERVICE_REF_NS: ("microservice", ref.microservice),
        NamespaceType.NAMED_NS: ("name", ref.name),
        NamespaceType.FILE_REF_NS: ("filepath", ref.filepath),
    }
    wanted, value = given[ref.type]
    for kind, (name, other) in given.items():
        if kind is not ref.type and other:
            mend = f'for it write "type": {int(kind)} ({kind.name})' if not value else "remove it"
            reader.complain(
                f"{path}.{name}", f"{shown(other)} does not go with type {int(ref.type)} ({ref.type.name}); {mend}"
            )
    where = f"{path}.{wanted}"
    if ref.is_default:
        return
    match ref.type:
        case NamespaceType.PID_REF_NS:
            if ref.pid > MAX_PID:
                reader.complain(where, f"{ref.pid} is no PID; write one of at most {MAX_PID}")
        case NamespaceType.MICROSERVICE_REF_NS:
            if not value:
                reader.complain(where, "the label is missing; write the container's MICROSERVICE_LABEL")
            elif not is_clean(ref.microservice):
                reader.complain(where, f"{shown(value)} has control characters; remove them")
            elif len(ref.microservice.encode()) > MAX_NAME:
                octets = len(ref.microservice.encode())
                reader.complain(where, f"{shown(value)} is {octets} bytes long; write at most {MAX_NAME}")
        case NamespaceType.NAMED_NS:
            if check_name(reader, where, ref.name, "namespace's name") and not is_created(ref.name):
                text = "is created by no agent, only entered when it exists"
                reader.warnings.append(f"{where}: {shown(ref.name)} {text}; for one that is created {PLAIN_NAME}")
        case NamespaceType.FILE_REF_NS:
            _check_file(reader, where, ref.filepath, (*NAMESPACE_DIRS, *allowed_dirs))


def _check_file(reader: Reader, path: str, value: str, allowed: Sequence[str]) -> None:
    if not is_clean(value):
        reader.complain(path, f"{shown(value)} has control characters; remove them")
    elif not value.startswith("/") or posixpath.normpath(value) != value:
        reader.complain(path, f"{shown(value)} is not a plain absolute path; write one such as /run/netns/ns1")
    elif len(value.encode()) > MAX_PATH:
        reader.complain(path, f"{shown(value)} is {len(value.encode())} bytes long; write at most {MAX_PATH}")
    elif process := PROC_FILE.fullmatch(value):
        for number in filter(None, process.group("pid", "tid")):
            if len(number) > len(str(MAX_PID)) or int(number) > MAX_PID:
                reader.complain(path, f"{shown(value)} names no process; write a PID of at most {MAX_PID}")
                return
    elif not any(value.startswith(f"{a.rstrip('/')}/") for a in allowed):
        places = ", ".join((*allowed, "/proc/PID/ns/net"))
        reader.complain(
            path,
            f"{shown(value)} is not below an allowed directory; use one of {places}, or allow another by --allow-dir",
        )
