"""The newest Looks as Prometheus metrics: rendered at the scrape, from values that are already there.

One custom collector over the snapshots, and not gauges set along the way: a pod that has vanished is then simply not in
the next scrape. Counters of events live with the foundation that they count for. A foundation's lines are written once
for each of its versions, and kept; whether they are stale is asked at every scrape.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.web.exposition import Family, labels_of, number, series_name
from foundation.diagnosis import Restart, Verdict
from foundation.observation import Database
from foundation.observer import FRESH
from foundation.probes.result import Cause, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from exporter.web.exposition import Kind
    from foundation.observer import Look
    from foundation.probes.result import Certificate, ProbeResult

logger = logging.getLogger(__name__)


class CollectorState(Protocol):
    """One background collector."""

    @property
    def name(self) -> str:
        """The label `collector`."""
        ...

    @property
    def success(self) -> bool:
        """Whether its last turn succeeded."""
        ...

    @property
    def seconds(self) -> float:
        """How long that took."""
        ...

    @property
    def last_success(self) -> float | None:
        """Unix time, None for never."""
        ...


class Source(Protocol):
    """One foundation, as the collector reads it."""

    name: str
    namespace: str

    def version(self) -> int:
        """A number that is another one after each change of what the methods below give, but for `stale`."""
        ...

    def latest(self) -> Look | None:
        """The newest look, however old."""
        ...

    def stale(self) -> bool:
        """Whether that is too old to be shown as the present."""
        ...

    def failures(self) -> Mapping[tuple[str, Cause], int]:
        """Failed probes since the start, by target and cause."""
        ...

    def collectors(self) -> Sequence[CollectorState]:
        """The background collectors' states."""
        ...

    def client_certificate(self) -> Certificate | None:
        """Our own certificate, the one in use."""
        ...


class _Head(NamedTuple):
    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]


@dataclass(slots=True)
class _Families:
    """What there is to say of one foundation, in the order of the contract."""

    rows: dict[str, tuple[_Head, list[tuple[tuple[str, ...], float]]]] = field(default_factory=dict)

    def gauge(self, name: str, text: str, value: float, **labels: str) -> None:
        self._add("gauge", name, text, value, labels)

    def counter(self, name: str, text: str, value: float, **labels: str) -> None:
        self._add("counter", name, text, value, labels)

    def _add(self, kind: Kind, name: str, text: str, value: float, labels: Mapping[str, str]) -> None:
        found = self.rows.get(name)
        if found is None:
            found = self.rows[name] = (_Head(name, kind, text, tuple(labels)), [])
        found[1].append((tuple(labels.values()), value))

    def written(self) -> dict[str, tuple[_Head, str]]:
        """The lines of each family, by its name."""
        found = {}
        for name, (head, rows) in self.rows.items():
            series, labels = series_name(name, head.kind), labels_of(head.labels)
            found[name] = head, "".join([f"{series}{labels(values)} {number(value)}\n" for values, value in rows])
        return found


class _Kept(NamedTuple):
    version: tuple[int, bool]
    """The source's, and whether it was stale."""
    source: Source
    families: Mapping[str, tuple[_Head, str]]


class SnapshotCollector(Collector):
    """Renders every foundation's newest snapshot. Call `families` from one thread at a time."""

    def __init__(self, sources: Callable[[], Iterable[Source]]) -> None:
        self._sources = sources
        self._kept: dict[str, _Kept] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: the families depend on what is there."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every family with at least one sample, as client_python's values: nothing of it is kept."""
        merged: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for source in self._sources():
            for name, (head, rows) in _seen(source)[0].rows.items():
                if name not in merged:
                    make = CounterMetricFamily if head.kind == "counter" else GaugeMetricFamily
                    merged[name] = make(name, head.text, labels=head.labels)
                for values, value in rows:
                    merged[name].add_metric(values, value)
        return merged.values()

    def families(self) -> Iterable[Family]:
        """The same, written; what has not changed since the last time is not written anew."""
        merged: dict[str, tuple[_Head, list[str]]] = {}
        kept: dict[str, _Kept] = {}
        for source in self._sources():
            # Asked first: what changes while it is written has another version the next time.
            version = source.version(), source.stale()
            held = self._kept.get(source.name)
            if held is None or held.version != version or held.source is not source:
                seen, good = _seen(source)
                held = _Kept(version, source, seen.written())
            else:
                good = True
            if good:
                kept[source.name] = held
            for name, (head, lines) in held.families.items():
                merged.setdefault(name, (head, []))[1].append(lines)
        self._kept = kept
        return [Family(head.name, head.kind, head.text, lines) for head, lines in merged.values()]


