"""What tells this host from others. Secret, as machine-id(5) asks: only digests of it leave the process."""

from __future__ import annotations

import os

MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
"""machine-id(5); the second is older."""
HARDWARE_IDS = ("/sys/class/dmi/id/product_uuid", "/sys/firmware/devicetree/base/serial-number")
"""The same in all containers of a host, and absent on some hosts."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"
IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")
"""What Docker and Podman put into each container."""


def host_identity() -> str:
    """A text that no other host has, and that stays where the host can be told at all; otherwise until the next boot.

    The machine's id and the hardware's together: cloned disks share the first, system containers of one host the
    second. In a container the first may be that of the image, on all hosts.
    """
    machine, hardware = _first(MACHINE_IDS), _first(HARDWARE_IDS)
    if machine and (hardware or not any(map(os.path.exists, IN_CONTAINER))):
        return f"{machine} {hardware}"
    return f"{machine} {hardware or _first((BOOT_ID,))}"


def _first(paths: tuple[str, ...]) -> str:
    """What the first of these files with an id says; empty where there is none."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = file.read(256).decode(errors="replace").strip("\0 \n")
        except OSError:
            continue
        # systemd writes the word before the first boot is done (machine-id(5)); some boards have zeros or Fs.
        if text and text != "uninitialized" and len(set(text) - {"-"}) > 1:
            return text
    return ""
