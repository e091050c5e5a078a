"""The Remediation as the chart defines it: it keeps what the remediator writes, and no request changes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from remediator.ledger import Closed, Deleted, Pending, Recorded, Run, StepRecord, Trigger
from remediator.story import final_status, spec_of, status_of
from remediator.words import Mode, Phase, Step
from simulator.api import custom, requests
from simulator.api.errors import ApiError
from simulator.api.resources import NAMESPACES, RESOURCES
from simulator.api.store import Store

if TYPE_CHECKING:
    from simulator.api.objects import Json

CHART = Path(__file__).parents[3] / "charts/stager-medic/files/crds/remediations.yaml"
PATH = "/apis/stager-medic.dev/v1alpha1/namespaces/cf/remediations"
NAME = "demo.restart-diego-api.1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRIGGER = Trigger(
    alertname="DiegoRestartWouldHelp",
    fingerprint="0123456789abcdef",
    starts_at="2026-01-02T03:04:00Z",
    labels={"foundation": "demo", "remediate": "restart-diego-api"},
)


@pytest.fixture
def store() -> Store:
    made = Store(lambda: 1_700_000_000.0, seed=1)
    made.create(NAMESPACES, "", {"metadata": {"name": "cf"}})
    custom.install(made, yaml.safe_load(CHART.read_text(encoding="utf-8")))
    return made


def ask(store: Store, method: str, path: str, body: Any) -> Json:
    request = requests.read(method, path, {}, "", [*RESOURCES, *custom.served(store)])
    return requests.write(store, request, body, "application/merge-patch+json")[1]


def create(store: Store, spec: Json) -> Json:
    return ask(store, "POST", PATH, {"metadata": {"name": NAME}, "spec": spec})


def run(**more: Any) -> Run:
    pod = Recorded(name="diego-api-0", uid="u0", role="bbs", statefulset="diego-api", grace=600)
    given: dict[str, Any] = {
        "name": NAME, "foundation": "demo", "playbook": "restart-diego-api", "mode": Mode.AUTO, "trigger": TRIGGER,
        "at": NOW, "started": NOW, "recorded": True, "pods": (pod,), "evidence": "stager-medic-evidence-1",
        "deleted": (Deleted(name=pod.name, uid=pod.uid, at=NOW),), "verdict_before": "locket_hung",
        "steps": (StepRecord(name=Step.CONFIRM, started=NOW, finished=NOW, result="confirmed", detail="seen twice"),),
        "approved_by": "alice",
    }  # fmt: skip
    return Run(**(given | more))


def test_the_simulator_serves_the_charts_own() -> None:
    assert yaml.safe_load(CHART.read_text(encoding="utf-8")) == custom.REMEDIATION_DEFINITION


def test_all_that_the_remediator_writes_is_kept(store: Store) -> None:
    spec = spec_of(run())
    assert create(store, spec)["spec"] == spec
    pending = Pending(
        name=NAME, foundation="demo", playbook="restart-diego-api", mode=Mode.AUTO, at=NOW, why="a person decides",
        phase=Phase.AWAITING_APPROVAL, expires=NOW, pods=("diego-api-0",), verdict="locket_hung",
    )  # fmt: skip
    closed = Closed(
        request=run(), phase=Phase.SUCCEEDED, message="done", verdict_after="healthy", finished=NOW
    )  # fmt: skip
    wanted: Json = {}
    for status in (status_of(pending), status_of(run(), "one-1"), final_status(closed)):
        wanted |= status
        assert ask(store, "PATCH", f"{PATH}/{NAME}/status", {"status": status})["status"] == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"foundation": "other"},
        {"playbook": "other"},
        {"mode": "dry-run"},
        {"mode": None},
        {"trigger": {"fingerprint": "another"}},
        {"trigger": {"labels": {"foundation": "other"}}},
        {"trigger": None},
    ],
)
def test_a_request_does_not_change(store: Store, change: Json) -> None:
    create(store, spec_of(run()))
    with pytest.raises(ApiError, match="a Remediation's request does not change") as caught:
        ask(store, "PATCH", f"{PATH}/{NAME}", {"spec": change})
    assert caught.value.code == 422


def test_a_mode_is_not_given_later(store: Store) -> None:
    create(store, {"foundation": "demo", "playbook": "restart-diego-api"})
    with pytest.raises(ApiError, match="a Remediation's request does not change"):
        ask(store, "PATCH", f"{PATH}/{NAME}", {"spec": {"mode": "auto"}})


def test_people_answer_and_take_note(store: Store) -> None:
    made = create(store, {"foundation": "demo", "playbook": "restart-diego-api"})
    assert made["spec"]["trigger"] == {"alertname": "by hand"}
    answer = {"state": "approved", "by": "alice", "at": "2026-01-02T03:04:05Z"}
    note = {"by": "alice", "at": "2026-01-02T03:04:05Z", "reason": "looked at"}
    found = ask(store, "PATCH", f"{PATH}/{NAME}", {"spec": {"approval": answer, "acknowledged": note}})
    assert (found["spec"]["approval"], found["spec"]["acknowledged"]) == (answer, note)
    assert "approval" not in ask(store, "PATCH", f"{PATH}/{NAME}", {"spec": {"approval": None}})["spec"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"foundation": "demo"}, "spec.playbook: Required value"),
        ({"foundation": "demo", "playbook": "p", "mode": "yes"}, "Unsupported value"),
        ({"foundation": "demo", "playbook": "p", "approval": {"state": "fine"}}, "Unsupported value"),
        (
            {"foundation": "demo", "playbook": "p", "trigger": {"labels": {f"l{n}": "" for n in range(65)}}},
            "at most 64",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(store: Store, spec: Json, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        create(store, spec)


def test_the_printed_columns(store: Store) -> None:
    resource = custom.resource_of(custom.REMEDIATION_DEFINITION)
    assert resource.short_names == ("rem",)
    assert [(column["name"], column.get("priority", 0)) for column in custom.columns(store, resource)] == [
        ("Playbook", 0), ("Foundation", 0), ("Phase", 0), ("Step", 0), ("Trigger", 0), ("Age", 0), ("Message", 1),
    ]  # fmt: skip
