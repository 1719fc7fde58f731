"""VPP for tests: a stand-in at the edge of vpp_papi, and a real one when VPPCTL_TEST_VPP names its program.

The stand-in answers as VPP 24.10 does to the calls that are made, and to no others. It exists because a real VPP is not
to be had from Debian; every test that uses it runs against the real one, too, where there is one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.support.netns import wait_until
from vppctl.vpp import Vpp, VppAwayError


class StandIn:
    """What VPP holds, and the calls that change it."""

    def __init__(self) -> None:
        self.running, self.hanging = True, False
        self.clients: list[Client] = []
        self.reset()

    def reset(self) -> None:
        self.interfaces: dict[int, SimpleNamespace] = {}
        self.sockets = {0: "/run/vpp/memif.sock"}
        self.next = 1

    def new(self, name: str, mac: str, **more: Any) -> SimpleNamespace:
        """An interface as it is when VPP has just made it."""
        index, self.next = self.next, self.next + 1
        self.interfaces[index] = SimpleNamespace(
            sw_if_index=index,
            interface_name=name.replace("#", str(index)),
            l2_address=mac,
            flags=0,
            mtu=[9000, 0, 0, 0],
            tag="",
            addresses=[],
            **{"host_if_name": "", "memif": None, **more},
        )
        return SimpleNamespace(retval=0, sw_if_index=index)

    def af_packet_create_v3(self, host_if_name: str, use_random_hw_addr: bool, hw_addr: str = "", **_: Any) -> Any:
        taken = any(i.host_if_name == host_if_name for i in self.interfaces.values())
        if taken or host_if_name not in [name for _, name in socket.if_nameindex()]:
            return SimpleNamespace(retval=-66 if taken else -68, sw_if_index=0)
        mac = "02:fe:00:00:00:01" if use_random_hw_addr else hw_addr
        return self.new(f"host-{host_if_name}", mac, host_if_name=host_if_name)

    def af_packet_delete(self, host_if_name: str) -> Any:
        found = [i for i in self.interfaces.values() if i.host_if_name == host_if_name]
        for interface in found:
            del self.interfaces[interface.sw_if_index]
        return SimpleNamespace(retval=0 if found else -68)

    def memif_create_v2(self, hw_addr: str = "", **memif: Any) -> Any:
        return self.new("memif#", hw_addr or "02:fe:00:00:00:02", memif=memif)

    def memif_delete(self, sw_if_index: int) -> Any:
        return SimpleNamespace(retval=0 if self.interfaces.pop(sw_if_index, None) else -2)

    def memif_socket_filename_add_del_v2(self, is_add: bool, socket_id: int, socket_filename: str) -> Any:
        assert is_add
        assert socket_id == 0xFFFFFFFF
        self.sockets[len(self.sockets)] = socket_filename
        return SimpleNamespace(retval=0, socket_id=len(self.sockets) - 1)

    def sw_interface_dump(self, sw_if_index: int = 0xFFFFFFFF) -> Any:
        local = SimpleNamespace(
            sw_if_index=0, interface_name="local0", tag="", l2_address="", flags=0, mtu=[0, 0, 0, 0]
        )
        return [i for i in (local, *self.interfaces.values()) if sw_if_index in (0xFFFFFFFF, i.sw_if_index)]

    def af_packet_dump(self) -> Any:
        return [i for i in self.interfaces.values() if i.host_if_name]

    def memif_dump(self) -> Any:
        found = [i for i in self.interfaces.values() if i.memif]
        return [SimpleNamespace(sw_if_index=i.sw_if_index, **i.memif) for i in found]

    def memif_socket_filename_dump(self) -> Any:
        return [SimpleNamespace(socket_id=n, socket_filename=name) for n, name in self.sockets.items()]

    def ip_address_dump(self, sw_if_index: int, is_ipv6: bool) -> Any:
        found = self.interfaces[sw_if_index].addresses
        return [SimpleNamespace(prefix=a) for a in found if (":" in a) == is_ipv6]

    def sw_interface_set_flags(self, sw_if_index: int, flags: int) -> Any:
        self.interfaces[sw_if_index].flags = 3 if flags else 0
        return SimpleNamespace(retval=0)

    def sw_interface_set_mtu(self, sw_if_index: int, mtu: list[int]) -> Any:
        self.interfaces[sw_if_index].mtu = mtu
        return SimpleNamespace(retval=0)

    def sw_interface_set_mac_address(self, sw_if_index: int, mac_address: str) -> Any:
        self.interfaces[sw_if_index].l2_address = mac_address
        return SimpleNamespace(retval=0)

    def sw_interface_tag_add_del(self, is_add: bool, sw_if_index: int, tag: str) -> Any:
        assert is_add
        assert len(tag.encode()) < 64
        self.interfaces[sw_if_index].tag = tag
        return SimpleNamespace(retval=0)

    def sw_interface_add_del_address(self, sw_if_index: int, is_add: bool, del_all: bool, prefix: str) -> Any:
        assert not del_all
        addresses = self.interfaces[sw_if_index].addresses
        if (prefix in addresses) == is_add:
            return SimpleNamespace(retval=-105)
        (addresses.append if is_add else addresses.remove)(prefix)
        return SimpleNamespace(retval=0)

    def want_interface_events(self, enable_disable: int, pid: int) -> Any:
        assert (enable_disable, pid) == (1, os.getpid())
        return SimpleNamespace(retval=0)

    def show_version(self) -> Any:
        return SimpleNamespace(retval=0, version="stand-in")


class Client:
    """What vpp_papi's VPPApiClient is to the adapter."""

    def __init__(self, vpp: StandIn) -> None:
        self._vpp = vpp
        self.api = _Api(vpp)
        self.read_timeout = 5
        self.transport = SimpleNamespace(
            connected=True, message_thread=SimpleNamespace(is_alive=lambda: vpp.running), socket=None
        )

    def connect(self, _name: str) -> None:
        if not self._vpp.running:
            raise ConnectionRefusedError(111, "Connection refused")

    def register_event_callback(self, callback: Callable[..., None]) -> None:
        pass

    def disconnect(self) -> None:
        self.transport.connected = False


