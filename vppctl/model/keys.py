"""The key space that vppctl shares with ligato's agents."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ROOT = "/vnf-agent/"
"""Prefix of every key of every agent (ligato cn-infra, servicelabel)."""


class Kind(StrEnum):
    """What a configuration key is about: its folder below the label."""

    LINUX = "linux"
    VPP = "vpp"


class ConfigKey(NamedTuple):
    """The parts of a configuration key."""

    label: str
    kind: Kind
    name: str

    def __str__(self) -> str:
        """The key itself."""
        return config_key(self.label, self.name, self.kind)


def config_prefix(label: str, kind: Kind = Kind.LINUX) -> str:
    """Prefix of the configuration of one agent's interfaces."""
    return f"{ROOT}{label}/{kind}/config/v1/interface/"


def config_key(label: str, name: str, kind: Kind = Kind.LINUX) -> str:
    """Key of the configuration of one interface."""
    return config_prefix(label, kind) + name


def status_prefix(label: str, kind: Kind = Kind.LINUX) -> str:
    """Prefix of the states that an agent publishes."""
    return f"{ROOT}{label}/{kind}/status/v1/interface/"


def status_key(label: str, name: str, kind: Kind = Kind.LINUX) -> str:
    """Key of the published state of one interface."""
    return status_prefix(label, kind) + name


def agent_key(label: str) -> str:
    """Key of the life sign of the agent itself."""
    return f"{ROOT}{label}/check/status/v1/agent"


def parse_config_key(key: str) -> ConfigKey | None:
    """The parts of `key`, or None when it is not the key of an interface's configuration."""
    for kind in Kind:
        head, middle, name = key.partition(f"/{kind}/config/v1/interface/")
        label = head.removeprefix(ROOT)
        if middle and name and "/" not in name and head != label and label and "/" not in label:
            return ConfigKey(label, kind, name)
    return None
