"""What a start of the agent would do, for `agent run --dry-run` and `check --start`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vppctl.agent.check import CheckSettings
    from vppctl.cli.documents import Item
    from vppctl.cli.render import Columns
    from vppctl.cli.settings import Settings
    from vppctl.store.base import Entry

_COLUMNS: Columns = {
    "ACTION": lambda r: r["action"],
    "NAME": lambda r: r["name"],
    "LINK": lambda r: r["link"],
    "NAMESPACE": lambda r: r["namespace"],
    "DETAIL": lambda r: r["detail"],
}
_WIDE: Columns = {"DIFFERS": lambda r: "yes" if r["differs"] else "no"}


def stored(settings: Settings, items: Sequence[Item] = ()) -> list[Entry]:
    """The configuration of the label, as it would be with these put into it."""
    from vppctl.model.keys import Kind, config_prefix
    from vppctl.store.base import DOCUMENTS, Entry

    store = settings.open_store()
    try:
        listed = [store.list(config_prefix(settings.label, kind), bounds=DOCUMENTS) for kind in Kind]
    finally:
        store.close()
    entries = {entry.key: entry for part in listed for entry in part.entries}
    revision = max(part.revision for part in listed) + 1
    entries.update({str(item.key): Entry(str(item.key), item.value, revision) for item in items})
    return list(entries.values())


def show(
    where: CheckSettings,
    entries: Sequence[Entry],
    names: Sequence[str],
    output: str,
    color: str,
    *,
    resync: str,
    takeover: bool,
) -> bool:
    """Print what a start would do, about these interfaces or all; whether anything differs from the configuration."""
    from vppctl.agent.forecast import forecast
    from vppctl.cli.render import print_records, progress

    with progress(f"looking at {len(entries)} interfaces"):
        steps = forecast(where, entries, adopt=resync == "adopt", takeover=takeover)
    records = [step._asdict() for step in steps if not names or step.name in names]
    shown = [record for record in records if record["name"]] if output == "name" else records
    if shown or output in ("json", "yaml"):
        print_records(shown, output, color, (_COLUMNS, _WIDE))
    counts = Counter(str(record["action"]) for record in records)
    text = ", ".join(f"{count} {action}" for action, count in counts.items())
    click.echo(f"a start with --resync {resync} would do: {text or 'nothing'}; nothing was changed", err=True)
    return any(record["differs"] for record in records)