def _seen(source: Source) -> tuple[_Families, bool]:
    """What there is to say of a foundation, and whether nothing had to be left out."""
    families = _Families()
    try:
        _foundation(families, source)
    except Exception:  # a fault of ours with one foundation must not cost the others their series
        logger.exception("a foundation is left out of the scrape", extra={"foundation": source.name})
        families = _Families()
        _success(families, source.name, "snapshot", success=False)
        return families, False
    _success(families, source.name, "snapshot", success=True)
    return families, True


def _foundation(families: _Families, source: Source) -> None:
    _collectors(families, source)
    look = source.latest()
    if look is None or source.stale():
        return
    name = source.name
    layout = look.layout.layout.name if look.layout else ""
    families.gauge(
        "stager_exporter_foundation_info",
        "A foundation that is watched, with the layout in force (empty: not recognised yet).",
        1,
        foundation=name,
        layout=layout,
        namespace=source.namespace,
    )
    _verdict(families, name, look)
    if look.layout is not None:
        _probes(families, source, look)
        _surroundings(families, name, look)
        if look.pods_age is not None and look.pods_age <= FRESH:
            _pods(families, name, look)


def _success(families: _Families, foundation: str, collector: str, *, success: bool) -> None:
    families.gauge(
        "stager_exporter_collector_success",
        "Whether the collector's last turn succeeded.",
        success,
        foundation=foundation,
        collector=collector,
    )


def _collectors(families: _Families, source: Source) -> None:
    for state in source.collectors():
        labels = {"foundation": source.name, "collector": state.name}
        _success(families, source.name, state.name, success=state.success)
        families.gauge(
            "stager_exporter_collector_duration_seconds", "How long its last turn took.", state.seconds, **labels
        )
        if state.last_success is not None:
            families.gauge(
                "stager_exporter_collector_last_success_timestamp_seconds",
                "When it last succeeded.",
                state.last_success,
                **labels,
            )


def _verdict(families: _Families, name: str, look: Look) -> None:
    for verdict in Verdict:
        families.gauge(
            "diego_verdict",
            "What is wrong, if anything: exactly one is 1.",
            verdict is look.diagnosis.verdict,
            foundation=name,
            verdict=verdict,
        )
    for restart in Restart:
        families.gauge(
            "diego_verdict_restart",
            "Whether restarting Diego's API pods would help: exactly one is 1.",
            restart is look.diagnosis.restart,
            foundation=name,
            restart=restart,
        )
    families.gauge(
        "diego_verdict_since_timestamp_seconds",
        "Since when verdict and restart have been what they are.",
        look.since,
        foundation=name,
    )


def _probes(families: _Families, source: Source, look: Look) -> None:
    name = source.name
    if look.service:
        families.gauge(
            "diego_bbs_up",
            "Whether BBS answered through its Service, to the configured depth, on every fresh connection.",
            all(result.ok for result in look.service),
            foundation=name,
        )
    shown = _one_per_target(look.probes())
    for result in shown:
        _one_probe(families, name, result)
    own = source.client_certificate()
    if own is not None:
        _certificate(families, name, "service", "client", own.not_after)
    counts = source.failures()
    targets = {result.target.name for result in shown} | {"service"}
    for target in sorted(targets):
        for cause in Cause:
            families.counter(
                "diego_bbs_probe_failures",
                "Failed probes of BBS, by why. A passive BBS that refuses while another serves does not count.",
                counts.get((target, cause), 0),
                foundation=name,
                target=target,
                cause=cause,
            )
    bbs = [pod for pod in look.pods if pod.role == "bbs"]
    if look.pods_age is not None and look.pods_age <= FRESH:
        families.gauge(
            "diego_bbs_serving_pods",
            "BBS pods that answer at their own address, to the configured depth.",
            sum(pod.probe is not None and pod.probe.ok for pod in bbs),
            foundation=name,
        )


