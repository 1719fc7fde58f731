"""The host of a campaign: its network namespaces, the processes that hold some, the links of strangers in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path

from tests.faults import oracle
from tests.faults.documents import Ref
from tests.faults.kernel import Key, Link, Snapshot, Space, identity, look, run_in
from tests.faults.stream import MICROSERVICES

NETNS = Path("/run/netns")
OWN = "/proc/self/ns/net"


class Places:
    """Namespaces, processes and strangers' links, and what the kernel had at the last rest."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._holders = count()
        self.strangers: dict[Key, Link] = {}
        self.last: Snapshot = {}
        self.containers: Callable[[str], list[int]] = lambda _label: []
        """The PIDs of the running containers of a microservice."""

    def clear(self) -> None:
        """End the processes, and remove names and links."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.remove_all_named([path.name for path in NETNS.iterdir()])
        for path in NETNS.iterdir():
            # Where two have made the same one at the same time there are two mounts.
            subprocess.run(["umount", "-A", str(path)], capture_output=True, check=False)
            path.unlink(missing_ok=True)
        for link in self.strangers.values():
            if link.space == identity(OWN):
                subprocess.run(["ip", "link", "del", "dev", link.name], capture_output=True, check=False)

    # Namespaces and processes

    def start_process(self, slot: str) -> None:
        """A process in a network namespace of its own."""
        self.end_process(slot)
        self.processes[slot] = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        deadline = time.monotonic() + 5
        while identity(f"/proc/{self.processes[slot].pid}/ns/net") == identity(OWN):
            assert time.monotonic() < deadline, "unshare does not come to it"
            time.sleep(0.002)

    def end_process(self, slot: str) -> None:
        process = self.processes.get(slot)
        if process and process.poll() is None:
            self.forget_process(process.pid)
            process.kill()
            process.wait()

    def add_named(self, name: str) -> None:
        """As an operator would, who removes the file that an agent leaves when it is killed before it has mounted."""
        path = NETNS / name
        patience = time.monotonic() + 1
        while not self.is_namespace(path):
            result = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            assert result.returncode == 0 or path.exists(), result.stderr
            if time.monotonic() > patience:
                # Busy, when the agent has mounted on it meanwhile.
                with contextlib.suppress(OSError):
                    path.unlink()

    def remove_named(self, name: str) -> None:
        if self.is_namespace(NETNS / name):
            self.forget(identity(str(NETNS / name)))
            self._unname(name)

    def remove_all_named(self, names: Iterable[str]) -> None:
        """Many at once, by one `ip`."""
        there = [name for name in names if self.is_namespace(NETNS / name)]
        self.forget(*(identity(str(NETNS / name)) for name in there))
        lines = "".join(f"netns del {name}\n" for name in there)
        # An agent that makes one again keeps its file busy.
        subprocess.run(["ip", "-force", "-batch", "-"], input=lines, text=True, capture_output=True, check=False)

    def unmount_named(self, name: str) -> None:
        """The name goes, the namespace stays, because a process is in it."""
        if self.is_namespace(NETNS / name):
            slot = f"holder{next(self._holders)}"
            command = ["nsenter", f"--net={NETNS / name}", "sleep", "infinity"]
            self.processes[slot] = subprocess.Popen(command)
            space = identity(str(NETNS / name))
            deadline = time.monotonic() + 5
            while identity(f"/proc/{self.processes[slot].pid}/ns/net") != space:
                assert time.monotonic() < deadline, "nsenter does not come to it"
                time.sleep(0.002)
            self._unname(name)

    def _unname(self, name: str) -> None:
        """`ip netns del`; an agent that makes the namespace again between its two steps keeps the file busy."""
        result = subprocess.run(["ip", "netns", "del", name], capture_output=True, text=True, check=False)
        assert result.returncode == 0 or "busy" in result.stderr, result.stderr

    def forget_process(self, pid: int) -> None:
        """A process is about to end, and its namespace with it."""
        self.forget(identity(f"/proc/{pid}/ns/net"))

    def forget(self, *spaces: Space) -> None:
        """Namespaces are about to end: what was there is not expected any more."""
        gone = {link.key for link in self.last.values() if link.space in spaces}
        self.last = {p: x for p, x in self.last.items() if x.space not in spaces and x.peer not in gone}
        self.strangers = {k: x for k, x in self.strangers.items() if x.space not in spaces and x.peer not in gone}

    def is_namespace(self, path: Path) -> bool:
        return path.exists() and path.stat().st_dev == os.stat(OWN).st_dev

    def spaces(self) -> dict[Space, str]:
        """All namespaces, with a path to each."""
        paths = [OWN, *(str(path) for path in sorted(NETNS.iterdir()) if self.is_namespace(path))]
        paths += [f"/proc/{p.pid}/ns/net" for p in self.processes.values() if p.poll() is None]
        paths += [f"/proc/{pid}/ns/net" for label in MICROSERVICES for pid in self.containers(label)]
        return {identity(path): path for path in reversed(paths)}

    def stays_as_it_is(self, link: Link) -> None:
        """A frozen link was changed by the test: from now on it has to stay like this."""
        now = {x.key: x for x in self.look().values()}
        self.last = {p: now.get(x.key, x) if x.key == link.key else x for p, x in self.last.items()}

    def look(self) -> Snapshot:
        """The kernel as it is now."""
        return look(self.spaces())

    def resolve(self, ref: Ref, *, creates: bool) -> oracle.Resolution:
        """Where a reference leads to at present."""
        match ref.kind:
            case "default":
                return identity(OWN)
            case "microservice":
                pids = self.containers(ref.value)
                if len(pids) == 1:
                    return identity(f"/proc/{pids[0]}/ns/net")
                return oracle.Missing("MicroserviceAmbiguous" if pids else "MicroserviceNotRunning")
            case "pid":
                return self._of_process(int(ref.value))
            case "file" if ref.value.startswith("/proc/"):
                return self._of_process(int(ref.value.split("/")[2]))
        path = NETNS / ref.value.removeprefix(f"{NETNS}/")
        if self.is_namespace(path):
            return identity(str(path))
        if path.exists() and path.stat().st_size:
            return oracle.Missing("NamespaceForbidden")
        return oracle.Creatable(ref.value) if ref.kind == "named" and creates else oracle.Missing("NamespaceNotFound")

    def _of_process(self, pid: int) -> oracle.Resolution:
        alive = any(p.pid == pid and p.poll() is None for p in self.processes.values())
        return identity(f"/proc/{pid}/ns/net") if alive else oracle.Missing("ProcessNotRunning")

    # Strangers

    def add_stranger(self, path: str, *command: str) -> bool:
        """Make a link that is nobody's of ours; False when its name is taken."""
        before = look(self.spaces()).keys()
        if not run_in(path, "ip", "link", "add", *command):
            return False
        after = look(self.spaces())
        fresh = [after[place] for place in after.keys() - before]
        self.strangers |= {link.key: link for link in fresh if self._is_strange(link)}
        return True

    def remove_stranger(self, link: Link) -> None:
        path = self.spaces().get(link.space)
        if path and run_in(path, "ip", "link", "del", "dev", link.name):
            self.strangers.pop(link.key, None)
            if link.peer:
                self.strangers.pop(link.peer, None)

    def _is_strange(self, link: Link) -> bool:
        """Nobody's; what an agent is creating at the moment has not got its marks."""
        return link.group not in oracle.NEW and all(oracle.owner(label, link) is None for label in self.labels)
