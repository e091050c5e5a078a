"""Every incident of the simulator, on real sockets, seen by a whole exporter: each leads to the verdict of its table.

The exporter runs in this process (no gunicorn in front), so that twenty-four of them do not take minutes. Its pace is
twenty times a real one's; what the rules count in minutes of a pod's life is passed by setting the cluster's clock.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.config import load_config
from exporter.service import Exporter
from simulator.cluster import Cluster, Options
from simulator.incidents import INCIDENTS, Incident
from tests.support.simulated import eventually, quick

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESTARTS = {
    "locket_hung": "yes",
    "locked_out": "yes",
    "stale_label": "yes",
    "hung": "yes",
    "zombie": "yes",
    "crashing": "ask",
    "electing": "wait",
    "rollout": "wait",
    "migrating": "wait",
}
"""Everything else must never be restarted."""
STUCK = {"pods_stuck", "terminating"}
"""Only a pod's age, in minutes, tells these from a normal start or end."""
DEPTH = {"database_error": "read"}
"""Only a read of BBS's database shows these."""
LAYOUT = {"locket_down": "cfee-4"}
"""Only where Locket has pods of its own."""


class SetClock:
    """The machine's clock, with a wall time that can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time() + self.ahead


def configured(cluster: Cluster, folder: Path, depth: str, *, look_inside: bool) -> Path:
    path = cluster.write(folder)
    settings: dict[str, Any] = yaml.safe_load(path.read_text())
    settings["probe"] = {"interval": "250ms", "timeout": "500ms"}
    settings["logs"] = []
    for foundation in settings["foundations"]:
        foundation["settle"] = "1s"
        foundation["bbs"]["depth"] = depth
        foundation["exec"] = look_inside
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def cluster(clock: SetClock, incident: Incident) -> Iterator[Cluster]:
    layout = LAYOUT.get(incident.name, "cfee-2")
    # What heals by itself must last for some looks.
    timing = quick(speed=8.0 if incident.heals_itself else 40.0)
    with Cluster(Options(layout=layout, traffic=False, timing=timing, seed=1), clock) as running:
        yield running


@pytest.fixture
def exporter(cluster: Cluster, incident: Incident, tmp_path: Path) -> Iterator[Exporter]:
    # A look into a pod stands for 15 s, longer than what heals by itself lasts here.
    depth = DEPTH.get(incident.name, "ping")
    path = configured(cluster, tmp_path, depth, look_inside=not incident.heals_itself)
    running = Exporter(path, load_config(path))
    yield running
    running.stop()


def shown(exporter: Exporter) -> tuple[str, str]:
    """Verdict and restart as Prometheus would read them."""
    pages: Any = exporter.wsgi
    text = pages.test_client().get("/metrics").text
    verdicts = re.findall(r'^diego_verdict\{.*verdict="(\w+)"\} 1\.0$', text, re.MULTILINE)
    restarts = re.findall(r'^diego_verdict_restart\{.*restart="(\w+)"\} 1\.0$', text, re.MULTILINE)
    assert (len(verdicts), len(restarts)) in ((1, 1), (0, 0))
    return (verdicts[0], restarts[0]) if verdicts else ("", "")


def hear_the_time(exporter: Exporter) -> None:
    """Any answer of the API server tells its clock; the watches' next one is minutes away."""
    for monitor in exporter._monitors.values():
        monitor.client.get("/api/v1/namespaces/cf/pods")


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_an_incident_leads_to_its_verdict(
    incident: Incident, cluster: Cluster, clock: SetClock, exporter: Exporter
) -> None:
    eventually(lambda: shown(exporter) == ("healthy", "no"), "healthy")
    expected = (incident.verdict, RESTARTS.get(incident.name, "no"))
    cluster.start_incident(incident.name)
    if incident.name in STUCK:
        clock.ahead = 1000.0
        hear_the_time(exporter)
    seen: set[tuple[str, str]] = set()

    def reached() -> bool:
        seen.add(shown(exporter))
        return expected in seen

    try:
        # The look from an api pod is made every 15 s at most: one made in the very moment of the change stands so long.
        eventually(reached, f"{incident.name}: {expected}", deadline=30)
    except AssertionError:
        (view,) = exporter.view().foundations
        pytest.fail(f"{incident.name} is not {expected} but {seen}:\n" + "\n".join(view.evidence))
    acted = {pair for pair in seen if pair[1] in ("yes", "ask")}
    assert acted <= {expected}, "on the way there, nothing else may ask for a restart"
