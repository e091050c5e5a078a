"""The snapshot as metrics: nothing of what is gone, and no foundation at the cost of another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

from exporter.monitor import CollectorState
from exporter.snapshot import SnapshotCollector
from foundation.layout import Recognised, override
from foundation.observation import Database, Observation, Signals
from foundation.pods import StatefulSetSeen
from foundation.probes.result import Cause, Stage
from tests.support.looks import CERTIFICATE, look, pod, probe, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from foundation.observer import Look
    from foundation.probes.result import Certificate


@dataclass
class Fixed:
    """A source with fixed values."""

    newest: Look | None
    name: str = "prod"
    namespace: str = "cf"
    old: bool = False
    counts: Mapping[tuple[str, Cause], int] = field(default_factory=dict)
    own: Certificate | None = None
    broken: bool = False
    changes: int = 0

    def version(self) -> int:
        return self.changes

    def latest(self) -> Look | None:
        return self.newest

    def stale(self) -> bool:
        return self.old

    def failures(self) -> Mapping[tuple[str, Cause], int]:
        if self.broken:
            raise RuntimeError("no counts")
        return self.counts

    def collectors(self) -> Sequence[CollectorState]:
        return (CollectorState("look", success=True, seconds=0.5, last_success=7.0),)

    def client_certificate(self) -> Certificate | None:
        return self.own


def scrape(*sources: Fixed) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: sources))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def two_pods() -> Look:
    return look(
        pod("diego-api-0", probe("diego-api-0"), active=True),
        pod("diego-api-1", refused("diego-api-1")),
        service=(probe("service"), probe("service", Cause.TIMEOUT, Stage.TLS), probe("service")),
    )


def test_a_look_in_numbers() -> None:
    found = scrape(Fixed(two_pods(), own=CERTIFICATE, counts={("service", Cause.TIMEOUT): 3}))
    assert found['diego_bbs_up{foundation="prod"}'] == 0
    assert found['diego_bbs_serving_pods{foundation="prod"}'] == 1
    assert found['diego_active_pods{foundation="prod",role="bbs"}'] == 1
    assert found['diego_pod_restarts_total{foundation="prod",pod="diego-api-0",role="bbs"}'] == 2
    assert found['diego_bbs_probe_failures_total{cause="timeout",foundation="prod",target="service"}'] == 3
    assert found['diego_bbs_probe_failures_total{cause="dns",foundation="prod",target="diego-api-1"}'] == 0
    # Of several connections, one that failed stands for all.
    assert found['diego_bbs_probe_success{foundation="prod",stage="tcp",target="service"}'] == 1
    assert found['diego_bbs_probe_success{foundation="prod",stage="tls",target="service"}'] == 0
    assert found['diego_bbs_probe_success{foundation="prod",stage="ping",target="service"}'] == 0
    assert found['diego_bbs_probe_success{foundation="prod",stage="tcp",target="diego-api-1"}'] == 0
    ends = "diego_certificate_not_after_timestamp_seconds"
    assert found[f'{ends}{{foundation="prod",side="client",target="service"}}'] == 2e9
    assert found[f'{ends}{{foundation="prod",side="server",target="diego-api-0"}}'] == 2e9
    assert found['stager_exporter_foundation_info{foundation="prod",layout="cfee-2",namespace="cf"}'] == 1
    assert 'diego_pods_expected{foundation="prod",role="bbs"}' not in found


def test_a_vanished_pod_vanishes() -> None:
    source = Fixed(two_pods(), counts={("diego-api-1", Cause.TIMEOUT): 1})
    assert any("diego-api-1" in name for name in scrape(source))
    source.newest = look(pod("diego-api-0", probe("diego-api-0")), service=(probe("service"),))
    assert not any("diego-api-1" in name for name in scrape(source))


def test_pods_that_nobody_has_confirmed_for_long_are_not_shown() -> None:
    found = scrape(Fixed(replace(two_pods(), pods_age=121.0)))
    assert not any(name.startswith(("diego_pod", "diego_active_pods", "diego_bbs_serving_pods")) for name in found)
    assert 'diego_bbs_up{foundation="prod"}' in found


def test_a_stale_snapshot_and_one_that_is_not_there_yet_show_only_their_collectors() -> None:
    for source in (Fixed(two_pods(), old=True), Fixed(None)):
        names = {name.partition("{")[0] for name in scrape(source)}
        assert names == {
            "stager_exporter_collector_success",
            "stager_exporter_collector_duration_seconds",
            "stager_exporter_collector_last_success_timestamp_seconds",
        }


def test_without_a_layout_there_is_a_verdict_and_nothing_made_up() -> None:
    found = scrape(Fixed(look(recognised=None, observation=Observation())))
    assert found['diego_verdict{foundation="prod",verdict="unknown"}'] == 1
    assert found['stager_exporter_foundation_info{foundation="prod",layout="",namespace="cf"}'] == 1
    assert not any(name.startswith(("diego_bbs", "diego_pods")) for name in found)


def test_a_layout_without_an_active_label_has_no_series_of_it() -> None:
    kept = Recognised(override("cfee-1", {}), "a test")
    found = scrape(Fixed(look(pod("diego-api-0", probe("diego-api-0"), active=None), recognised=kept)))
    assert not any(name.startswith(("diego_active_pods", "diego_pod_active")) for name in found)
    assert found['diego_pod_ready{foundation="prod",pod="diego-api-0",role="bbs"}'] == 1


def test_surroundings_where_they_are_known() -> None:
    hung = replace(pod("diego-api-0", probe("diego-api-0")), locket=probe("diego-api-0", Cause.TIMEOUT, Stage.TLS))
    signals = Signals(observation_fresh=True, database=Database.DOWN)
    seen = look(hung, observation=Observation(signals=signals))
    sets = (StatefulSetSeen("diego-api", "uid", 2, rolling=False, revision="1"),)
    found = scrape(Fixed(replace(seen, statefulsets=sets)))
    assert found['diego_locket_up{foundation="prod",target="diego-api-0"}'] == 0
    assert found['diego_database_up{foundation="prod",target="database"}'] == 0
    assert found['diego_pods_expected{foundation="prod",role="bbs"}'] == 2
    unknown = replace(seen, observation=Observation(signals=replace(signals, database=Database.UNKNOWN)))
    assert not any(name.startswith("diego_database_up") for name in scrape(Fixed(unknown)))


def test_one_foundation_that_cannot_be_shown_does_not_cost_the_other_its_series(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, bad = Fixed(two_pods()), Fixed(two_pods(), name="bad", broken=True)
    success = 'stager_exporter_collector_success{collector="snapshot",foundation="%s"}'
    for order in ((good, bad), (bad, good)):
        found = scrape(*order)
        assert found['diego_verdict{foundation="prod",verdict="healthy"}'] == 1
        assert (found[success % "prod"], found[success % "bad"]) == (1, 0)
        assert not any('foundation="bad"' in name for name in found if name != success % "bad")
    assert "a foundation is left out of the scrape" in caplog.text
