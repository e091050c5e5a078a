"""Render a registry for a scrape so that one broken collector does not take the others' series with it.

client_python ends the whole exposition with the first collector that raises, and with the first value that is not a
number; the scrape then loses even the series that would tell of it. Here each collector stands for itself, and failures
are counted. It does not guard against a collector that hangs: those only hand out snapshots.
"""

from __future__ import annotations

import gzip
import logging
import threading
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

FAILURES = "stager_exporter_scrape_failures"
"""Collectors that raised and metrics that could not be written, since the start; `_total` is added to it."""


class _Given(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _Metrics:
    """A registry of metrics that were collected already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class Scrape:
    """Renders one registry; remembers how often a part of it failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._failures = 0
        self._lock = threading.Lock()

    def render(self, accept: str, names: Sequence[str] = ()) -> tuple[bytes, str]:
        """Give body and content type.

        `accept` is the request's header; OpenMetrics where it asks for that. `names` keeps only these series (or all
        series of these metrics); empty: everything. Never raises because of a collector.
        """
        encode, content_type = choose_encoder(accept)
        metrics = self._collect()
        with self._lock:
            failures = self._failures
        metrics.append(
            CounterMetricFamily(FAILURES, "Collectors and metrics that a scrape had to leave out.", failures)
        )
        if names:
            metrics = [kept for metric in metrics if (kept := _only(metric, frozenset(names))) is not None]
        return self._encode(encode, metrics), content_type

    def _collect(self) -> list[Metric]:
        with self._registry._lock:  # noqa: SLF001  client_python lists a registry's collectors nowhere public
            collectors: list[Collector] = list(self._registry._collector_to_names)  # noqa: SLF001
        metrics: list[Metric] = []
        for collector in collectors:
            try:
                metrics.extend(collector.collect())
            except Exception as error:  # noqa: BLE001  whatever a collector raises, the others are served
                self._failed(f"collector {type(collector).__name__}", error)
        return metrics

    def _encode(self, encode: Callable[[_Given], bytes], metrics: Sequence[Metric]) -> bytes:
        try:
            return encode(_Metrics(metrics))
        except Exception:  # noqa: BLE001  which metric it was is found below
            good = [metric for metric in metrics if self._writable(encode, metric)]
            return encode(_Metrics(good))

    def _writable(self, encode: Callable[[_Given], bytes], metric: Metric) -> bool:
        try:
            encode(_Metrics([metric]))
        except Exception as error:  # noqa: BLE001  a value that is no number, a label that is no text
            self._failed(f"metric {metric.name}", error)
            return False
        return True

    def _failed(self, what: str, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            first = self._failures == 1
        # The traceback once; scrapes come every few seconds.
        log.error("%s is left out of the scrape: %s", what, error, exc_info=error if first else None)


def _only(metric: Metric, names: frozenset[str]) -> Metric | None:
    if metric.name in names or f"{metric.name}_total" in names:
        return metric
    samples = [sample for sample in metric.samples if sample.name in names]
    if not samples:
        return None
    kept = Metric(metric.name, metric.documentation, metric.type)
    kept.samples = samples
    return kept


def compress(body: bytes) -> bytes:
    """Gzip a body fast; the same input gives the same bytes."""
    return gzip.compress(body, compresslevel=4, mtime=0)
