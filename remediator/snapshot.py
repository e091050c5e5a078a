"""What is so now, as metrics: read from the executors' newest ledgers when a scrape comes, so nothing can drift.

A ledger that was not read yet shows as zeros, as each series must exist from the start; `stager_remediator_ready` is
what tells that from knowing.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from foundation.durations import format_duration
from remediator.admission import left
from remediator.words import Outcome, Phase, Reason, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from remediator.executor import Executor
    from remediator.trail import Metrics

STATUSES = (200, 400, 401, 403, 413, 415, 422, 503)
"""What the webhook answers."""
ROLES = ("bbs", "locket")
"""Whose pods a playbook deletes."""
_NO_REASON = {
    Outcome.CREATED: ("",),
    Outcome.IGNORED: (Reason.NO_REMEDY, Reason.RESOLVED),
    Outcome.DUPLICATE: (Reason.RUNNING,),
}
_REFUSALS = tuple(reason for reason in Reason if reason not in (Reason.NO_REMEDY, Reason.RESOLVED, Reason.RUNNING))


class Snapshot(Collector):
    """Collects from the executors. They may be read at any time."""

    def __init__(self, executors: Mapping[str, Executor], *, version: str, revision: str = "") -> None:
        self._executors = executors
        self._labels = [version, revision, platform.python_version()]

    def collect(self) -> Iterable[Metric]:
        """The gauges, from the newest readings."""
        running = _gauge("stager_remediation_running", "Whether a run is under way.")
        awaiting = _gauge("stager_remediation_awaiting_approval", "Whether a Remediation awaits a person.")
        breaker = _gauge("stager_remediator_breaker_open", "Whether a failure waits to be acknowledged.")
        paused = _gauge("stager_remediator_paused", "Whether a person has paused it.")
        ready = _gauge("stager_remediator_ready", "Whether the state in the cluster could be read a moment ago.")
        runs = GaugeMetricFamily(
            "stager_remediation_runs_left", "Runs that a limit still allows.", labels=["foundation", "playbook", "per"]
        )
        for name, executor in self._executors.items():
            reading = executor.latest
            ledger = reading.ledger if reading else None
            run, pending = (ledger.run, ledger.pending) if ledger else (None, None)
            # Two foundations' names may stand for one target: what is open belongs to the one that asked.
            mine = run is not None and run.foundation == name
            waits = pending is not None and pending.foundation == name and pending.phase is Phase.AWAITING_APPROVAL
            running.add_metric([name], float(mine))
            awaiting.add_metric([name], float(waits))
            breaker.add_metric([name], float(ledger is not None and ledger.breaker is not None))
            stopped = reading.ledger.paused(reading.instant.server) if reading else None
            paused.add_metric([name], float(stopped is not None))
            ready.add_metric([name], float(reading is not None and not executor.problem))
            for playbook, config in executor.site.section.playbooks.items():
                for limit in config.policy.limits:
                    allowed = left(reading.ledger, limit, reading.instant.server) if reading else 0
                    runs.add_metric([name, playbook, format_duration(limit.per.total_seconds())], float(allowed))
        info = GaugeMetricFamily(
            "stager_remediator_build_info", "What this is; always 1.", labels=["version", "revision", "python"]
        )
        info.add_metric(self._labels, 1.0)
        return [running, awaiting, breaker, paused, ready, runs, info]


def _gauge(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, labels=["foundation"])


def register(
    registry: CollectorRegistry,
    metrics: Metrics,
    executors: Mapping[str, Executor],
    playbooks: Sequence[str],
    *,
    version: str,
    revision: str = "",
) -> None:
    """Add the gauges, and bring every counter's series to life at 0 before its first event."""
    registry.register(Snapshot(executors, version=version, revision=revision))
    for status in STATUSES:
        metrics.notifications.labels(str(status))
    for outcome, reasons in {**_NO_REASON, Outcome.REFUSED: _REFUSALS}.items():
        for reason in reasons:
            metrics.alerts.labels(str(outcome), str(reason))
    for foundation in executors:
        for playbook in playbooks:
            metrics.duration.labels(foundation, playbook)
            for phase in Phase:
                if phase.final:
                    metrics.remediations.labels(foundation, playbook, str(phase))
        for role in ROLES:
            metrics.deleted.labels(foundation, role)
    for step in Step:
        metrics.steps.labels(str(step))
