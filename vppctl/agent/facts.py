"""What probes and Prometheus may know about the agent. Names as the field has them: base units, `_total`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vppctl.reconcile.state import State

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(slots=True, eq=False)
class Facts:
    """What there is to tell; written by the deciding thread, read by the web's."""

    version: str
    label: str
    reports: Callable[[], list[dict[str, Any]]]
    alive: Callable[[], bool]
    """Whether the deciding thread has decided something lately."""
    ready: bool = False
    store_up: bool = False
    passes: int = 0
    pass_seconds: float = 0.0
    operations: Counter[str] = field(default_factory=Counter)
    """Done ones by result, `ok` or `failed`."""

    def tally(self, done: Iterable[Sequence[str]], seconds: float) -> None:
        """A pass has taken so long and has done this, in the words of the history."""
        self.passes += 1
        self.pass_seconds += seconds
        for operations in done:
            failed = sum(": cannot " in operation for operation in operations)
            self.operations["failed"] += failed
            self.operations["ok"] += len(operations) - failed

    def collect(self) -> Iterator[Metric]:
        """The metrics at present (prometheus_client's collector protocol)."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        reports = self.reports()
        yield InfoMetricFamily("vppctl_agent", "The agent.", {"version": self.version, "label": self.label})
        yield GaugeMetricFamily("vppctl_agent_ready", "Whether the first full comparison is done.", float(self.ready))
        yield GaugeMetricFamily("vppctl_store_up", "Whether the store is followed.", float(self.store_up))
        states = GaugeMetricFamily("vppctl_interfaces", "Configured interfaces by state.", labels=["state"])
        counts = Counter(str(report["state"]) for report in reports)
        for state in State:
            states.add_metric([state], counts[state])
        yield states
        yield CounterMetricFamily("vppctl_reconcile_passes", "Passes that had something to look at.", self.passes)
        yield CounterMetricFamily("vppctl_reconcile_seconds", "Time spent in them.", self.pass_seconds)
        done = CounterMetricFamily("vppctl_operations", "Operations on the kernel by result.", labels=["result"])
        for result in ("ok", "failed"):
            done.add_metric([result], self.operations[result])
        yield done
        yield from self._traffic(reports)

    def _traffic(self, reports: list[dict[str, Any]]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        for what in ("packets", "bytes", "errors", "dropped"):
            for way, name in (("in", "receive"), ("out", "transmit")):
                text = f"Counter of the link: {way}_{what}."
                family = CounterMetricFamily(f"vppctl_interface_{name}_{what}", text, labels=["interface"])
                for report in reports:
                    if report["if_index"] and report["namespace"] != "vpp":
                        family.add_metric([str(report["name"])], report["statistics"][f"{way}_{what}"])
                yield family
