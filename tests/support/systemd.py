"""A real systemd as the first process of a machine of its own: this one's files, with changes that are forgotten."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.netns import wait_until

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
UNITS = "/etc/systemd/system"
UNWANTED = ("systemd-udevd", "systemd-udev-trigger", "systemd-networkd", "systemd-resolved", "systemd-timesyncd")
"""Services of Debian that look after devices and networks, of which the machine has none."""
BOOT = f"""
set -eu
root=$1/root
shift
mount -t tmpfs tmpfs "$(dirname "$root")"
mkdir "$root" "$root/../up" "$root/../work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/../up,workdir=$root/../work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do mount -t tmpfs tmpfs "$root/$folder"; done
for folder in "$@"; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
for name in null zero full random urandom tty; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
rm -rf "$root"{UNITS}/*.wants "$root"{UNITS}/default.target "$root/var/lib/vppctl"
for unit in {" ".join(UNWANTED)}; do ln -sf /dev/null "$root{UNITS}/$unit.service"; done
: > "$root/etc/machine-id"
ip link set lo up
mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin {SYSTEMD} --system --unit=basic.target --show-status=0
"""


class Machine:
    """Started by `with`; ends with everything in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self._groups = folder / "cgroup"
        # Process IDs are the same in the workers of a parallel run, which have process namespaces of their own.
        self._number = os.urandom(4).hex()

    def __enter__(self) -> Self:
        self._groups.mkdir()
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(self._groups)], check=True)
        self._group.mkdir()
        (self.folder / "machine").mkdir()
        kinds = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        folders = [str(ROOT), sys.prefix, sys.base_prefix]
        enter = f'echo $$ > {self._group}/cgroup.procs; exec "$@"'
        boot = ["unshare", *kinds, "--propagation=private", "sh", "-c", BOOT, "sh", f"{self.folder}/machine", *folders]
        with (self.folder / "machine.log").open("wb") as log:
            self.process = subprocess.Popen(["sh", "-c", enter, "sh", *boot], stdout=log, stderr=log)
        try:
            wait_until(self._is_up, "systemd to come up", 30)
        except BaseException:
            print((self.folder / "machine.log").read_text())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        wait_until(self._is_empty, "everything in the machine to end", 20)
        for folder, _folders, _files in os.walk(self._group, topdown=False):
            os.rmdir(folder)
        subprocess.run(["umount", str(self._groups)], check=True)

    @property
    def _group(self) -> Path:
        """A control group below that of the tests, so that nobody else's is touched."""
        line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        return self._groups / line.removeprefix("0::").lstrip("/") / f"vppctl-test-{self._number}"

    def _is_empty(self) -> bool:
        return "populated 0" in (self._group / "cgroup.events").read_text()

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "it has ended"
        return self.run("systemctl", "is-active", "basic.target").stdout == "active\n"

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        assert self.process is not None
        first = ""
        with contextlib.suppress(OSError):
            first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()
        if not first:
            return subprocess.CompletedProcess(command, 1, "", "not started yet")
        enter = ["nsenter", f"--target={first}", "--all"]
        return subprocess.run([*enter, *command], input=stdin, capture_output=True, text=True, check=False)

    def __call__(self, *command: str, stdin: str = "") -> str:
        """Run a command to success; what it printed."""
        result = self.run(*command, stdin=stdin)
        assert result.returncode == 0, f"{command}: {result.returncode}: {result.stdout}{result.stderr}"
        return result.stdout
