"""VPP through its binary API: which interfaces it has, and operations on them. Blocks: for a thread of its own.

The API definitions come from VPP itself (23.02 and later), or from the .api.json files that it installs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_never

from vppctl.model.interface import Memif, VppInterface, VppInterfaceType
from vppctl.reconcile.vpp import ChangeInVpp, CreateInVpp, DeleteInVpp, VppLink, VppOperation
from vppctl.vpp_answers import ADMIN_UP, OddError, address_of, by_number, link_of, memif_of, number, text

DEFAULT_SOCKET = "/run/vpp/api.sock"
LOOKS = 3
"""How often all interfaces are looked at, while they change."""
READ_TIMEOUT = 5
"""Seconds that VPP may take to answer."""
ETHERNET = 1
"""vl_api_af_packet_mode_t (af_packet.api)."""
NEW_SOCKET = 0xFFFFFFFF
"""memif_socket_filename_add_del_v2: VPP chooses the id."""


class VppAwayError(Exception):
    """VPP cannot be asked; one line says why."""


class Vpp:
    """A connection. Raises VppAwayError when VPP is not there, hangs, or goes."""

    def __init__(self, path: str, on_event: Callable[[], None]) -> None:
        self.path = path
        try:
            import vpp_papi
        except ImportError:
            raise VppAwayError("package vpp_papi is not installed; pip install 'vppctl[vpp]'") from None
        try:
            # Before the library is bothered, which leaves a dozen descriptors to the garbage collector when it fails.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(READ_TIMEOUT)
                probe.connect(path)
        except OSError as error:
            raise VppAwayError(f"VPP cannot be asked at {path}: {error.strerror or error}") from None
        self._client = self._connect(vpp_papi)
        self._on_event = on_event
        try:
            self._client.register_event_callback(self._event)
            self._call("want_interface_events", enable_disable=1, pid=os.getpid())
            self.version = text(self._call("show_version"), "version")
        except (_RefusedError, OddError) as error:
            self.close()
            raise VppAwayError(f"VPP cannot be used at {path}: {error}") from None
        except VppAwayError:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether VPP still holds its end of the connection."""
        thread = self._client.transport.message_thread
        return bool(self._client.transport.connected and thread is not None and thread.is_alive())

    def close(self) -> None:
        """Let go of VPP, whether it still answers or not."""
        with contextlib.suppress(Exception):
            transport = self._client.transport
            transport.read_timeout = 1
            self._client.disconnect()
            for pipe in (transport.sque, transport.q):
                pipe.close()
                pipe.join_thread()

    def observe(self) -> list[VppLink]:
        """Every AF_PACKET and memif interface, with all that is known about it."""
        try:
            for _ in range(LOOKS):
                before = self._interfaces()
                links = list(self._links(before))
                after = self._interfaces()
                # What an index stands for in several answers is one interface only if it is so before and after them.
                indexes = [link.sw_if_index for link in links]
                if all(_name_and_tag(before, i) == _name_and_tag(after, i) for i in indexes):
                    return links
        except OddError as error:
            raise VppAwayError(f"VPP cannot be used at {self.path}: its answer cannot be read: {error}") from None
        raise VppAwayError(f"VPP cannot be used at {self.path}: its interfaces change while they are looked at")

    def _interfaces(self) -> dict[int, Any]:
        return by_number(self._dump("sw_interface_dump"), "sw_if_index")

    def _links(self, interfaces: Mapping[int, Any]) -> Iterator[VppLink]:
        hosts = by_number(self._dump("af_packet_dump"), "sw_if_index")
        sockets = self._sockets()
        memifs = by_number(self._dump("memif_dump"), "sw_if_index")
        for index, details in interfaces.items():
            if index not in hosts and index not in memifs:
                continue
            dumps = [self._dump("ip_address_dump", sw_if_index=index, is_ipv6=six) for six in (False, True)]
            addresses = [address_of(found) for dump in dumps for found in dump]
            if index in hosts:
                yield link_of(details, addresses, text(hosts[index], "host_if_name"), None)
            else:
                yield link_of(details, addresses, "", memif_of(memifs[index], sockets))

    def _sockets(self) -> dict[int, str]:
        found = by_number(self._dump("memif_socket_filename_dump"), "socket_id")
        return {number: text(details, "socket_filename") for number, details in found.items()}

    def execute(self, operation: VppOperation) -> str:
        """Do it; returns what VPP refused, or nothing. What has the index of another interface by now is left alone."""
        try:
            if isinstance(operation, DeleteInVpp | ChangeInVpp) and not self._is_there(operation.link):
                return "" if isinstance(operation, DeleteInVpp) else "it is not the same interface in VPP any more"
            match operation:
                case CreateInVpp(interface, tag):
                    index = self._create(interface)
                    self._expect_new(index, interface)
                    self._call("sw_interface_tag_add_del", is_add=True, sw_if_index=index, tag=tag)
                case DeleteInVpp(_, link) if link.type is VppInterfaceType.AF_PACKET_INTERFACE:
                    self._call("af_packet_delete", host_if_name=link.host_if_name)
                case DeleteInVpp(_, link):
                    self._call("memif_delete", sw_if_index=link.sw_if_index)
                case ChangeInVpp():
                    self._change(operation)
                case _:
                    assert_never(operation)
        except _RefusedError as error:
            return str(error)
        except OddError as error:
            return f"VPP's answer cannot be read: {error}"
        return ""

    def _is_there(self, link: VppLink) -> bool:
        """Whether the index still is that of this interface: VPP gives it to the next one that is created."""
        return self._now(link.sw_if_index) == (link.internal_name, link.tag)

    def _expect_new(self, index: int, interface: VppInterface) -> None:
        """Before our tag is set: it makes an interface ours. Raises _RefusedError."""
        name, tag = self._now(index)
        kind = "memif" if interface.memif else f"host-{interface.host_if_name}"
        if tag or not name.startswith(kind):
            raise _RefusedError(f"VPP says that it has created interface {index}, which is {name or 'none'}")

    def _now(self, index: int) -> tuple[str, str]:
        """Name and tag that the interface with this index has now."""
        return _name_and_tag(by_number(self._dump("sw_interface_dump", sw_if_index=index), "sw_if_index"), index)

    def _create(self, interface: VppInterface) -> int:
        memif = interface.memif
        if memif is not None:
            return self._create_memif(interface, memif)
        mac = {"hw_addr": interface.phys_address} if interface.phys_address else {}
        common = {"host_if_name": interface.host_if_name, "use_random_hw_addr": not mac, **mac}
        sizes = {"rx_frame_size": 0, "tx_frame_size": 0, "rx_frames_per_block": 0, "tx_frames_per_block": 0, "flags": 0}
        if self._has("af_packet_create_v3"):
            more = {"mode": ETHERNET, "num_rx_queues": 1, "num_tx_queues": 1, **sizes}
            return number(self._call("af_packet_create_v3", **common, **more), "sw_if_index")
        if self._has("af_packet_create_v2"):
            return number(self._call("af_packet_create_v2", **common, num_rx_queues=1, **sizes), "sw_if_index")
        return number(self._call("af_packet_create", **common), "sw_if_index")

    def _create_memif(self, interface: VppInterface, memif: Memif) -> int:
        arguments: dict[str, Any] = {
            "role": 0 if memif.master else 1,
            "mode": memif.mode,
            "id": memif.id,
            "socket_id": self._socket_id(memif.socket_filename),
            "secret": memif.secret,
            "ring_size": memif.ring_size or 1024,
            "buffer_size": memif.buffer_size or 2048,
            "rx_queues": memif.rx_queues or 1,
            "tx_queues": memif.tx_queues or 1,
            "no_zero_copy": False,
        }
        if interface.phys_address:
            arguments["hw_addr"] = interface.phys_address
        if self._has("memif_create_v2"):
            return number(self._call("memif_create_v2", use_dma=False, **arguments), "sw_if_index")
        return number(self._call("memif_create", **arguments), "sw_if_index")

    def _socket_id(self, filename: str) -> int:
        """The id that VPP has, or is given now, for a socket; 0 is VPP's own."""
        if not filename:
            return 0
        known = {name: number for number, name in self._sockets().items()}
        if filename in known:
            return known[filename]
        arguments = {"is_add": True, "socket_filename": filename}
        if self._has("memif_socket_filename_add_del_v2"):
            reply = self._call("memif_socket_filename_add_del_v2", socket_id=NEW_SOCKET, **arguments)
            return number(reply, "socket_id")
        free = next(n for n in range(1, 1 << 16) if n not in known.values())
        self._call("memif_socket_filename_add_del", socket_id=free, **arguments)
        return free

    def _change(self, change: ChangeInVpp) -> None:
        index = change.link.sw_if_index
        if change.tag is not None:
            self._call("sw_interface_tag_add_del", is_add=True, sw_if_index=index, tag=change.tag)
        if change.mac is not None:
            self._call("sw_interface_set_mac_address", sw_if_index=index, mac_address=change.mac)
        if change.mtu is not None:
            self._call("sw_interface_set_mtu", sw_if_index=index, mtu=[change.mtu, 0, 0, 0])
        for addresses, is_add in ((change.remove, False), (change.add, True)):
            for address in addresses:
                self._call(
                    "sw_interface_add_del_address", sw_if_index=index, is_add=is_add, del_all=False, prefix=address
                )
        if change.up is not None:
            self._call("sw_interface_set_flags", sw_if_index=index, flags=ADMIN_UP if change.up else 0)

    # The library

    def _connect(self, vpp_papi: Any) -> Any:
        from vpp_papi.vpp_papi import VPPApiError

        problem = ""
        # VPP before 23.02 does not tell its API; then the files that it installs do.
        for bootstrap in (True, False):
            try:
                client = vpp_papi.VPPApiClient(
                    server_address=self.path, bootstrapapi=bootstrap, read_timeout=READ_TIMEOUT
                )
                client.connect("vppctl")
            except OSError as error:
                problem = " ".join(str(error.strerror or error).split())
                break
            except (RuntimeError, ValueError, AttributeError, KeyError, VPPApiError) as error:
                problem = problem or f"its API is not understood ({error})"
            else:
                return client
        raise VppAwayError(f"VPP cannot be asked at {self.path}: {problem}")

    def _event(self, *_: object) -> None:
        self._on_event()

    def _has(self, name: str) -> bool:
        return hasattr(self._client.api, name)

    def _dump(self, name: str, **arguments: Any) -> list[Any]:
        """The details of a dump; none of one that this VPP does not have, for its plugin is not loaded."""
        if not self._has(name):
            return []
        try:
            found = self._ask(name, **arguments)
        except _RefusedError as error:
            # Without its answer nothing is known; a foreign tag that is not ASCII is enough.
            raise VppAwayError(f"VPP cannot be used at {self.path}: {error}") from None
        found = found[1] if isinstance(found, tuple) and len(found) == 2 else found
        if not isinstance(found, list):
            raise OddError(f"{name} gives no list")
        return found

    def _call(self, name: str, **arguments: Any) -> Any:
        if not self._has(name):
            raise _RefusedError(f"this VPP has no {name}; is its plugin loaded?")
        reply = self._ask(name, **arguments)
        if (refusal := number(reply, "retval")) != 0:
            raise _RefusedError(f"VPP refused {name}: error {refusal}")
        return reply

    def _ask(self, name: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client.api, name)(**arguments)
        except OSError as error:
            raise VppAwayError(f"VPP does not answer at {self.path}: {error}") from None
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, struct.error) as error:
            # What the library says repeats all values, secrets among them.
            raise _RefusedError(f"{name} cannot be packed or unpacked ({type(error).__name__})") from None


def _name_and_tag(interfaces: Mapping[int, Any], index: int) -> tuple[str, str]:
    """Of the interface with this index; empty when there is none."""
    details = interfaces.get(index)
    return (text(details, "interface_name"), text(details, "tag")) if details is not None else ("", "")


class _RefusedError(Exception):
    """VPP said no, or its library."""
