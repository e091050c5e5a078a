"""Every expression of both dashboards, asked of a real Prometheus that scrapes a real exporter and a real remediator.

In three states: healthy, during the incident, and after the repair. What is rightly empty is listed, with the reason;
what is listed and not empty fails too; and by the end each expression has shown something. Two replicas of each are
scraped, which no panel may show twice. Rules and routes are those that ship; a silence holds the repair up until the
incident was looked at.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from simulator.monitoring import Monitoring, MonitoringError, Receivers, Targets, find_programs
from tests.bench.processes import Daemon
from tests.bench.simulated import Exporter, send
from tests.support.dashboards import UIDS, Query, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.timeout(400)

SPEED: Final = 10.0
BIN: Final = Path(sys.executable).parent
VALUES: Final = {"$__rate_interval": "10s", "$__range_s": "600", "$__range": "10m", "$foundation": "demo"}
"""As Grafana would fill them in for a scrape interval of 1.5 s, for ten minutes."""

NO_EVENT: Final = "nothing of the kind has happened"
HEALTHY: Final[Mapping[str, str]] = {
    "stager-availability/Alerts that fire A": "no alert fires",
    "stager-remediation/Alerts that fire A": "no alert fires",
    "stager-availability/Failed probes by cause A": "no probe failed",
    "stager-remediation/Time to recover, median A": "no run has succeeded yet",
    "stager-remediation/Time to recover, 9 of 10 A": "no run has succeeded yet",
    "stager-remediation/Time in each step A": "no step was run yet",
    "stager-remediation/Time in each step, 9 of 10 A": "no step was run yet",
    "stager-availability/annotation Remediation under way": "nothing is repaired",
    "stager-remediation/annotation Remediation under way": "nothing is repaired",
    "stager-availability/annotation Remediation ended": "nothing was repaired",
    "stager-remediation/annotation Remediation ended": "nothing was repaired",
}
INCIDENT: Final[Mapping[str, str]] = {
    "stager-remediation/Time to recover, median A": "no run has succeeded yet",
    "stager-remediation/Time to recover, 9 of 10 A": "no run has succeeded yet",
    "stager-remediation/Time in each step A": "no step was run yet",
    "stager-remediation/Time in each step, 9 of 10 A": "no step was run yet",
    "stager-availability/annotation Remediation under way": "who would ask for it is silenced",
    "stager-remediation/annotation Remediation under way": "who would ask for it is silenced",
    "stager-availability/annotation Remediation ended": "nothing was repaired",
    "stager-remediation/annotation Remediation ended": "nothing was repaired",
}
REPAIRED: Final[Mapping[str, str]] = {
    "stager-remediation/Alerts that fire A": "the alert has resolved",
    "stager-availability/Failed probes by cause A": "none has failed for a while",
    "stager-availability/annotation Remediation under way": "it has ended",
    "stager-remediation/annotation Remediation under way": "it has ended",
}
EVERY: Final = [query for uid in UIDS for query in queries(uid)]
EITHER: Final = {
    "stager-availability/annotation Verdict changed": "a mark: there for a minute after each change",
    "stager-availability/Failed probes by cause A": "over a time axis: for as long as the window reaches back",
    "stager-availability/Alerts that fire A": "failed requests are looked back for, longer than the outage lasts",
    "stager-availability/annotation Remediation ended": "a mark: there for as long as the window reaches back",
    "stager-remediation/annotation Remediation ended": "a mark: there for as long as the window reaches back",
}
"""May be empty or not after the repair: what passes. All but the alerts are waited for while it is there."""
MARKS: Final = ("annotation Remediation under way", "annotation Remediation ended")


@dataclass(frozen=True, slots=True)
class World:
    """Prometheus' address and what it looks at."""

    control: str
    monitoring: Monitoring

    def ask(self, expr: str) -> list[dict[str, str]]:
        """The labels of an instant query's series, without those whose value is no number."""
        return [labels for labels, value in self.monitoring.query(expr) if not math.isnan(value)]

    def value(self, expr: str) -> float | None:
        """The value of the first series; None without one, and while nothing answers."""
        with contextlib.suppress(MonitoringError):
            for _, value in self.monitoring.query(expr):
                if not math.isnan(value):
                    return value
        return None

    def incident(self, name: str) -> None:
        """Break something."""
        send(f"{self.control}/foundations/demo/incidents/{name}", "POST", None)


def eventually(look: Callable[[], object], what: str, seconds: float = 90, seen: Callable[[], object] = str) -> None:
    """Wait until `look` is true; `seen` says what there was instead."""
    ends = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} s {seen()}"
        time.sleep(0.2)


def port_of(daemon: Daemon) -> int:
    """Where it says that it listens."""

    def listens(said: str) -> str | None:
        found = re.search(r'"port": ?(\d+)', said)
        return found[1] if found else None

    return int(daemon.wait_for(listens, "listens"))


def control_of(said: str) -> str | None:
    """Where the simulator is told what to break."""
    found = re.search(r"^control +(\S+)$", said, re.MULTILINE)
    return found[1] if found else None


