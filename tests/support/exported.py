"""What exporter and remediator export, by name: kinds and labels, read from their own registries without a network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.logs.account import LogAccount
from exporter.logs.metrics import LogMetrics
from exporter.monitor import CollectorState
from exporter.snapshot import SnapshotCollector
from exporter.web.scrape import FAILURES
from foundation.observation import Database, Observation, Signals
from foundation.pods import StatefulSetSeen
from remediator.config import RemediatorSection
from remediator.snapshot import register
from remediator.trail import Metrics
from tests.support.looks import CERTIFICATE, look, pod, probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from foundation.observer import Look
    from foundation.probes.result import Cause, Certificate
    from remediator.executor import Executor

SILENT = ("_created",)


@dataclass(frozen=True, slots=True)
class Exported:
    """One series' name."""

    kind: str
    """counter, gauge or histogram."""
    labels: frozenset[str]


@dataclass
class _Whole:
    """A foundation of which everything is known."""

    name: str = "prod"
    namespace: str = "cf"
    counts: Mapping[tuple[str, Cause], int] = field(default_factory=dict)

    def version(self) -> int:
        return 1

    def latest(self) -> Look | None:
        first = replace(pod("diego-api-0", probe("diego-api-0"), active=True), locket=probe("diego-api-0"))
        signals = Signals(observation_fresh=True, database=Database.UP)
        seen = look(first, service=(probe("service"),), observation=Observation(signals=signals))
        return replace(seen, statefulsets=(StatefulSetSeen("diego-api", "uid", 1, rolling=False, revision="1"),))

    def stale(self) -> bool:
        return False

    def failures(self) -> Mapping[tuple[str, Cause], int]:
        return self.counts

    def collectors(self) -> Sequence[CollectorState]:
        return (CollectorState("look", success=True, seconds=0.1, last_success=7.0),)

    def client_certificate(self) -> Certificate | None:
        return CERTIFICATE


class _Said(Collector):
    """What the exporter's service and its scrape add by themselves."""

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("stager_exporter_build_info", "", labels=["version", "revision", "python"])
        info.add_metric(["", "", ""], 1)
        reloaded = GaugeMetricFamily("stager_exporter_config_last_reload_successful", "", value=1)
        return (info, reloaded)


def exported() -> dict[str, Exported]:
    """Every series' name, of both."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: (_Whole(),)))
    registry.register(_Said())
    account = LogAccount(LogMetrics(registry), "prod")
    account.feed("file", "api-0", [b"a line"])
    account.know_pod("api-0")
    site = SimpleNamespace(section=RemediatorSection())
    executor = cast("Executor", SimpleNamespace(latest=None, problem="", site=site))
    register(registry, Metrics(registry), {"prod": executor}, ("restart-diego-api",), version="0")
    found = {f"{FAILURES}_total": Exported("counter", frozenset())}
    for family in registry.collect():
        for sample in family.samples:
            if not sample.name.endswith(SILENT):
                found[sample.name] = Exported(family.type, frozenset(sample.labels))
    return found
