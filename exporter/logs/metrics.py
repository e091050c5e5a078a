"""The counters that log lines feed, with the names and labels that alerts and dashboards rely on.

One instance per registry, shared by all foundations; which series exist is `LogAccount`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_POD: Final = ("foundation", "pod")
_STREAM: Final = ("foundation", "source", "pod")


class LogMetrics:
    """Creates the metrics in `registry`; raises ValueError if they are registered there already."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.errors = Counter(
            "cf_cc_errors_total",
            "Failed user requests by Cloud Controller's error name, each once.",
            (*_POD, "error", "cause"),
            registry=registry,
        )
        self.stager_unavailable = Counter(
            "cf_cc_stager_unavailable_total",
            "User requests that failed with StagerUnavailable (503, 170010); a subset of cf_cc_errors_total.",
            (*_POD, "cause"),
            registry=registry,
        )
        self.stage_requests = Counter(
            "cf_cc_stage_requests_total", "Staging requests that Cloud Controller sent to BBS.", _POD, registry=registry
        )
        self.completed = Counter(
            "cf_cc_requests_completed_total",
            "Requests that Cloud Controller's API completed, by HTTP status.",
            (*_POD, "status"),
            registry=registry,
        )
        self.sync_failures = Counter(
            "cf_cc_diego_sync_failures_total",
            "Failed comparisons of Cloud Controller's processes with BBS (cc-clock, every 30 s, without user traffic).",
            _POD,
            registry=registry,
        )
        self.lines = Counter("stager_log_lines_total", "Log lines read.", _STREAM, registry=registry)
        self.bytes = Counter("stager_log_bytes_total", "Bytes of log lines read.", _STREAM, registry=registry)
        self.reconnects = Counter(
            "stager_log_reconnects_total", "How often a log input was opened again.", _STREAM, registry=registry
        )
        self.last_line = Gauge(
            "stager_log_last_line_timestamp_seconds",
            "When the last line of a log input arrived (Unix time); 0 before the first.",
            _STREAM,
            registry=registry,
        )
        self.last_sign = Gauge(
            "stager_log_last_sign_of_life_timestamp_seconds",
            "When a log input last showed that it would have delivered lines (Unix time); 0 before the first.",
            _STREAM,
            registry=registry,
        )
        self.source_up = Gauge("stager_log_source_up", "Whether a log input is open.", _STREAM, registry=registry)
