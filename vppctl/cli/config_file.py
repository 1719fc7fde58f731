"""cn-infra's etcd.conf: the YAML file of --config, read within bounds."""

from __future__ import annotations

from reprlib import repr as shortened
from typing import Any

from vppctl.cli.durations import LONGEST, seconds
from vppctl.errors import InvalidInputError
from vppctl.files import read_start

TIMES = ("operation-timeout", "dial-timeout")
MAX_CONFIG = 64 * 1024
"""Bytes of a configuration file."""
_TEXTS = ("cert-file", "key-file", "ca-file")
_MAX_DEPTH = 10
_MAX_ENDPOINTS = 100


def read_config(path: str) -> dict[str, Any]:
    """The members of the file, times as Go's nanoseconds or as `1s`. Raises InvalidInputError."""
    try:
        content = read_start(path, MAX_CONFIG + 1)
    except OSError as error:
        raise InvalidInputError([f"{path}: cannot be read: {error.strerror}; see --config"]) from None
    if len(content) > MAX_CONFIG:
        raise InvalidInputError([f"{path}: is longer than {MAX_CONFIG} bytes; see --config"])
    try:
        found = _parse(content.decode())
    except ValueError as error:
        raise InvalidInputError([f"{path}: is no YAML: {' '.join(str(error).split())}"]) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInputError([f"{path}: is no mapping; write lines such as 'endpoints: [\"127.0.0.1:2379\"]'"])
    if found.get("insecure-skip-tls-verify"):
        raise InvalidInputError([f"{path}: insecure-skip-tls-verify: is not supported; give the CA with ca-file"])
    if errors := [f"{path}: {error}" for error in _errors(found)]:
        raise InvalidInputError(errors)
    for key in TIMES:
        if (value := found.pop(key, None)) is None:
            continue
        time = value * 1e-9 if type(value) is int else seconds(value) if isinstance(value, str | float) else None
        if time is None or not 0 < time < LONGEST:
            raise InvalidInputError([f"{path}: {key}: {shortened(value)} is no time; write one such as 1s"])
        found[key] = time
    return found


def _parse(text: str) -> Any:
    """The value of a YAML text. Raises ValueError.

    Without aliases of lists and mappings: some lines of them stand for gigabytes.
    """
    import yaml  # type: ignore[import-untyped,unused-ignore]

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None  # type: ignore[no-untyped-call]
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise ValueError(f"is nested deeper than {_MAX_DEPTH} levels")
            node = super().compose_node(parent, index)
            self.depth -= 1
            if alias is not None and not isinstance(node, yaml.ScalarNode):
                where, what = alias.start_mark, f"alias *{alias.anchor} stands for a list or a mapping"
                raise ValueError(f"line {where.line + 1} column {where.column + 1}: {what}; write it out")
            return node

    try:
        return yaml.load(text, Loader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # The last four are what its constructors make of a wrong value with a tag, such as `!!int a`.
        text = str(error) if isinstance(error, yaml.YAMLError) else "a value does not fit its tag"
        raise ValueError(text) from None


def _errors(found: dict[str, Any]) -> list[str]:
    """What is wrong with the members that are used."""
    errors = []
    for key in _TEXTS:
        value = found.get(key)
        if value is not None and not isinstance(value, str):
            errors.append(f"{key}: {shortened(value)} is no path; write one such as /etc/etcd/{key[:-5]}.pem")
    endpoints = found.get("endpoints")
    members = endpoints if isinstance(endpoints, list) else [] if endpoints is None else [endpoints]
    if any(not isinstance(member, str) for member in members):
        errors.append('endpoints: is no list of texts; write one such as ["127.0.0.1:2379"]')
    if len(members) > _MAX_ENDPOINTS:
        errors.append(f"endpoints: has {len(members)} members; write at most {_MAX_ENDPOINTS}")
    return errors
