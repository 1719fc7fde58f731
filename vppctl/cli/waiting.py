"""Waits for the agent, on the store's watch and with a deadline."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.errors import StoreError, TimedOutError
from vppctl.model.keys import ROOT, ConfigKey, agent_key, status_key
from vppctl.reconcile.mirror import Changed, Entry

if TYPE_CHECKING:
    from vppctl.cli.entries import Wanted
    from vppctl.store.base import Store

View = dict[str, Entry]


def wait_applied(store: Store, wanted: Sequence[Wanted], seconds: float) -> None:
    """Until each is APPLIED as it is configured now, read back from the kernel. Raises TimedOutError."""

    def problem(view: View, keys: Wanted) -> str:
        configured = [key for key in keys if str(key) in view]
        if not configured:
            return "is not configured"
        return next((text for key in configured if (text := _pending(view, key))), "")

    _wait(store, wanted, seconds, problem)


def wait_absent(store: Store, wanted: Sequence[Wanted], seconds: float) -> None:
    """Until each is neither configured nor reported, so that nothing of it is left. Raises TimedOutError."""

    def problem(view: View, keys: Wanted) -> str:
        if any(str(key) in view for key in keys):
            return "is configured"
        return "is still there" if any(_status(view, key) for key in keys) else ""

    _wait(store, wanted, seconds, problem)
    for agent in {key.label for keys in wanted for key in keys}:
        if store.get(agent_key(agent)) is None:
            click.echo(f"no agent of label {agent} is running; what it made may still be there", err=True)


def _pending(view: View, key: ConfigKey) -> str:
    """Why a configured interface is not applied yet; nothing when it is."""
    status = _status(view, key)
    if status is None or status.get("config_revision", 0) < view[str(key)].mod_revision:
        return "is not reported by the agent yet"
    if status.get("state") == "APPLIED":
        return ""
    from vppctl.cli.render import clean

    said = f"{status.get('state')} {status.get('reason', '')}: {status.get('message', '')}"
    return clean(said.rstrip(": "))


def _status(view: View, key: ConfigKey) -> dict[str, Any] | None:
    entry = view.get(status_key(key.label, key.name, key.kind))
    if entry is None or entry.value is None:
        return None
    from vppctl.cli.reports import read

    return read(entry.value)


def _wait(store: Store, wanted: Sequence[Wanted], seconds: float, problem: Callable[[View, Wanted], str]) -> None:
    from vppctl.cli.render import progress

    def done() -> int:
        return sum(1 for keys in wanted if not problem(view, keys))

    deadline = time.monotonic() + seconds
    labels = {key.label for keys in wanted for key in keys}
    prefix = f"{ROOT}{next(iter(labels))}/" if len(labels) == 1 else ROOT
    view: View = {}
    gc.enable()
    with progress("waiting for the agent", len(wanted)) as shown:
        while True:
            for view in _views(store, prefix, deadline):
                if not any(problem(view, keys) for keys in wanted):
                    return
                shown.tell(done)
            if time.monotonic() >= deadline:
                break
    lines = [f"{keys[0].name}: {text}" for keys in wanted if (text := problem(view, keys))]
    away = {label for label in labels if agent_key(label) not in view}
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