def on_any_port(config: Path, daemon: str) -> Path:
    """The simulator's configuration of a daemon, listening wherever there is room."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings[daemon]["web"]["listen"] = "127.0.0.1:0"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return config


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A healthy one, two exporters and two remediators, scraped for a while."""
    folder = tmp_path / "foundation"
    command = [str(BIN / "stager-demo"), "--speed", f"{SPEED}", "--grace", "5", "--state-dir", str(folder)]
    with ExitStack() as stack:
        demo = stack.enter_context(Daemon(command))
        demo.wait_for(lambda said: "yes" if "Ctrl-C ends it" in said else None, "started")
        config = on_any_port(folder / "exporter.yml", "exporter")
        exporters = [stack.enter_context(Exporter(config)).port for _ in range(2)]
        config = on_any_port(folder / "remediator.yml", "remediator")
        serve = [str(BIN / "stager-remediator"), "serve", "--config", str(config)]
        remediators = [port_of(stack.enter_context(Daemon(serve))) for _ in range(2)]
        receivers = stack.enter_context(Receivers())
        targets = Targets(
            exporters=[f"127.0.0.1:{port}" for port in exporters],
            remediators=[f"127.0.0.1:{port}" for port in remediators],
            webhook=f"http://127.0.0.1:{remediators[0]}/api/v1/alertmanager",
            token_file=folder / "alertmanager.token",
            receivers=receivers.url,
        )
        monitoring = Monitoring(find_programs(), tmp_path / "monitoring", targets, factor=SPEED)
        found = World(demo.wait_for(control_of, "names its control"), stack.enter_context(monitoring))
        eventually(lambda: found.value("min(stager_remediator_ready)") == 1, "the remediators read their state")
        eventually(lambda: found.value('min(diego_verdict{verdict="healthy"})') == 1, "healthy")
        eventually(lambda: found.value("sum(rate(cf_cc_stage_requests_total[10s]))"), "somebody stages")
        yield found


def empty(world: World) -> tuple[set[str], list[str]]:
    """The places of expressions without data, and what is wrong with the results of others."""
    without, wrong = set(), []
    for query in EVERY:
        found = world.ask(query.full(VALUES))
        place = f"{query.uid}/{query.place}"
        if not found:
            without.add(place)
        wrong += [f"{place}: {problem}" for problem in problems(query, found)]
    return without, wrong


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, as Grafana makes it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def problems(query: Query, found: list[dict[str, str]]) -> Iterator[str]:
    """What a person would stumble over in the series shown."""
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    for labels in found:
        if {"instance", "job"} & set(labels):
            yield f"a series of one replica: {labels}"
        # A label may be empty (which Prometheus leaves out): an alert that was created has no reason.
        if not shown - {"reason"} <= set(labels):
            yield f"the legend {query.legend} names what {labels} has not"
    names = [named(query.legend, labels) for labels in found]
    if query.legend and len(names) != len(set(names)) and not query.table:
        yield f"two series have one name: {sorted(names)}"


def test_every_expression_shows_what_is_so(world: World) -> None:
    showed: set[str] = set()

    def settled(listed: Mapping[str, str], either: Mapping[str, str], seconds: float) -> None:
        last: tuple[set[str], list[str]] = (set(), [])

        def as_listed() -> bool:
            nonlocal last
            last = empty(world)
            return last[0] - set(either) == set(listed) - set(either) and not last[1]

        with contextlib.suppress(AssertionError):
            eventually(as_listed, "", seconds)
        showed.update({f"{query.uid}/{query.place}" for query in EVERY} - last[0])
        assert last[1] == []
        assert last[0] - set(either) == set(listed) - set(either)

    def marked(place: str) -> None:
        for query in (query for query in EVERY if query.place == place):
            eventually(partial(world.ask, query.full(VALUES)), f"{query.uid}: {place}", 60)
            showed.add(f"{query.uid}/{place}")

    def shown(uid: str, place: str) -> float | None:
        (query,) = (query for query in queries(uid) if query.place == place)
        return world.value(query.full(VALUES))

    # The subqueries of half a minute need a point in time of their own.
    settled({**HEALTHY}, {"stager-availability/annotation Verdict changed": NO_EVENT}, 45)
    assert shown("stager-availability", "Staging possible A") == 1
    assert shown("stager-availability", "Not possible for A") == 0
    assert shown("stager-availability", "Share of staging that fails now A") == 0

    silence = world.monitoring.silence(["alertname=DiegoRestartWouldHelp"], 600)
    world.incident("locket_hung")
    yes = 'min(diego_verdict_restart{restart="yes"})'
    verdicts = "diego_verdict == 1 or diego_verdict_restart == 1 or up"
    eventually(lambda: world.value(yes) == 1, "a restart would help", seen=lambda: world.ask(verdicts))
    settled(INCIDENT, {}, 30)
    assert shown("stager-availability", "Staging possible A") == 0
    # It was seen to answer at some full half minute since the start, or never: then the whole time axis is shown.
    assert 0 < (shown("stager-availability", "Not possible for A") or 0) <= 600
    eventually(lambda: (shown("stager-availability", "Failed pushes A") or 0) > 5, "failed pushes are counted", 45)
    share = shown("stager-availability", "Share of staging that fails now A")
    assert share is not None
    assert 0.8 < share <= 1, "every push fails; both rates are estimates"

    world.monitoring.unsilence(silence)
    for place in MARKS:
        marked(place)
    succeeded = 'sum(stager_remediations_total{outcome="Succeeded"})'
    eventually(lambda: world.value(succeeded) == 1, "it has succeeded", 90)
    eventually(lambda: world.value('min(diego_verdict{verdict="healthy"})') == 1, "healthy again")
    settled(REPAIRED, EITHER, 45)
    assert shown("stager-availability", "Staging possible A") == 1
    took = shown("stager-remediation", "Time to recover, median A")
    assert took is not None
    assert 0 < took < 120
    assert showed == {f"{query.uid}/{query.place}" for query in EVERY}, "each has shown something, some time"
