"""What probes and Prometheus may know about the agent. Names as the field has them: base units, `_total`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vppctl.model.keys import Kind
from vppctl.reconcile.state import State

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(slots=True, eq=False)
class Facts:
    """What there is to tell; written by the deciding thread, read by the web's."""

    version: str
    label: str
    reports: Callable[[Kind], list[dict[str, Any]]]
    operations: Mapping[str, int]
    """Those carried out so far by result, `ok` or `failed`."""
    alive: Callable[[], bool]
    """Whether the deciding thread has decided something lately."""
    sources: Callable[[], Mapping[str, bool]]
    """What feeds the agent, and whether it does."""
    failures: Mapping[str, int]
    """How often each of them has failed."""
    troubles: Callable[[], str]
    """What does not work, on one line; empty when all does."""
    ready: bool = False
    store_up: bool = False
    passes: int = 0
    pass_seconds: float = 0.0

    def collect(self) -> Iterator[Metric]:
        """The metrics at present (prometheus_client's collector protocol)."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        linux = self.reports(Kind.LINUX)
        yield InfoMetricFamily("vppctl_agent", "The agent.", {"version": self.version, "label": self.label})
        yield GaugeMetricFamily("vppctl_agent_ready", "Whether the first full comparison is done.", float(self.ready))
        yield GaugeMetricFamily("vppctl_store_up", "Whether the store is followed.", float(self.store_up))
        up = GaugeMetricFamily("vppctl_source_up", "Whether what feeds the agent does so.", labels=["source"])
        failures = CounterMetricFamily("vppctl_source_failures", "How often it has failed.", labels=["source"])
        for source, works in self.sources().items():
            up.add_metric([source], float(works))
            failures.add_metric([source], self.failures.get(source, 0))
        yield up
        yield failures
        states = GaugeMetricFamily("vppctl_interfaces", "Configured interfaces by state.", labels=["state"])
        counts = Counter(str(report["state"]) for report in (*linux, *self.reports(Kind.VPP)))
        for state in State:
            states.add_metric([state], counts[state])
        yield states
        yield CounterMetricFamily("vppctl_reconcile_passes", "Passes that had something to look at.", self.passes)
        yield CounterMetricFamily("vppctl_reconcile_seconds", "Time spent in them.", self.pass_seconds)
        done = CounterMetricFamily("vppctl_operations", "Operations on the kernel by result.", labels=["result"])
        for result in ("ok", "failed"):
            done.add_metric([result], self.operations.get(result, 0))
        yield done
        yield from self._traffic(linux)

    def _traffic(self, reports: list[dict[str, Any]]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        for what in ("packets", "bytes", "errors", "dropped"):
            for way, name in (("in", "receive"), ("out", "transmit")):
                text = f"Counter of the link: {way}_{what}."
                family = CounterMetricFamily(f"vppctl_interface_{name}_{what}", text, labels=["interface"])
                for report in reports:
                    if report["if_index"]:
                        family.add_metric([str(report["name"])], report["statistics"][f"{way}_{what}"])
                yield family
