"""Waits for the agent, on the store's watch and with a deadline."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from vppctl.cli.presence import absence, hindrance
from vppctl.errors import StoreError, TimedOutError
from vppctl.model.keys import ROOT, ConfigKey, agent_key, status_key
from vppctl.reconcile.mirror import BACKOFF_FIRST, BACKOFF_LAST, Changed, Entry, Message
from vppctl.store.base import REPORTS

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
            click.echo(f"{absence(store, agent).message}; what it created may still be there", err=True)


def _pending(view: View, key: ConfigKey) -> str:
    """Why a configured interface is not applied yet; nothing when it is."""
    status = _status(view, key)
    if status is None:
        return "is not reported by the agent yet"
    stored = view[str(key)].mod_revision
    # Also one that is greater: the store may have been restored from a backup, and the agent not have heard of it.
    if (revision := status.get("config_revision", 0)) != stored:
        return f"is not reported by the agent yet: it has reported revision {revision:.0f}; revision {stored} is stored"
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
    trouble: list[str] = []
    gc.enable()
    with progress("waiting for the agent", len(wanted)) as shown:
        for view in _views(store, prefix, deadline, trouble):
            if not any(problem(view, keys) for keys in wanted):
                return
            shown.tell(done)
    lines = [f"{keys[0].name}: {text}" for keys in wanted if (text := problem(view, keys))]
    if trouble:
        # What is known of agents is older than that.
        lines += trouble
    else:
        silent = {label: agent_key(label) not in view for label in sorted(labels)}
        said = [absence(store, label).message if silent[label] else hindrance(label) for label in silent]
        lines += filter(None, said)
    raise TimedOutError("\n".join([f"timed out after {seconds:g} s", *lines]))


def _views(store: Store, prefix: str, deadline: float, trouble: list[str]) -> Iterator[View]:
    """The keys below the prefix, again after each change, until the deadline.

    Raises StoreError when the store is away at the beginning. Later its breaks are waited for, with a backoff that only
    a change ends; `trouble` has the last one for as long as it lasts.
    """
    listed = None
    failures = 0
    while True:
        try:
            listed = store.list(prefix, bounds=REPORTS)
            view = {entry.key: entry for entry in listed.entries}
            trouble.clear()
            yield view
            for message in _messages(store, prefix, listed.revision + 1, deadline):
                if not isinstance(message, Changed):
                    break
                failures = 0
                for entry in message.entries:
                    if entry.value is None:
                        view.pop(entry.key, None)
                    else:
                        view[entry.key] = entry
                yield view
            failures += 1
        except StoreError as error:
            if listed is None:
                raise
            failures += 1
            trouble[:] = [str(error)]
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 16)))


def _messages(store: Store, prefix: str, revision: int, deadline: float) -> Iterator[Message]:
    """What a watch brings, until the deadline. Raises StoreError."""
    watch = store.watch(prefix, revision, REPORTS)
    try:
        while (left := deadline - time.monotonic()) > 0:
            if (message := watch.next(left)) is not None:
                yield message
    finally:
        watch.close()
