"""`/probe`: one probe of a foundation's Service, made now, for a person or for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from exporter.monitor import Monitor


class ProbeOnce(Collector):
    """Probes when collected; used for one answer only. The names are blackbox_exporter's, which dashboards know."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not probe."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The result; nothing but `probe_success 0` while the layout is not known."""
        result = self._monitor.probe_service()
        success = GaugeMetricFamily("probe_success", "Whether the Service answered to the configured depth.")
        if result is None:
            success.add_metric([], 0)
            return [success]
        success.add_metric([], result.ok)
        total = GaugeMetricFamily("probe_duration_seconds", "Time over all stages.", value=result.seconds)
        stages = GaugeMetricFamily("probe_stage_duration_seconds", "Time in each stage.", labels=["stage"])
        for stage, seconds in result.stages.items():
            stages.add_metric([stage], seconds)
        cause = GaugeMetricFamily("probe_failure_info", "Why it failed.", labels=["cause", "stage"])
        if result.cause is not None:
            cause.add_metric([result.cause, result.failed or ""], 1)
        families: list[Metric] = [success, total, stages, cause]
        if result.certificate is not None:
            families.append(
                GaugeMetricFamily(
                    "probe_ssl_earliest_cert_expiry",
                    "When the server's certificate ends.",
                    value=result.certificate.not_after,
                )
            )
        return families
