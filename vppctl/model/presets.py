"""The built-in interfaces: the same files as the examples in json/."""

from __future__ import annotations

PRESETS = ("veth1", "veth2", "afpacket1", "memif1", "memif2")


def load(name: str) -> bytes:
    """The document of a preset. Raises KeyError when there is none of this name."""
    from importlib.resources import files

    if name not in PRESETS:
        raise KeyError(name)
    return files("vppctl.model").joinpath("presets", f"{name}.json").read_bytes()
