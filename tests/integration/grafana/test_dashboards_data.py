"""Every expression of both dashboards, asked of a real Prometheus that scrapes a real exporter and a real remediator.

In three states: healthy, during the incident, and after the repair. What is rightly empty is listed, with the reason;
what is listed and not empty fails too. Two replicas of each are scraped, which no panel may show twice. Only
Alertmanager is played: the remediator is told as it would tell it. Alerts of the test's own fire, so that the table of
alerts has something to show.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import socket
import sys
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.bench.processes import Daemon
from tests.bench.simulated import Exporter, send
from tests.support.dashboards import UIDS, Query, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.timeout(400),
]

SPEED: Final = 10.0
BIN: Final = Path(sys.executable).parent
VALUES: Final = {"$__rate_interval": "10s", "$__range_s": "600", "$__range": "10m", "$foundation": "demo"}
"""As Grafana would fill them in for a scrape interval of 1 s, for ten minutes."""

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
    "stager-availability/annotation Remediation under way": "nobody has asked for it yet",
    "stager-remediation/annotation Remediation under way": "nobody has asked for it yet",
    "stager-availability/annotation Remediation ended": "nothing was repaired",
    "stager-remediation/annotation Remediation ended": "nothing was repaired",
}
REPAIRED: Final[Mapping[str, str]] = {
    "stager-availability/Alerts that fire A": "the alert has resolved",
    "stager-remediation/Alerts that fire A": "the alert has resolved",
    "stager-availability/Failed probes by cause A": "none has failed for a while",
    "stager-availability/annotation Remediation under way": "it has ended",
    "stager-remediation/annotation Remediation under way": "it has ended",
}
EITHER: Final = {
    "stager-availability/annotation Verdict changed": "a mark: there for a minute after each change",
    "stager-availability/Failed probes by cause A": "over a time axis: for as long as the window reaches back",
    "stager-availability/annotation Remediation ended": "a mark: there for as long as the window reaches back",
    "stager-remediation/annotation Remediation ended": "a mark: there for as long as the window reaches back",
}
"""May be empty or not after the repair: marks that pass."""


@dataclass(frozen=True, slots=True)
class World:
    """Prometheus' address and what it looks at."""

    control: str
    prometheus: str
    remediator: str
    token: str

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, without those whose value is no number."""
        url = f"{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        return [one for one in found if not math.isnan(float(one["value"][1]))]

    def value(self, expr: str) -> float | None:
        """The value of the first series; None without one, and while nothing answers."""
        with contextlib.suppress(OSError):
            if found := self.ask(expr):
                return float(found[0]["value"][1])
        return None

    def incident(self, name: str) -> None:
        """Break something."""
        send(f"{self.control}/foundations/demo/incidents/{name}", "POST", None)

    def notify(self) -> None:
        """Tell the remediator what Alertmanager would tell it."""
        labels = {"alertname": "DiegoRestartWouldHelp", "foundation": "demo", "remediate": "restart-diego-api"}
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": started, "fingerprint": "f1"}
        body = {"version": "4", "groupKey": "g", "status": "firing", "alerts": [alert], "truncatedAlerts": 0}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"{self.remediator}/api/v1/alertmanager"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["alerts"][0]["outcome"] == "created"


def eventually(look: Callable[[], object], what: str, seconds: float = 90, seen: Callable[[], object] = str) -> None:
    """Wait until `look` is true; `seen` says what there was instead."""
    ends = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} s {seen()}"
        time.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on. Another may take it meanwhile; then Prometheus does not start, and says so."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


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


def start_prometheus(stack: ExitStack, folder: Path, targets: Mapping[str, list[int]]) -> str:
    """A real one that scrapes every second; its address."""
    rule = {"alert": "DiegoBBSUnreachable", "expr": "max by (foundation) (diego_bbs_up) == 0"}
    helps = 'max by (foundation) (diego_verdict_restart{restart="yes"}) == 1'
    trigger = {"alert": "DiegoRestartWouldHelp", "expr": helps}
    groups = [{"name": "test", "rules": [{**item, "labels": {"severity": "critical"}} for item in (rule, trigger)]}]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
        for name, ports in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    daemon = stack.enter_context(Daemon([*command, f"--web.listen-address={address}"]))
    daemon.wait_for(lambda said: "yes" if "Server is ready" in said else None, "is ready")
    return f"http://{address}"


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
        targets = {"stager-exporter": exporters, "stager-remediator": remediators}
        address = start_prometheus(stack, tmp_path, targets)
        control = demo.wait_for(control_of, "names its control")
        token = (folder / "alertmanager.token").read_text(encoding="utf-8").strip()
        found = World(control, address, f"http://127.0.0.1:{remediators[0]}", token)
        eventually(lambda: found.value("min(stager_remediator_ready)") == 1, "the remediators read their state")
        eventually(lambda: found.value('min(diego_verdict{verdict="healthy"})') == 1, "healthy")
        eventually(lambda: found.value("sum(rate(cf_cc_stage_requests_total[10s]))"), "somebody stages")
        yield found


def empty(world: World) -> tuple[set[str], list[str]]:
    """The places of expressions without data, and what is wrong with the results of others."""
    without, wrong = set(), []
    for query in (query for uid in UIDS for query in queries(uid)):
        found = world.ask(query.full(VALUES))
        place = f"{query.uid}/{query.place}"
        if not found:
            without.add(place)
        wrong += [f"{place}: {problem}" for problem in problems(query, found)]
    return without, wrong


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, as Grafana makes it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def problems(query: Query, found: list[dict[str, Any]]) -> Iterator[str]:
    """What a person would stumble over in the series shown."""
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    for one in found:
        labels = one["metric"]
        if {"instance", "job"} & set(labels):
            yield f"a series of one replica: {labels}"
        # A label may be empty (which Prometheus leaves out): an alert that was created has no reason.
        if not shown - {"reason"} <= set(labels):
            yield f"the legend {query.legend} names what {labels} has not"
    names = [named(query.legend, one["metric"]) for one in found]
    if query.legend and len(names) != len(set(names)) and "table" not in query.place:
        yield f"two series have one name: {sorted(names)}"


def test_every_expression_shows_what_is_so(world: World) -> None:
    def settled(listed: Mapping[str, str], either: Mapping[str, str], seconds: float) -> None:
        last: tuple[set[str], list[str]] = (set(), [])

        def as_listed() -> bool:
            nonlocal last
            last = empty(world)
            return last[0] - set(either) == set(listed) - set(either) and not last[1]

        with contextlib.suppress(AssertionError):
            eventually(as_listed, "", seconds)
        assert last[1] == []
        assert last[0] - set(either) == set(listed) - set(either)

    def shown(uid: str, place: str) -> float | None:
        (query,) = (query for query in queries(uid) if query.place == place)
        return world.value(query.full(VALUES))

    # The subqueries of half a minute need a point in time of their own.
    settled({**HEALTHY}, {"stager-availability/annotation Verdict changed": NO_EVENT}, 45)
    assert shown("stager-availability", "Staging possible A") == 1
    assert shown("stager-availability", "Not possible for A") == 0
    assert shown("stager-availability", "Share of staging that fails now A") == 0

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

    world.notify()
    eventually(lambda: world.value("max(stager_remediation_running)") == 1, "it runs")
    eventually(lambda: world.value('sum(stager_remediations_total{outcome="Succeeded"})') == 1, "it has succeeded", 90)
    eventually(lambda: world.value('min(diego_verdict{verdict="healthy"})') == 1, "healthy again")
    settled(REPAIRED, EITHER, 45)
    assert shown("stager-availability", "Staging possible A") == 1
    took = shown("stager-remediation", "Time to recover, median A")
    assert took is not None
    assert 0 < took < 120
