"""`/probe`: one probe of a foundation's Service, made now, for a person or for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from foundation.observer import service_target_of

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
        look = self._monitor.latest()
        success = GaugeMetricFamily("probe_success", "Whether the Service answered to the configured depth.")
        if look is None or look.layout is None:
            success.add_metric([], 0)
            return [success]
        result = self._monitor.tools.bbs(service_target_of(self._monitor.config, look.layout.layout))
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
