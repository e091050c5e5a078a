"""The monitor: what it counts, how it ages, and what it makes of a look that fails. No sockets; the clock is ours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from kubernetes.client import Configuration
from prometheus_client import CollectorRegistry, generate_latest

from exporter.logs.metrics import LogMetrics
from exporter.monitor import Monitor, is_failure, stale_after
from exporter.page import foundation_view
from exporter.probe_once import probe_text
from exporter.snapshot import SnapshotCollector
from foundation.config import FoundationConfig, ProbeConfig
from foundation.kube.client import KubeClient
from foundation.observation import Observation, Signals, Witness
from foundation.probes.resolving import Resolver
from foundation.probes.result import Cause, ProbeResult, Stage, Target
from tests.support.looks import CFEE_2, look, pod, probe, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foundation.observer import Look, Observer
    from foundation.tools import ProbeTools


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.wall = 1_000.0

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class ScriptedObserver:
    """Gives the looks it was told to give; an exception is raised."""

    def __init__(self) -> None:
        self.looks: list[Look | Exception] = []
        self.layout = CFEE_2

    def look(self) -> Look:
        found = self.looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Watched:
    """A monitor with its clock and its script."""

    def __init__(self, monitor: Monitor, clock: Clock) -> None:
        self.monitor = monitor
        self.clock = clock
        self.script = ScriptedObserver()
        monitor._observer = cast("Observer", self.script)

    def sees(self, *looks: Look | Exception) -> None:
        self.script.looks.extend(looks)
        for _ in looks:
            self.monitor.turn()

    def scrape(self) -> str:
        registry = CollectorRegistry()
        registry.register(SnapshotCollector(lambda: (self.monitor,)))
        return generate_latest(registry).decode()

    def collectors(self) -> dict[str, tuple[bool, str]]:
        return {state.name: (state.success, state.problem) for state in self.monitor.collectors()}


@pytest.fixture
def make() -> Iterator[Callable[..., Watched]]:
    executor, clock = ThreadPoolExecutor(1), Clock()
    nowhere = Configuration()
    nowhere.host = "http://127.0.0.1:1"
    client = KubeClient(nowhere)

    def made(**settings: object) -> Watched:
        config = FoundationConfig.model_validate({"name": "prod", "namespace": "cf", **settings})
        monitor = Monitor(
            config,
            ProbeConfig(),
            (),
            client=client,
            executor=executor,
            resolver=Resolver(),
            log_metrics=LogMetrics(CollectorRegistry()),
            monotonic=lambda: clock.now,
            wall=lambda: clock.wall,
        )
        return Watched(monitor, clock)

    yield made
    executor.shutdown()
    client.close()


@pytest.fixture
def prod(make: Callable[..., Watched]) -> Watched:
    return make()


SERVING = probe("diego-api-0")
PASSIVE = refused("diego-api-1")


def healthy() -> Look:
    serving, passive = replace(SERVING), replace(PASSIVE)
    return look(pod("diego-api-0", serving, active=True), pod("diego-api-1", passive), service=(probe("service"),))


def outage() -> Look:
    return look(
        pod("diego-api-0", refused("diego-api-0")),
        pod("diego-api-1", refused("diego-api-1")),
        service=(refused("service"), refused("service")),
    )


# What counts as a failure


def test_a_passive_bbs_that_refuses_is_no_failure(prod: Watched) -> None:
    prod.sees(healthy(), healthy())
    assert not prod.monitor.failures()
    assert 'diego_bbs_probe_failures_total{cause="refused",foundation="prod",target="diego-api-1"} 0.0' in prod.scrape()
    assert not prod.monitor.probes.failures()
    assert {line.target for line in prod.monitor.probes.recent()} == {"service", "diego-api-0"}


def test_where_nothing_serves_every_refusal_is_one(prod: Watched) -> None:
    prod.sees(outage(), outage())
    assert prod.monitor.failures() == {
        ("service", Cause.REFUSED): 4,
        ("diego-api-0", Cause.REFUSED): 2,
        ("diego-api-1", Cause.REFUSED): 2,
    }
    assert not any(line.ok for line in prod.monitor.probes.recent())


@pytest.mark.parametrize(
    ("result", "active", "expected"),
    [
        (refused("diego-api-1"), False, False),
        (refused("diego-api-1"), None, False),
        (refused("diego-api-1"), True, True),
        (probe("diego-api-1", Cause.TIMEOUT, Stage.TCP), False, True),
        (probe("diego-api-1", Cause.TIMEOUT, Stage.TLS), False, True),
        (probe("diego-api-1"), False, False),
        (refused("service"), False, True),
    ],
)
def test_which_probes_fail_beside_one_that_serves(result: ProbeResult, active: bool | None, expected: bool) -> None:
    seen = look(pod("diego-api-0", SERVING, active=True), pod("diego-api-1", result, active=active))
    assert is_failure(result, seen) is expected


def test_failures_of_a_pod_that_is_gone_are_forgotten_and_others_kept(prod: Watched) -> None:
    prod.sees(outage(), look(pod("diego-api-0", refused("diego-api-0")), service=(refused("service"),)))
    assert prod.monitor.failures() == {("service", Cause.REFUSED): 3, ("diego-api-0", Cause.REFUSED): 2}


def test_a_result_that_stands_for_several_looks_counts_once(prod: Watched) -> None:
    kept = refused("service")
    prod.sees(*(look(service=(kept,)) for _ in range(3)))
    assert prod.monitor.failures() == {("service", Cause.REFUSED): 1}
    assert len(prod.monitor.probes.recent()) == 1


def test_connections_of_one_look_are_one_line_on_the_page(prod: Watched) -> None:
    good, bad = probe("service"), probe("service", Cause.TIMEOUT, Stage.TLS, "no answer within 3 s")
    prod.sees(look(service=(good, bad, replace(good))), look(service=(probe("service"), probe("service"))))
    newest, before = prod.monitor.probes.recent()
    assert (newest.ok, newest.detail) == (True, "2 of 2 connections")
    assert (before.ok, before.cause) == (False, "timeout")
    assert before.detail == "1 of 3 connections failed: no answer within 3 s"


def test_a_pod_on_the_page_tells_what_it_answered_and_that_its_locket_hangs(prod: Watched) -> None:
    hung = probe("diego-api-1", Cause.TIMEOUT, Stage.TLS, "no answer within 3 s")
    prod.sees(
        look(
            pod("diego-api-0", probe("diego-api-0"), active=True),
            replace(pod("diego-api-1", refused("diego-api-1")), locket=hung),
            replace(pod("diego-api-2", None, active=None), locket=refused("diego-api-2")),
        )
    )
    first, second, third = foundation_view(prod.monitor).pods
    assert (first.probe_word, first.detail, first.trouble) == ("serves", "127.0.0.1:8889, ping in 13.0 ms", "")
    assert (second.probe_word, second.trouble) == ("passive", "Locket hangs")
    assert "refused at tcp" in second.detail
    assert "no answer within 3 s" in second.detail
    assert (third.probe_word, third.trouble, third.active_label) == ("", "Locket does not answer", "")


# Age


def test_a_look_older_than_three_intervals_loses_its_series_and_its_place_on_the_page(prod: Watched) -> None:
    prod.sees(healthy())
    prod.clock.tick(15.0)
    assert 'diego_verdict{foundation="prod",verdict="healthy"} 1.0' in prod.scrape()
    assert foundation_view(prod.monitor).verdict == "healthy"
    prod.clock.tick(0.1)
    text = prod.scrape()
    assert "diego_" not in text
    assert 'stager_exporter_collector_success{collector="look",foundation="prod"} 1.0' in text
    page = foundation_view(prod.monitor)
    assert (page.verdict, page.restart, page.pods_to_restart, page.since) == ("unknown", "no", (), None)
    assert page.evidence[0].startswith("The newest look ended 15s ago")
    prod.sees(healthy())
    assert "diego_verdict" in prod.scrape()


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_is_set_neither_hides_nor_keeps_anything(prod: Watched, step: float) -> None:
    prod.sees(healthy())
    prod.clock.wall += step
    assert "diego_verdict" in prod.scrape()
    prod.clock.now += 16
    assert "diego_verdict" not in prod.scrape()


def test_looks_that_may_take_long_are_given_that_time() -> None:
    def limit(interval: float, timeout: float, **more: object) -> float:
        config = FoundationConfig.model_validate({"name": "a", "namespace": "cf", **more})
        return stale_after(config, ProbeConfig(interval=f"{interval}s", timeout=f"{timeout}s"))

    database = {"kind": "postgresql", "host": "db"}
    assert limit(5, 3) == 15
    assert limit(5, 3, database=database) == 15
    assert limit(5, 3, database={"kind": "none"}) == 15
    # 3 s of probes, 3 s of the database, 8 s of the look from an api pod, and the interval to the next.
    assert limit(5, 3, database=database, exec=True) == 19
    assert limit(1, 10) == 11


# Looks that fail


def test_a_look_that_raises_is_shown_and_the_next_one_is_well(prod: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert not prod.monitor.looked()
    assert prod.monitor.age() is None
    prod.sees(RuntimeError("a fault"), RuntimeError("a fault"))
    assert caplog.text.count("Traceback") == 1
    assert prod.monitor.looked()
    assert prod.collectors() == {"look": (False, "RuntimeError: a fault")}
    assert foundation_view(prod.monitor).evidence == ("The first look has not finished yet.",)
    prod.sees(healthy())
    assert prod.collectors()["look"] == (True, "")
    assert "look: well again" in caplog.text


def test_a_fault_after_the_look_does_not_end_the_watch(prod: Watched) -> None:
    broken = replace(healthy(), diagnosis=replace(healthy().diagnosis, evidence=()))
    prod.sees(broken)
    assert prod.collectors()["look"][0] is False


def test_what_failed_is_told_by_its_collector_and_the_rest_stays(prod: Watched) -> None:
    prod.sees(look(problems={"pods": "403: cannot list pods"}, service=(probe("service"),)))
    assert prod.collectors()["pods"] == (False, "403: cannot list pods")
    text = prod.scrape()
    assert 'stager_exporter_collector_success{collector="pods",foundation="prod"} 0.0' in text
    assert 'collector_last_success_timestamp_seconds{collector="pods"' not in text
    assert 'diego_bbs_up{foundation="prod"} 1.0' in text


def test_a_namespace_without_pods_is_a_failing_collector(prod: Watched) -> None:
    prod.sees(look(recognised=None))
    success, problem = prod.collectors()["layout"]
    assert (success, problem) == (False, "there are no pods in the namespace cf, if there is such a namespace")


def test_a_look_from_an_api_pod_that_gives_no_answer_is_a_failing_collector(make: Callable[..., Watched]) -> None:
    prod = make(exec=True)
    signals = Signals(observation_fresh=True, probe_from_api_pod=Witness.UNKNOWN)
    seen = {"probe_from_api_pod": "403: cannot create pods/exec"}
    prod.sees(look(observation=Observation(signals=signals, seen=seen)))
    assert prod.collectors()["exec"] == (False, "403: cannot create pods/exec")
    waived = replace(signals, probe_from_api_pod=Witness.WAIVED)
    prod.sees(look(observation=Observation(signals=waived)))
    assert prod.collectors()["exec"] == (True, "")


def test_a_verdict_is_logged_when_it_changes_and_not_again(prod: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    prod.sees(healthy(), healthy(), look(recognised=None, observation=Observation()), healthy())
    told = [record.getMessage().split(":")[0] for record in caplog.records if ":" in record.getMessage()]
    assert [word for word in told if word in ("healthy", "unknown")] == ["healthy", "unknown", "healthy"]


# /probe


class CountingTools:
    def __init__(self, result: ProbeResult) -> None:
        self.result = result
        self.asked: list[Target] = []

    def bbs(self, target: Target) -> ProbeResult:
        self.asked.append(target)
        return self.result


def probed(prod: Watched) -> str:
    return probe_text(prod.monitor.probe_service()).decode()


def test_a_probe_on_demand_tells_its_stages_and_its_certificate(prod: Watched) -> None:
    tools = CountingTools(probe("service"))
    prod.monitor.tools = cast("ProbeTools", tools)
    assert probed(prod).splitlines()[-1] == "probe_success 0.0"
    assert tools.asked == []
    prod.sees(healthy())
    text = probed(prod)
    assert "probe_success 1.0" in text
    assert 'probe_stage_duration_seconds{stage="tls"} 0.01' in text
    assert "probe_ssl_earliest_cert_expiry 2e+09" in text
    assert tools.asked[0].host == "diego-api.cf.svc.cluster.local"
    tools.result = probe("service", Cause.TIMEOUT, Stage.TLS)
    assert 'probe_failure_info{cause="timeout",stage="tls"} 1.0' in probed(prod)
    assert len(tools.asked) == 2


def test_a_probe_that_writes_into_the_log_of_bbs_is_made_every_15_seconds_at_most(
    make: Callable[..., Watched],
) -> None:
    prod = make(bbs={"depth": "tcp"})
    tools = CountingTools(probe("service"))
    prod.monitor.tools = cast("ProbeTools", tools)
    prod.sees(healthy())
    for _ in range(10):
        probed(prod)
    assert len(tools.asked) == 1
    prod.clock.tick(15)
    probed(prod)
    assert len(tools.asked) == 2
