"""Every right in the rendered Roles, taken away once: what then fails, and how it says so.

The programs run against a simulated foundation and may do exactly what is left. What is looked at is what an operator
would see: the webhook's answer, the Remediation's end, /readyz, the log, the saved evidence, the metrics. That a real
API server refuses in the same words is tried by `make e2e`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from remediator.cli import main
from remediator.words import PLAYBOOK
from simulator.api.resources import REMEDIATIONS
from tests.support.deprived import approve, export, remediate
from tests.support.helm import render, the
from tests.support.rbac import Right, as_faults, rights
from tests.support.remediator_files import write_config
from tests.support.simulated import simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.cluster import Cluster

Json = dict[str, Any]
pytestmark = pytest.mark.timeout(120)
EVERYTHING: Json = {
    "exporter": {"exec": {"enabled": True}},
    "remediator": {"mode": "auto", "exec": {"enabled": True}},
    "logs": {"pod": {"enabled": True}},
}


def role(component: str) -> list[Right]:
    return rights(the(render("cfee2", values=EVERYTHING), "Role", component))


def less(component: str, taken: str) -> list[Right]:
    """The Role without every right of that verb on that resource, by whatever name."""
    return [one for one in role(component) if str(one) != taken]


def others_end(cluster: Cluster) -> None:
    """Two Remediations of another time that have ended."""
    for number in (90, 91):
        body: Json = {
            "metadata": {"name": f"demo.{PLAYBOOK}.old-{number}"},
            "spec": {"foundation": "demo", "playbook": PLAYBOOK},
        }
        cluster.store.create(REMEDIATIONS, "cf", body)
        ended = {"status": {"phase": "Succeeded", "finished": "2020-01-01T00:00:00Z"}}
        name = body["metadata"]["name"]
        cluster.store.update(REMEDIATIONS, "cf", name, lambda found: {**found, **ended}, subresource="status")  # noqa: B023


@dataclass(frozen=True)
class Case:
    """What comes of one missing right. The texts are parts of what is said in the place that is named."""

    answer: str = "created"
    phase: str = "Succeeded"
    message: str = ""
    unready: str = ""
    logged: str = ""
    evidence: str = ""
    deleted: int = 2
    given: Any = ()
    """Further arguments for `remediate`."""


BREAKS_DELETES: Json = {
    "first": [{"identity": "me", "verb": "delete", "resource": "pods", "status": 500}],
    "until": "fencing",
}
"""Nobody knows whether a deletion was made, so it has to be fenced off."""
REMEDIATOR = {
    # It sees nothing, says so, and does nothing.
    "list pods": Case(phase="WouldNotHelp", message="nothing could be seen: cannot list pods", deleted=0),
    "watch pods": Case(phase="WouldNotHelp", logged="pods: cannot watch pods", deleted=0),
    "list statefulsets": Case(phase="WouldNotHelp", logged="statefulsets: cannot list statefulsets", deleted=0),
    # It lists them again and again instead; preflight alone tells.
    "watch statefulsets": Case(),
    # It cannot act, and says so where the story is told.
    "delete pods": Case(phase="Failed", message="delete: cannot delete pods diego-api-0", deleted=0),
    "patch pods": Case(
        phase="",
        logged="fencing diego-api-0: cannot patch pods diego-api-0",
        deleted=0,
        given=BREAKS_DELETES,
    ),
    # No state, no action: 503 to Alertmanager, which goes on trying, and not ready.
    "get configmaps": Case("503 cannot get configmaps", "", unready="cannot get configmaps", deleted=0),
    "create configmaps": Case("503 cannot create configmaps", "", logged="cannot create configmaps", deleted=0),
    "list remediations": Case("503 cannot list remediations", "", unready="cannot list remediations", deleted=0),
    "update configmaps": Case(phase="", unready="cannot update configmaps stager-medic-diego-api", deleted=0),
    "get remediations": Case(phase="", unready="cannot get remediations", deleted=0),
    "create remediations": Case(phase="", unready="cannot create remediations", deleted=0),
    # It acts, and what is missing is told.
    "patch remediations/status": Case(logged="could not be written: cannot patch remediations/status"),
    "create events": Case(logged="an Event was not taken: cannot create events"),
    "list events": Case(evidence='cannot list resource \\"events\\"'),
    "get pods": Case(evidence="cannot get pods diego-api-0 in namespace cf: 403"),
    "get pods/log": Case(evidence="cannot get pods/log diego-api-0 in namespace cf: 403"),
    # What is not known counts against a restart.
    "create pods/exec": Case(phase="WouldNotHelp", message="Not known: the look from an api pod", deleted=0),
    # API servers before 1.35 ask for this one alone where exec is asked for by GET; the simulated one does not.
    "get pods/exec": Case(),
    # A person's yes cannot be written.
    "patch remediations": Case(
        "503 cannot patch remediations", "", deleted=0, given={"mode": "approval", "during": approve, "seconds": 0.5}
    ),
    "delete remediations": Case(
        logged="an ended Remediation stays: cannot delete", given={"keep": 1, "before": others_end}
    ),
}
_DEAF = 'stager_log_source_up{{foundation="demo",pod="api-0",source="{}"}} 0.0'
EXPORTER = {
    "list pods": ("pod", 'diego_verdict{foundation="demo",verdict="unknown"} 1.0', "pods: cannot list pods"),
    "watch pods": ("pod", 'collector_success{collector="pods",foundation="demo"} 0.0', "pods: cannot watch pods"),
    "list statefulsets": (
        "pod", 'collector_success{collector="statefulsets",foundation="demo"} 0.0',
        "statefulsets: cannot list statefulsets",
    ),
    # It lists them again and again instead.
    "watch statefulsets": ("pod", 'verdict="healthy"} 1.0', ""),
    # One pod of several may be gone at any time, so this is on the page and in a metric (StagerLogSourceDeaf).
    "get pods/log": ("pod", _DEAF.format("pod"), "cannot get pods/log api-0 in namespace cf: 403"),
    "create pods/exec": ("exec", _DEAF.format("exec"), "pods/exec api-0 in namespace cf: 403"),
    "get pods/exec": ("exec", 'verdict="healthy"} 1.0', ""),
}  # fmt: skip


@pytest.mark.parametrize(("component", "table"), [("remediator", REMEDIATOR), ("exporter", EXPORTER)])
def test_no_right_is_left_out(component: str, table: Json) -> None:
    assert {str(one) for one in role(component)} == set(table)


def test_with_every_right_nothing_is_said(tmp_path: Path) -> None:
    told = remediate(tmp_path, role("remediator"))
    assert (told.phase, told.deleted, told.unready) == ("Succeeded", 2, ""), told.message
    assert not [line for line in told.logged if "cannot" in line]
    assert told.evidence
    assert "403" not in told.evidence


@pytest.mark.parametrize("taken", REMEDIATOR)
def test_the_remediator_without(taken: str, tmp_path: Path) -> None:
    case = REMEDIATOR[taken]
    told = remediate(tmp_path, less("remediator", taken), **dict(case.given))
    assert case.answer in told.answer
    assert told.phase == case.phase, told.message
    assert told.deleted == case.deleted
    assert case.message in told.message
    assert case.evidence in told.evidence
    assert case.unready in told.unready
    assert [line for line in told.logged if case.logged in line] or not case.logged, told.logged
    everything = " ".join([told.answer, told.message, told.unready, told.evidence, *told.logged])
    names_it = f"cannot {taken.partition(' ')[0]} resource" in everything
    silent = {"watch statefulsets", "get pods/exec", "create pods/exec"}
    assert names_it is (taken not in silent), "the API server's own words name the right"


@pytest.mark.parametrize("taken", EXPORTER)
def test_the_exporter_without(taken: str, tmp_path: Path) -> None:
    source, series, logged = EXPORTER[taken]
    logs: Json = {"source": source, "role": "api"}
    logs |= {"container": "logs"} if source == "pod" else {}
    names = ("api-0", "api-1", "diego-api-0", "diego-api-1")
    given = [Right(one.verb, one.resource, one.group, names if one.names else ()) for one in less("exporter", taken)]

    def wanted(text: str) -> bool:
        return series in text and logged in text

    told, text = export(tmp_path, given, logs, wanted)
    assert [line for line in text.splitlines() if series in line], text[-3000:]
    assert [line for line in (*told.logged, told.page) if logged in line] or not logged, told.page


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        yield running


@pytest.fixture
def permissions(cluster: Cluster, tmp_path: Path) -> Callable[[list[Right]], tuple[int, list[str]]]:
    """What `preflight` says of permissions, and its exit status, for somebody with these rights."""
    config = write_config(cluster, tmp_path, identity="me")

    def look(given: list[Right]) -> tuple[int, list[str]]:
        cluster.api.faults.change({"rules": as_faults("me", given)})
        done = CliRunner().invoke(main, ["preflight", "--config", str(config), "--json"])
        checks = json.loads(done.stdout)["checks"]
        return done.exit_code, [one["text"] for one in checks if one["check"] == "permissions"]

    return look


def test_preflight_with_every_right(permissions: Callable[[list[Right]], tuple[int, list[str]]]) -> None:
    code, texts = permissions(role("remediator"))
    assert code == 0
    assert len(texts) == 1
    assert "that are needed in namespace cf" in texts[0]


@pytest.mark.parametrize("taken", REMEDIATOR)
def test_preflight_without(permissions: Callable[[list[Right]], tuple[int, list[str]]], taken: str) -> None:
    verb, _, resource = taken.partition(" ")
    code, texts = permissions(less("remediator", taken))
    assert [text for text in texts if verb in text and resource in text and "is not permitted" in text], texts
    assert code == (0 if taken in ("create events", "list events", "get pods/log", "get pods") else 1)
