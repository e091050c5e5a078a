"""What people read: spec, status and Events are the ledger's truth in the words of the contract."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from remediator import ledger as ledgers
from remediator.ledger import Closed, Deleted, Ledger, Pending, Recorded, Request, Run, StepRecord, Trigger
from remediator.story import final_status, iso, spec_of, status_of
from remediator.trail import Metrics, Trail, remediation_reference, statefulset_reference
from remediator.words import PLAYBOOK, Mode, Phase, Step, Strategy
from tests.support.remediation import Inline, MemoryClient, Ward

NOW = datetime(2027, 1, 15, 8, 0, 1, tzinfo=UTC)
STEPS = (
    StepRecord(name=Step.CONFIRM, started=NOW, finished=NOW, result="confirmed", detail="locked_out"),
    StepRecord(name=Step.DELETE, started=NOW),
)
TRIGGER = Trigger(alertname="A", fingerprint="f", starts_at="2027-01-15T07:59:00Z", labels={"x": "y"})
PENDING = Pending(name="prod.p.1", foundation="prod", playbook=PLAYBOOK, mode=Mode.AUTO, trigger=TRIGGER, at=NOW)
RUN = Run(
    name="prod.p.1",
    foundation="prod",
    playbook=PLAYBOOK,
    mode=Mode.AUTO,
    trigger=TRIGGER,
    at=NOW,
    started=NOW,
    strategy=Strategy.ONE_BY_ONE,
    step=Step.DELETE,
    steps=STEPS,
    verdict_before="locked_out",
    evidence="e",
    pods=(Recorded(name="diego-api-0", uid="u0", role="bbs"), Recorded(name="diego-api-1", uid="u1", role="bbs")),
    deleted=(Deleted(name="diego-api-0", uid="u0", at=NOW),),
)


class TestStory:
    def test_the_request(self) -> None:
        trigger = {"alertname": "A", "fingerprint": "f", "startsAt": "2027-01-15T07:59:00Z", "labels": {"x": "y"}}
        assert spec_of(PENDING) == {"foundation": "prod", "playbook": PLAYBOOK, "mode": "auto", "trigger": trigger}

    def test_what_waits(self) -> None:
        entry = PENDING.model_copy(
            update={
                "phase": Phase.AWAITING_APPROVAL,
                "expires": NOW + timedelta(hours=1),
                "why": "a person decides",
                "verdict": "locked_out",
                "pods": ("diego-api-0",),
                "resumed": STEPS[:1],
            }
        )
        assert status_of(entry) == {
            "phase": "AwaitingApproval",
            "step": "",
            "steps": [
                {
                    "name": "confirm",
                    "started": iso(NOW),
                    "finished": iso(NOW),
                    "result": "confirmed",
                    "detail": "locked_out",
                }
            ],
            "pods": [{"name": "diego-api-0"}],
            "verdictBefore": "locked_out",
            "holder": "",
            "message": "a person decides",
            "expires": "2027-01-15T09:00:01Z",
        }
        assert "expires" not in status_of(PENDING)

    def test_what_runs(self) -> None:
        status = status_of(RUN, "me")
        assert (status["phase"], status["step"], status["holder"]) == ("Running", "delete", "me")
        assert status["pods"] == [
            {"name": "diego-api-0", "uid": "u0", "deletedAt": iso(NOW)},
            {"name": "diego-api-1", "uid": "u1"},
        ]
        assert status["steps"] == [
            {
                "name": "confirm",
                "started": iso(NOW),
                "finished": iso(NOW),
                "result": "confirmed",
                "detail": "locked_out",
            },
            {"name": "delete", "started": iso(NOW)},
        ]
        assert status["strategy"] == "one-by-one"
        assert "approvedBy" not in status
        assert status_of(RUN.model_copy(update={"approved_by": "olga"}))["approvedBy"] == "olga"

    @pytest.mark.parametrize("step", list(Step))
    def test_every_step_says_what_it_does(self, step: Step) -> None:
        assert status_of(RUN.model_copy(update={"step": step}))["message"]

    def test_why_nothing_more_is_deleted(self) -> None:
        message = status_of(RUN.model_copy(update={"no_more": "paused by olga"}))["message"]
        assert message == "no further deletion: paused by olga"

    def test_what_ended(self) -> None:
        closed = Closed(request=RUN, phase=Phase.FAILED, message="it did not", finished=NOW, verdict_after="electing")
        status = final_status(closed)
        assert (status["phase"], status["step"], status["holder"]) == ("Failed", "", "")
        assert (status["message"], status["verdictAfter"], status["finished"]) == ("it did not", "electing", iso(NOW))
        early = final_status(Closed(request=PENDING, phase=Phase.CANCELLED, message="x", finished=NOW))
        assert early["phase"] == "Cancelled"

    def test_nothing_else_has_a_status(self) -> None:
        bare = Request(name="x", foundation="f", playbook="p", mode=Mode.AUTO, at=NOW)
        with pytest.raises(TypeError):
            status_of(bare)

    def test_it_is_the_ledgers_truth_after_storing(self) -> None:
        """A run that was stored and read again tells the same story."""
        stored = ledgers.parse(ledgers.dump(Ledger(run=RUN)))
        assert stored.run is not None
        assert status_of(stored.run, "me") == status_of(RUN, "me")


class TestTrail:
    @pytest.fixture
    def ward(self) -> Ward:
        return Ward()

    def test_an_event_can_be_read_with_kubectl(self, ward: Ward) -> None:
        trail = Trail(
            MemoryClient(ward, "one"), "cf", "prod", Metrics(CollectorRegistry()), wall=ward.clock.wall, pool=Inline()
        )
        trail.event(remediation_reference("prod.p.1", "u"), "Failed", "x" * 2000, warning=True)
        trail.event(statefulset_reference("diego-api", "v"), "DeletedPod", "y")
        first, second = (asked.body for asked in ward.asked("create", "events"))
        assert first["involvedObject"] == {
            "apiVersion": "stager-medic.dev/v1alpha1",
            "kind": "Remediation",
            "name": "prod.p.1",
            "uid": "u",
            "namespace": "cf",
        }
        assert (first["type"], len(first["message"])) == ("Warning", 1000)
        assert (second["type"], second["involvedObject"]["kind"]) == ("Normal", "StatefulSet")
        assert first["metadata"]["name"] != second["metadata"]["name"]
        assert "uid" not in remediation_reference("prod.p.1", None)

    def test_after_the_end_of_its_pool_it_stops_nothing(self, ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        trail = Trail(
            MemoryClient(ward, "one"), "cf", "prod", Metrics(CollectorRegistry()), wall=ward.clock.wall, pool=pool
        )
        trail.event(remediation_reference("prod.p.1", "u"), "Deleted", "deleted diego-api-0")
        assert "an Event was not sent any more: deleted diego-api-0" in caplog.text

    def test_the_audit_line_has_what_is_known(self, ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
        trail = Trail(
            MemoryClient(ward, "one"), "cf", "prod", Metrics(CollectorRegistry()), wall=ward.clock.wall, pool=Inline()
        )
        with caplog.at_level(logging.INFO, "remediator.audit"):
            trail.audit("step", "delete begins", step="delete", pod="", uid=None, seconds=0.0)
        record = caplog.records[0].__dict__
        assert (record["foundation"], record["decision"], record["step"], record["seconds"]) == (
            "prod",
            "step",
            "delete",
            0.0,
        )
        assert "pod" not in record
        assert "uid" not in record
