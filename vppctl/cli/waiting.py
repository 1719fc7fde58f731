"""Waits for the agent, on the store's watch and with a deadline."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.errors import StoreError, TimedOutError
from vppctl.model.keys import ROOT, ConfigKey, agent_key, config_key, parse_config_key, status_key
from vppctl.reconcile.mirror import Changed, Entry

if TYPE_CHECKING:
    from vppctl.store.base import Store

View = dict[str, Entry]


def wait_applied(store: Store, keys: Sequence[ConfigKey], seconds: float, revision: int = 0) -> None:
    """Until each is APPLIED as it is configured now, read back from the kernel. Raises TimedOutError."""

    def problem(view: View, key: ConfigKey) -> str:
        config, status = view.get(str(key)), _status(view, key)
        if config is None:
            return "is not configured"
        if status is None or status.get("config_revision", 0) < max(revision, config.mod_revision):
            return "is not reported by the agent yet"
        if status.get("state") == "APPLIED":
            return ""
        return f"{status.get('state')} {status.get('reason')}: {status.get('message')}".rstrip(": ")

    _wait(store, keys, seconds, problem)


def wait_absent(store: Store, label: str, names: Sequence[str], seconds: float) -> None:
    """Until each is neither configured nor reported, so that nothing of it is left. Raises TimedOutError."""

    def problem(view: View, key: ConfigKey) -> str:
        if str(key) in view:
            return "is configured"
        return "is still there" if _status(view, key) else ""

    keys = to_keys(label, names)
    _wait(store, keys, seconds, problem)
    for agent in {key.label for key in keys}:
        if store.get(agent_key(agent)) is None:
            click.echo(f"no agent of label {agent} is running; what it made may still be there", err=True)


def to_keys(label: str, names: Sequence[str]) -> list[ConfigKey]:
    """The configuration keys that NAMEs and KEYs mean."""
    return [
        key for name in names if (key := parse_config_key(name if name.startswith("/") else config_key(label, name)))
    ]


def _status(view: View, key: ConfigKey) -> dict[str, Any] | None:
    entry = view.get(status_key(key.label, key.name, key.kind))
    if entry is None or entry.value is None:
        return None
    try:
        status = json.loads(entry.value)
    except ValueError:
        return None
    return status if isinstance(status, dict) else None


def _wait(store: Store, keys: Sequence[ConfigKey], seconds: float, problem: Callable[[View, ConfigKey], str]) -> None:
    deadline = time.monotonic() + seconds
    labels = {key.label for key in keys}
    prefix = f"{ROOT}{labels.pop()}/" if len(labels) == 1 else ROOT
    view: View = {}
    gc.enable()
    while True:
        for view in _views(store, prefix, deadline):
            if not any(problem(view, key) for key in keys):
                return
        if time.monotonic() >= deadline:
            lines = [f"{key.name}: {text}" for key in keys if (text := problem(view, key))]
            away = {key.label for key in keys if agent_key(key.label) not in view}
            lines += [f"no agent of label {label} is running" for label in away]
            raise TimedOutError("\n".join([f"timed out after {seconds:g} s", *lines]))


def _views(store: Store, prefix: str, deadline: float) -> Any:
    """The keys below the prefix, again after each change, until the deadline or a break."""
    listed = store.list(prefix)
    view = {entry.key: entry for entry in listed.entries}
    yield view
    watch = store.watch(prefix, listed.revision + 1)
    try:
        while (left := deadline - time.monotonic()) > 0:
            message = watch.next(left)
            if not isinstance(message, Changed):
                if message is not None:
                    return
                continue
            for entry in message.entries:
                if entry.value is None:
                    view.pop(entry.key, None)
                else:
                    view[entry.key] = entry
            yield view
    except StoreError:
        # A store that restarts meanwhile is listed again; one that stays away fails the list.
        return
    finally:
        watch.close()