class _Api:
    def __init__(self, vpp: StandIn) -> None:
        self._vpp = vpp

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._vpp, name)

        def call(**arguments: Any) -> Any:
            if self._vpp.hanging or not self._vpp.running:
                raise OSError(2, "VPP API client: read failed")
            if not all(value.isascii() for value in arguments.values() if isinstance(value, str)):
                # As VPPSerializerValueError, which is one, and repeats everything.
                raise ValueError(f"Exception while packing {arguments}")
            return method(**arguments)

        return call


def modules(vpp: StandIn) -> dict[str, ModuleType]:
    """What `import vpp_papi` is to give."""
    package, inner = ModuleType("vpp_papi"), ModuleType("vpp_papi.vpp_papi")
    package.VPPApiClient = lambda **_: Client(vpp)  # type: ignore[attr-defined]
    inner.VPPApiError = type("VPPApiError", (Exception,), {})  # type: ignore[attr-defined]
    return {"vpp_papi": package, "vpp_papi.vpp_papi": inner}


class StandInControl:
    """Stops, starts and hangs the stand-in."""

    real = False

    def __init__(self, vpp: StandIn) -> None:
        self.vpp = vpp

    def restart(self) -> None:
        self.vpp.running = False
        self.vpp.reset()
        self.vpp.running = True

    def hang(self, hanging: bool) -> None:
        self.vpp.hanging = hanging


STARTUP = """
unix {{ nodaemon nobanner runtime-dir {folder} cli-listen {folder}/cli.sock }}
socksvr {{ socket-name {folder}/api.sock }}
statseg {{ socket-name {folder}/stats.sock }}
api-segment {{ prefix vppctl-test }}
memory {{ main-heap-size 256M main-heap-page-size 4k }}
buffers {{ buffers-per-numa 4096 page-size 4k }}
plugins {{ plugin default {{ disable }} plugin af_packet_plugin.so {{ enable }} plugin memif_plugin.so {{ enable }} }}
"""


class RealControl:
    """The same for a real VPP, started in the namespaces of the thread that makes it."""

    real = True

    def __init__(self, program: str, folder: Path) -> None:
        self.path = str(folder / "api.sock")
        self._log, self._configuration = folder / "vpp.log", folder / "startup.conf"
        self._configuration.write_text(STARTUP.format(folder=folder))
        self._command = [program, "-c", str(self._configuration)]
        self.start()

    def start(self) -> None:
        """Until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._answers, "VPP to answer", 60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()[-2000:]
        try:
            Vpp(self.path, lambda: None).close()
        except (VppAwayError, OSError):
            return False
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def hang(self, hanging: bool) -> None:
        self.process.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)