def _one_per_target(results: Sequence[ProbeResult]) -> tuple[ProbeResult, ...]:
    """Several connections to the Service count as their first failure, or as their first success."""
    chosen: dict[str, ProbeResult] = {}
    for result in results:
        held = chosen.get(result.target.name)
        if held is None or (held.ok and not result.ok):
            chosen[result.target.name] = result
    return tuple(chosen.values())


def _one_probe(families: _Families, name: str, result: ProbeResult) -> None:
    target = result.target.name
    stages = list(Stage)
    for stage in stages[: stages.index(result.depth) + 1]:
        entered = result.stages.get(stage)
        if entered is None and stage is Stage.DNS:
            continue
        families.gauge(
            "diego_bbs_probe_success",
            "Whether the probe passed this stage; 0 at tcp is normal for a passive BBS, which does not listen.",
            entered is not None and result.failed is not stage,
            foundation=name,
            target=target,
            stage=stage,
        )
        if entered is not None:
            families.gauge(
                "diego_bbs_probe_duration_seconds",
                "How long the newest probe spent in this stage.",
                entered,
                foundation=name,
                target=target,
                stage=stage,
            )
    families.gauge(
        "diego_bbs_last_probe_timestamp_seconds",
        "When the newest probe began.",
        result.started,
        foundation=name,
        target=target,
    )
    if result.certificate is not None:
        _certificate(families, name, target, "server", result.certificate.not_after)


def _certificate(families: _Families, name: str, target: str, side: str, not_after: float) -> None:
    families.gauge(
        "diego_certificate_not_after_timestamp_seconds",
        "When the certificate ends: the server's, read also where its verification fails, and our own.",
        not_after,
        foundation=name,
        target=target,
        side=side,
    )


def _surroundings(families: _Families, name: str, look: Look) -> None:
    for pod in look.pods:
        if pod.locket is not None:
            families.gauge(
                "diego_locket_up",
                "Whether the Locket accepts on 8891 and answers a TLS hello.",
                pod.locket.ok,
                foundation=name,
                target=pod.seen.name,
            )
    database = look.observation.signals.database
    if database in (Database.UP, Database.DOWN):
        families.gauge(
            "diego_database_up",
            "Whether the database answered when it was last asked, which happens only while no BBS serves.",
            database is Database.UP,
            foundation=name,
            target="database",
        )


def _pods(families: _Families, name: str, look: Look) -> None:
    recognised = look.layout
    if recognised is None:
        return
    expected = {item.name: item.replicas for item in look.statefulsets or ()}
    for role, layout in recognised.layout.roles.items():
        pods = [pod for pod in look.pods if pod.role == role]
        families.gauge("diego_pods", "Pods of the role.", len(pods), foundation=name, role=role)
        families.gauge(
            "diego_pods_ready",
            "Pods of the role with the condition Ready.",
            sum(pod.seen.ready for pod in pods),
            foundation=name,
            role=role,
        )
        if (replicas := expected.get(layout.statefulset)) is not None:
            families.gauge(
                "diego_pods_expected", "Replicas that the role should have.", replicas, foundation=name, role=role
            )
        if recognised.layout.active_label is not None and role == "bbs":
            families.gauge(
                "diego_active_pods",
                "Pods of the role that carry the active label.",
                sum(bool(pod.active) for pod in pods),
                foundation=name,
                role=role,
            )
        for pod in pods:
            labels = {"foundation": name, "role": role, "pod": pod.seen.name}
            families.gauge("diego_pod_ready", "Whether the pod has the condition Ready.", pod.seen.ready, **labels)
            families.counter("diego_pod_restarts", "Restarts of the pod's containers.", pod.seen.restarts, **labels)
            if pod.active is not None:
                families.gauge("diego_pod_active", "Whether the pod carries the active label.", pod.active, **labels)
