"""From a notification to a stored answer: what is collapsed, refused, recorded, and never lost."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from remediator.intake import LABEL, MOST_LABELS, Answer, Intake, Unavailable
from remediator.ledger import Breaker, Pause
from remediator.payload import Alert, Notification
from remediator.words import PLAYBOOK, Outcome, Reason
from tests.support.remediation import Ward, notification, replica

if TYPE_CHECKING:
    from tests.support.remediation import Replica

NAME = f"prod.{PLAYBOOK}.1"


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def one(ward: Ward) -> Replica:
    return replica(ward)


def now(ward: Ward) -> datetime:
    return datetime.fromtimestamp(int(ward.clock.wall()), UTC)


def alert(ward: Ward, **given: Any) -> Notification:
    labels = {"alertname": "A", "foundation": "prod", LABEL: PLAYBOOK, **given.pop("labels", {})}
    fields = {"status": "firing", "labels": labels, "startsAt": now(ward), "fingerprint": "f1", **given}
    return Notification(version="4", alerts=(Alert.model_validate(fields),))


class TestAccepted:
    def test_it_is_stored_and_shown(self, ward: Ward, one: Replica) -> None:
        answer = one.notify()
        assert answer.as_json() == {"fingerprint": "f1", "outcome": "created", "remediation": NAME, "reason": ""}
        pending = ward.ledger.pending
        assert pending is not None
        assert (pending.name, pending.trigger.fingerprint) == (NAME, "f1")
        found = ward.remediation()
        assert found.spec["trigger"] == {
            "alertname": "DiegoRestartWouldHelp",
            "fingerprint": "f1",
            "startsAt": pending.trigger.starts_at,
            "labels": {"alertname": "DiegoRestartWouldHelp", "foundation": "prod", "remediate": PLAYBOOK},
        }
        assert found.target == ward.ledger_name
        assert one.counted("stager_remediator_alerts_total", outcome="created", reason="") == 1
        assert one.site.wake.is_set()

    def test_the_executor_is_not_needed_for_the_answer(self, ward: Ward, one: Replica) -> None:
        one.notify()
        assert ward.looks == 0
        assert ward.deletions(status=None) == []

    def test_again_is_a_duplicate(self, ward: Ward, one: Replica) -> None:
        one.notify()
        again = one.notify()
        assert (again.outcome, again.reason, again.remediation) == ("duplicate", "running", NAME)
        assert ward.ledger.next_n == 2

    def test_two_replicas_accept_it_once(self, ward: Ward, one: Replica) -> None:
        two = replica(ward, "two")
        told: list[Answer] = []
        ward.on("create", "configmaps", who="one", before=lambda: told.append(two.notify()))
        told.append(one.notify())
        assert [answer.outcome for answer in told] == ["created", "duplicate"]
        assert {answer.remediation for answer in told} == {NAME}
        assert len(ward.objects()) == 1

    def test_a_lost_answer_is_found_stored(self, ward: Ward, one: Replica) -> None:
        ward.on("create", "configmaps", lost=True)
        answer = one.notify()
        assert (answer.outcome, answer.remediation) == ("duplicate", NAME)
        one.turn()
        assert ward.remediation().phase == "Succeeded", "the executor has made the object"

    def test_an_object_that_cannot_be_made_takes_nothing_back(self, ward: Ward, one: Replica) -> None:
        ward.on("create", "remediations", down=True)
        assert one.notify().outcome == "created"
        assert ward.ledger.pending is not None


class TestUnavailable:
    @pytest.mark.parametrize("verb", ["get", "create"])
    @pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"status": 429}, {"down": True}])
    def test_a_state_that_cannot_be_read_or_written(
        self, ward: Ward, one: Replica, verb: str, fault: dict[str, Any]
    ) -> None:
        ward.on(verb, "configmaps", times=-1, **fault)
        with pytest.raises(Unavailable):
            one.notify()
        assert one.counted("stager_remediator_state_errors_total") == 1
        assert one.counted("stager_remediator_alerts_total", outcome="created", reason="") == 0

    def test_always_another_writer(self, ward: Ward, one: Replica) -> None:
        ward.on("create", "configmaps", times=-1, status=409)
        with pytest.raises(Unavailable, match="always changed by somebody else"):
            one.notify()

    def test_an_unknown_layout(self, one: Replica) -> None:
        one.lookout.unknown_layout = True
        with pytest.raises(Unavailable, match="the layout of prod is not known"):
            one.notify()

    def test_one_of_two_foundations(self, ward: Ward, one: Replica) -> None:
        """The whole is unavailable; what was stored of it is a duplicate the next time."""
        other = replica(Ward(), "one", name="test")
        other.lookout.unknown_layout = True
        both = Intake({"prod": one.site, "test": other.site}, one.metrics)
        told = notification(ward, ("firing", "f1", {}), ("firing", "f2", {"foundation": "test"}))
        with pytest.raises(Unavailable):
            both.notify(told)
        assert ward.ledger.pending is not None
        other.lookout.unknown_layout = False
        assert [answer.outcome for answer in both.notify(told)] == ["duplicate", "created"]


class TestCollapsing:
    def test_one_firing_alert_speaks_for_all(self, ward: Ward, one: Replica) -> None:
        told = notification(ward, *(("firing", f"f{n}", {}) for n in range(500)))
        answers = one.intake.notify(told)
        assert [answer.outcome for answer in answers].count(Outcome.CREATED) == 1
        assert {answer.remediation for answer in answers} == {NAME}
        assert len(ward.asked("get", "configmaps")) == 1, "one consistent read"
        assert [answer.fingerprint for answer in answers] == [f"f{n}" for n in range(500)]

    def test_a_refusal_speaks_for_all_too(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(last_end=now(ward))
        answers = one.intake.notify(notification(ward, ("firing", "f1", {}), ("firing", "f2", {})))
        assert [(answer.outcome, answer.reason) for answer in answers] == [("refused", "cooldown")] * 2

    def test_what_resolved_beside_it_closes_nothing(self, ward: Ward, one: Replica) -> None:
        one.notify()
        answers = one.intake.notify(notification(ward, ("resolved", "f1", {}), ("firing", "f2", {})))
        assert [answer.outcome for answer in answers] == ["ignored", "duplicate"]
        assert ward.ledger.pending is not None

    def test_other_foundations_and_playbooks_are_others(self, ward: Ward, one: Replica) -> None:
        told = notification(
            ward,
            ("firing", "f1", {"remediate": ""}),
            ("firing", "f2", {"foundation": "nowhere"}),
            ("firing", "f3", {"remediate": "rm-rf"}),
            ("firing", "f4", {}),
        )
        assert [(answer.outcome, answer.reason) for answer in one.intake.notify(told)] == [
            ("ignored", "no_remedy"),
            ("refused", "unknown_foundation"),
            ("refused", "unknown_playbook"),
            ("created", ""),
        ]

    def test_what_alertmanager_left_out_is_told(
        self, ward: Ward, one: Replica, caplog: pytest.LogCaptureFixture
    ) -> None:
        one.intake.notify(notification(ward, ("firing", "f1", {}), truncated=3))
        assert "left out 3 alerts" in caplog.text
        assert one.counted("stager_remediator_truncated_alerts_total") == 3

    def test_nothing_at_all(self, ward: Ward, one: Replica) -> None:
        assert one.intake.notify(notification(ward)) == []


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"pause": Pause(by="olga", why="x", since=datetime(2027, 1, 1, tzinfo=UTC))}, "paused"),
            ({"breaker": Breaker(since=datetime(2027, 1, 1, tzinfo=UTC), why="x")}, "breaker"),
        ],
    )
    def test_what_needs_a_person_is_not_wanted(
        self, ward: Ward, one: Replica, fields: dict[str, Any], reason: str
    ) -> None:
        ward.put_ledger(**fields)
        assert one.notify().reason == reason
        assert [refusal.reason for refusal in ward.ledger.refusals] == [reason]
        assert ward.ledger.wanted is None
        assert ward.objects() == {}

    def test_mode_off(self, ward: Ward) -> None:
        answer = replica(ward, playbook={"mode": "off"}).notify()
        assert answer.as_json()["reason"] == "mode_off: the playbook's mode is off"

    def test_a_wrong_clock(self, ward: Ward) -> None:
        wrong = replica(ward, skew=45.0)
        assert wrong.notify().reason == "clock"
        assert ward.ledger.wanted is not None
        assert replica(ward, "two", skew=-29.0).notify().outcome == "created"

    def test_what_ends_by_itself_is_wanted_beyond_its_end(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(last_end=now(ward))
        one.notify()
        wanted = ward.ledger.wanted
        assert wanted is not None
        assert wanted.reason is Reason.COOLDOWN
        assert wanted.until == now(ward) + timedelta(minutes=10 + 15)

    def test_repeats_within_a_minute_write_nothing(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(last_end=now(ward))
        one.notify()
        before = ward.ledger
        one.notify()
        assert ward.ledger == before
        ward.clock.advance(61)
        one.notify()
        assert ward.ledger.refusals[-1].count == 2
        assert ward.ledger.wanted is not None

    def test_a_refusal_with_a_lost_answer_counts_once(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(last_end=now(ward))
        ward.on("update", "configmaps", who="one", lost=True)
        assert one.notify().reason == "cooldown"
        assert ward.ledger.refusals[-1].count == 1

    def test_what_is_on_record_is_bounded(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(breaker=Breaker(since=now(ward), why="x"))
        for n in range(30):
            one.notify(fingerprint=f"f{n}")
        assert len(ward.ledger.refusals) == 20

    def test_it_is_told(self, ward: Ward, one: Replica, caplog: pytest.LogCaptureFixture) -> None:
        ward.put_ledger(last_end=now(ward))
        with caplog.at_level(logging.INFO, "remediator.audit"):
            one.notify()
        record = caplog.records[-1].__dict__
        assert (record["decision"], record["reason"], record["fingerprint"]) == ("refused", "cooldown", "f1")


class TestBadAlerts:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"labels": {f"l{n}": "" for n in range(MOST_LABELS)}}, "labels, more than 64"),
            ({"labels": {"x": "y" * 1025}}, "the label 'x' is longer than"),
            ({"labels": {"x" * 1025: ""}}, "is longer than"),
            ({"labels": {f"l{n}": "\N{GRINNING FACE}" * 500 for n in range(20)}}, "its labels are"),
            ({"fingerprint": ""}, "no usable fingerprint"),
            ({"fingerprint": "a\nb"}, "no usable fingerprint"),
            ({"fingerprint": "f" * 101}, "no usable fingerprint"),
            ({"startsAt": datetime(2020, 1, 1, tzinfo=UTC)}, "it says that it began at 2020-01-01 00:00:00"),
            ({"startsAt": datetime(2099, 1, 1, tzinfo=UTC)}, "it says that it began at 2099-01-01 00:00:00"),
        ],
    )
    def test_they_are_refused(self, ward: Ward, one: Replica, given: dict[str, Any], words: str) -> None:
        answer = one.intake.notify(alert(ward, **given))[0]
        assert (answer.outcome, answer.reason) == ("refused", "bad_alert")
        assert words in answer.text
        assert len(answer.fingerprint) <= 101
        assert ward.objects() == {}

    def test_an_old_one_that_resolved_is_no_fault(self, ward: Ward, one: Replica) -> None:
        told = alert(ward, status="resolved", startsAt=datetime(2020, 1, 1, tzinfo=UTC))
        assert one.intake.notify(told)[0].outcome == "ignored"


class TestResolved:
    def test_it_closes_what_waits(self, ward: Ward, one: Replica) -> None:
        one.notify()
        answer = one.notify("resolved")
        assert (answer.outcome, answer.reason, answer.remediation) == ("ignored", "resolved", NAME)
        assert ward.end == ("Cancelled", "the alert has resolved")
        assert ward.remediation().phase == "Cancelled"

    def test_not_what_another_alert_asked_for(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.notify("resolved", "f2")
        assert ward.ledger.pending is not None

    def test_with_nothing_open_nothing_is_written(self, ward: Ward, one: Replica) -> None:
        assert one.notify("resolved").outcome == "ignored"
        assert not [asked for asked in ward.journal if asked.verb not in ("get", "list")]

    def test_a_run_is_never_interrupted(self, ward: Ward, one: Replica) -> None:
        def resolved() -> None:
            one.notify("resolved")

        for step in ("confirm", "delete", "replace", "verify"):
            ward.on_step(step, resolved)
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")

    def test_with_a_lost_answer(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("update", "configmaps", lost=True)
        assert one.notify("resolved").outcome == "ignored"
        assert ward.end[0] == "Cancelled"
