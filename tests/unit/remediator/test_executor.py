"""The executor: the queue, approval, take-over, several replicas, what people make and delete, and the copies."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from foundation.observation import Database
from remediator import operations
from remediator.executor import OTHERS
from remediator.ledger import Breaker, Pause, Trigger, Wanted
from remediator.operations import Refusal
from remediator.words import PLAYBOOK, Phase, Reason
from simulator.api.resources import CONFIGMAPS
from tests.support.remediation import CLAIM, Ward, kill, replica

if TYPE_CHECKING:
    from tests.support.remediation import Replica

NAME = f"prod.{PLAYBOOK}.1"
BOTH = ["diego-api-0", "diego-api-1"]
APPROVAL: dict[str, Any] = {"mode": "approval", "steps": {"verify": {"dwell": "2s"}}}


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def one(ward: Ward) -> Replica:
    return replica(ward)


@pytest.fixture
def asking(ward: Ward) -> Replica:
    """In mode approval."""
    return replica(ward, playbook=APPROVAL)


def now(ward: Ward) -> datetime:
    return datetime.fromtimestamp(int(ward.clock.wall()), UTC)


def said(found: Replica, status: str) -> None:
    found.notify(status)


def approve(found: Replica, by: str = "olga") -> None:
    operations.approve(found.site, NAME, by, found.ward.remediation().version)


def events(ward: Ward, name: str) -> list[tuple[object, object]]:
    """Reason and message of those about one Remediation."""
    told = [asked.body for asked in ward.asked("create", "events")]
    return [(body["reason"], body["message"]) for body in told if body["involvedObject"]["name"] == name]


def breaker(ward: Ward) -> None:
    ward.put_ledger(breaker=Breaker(since=now(ward), why="it failed", remediation="prod.x.9"))


class TestQueue:
    def test_an_empty_one_is_no_work(self, ward: Ward, one: Replica) -> None:
        one.turn()
        assert not [asked for asked in ward.journal if asked.verb not in ("get", "list")]
        assert one.executor.latest is not None
        assert one.executor.problem == ""

    def test_a_run_of_ones_own_is_shown_while_it_is_under_way(self, ward: Ward, one: Replica) -> None:
        shown: list[str] = []

        def look() -> None:
            found = one.executor.latest
            shown.append(found.ledger.run.step if found and found.ledger.run else "nothing")

        for step in ("confirm", "delete", "verify"):
            ward.on_step(step, look)
        one.notify()
        assert one.until_closed()[0] == "Succeeded"
        assert shown[1:] == ["record", "active"]  # what was written last when the step's beginning is
        assert one.executor.latest is not None
        assert one.executor.latest.ledger.run is None

    def test_the_object_is_made_where_intake_could_not(self, ward: Ward, one: Replica) -> None:
        ward.on("create", "remediations", status=500)
        assert one.notify().outcome == "created"
        assert ward.objects() == {}
        assert one.until_closed()[0] == "Succeeded"
        assert ward.remediation().phase == "Succeeded"
        assert ward.remediation().target == ward.ledger_name

    def test_an_entry_whose_object_was_deleted_is_closed(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.remove_remediation(NAME)
        assert asking.until_closed() == ("Cancelled", "the Remediation was deleted by hand")

    def test_and_one_made_anew_under_its_name_is_another(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.remove_remediation(NAME)
        ward.make_remediation(NAME)
        assert asking.until_closed()[0] == "Cancelled"

    def test_a_playbook_that_is_configured_no_more(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        two = replica(ward, "two", playbooks={})
        assert two.until_closed() == ("Cancelled", f"the playbook {PLAYBOOK} is not configured")

    @pytest.mark.parametrize(
        ("happens", "words", "again"),
        [
            ("pause", "paused by olga", False),
            ("breaker", "not before somebody acknowledges", False),
            ("cooldown", "the last run ended", True),
            ("limit", "the limit of 2 per ", True),
        ],
    )
    def test_admission_again_at_the_claim(
        self, ward: Ward, one: Replica, happens: str, words: str, again: bool
    ) -> None:
        one.notify()
        changes: dict[str, dict[str, Any]] = {
            "pause": {"pause": Pause(by="olga", why="x", since=now(ward))},
            "breaker": {"breaker": Breaker(since=now(ward), why="it failed")},
            "cooldown": {"last_end": now(ward)},
            "limit": {"starts": (now(ward), now(ward))},
        }
        ward.put_ledger(**changes[happens])
        one.turn()
        assert (ward.end[0], ward.end[1].startswith(words)) == ("Cancelled", True)
        assert ward.remediation().phase == "Cancelled"
        wanted = ward.ledger.wanted
        assert (wanted is not None) is again
        assert wanted is None or wanted.until > now(ward) + timedelta(minutes=24 if happens == "cooldown" else 74)
        assert ward.ledger.refusals
        assert ward.deletions(status=None) == []

    def test_it_is_judged_on_the_swap_itself(self, ward: Ward, one: Replica) -> None:
        """A pause lands between the executor's read and its claim."""
        one.notify()

        def pause() -> None:
            ward.put_ledger(pause=Pause(by="olga", why="x", since=now(ward)))

        ward.on("get", "remediations", name=NAME, before=pause)
        one.turn()
        assert ward.end == ("Cancelled", "paused by olga: x")
        assert ward.ledger.epoch == 0

    def test_mode_off(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        two = replica(ward, "two", playbook={"mode": "off"})
        assert two.until_closed() == ("Cancelled", "the playbook's mode is off")

    def test_of_two_modes_the_stricter(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.edit_remediation(NAME, spec={"mode": "auto"})
        two = replica(ward, "two", playbook=APPROVAL)
        two.turn()
        assert ward.remediation().phase == "AwaitingApproval"


class TestApproval:
    def test_it_is_asked_for_shown_and_obeyed(self, ward: Ward, asking: Replica) -> None:
        asking.lookout.fresh()
        asking.notify()
        asking.turn(3)
        found = ward.remediation()
        assert found.phase == "AwaitingApproval"
        assert found.status["expires"] == "2027-01-15T09:00:00Z"
        assert found.status["verdictBefore"] == "locked_out"
        assert found.status["pods"] == [{"name": name} for name in BOTH]
        assert ward.deletions(status=None) == []
        approve(asking)
        assert asking.until_closed()[0] == "Succeeded"
        assert ward.remediation().status["approvedBy"] == "olga"

    def test_rejected(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        operations.reject(asking.site, NAME, "olga", ward.remediation().version)
        assert asking.until_closed() == ("Cancelled", "rejected by olga")
        assert ward.deletions(status=None) == []

    def test_expired(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.clock.advance(3601)
        assert asking.until_closed(3) == ("Expired", "nobody approved in time")
        assert ward.remediation().phase == "Expired"
        with pytest.raises(Refusal, match="awaits no approval"):
            approve(asking)

    def test_one_given_in_time_stands(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.clock.advance(3590)
        approve(asking)
        ward.clock.advance(60)
        assert asking.until_closed()[0] == "Succeeded"

    def test_one_given_while_it_expires_wins(self, ward: Ward, asking: Replica) -> None:
        """The executor has read "expired, not approved"; the approval is written before its own word."""
        asking.notify()
        asking.turn()
        two = replica(ward, "two", playbook=APPROVAL)
        ward.clock.advance(3598)

        def approved() -> None:
            two.site.remediations.write_spec(
                NAME, {"approval": {"state": "approved", "by": "olga"}}, ward.remediation().version
            )

        ward.clock.advance(10)
        ward.on("patch", "remediations/status", who="one", before=approved)
        asking.executor.turn()
        assert ward.remediation().phase == "AwaitingApproval"
        assert ward.ledger.pending is not None
        assert asking.until_closed()[0] == "Succeeded"

    def test_one_given_after_it_expired_is_refused(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        version = ward.remediation().version
        ward.clock.advance(3700)
        with pytest.raises(Refusal, match="has expired"):
            operations.approve(asking.site, NAME, "olga", version)
        asking.turn()
        assert ward.end[0] == "Expired"

    def test_a_crash_between_the_two_writes_of_an_expiry(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.clock.advance(3700)
        ward.on("patch", "remediations/status", after=kill)
        asking.dies()
        assert ward.ledger.pending is not None
        two = replica(ward, "two", playbook=APPROVAL)
        assert two.until_closed() == ("Expired", "nobody approved in time")

    def test_one_from_before_the_question_does_not_count(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        ward.edit_remediation(NAME, spec={"approval": {"state": "approved", "by": "eve"}})
        asking.turn(5)
        assert ward.remediation().phase == "AwaitingApproval"
        assert not ward.remediation().approval
        assert ward.ledger.epoch == 0

    def test_one_that_a_made_up_object_carries_does_not_count(self, ward: Ward, asking: Replica) -> None:
        ward.make_remediation("prod.by-hand.1", approval={"state": "approved", "by": "eve"})
        asking.turn(5)
        assert ward.objects()["prod.by-hand.1"].phase == "AwaitingApproval"
        assert ward.ledger.epoch == 0

    def test_nor_where_only_the_verdict_asks(self, ward: Ward, one: Replica) -> None:
        ward.signals["database"] = Database.NOT_CONFIGURED
        ward.make_remediation("prod.by-hand.1", approval={"state": "approved", "by": "eve"})
        one.turn(5)
        assert ward.objects()["prod.by-hand.1"].phase == "AwaitingApproval"
        assert ward.deletions(status=None) == []

    def test_paused_while_waiting(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        operations.pause(asking.site, "otto", "maintenance")
        asking.turn()
        assert ward.end == ("Cancelled", "paused by otto: maintenance")
        with pytest.raises(Refusal):
            approve(asking)

    def test_the_alert_resolves_while_waiting(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        asking.notify("resolved")
        assert ward.end == ("Cancelled", "the alert has resolved")

    def test_another_replica_asks_only_once(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        expires = ward.remediation().status["expires"]
        ward.clock.advance(60)
        two = replica(ward, "two", playbook=APPROVAL)
        two.turn(2)
        assert ward.remediation().status["expires"] == expires

    def test_two_that_ask_at_once_ask_the_same(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        two = replica(ward, "two", playbook={**APPROVAL, "cooldown": "1h"}, approval_expires="2h")
        ward.on("get", "configmaps", who="one", skip=1, before=two.executor.turn)
        asking.turn()
        pending = ward.ledger.pending
        assert pending is not None
        assert pending.expires == now(ward).replace(hour=10, minute=0, second=0), "who was first has asked"
        assert ward.remediation().status["expires"] == "2027-01-15T10:00:00Z"

    def test_the_question_with_a_lost_answer(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        ward.on("update", "configmaps", lost=True)
        asking.turn()
        assert ward.remediation().phase == "AwaitingApproval"


class TestAsk:
    """A verdict that needs a person, in mode auto."""

    @pytest.fixture
    def one(self, ward: Ward) -> Replica:
        ward.signals["database"] = Database.NOT_CONFIGURED
        return replica(ward)

    def test_the_run_goes_back_into_the_queue(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.turn()
        ledger = ward.ledger
        assert ledger.run is None
        assert ledger.pending is not None
        assert ledger.pending.why.startswith("locked_out, restart ask: ")
        found = ward.remediation()
        assert (found.phase, found.status["message"]) == ("AwaitingApproval", ledger.pending.why)
        assert ledger.starts == ()
        assert ward.deletions(status=None) == []
        one.turn(5)
        assert ward.ledger.epoch == 1, "nothing begins by itself"

    def test_approved_it_runs_with_its_whole_story(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.turn()
        approve(one)
        assert one.until_closed() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        steps = ward.remediation().status["steps"]
        assert isinstance(steps, list)
        assert [step["result"] for step in steps[:2]] == ["ask", "confirmed"]
        assert ward.remediation().status["approvedBy"] == "olga"

    def test_rejected(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.turn()
        operations.reject(one.site, NAME, "olga", ward.remediation().version)
        assert one.until_closed()[0] == "Cancelled"

    def test_expired(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.turn()
        ward.clock.advance(3700)
        assert one.until_closed()[0] == "Expired"
        assert one.counted("stager_remediations_total", foundation="prod", playbook=PLAYBOOK, outcome="Expired") == 1

    def test_with_a_lost_answer(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("confirm", lambda: None)
        ward.on("update", "configmaps", skip=3, lost=True)
        one.turn(2)
        assert ward.remediation().phase == "AwaitingApproval"
        approve(one)
        assert one.until_closed()[0] == "Succeeded"


class TestTakeOver:
    def test_not_before_the_claim_is_over(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two = replica(ward, "two")
        died = ward.clock()
        while ward.ledger.epoch == 1:
            two.turn()
        assert ward.asked("update", "configmaps", "two")[0].at - died > CLAIM
        assert ward.end[0] == "Succeeded"

    def test_never_from_a_holder_that_lives(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two = replica(ward, "two")
        for beat in range(40):
            ward.put_ledger(beat=1000 + beat)
            two.turn()
        assert ward.ledger.epoch == 1

    def test_a_slow_read_makes_no_claim_older(self, ward: Ward, one: Replica) -> None:
        """What was renewed during the read counts from after it."""
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two = replica(ward, "two")
        ward.on("get", "configmaps", who="two", before=lambda: ward.clock.advance(CLAIM))
        two.turn()
        seen = ward.clock()
        while ward.ledger.epoch == 1:
            two.turn()
        assert ward.asked("update", "configmaps", "two")[0].at - seen > CLAIM - 3

    def test_only_one_of_two_gets_it(self, ward: Ward, one: Replica, caplog: pytest.LogCaptureFixture) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two, three = replica(ward, "two"), replica(ward, "three")
        two.turn()
        three.turn()
        ward.clock.advance(CLAIM + 1)
        # Both have seen it expire; two is first while three is about to write.
        ward.on("get", "configmaps", who="three", skip=1, before=two.executor.turn)
        with caplog.at_level(logging.INFO, "remediator.audit"):
            three.executor.turn()
        assert ward.ledger.epoch == 2
        assert "somebody else went on with the run" in caplog.text or "the run is over" in caplog.text
        assert ward.deletions() == BOTH

    def test_what_another_has_just_taken_is_anothers(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two, three = replica(ward, "two"), replica(ward, "three")
        two.turn()
        three.turn()
        ward.clock.advance(CLAIM + 1)
        ward.on("update", "configmaps", who="two", after=kill)
        ward.on("get", "configmaps", who="three", skip=1, before=two.dies)
        three.executor.turn()
        assert (ward.ledger.holder, ward.ledger.epoch) == ("two", 2)

    def test_with_a_lost_answer(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        two = replica(ward, "two")
        ward.on("update", "configmaps", who="two", lost=True)
        assert two.until_closed()[0] == "Succeeded"
        assert ward.ledger.epoch == 2

    def test_a_process_that_failed_goes_on_after_its_own_claim(self, ward: Ward, one: Replica) -> None:
        ward.on("list", "pods", times=-1)
        one.notify()
        ward.on_step("evidence", lambda: setattr(ward, "down", True))
        one.turn()
        ward.clock.advance(CLAIM)
        ward.down = False
        assert one.until_closed()[0] == "Succeeded"
        assert ward.ledger.epoch == 2

    def test_after_a_fault_of_ours_too(
        self, ward: Ward, one: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        one.notify()
        real = one.lookout.fresh
        monkeypatch.setattr(one.lookout, "fresh", lambda: 1 / 0)
        one.turn()
        assert "the executor failed" in caplog.text
        monkeypatch.setattr(one.lookout, "fresh", real)
        assert one.until_closed()[0] == "Succeeded"

    def test_a_playbook_that_is_configured_no_more_is_seen_to_its_end(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", name=BOTH[1], before=kill)
        one.dies()
        two = replica(ward, "two", playbooks={})
        assert two.until_closed() == ("Succeeded", "1 of 2 pods restarted; BBS answers")

    def test_one_that_this_program_does_not_know_is_left_alone(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on_step("evidence", kill)
        one.dies()
        ward.put_ledger(run=ward.run.model_copy(update={"playbook": "of-a-newer-release"}))
        two = replica(ward, "two")
        two.turn(60)
        assert ward.ledger.epoch == 1

    def test_a_run_under_a_name_that_is_gone_is_taken_in_the_end(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", name=BOTH[1], before=kill)
        one.dies()
        died = ward.clock()
        renamed = replica(ward, "two", name="production")
        assert renamed.until_closed()[0] == "Succeeded"
        assert ward.clock() - died > OTHERS * CLAIM

    def test_an_entry_under_a_name_that_is_gone_expires(self, ward: Ward, one: Replica) -> None:
        one.notify()
        renamed = replica(ward, "two", name="production")
        renamed.turn(3)
        assert ward.ledger.pending is not None
        ward.clock.advance(3700)
        renamed.turn()
        assert ward.end == ("Expired", "no remediator of prod took it")


class TestSeveral:
    def test_two_executors_run_it_once(self, ward: Ward, one: Replica) -> None:
        two = replica(ward, "two")
        one.notify()
        ward.on("get", "remediations", name=NAME, who="one", before=two.executor.turn)
        one.executor.turn()
        one.turn(3)
        assert ward.deletions(status=None) == BOTH
        assert ward.end[0] == "Succeeded"
        assert ward.ledger.epoch == 1

    def test_a_claim_with_a_lost_answer_is_ours(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("update", "configmaps", lost=True)
        one.executor.turn()
        assert ward.end[0] == "Succeeded"
        assert ward.ledger.epoch == 1

    def test_two_names_of_one_target_meet(self, ward: Ward, one: Replica) -> None:
        alias = replica(ward, "two", name="alias")
        assert one.notify().outcome == "created"
        answer = alias.notify(foundation="alias")
        assert (answer.outcome, answer.remediation) == ("duplicate", NAME)
        alias.turn(3)
        assert ward.ledger.epoch == 0, "each takes its own"
        one.turn()
        assert ward.deletions() == BOTH
        assert alias.notify(foundation="alias").reason == "cooldown"

    def test_a_replica_whose_clock_is_wrong_leaves_it_to_others(self, ward: Ward, asking: Replica) -> None:
        wrong = replica(ward, "two", skew=3600.0, playbook=APPROVAL)
        asking.notify()
        asking.turn()
        wrong.turn(3)
        assert "our clock is 3600 s ahead" in wrong.executor.problem
        assert ward.ledger.pending is not None
        approve(asking)
        wrong.turn(3)
        assert ward.ledger.pending is not None
        assert asking.until_closed()[0] == "Succeeded"

    def test_nor_does_it_make_again_what_was_deleted_by_hand(self, ward: Ward) -> None:
        wrong = replica(ward, skew=3600.0)
        right = replica(ward, "two")
        right.notify()
        wrong.turn()
        ward.remove_remediation(NAME)
        wrong.turn()
        assert ward.objects() == {}
        assert right.until_closed() == ("Cancelled", "the Remediation was deleted by hand")
        assert ward.deletions(status=None) == []

    def test_nor_does_an_answer_without_a_date_close_anything(self, ward: Ward, one: Replica) -> None:
        one.notify()
        one.client.dates = False
        one.turn(2)
        assert ward.ledger.pending is not None
        assert ward.deletions(status=None) == []
        one.client.dates = True
        assert one.until_closed()[0] == "Succeeded"


class TestByHand:
    def test_it_gets_the_full_admission_and_runs(self, ward: Ward, one: Replica) -> None:
        ward.make_remediation("prod.by-hand.7")
        assert not ward.asked("update", "configmaps")
        one.turn(3)
        assert ward.end[0] == "Succeeded"
        assert ward.objects()["prod.by-hand.7"].phase == "Succeeded"
        assert ward.ledger.next_n == 8
        one.turn(3)
        assert len(ward.ledger.starts) == 1, "it is not taken twice"
        assert events(ward, "prod.by-hand.7")[0] == ("Accepted", "made by hand")

    @pytest.mark.parametrize("mode", ["approval", "never-heard-of-it"])
    def test_a_stricter_mode_is_obeyed(self, ward: Ward, one: Replica, mode: str) -> None:
        ward.make_remediation("prod.by-hand.1", mode=mode)
        one.turn(3)
        pending = ward.ledger.pending
        assert pending is not None
        assert pending.phase is Phase.AWAITING_APPROVAL

    def test_a_laxer_mode_is_not(self, ward: Ward, asking: Replica) -> None:
        ward.make_remediation("prod.by-hand.1", mode="auto")
        asking.turn(3)
        assert ward.objects()["prod.by-hand.1"].phase == "AwaitingApproval"

    def test_refused(self, ward: Ward, one: Replica) -> None:
        breaker(ward)
        ward.make_remediation("prod.by-hand.7")
        one.turn()
        found = ward.objects()["prod.by-hand.7"]
        assert found.phase == "Cancelled"
        assert found.status["message"] == "not before somebody acknowledges: it failed"
        assert ward.ledger.refusals[-1].reason is Reason.BREAKER
        assert found.status["finished"]
        assert ward.ledger.next_n == 8, "its name is used up"
        one.turn(2)
        assert ward.ledger.refusals[-1].count == 1
        assert events(ward, "prod.by-hand.7") == [("Cancelled", "not before somebody acknowledges: it failed")]

    def test_not_judged_by_a_wrong_clock(self, ward: Ward) -> None:
        wrong = replica(ward, skew=-3600.0)
        ward.make_remediation("prod.by-hand.7")
        wrong.turn()
        assert ward.objects()["prod.by-hand.7"].phase == ""

    def test_of_a_playbook_that_is_not_there(self, ward: Ward, one: Replica) -> None:
        ward.make_remediation("prod.by-hand.1", playbook="rm-rf")
        one.turn(2)
        found = ward.objects()["prod.by-hand.1"]
        assert (found.phase, found.status["message"]) == ("Cancelled", "there is no playbook 'rm-rf' here")
        assert found.status["finished"]
        assert events(ward, "prod.by-hand.1") == [("Cancelled", "there is no playbook 'rm-rf' here")]

    def test_of_another_foundation(self, ward: Ward, one: Replica) -> None:
        ward.make_remediation("test.by-hand.1", foundation="test")
        one.turn(2)
        assert ward.objects()["test.by-hand.1"].phase == ""

    def test_it_waits_for_what_is_open(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        ward.make_remediation("prod.by-hand.7")
        asking.turn(2)
        assert ward.objects()["prod.by-hand.7"].phase == ""

    def test_two_replicas_take_it_once(self, ward: Ward, asking: Replica) -> None:
        ward.make_remediation("prod.by-hand.7")
        two = replica(ward, "two", playbook=APPROVAL)
        ward.on("get", "configmaps", who="one", skip=1, before=two.executor.turn)
        asking.turn()
        pending = ward.ledger.pending
        assert pending is not None
        assert (pending.name, ward.ledger.next_n) == ("prod.by-hand.7", 8)

    def test_a_late_object_of_an_old_request_is_none(self, ward: Ward, one: Replica) -> None:
        """Intake was frozen between the ledger and the object, and its request is long over."""
        ward.on("create", "remediations", who="one", status=500)
        one.notify()
        one.notify("resolved")
        ward.put_ledger(next_n=4, last=None)
        late = one.site.remediations.create(NAME, {"foundation": "prod", "playbook": PLAYBOOK}, ward.ledger_name)
        one.turn(3)
        assert ward.objects()[late.name].phase == "Cancelled"
        assert ward.ledger.open is None
        assert ward.ledger.epoch == 0


class TestRetry:
    def test_after_the_cooldown_without_another_notification(self, ward: Ward, one: Replica) -> None:
        one.play()
        ward.sicken()
        ward.clock.advance(130)
        ward.put_ledger(last_success=None)
        assert one.notify().reason == "cooldown"
        ends = ward.ledger.last_end
        assert ends is not None
        while len(ward.ledger.starts) < 2:
            one.turn()
        assert ward.ledger.starts[1] >= ends + timedelta(minutes=10)
        assert one.until_closed()[0] == "Succeeded"

    def test_a_cooldown_longer_than_the_patience(self, ward: Ward) -> None:
        one = replica(ward, playbook={"cooldown": "1h"}, retry_for="60s")
        one.play()
        ward.sicken()
        ward.put_ledger(last_success=None)
        ward.clock.advance(130)
        assert one.notify().reason == "cooldown"
        one.turn(40, apart=100)
        assert len(ward.ledger.starts) == 2

    def test_after_a_wait_that_was_too_long(self, ward: Ward, one: Replica) -> None:
        ward.signals["settled"] = False
        assert one.play()[0] == "WouldNotHelp"
        del ward.signals["settled"]
        one.turn(200)
        assert [found.phase for found in ward.objects().values()] == ["WouldNotHelp", "Succeeded"]

    def test_not_once_the_alert_has_resolved(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(last_end=now(ward))
        assert one.notify().reason == "cooldown"
        before = ward.ledger
        one.notify("resolved")
        assert (before.wanted is None, ward.ledger.wanted is None) == (False, True)

    def test_nor_where_it_resolved_during_the_run(self, ward: Ward, one: Replica) -> None:
        ward.signals["settled"] = False
        ward.at_look[3] = lambda: said(one, "resolved")
        assert one.play()[0] == "WouldNotHelp"
        assert ward.ledger.wanted is None

    def test_but_where_it_fires_again_during_the_run(self, ward: Ward, one: Replica) -> None:
        ward.signals["settled"] = False
        ward.at_look[3] = lambda: said(one, "resolved")
        ward.at_look[4] = lambda: said(one, "firing")
        assert one.play()[0] == "WouldNotHelp"
        assert ward.ledger.wanted is not None

    def test_it_is_given_up_in_time(self, ward: Ward) -> None:
        one = replica(ward, retry_for="60s")
        trigger = Trigger(alertname="A", fingerprint="f1")
        until = now(ward) + timedelta(seconds=60)
        wanted = Wanted(foundation="prod", playbook=PLAYBOOK, trigger=trigger, reason=Reason.COOLDOWN, until=until)
        ward.put_ledger(wanted=wanted, last_end=now(ward))
        one.turn()
        kept = ward.ledger.wanted
        assert kept is not None
        ward.clock.advance(61)
        one.turn()
        assert ward.ledger.wanted is None
        assert ward.ledger.open is None

    def test_one_of_a_playbook_that_is_gone(self, ward: Ward) -> None:
        wanted = Wanted(
            foundation="prod", playbook=PLAYBOOK, trigger=Trigger(), reason=Reason.COOLDOWN, until=now(ward)
        )
        ward.put_ledger(wanted=wanted.model_copy(update={"until": now(ward) + timedelta(hours=1)}))
        replica(ward, playbooks={}).turn()
        assert ward.ledger.wanted is None

    def test_one_of_another_name_is_left_to_it(self, ward: Ward, one: Replica) -> None:
        until = now(ward) + timedelta(hours=1)
        wanted = Wanted(foundation="x", playbook=PLAYBOOK, trigger=Trigger(), reason=Reason.COOLDOWN, until=until)
        ward.put_ledger(wanted=wanted)
        one.turn(2)
        assert ward.ledger.wanted == wanted
        assert ward.ledger.open is None

    def test_two_replicas_retry_it_once(self, ward: Ward, asking: Replica) -> None:
        until = now(ward) + timedelta(hours=1)
        trigger = Trigger(alertname="A", fingerprint="f1")
        ward.put_ledger(
            wanted=Wanted(foundation="prod", playbook=PLAYBOOK, trigger=trigger, reason=Reason.CLOCK, until=until)
        )
        two = replica(ward, "two", playbook=APPROVAL)
        ward.on("get", "configmaps", who="one", skip=1, before=two.executor.turn)
        asking.turn()
        assert ward.ledger.next_n == 2
        assert ward.ledger.pending is not None


class TestHistory:
    def test_a_lost_ledger_opens_the_breaker(self, ward: Ward, one: Replica) -> None:
        one.play()
        ward.remove_ledger()
        answer = one.notify()
        assert (answer.outcome, answer.reason) == ("refused", "breaker")
        assert ward.ledger.next_n == 2, "no name is given twice"
        operations.acknowledge(one.site, "prod", "olga", "the ConfigMap was deleted by mistake")
        assert one.notify().remediation == f"prod.{PLAYBOOK}.2"

    def test_a_first_ledger_does_not(self, ward: Ward, one: Replica) -> None:
        ward.make_remediation("prod.by-hand.1")
        assert one.notify().outcome == "created"

    def test_the_oldest_are_pruned_and_no_limit_with_them(self, ward: Ward) -> None:
        one = replica(ward, keep=2)
        for n in range(1, 6):
            ward.make_remediation(f"prod.{PLAYBOOK}.{n}")
            ward.edit_remediation(f"prod.{PLAYBOOK}.{n}", "status", status={"phase": "Succeeded"})
        ward.put_ledger(starts=(now(ward),) * 2, next_n=6)
        one.turn()
        assert sorted(ward.objects()) == [f"prod.{PLAYBOOK}.4", f"prod.{PLAYBOOK}.5"]
        assert one.notify().reason == "limit"

    def test_one_that_may_not_be_pruned_stays_and_is_told_once(
        self, ward: Ward, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = replica(ward, keep=1)
        for number in (1, 2):
            ward.make_remediation(f"demo.{PLAYBOOK}.{number}")
            ward.edit_remediation(f"demo.{PLAYBOOK}.{number}", "status", status={"phase": "Succeeded"})
        ward.on("delete", "remediations", status=403, times=-1)
        worker.turn(3)
        assert len(ward.objects()) == 2
        assert worker.executor.problem == ""
        assert [one.getMessage() for one in caplog.records if "an ended Remediation stays" in one.getMessage()] == [
            (
                f"an ended Remediation stays: cannot delete remediations demo.{PLAYBOOK}.1 in namespace cf: "
                "403 Forbidden: so the test wants it"
            )
        ]

    def test_another_that_pruned_first_is_no_problem(self, ward: Ward) -> None:
        one = replica(ward, keep=1)
        for n in (1, 2, 3):
            ward.make_remediation(f"prod.{PLAYBOOK}.{n}")
            ward.edit_remediation(f"prod.{PLAYBOOK}.{n}", "status", status={"phase": "Expired"})
        ward.on("delete", "remediations", status=404)
        one.turn()
        assert one.executor.problem == ""
        assert len(ward.objects()) == 2

    def test_neither_open_ones_nor_other_foundations_are_pruned(self, ward: Ward) -> None:
        one = replica(ward, keep=1, playbook=APPROVAL)
        ward.make_remediation("test.x.1", foundation="test")
        ward.edit_remediation("test.x.1", "status", status={"phase": "Failed"})
        one.notify()
        one.turn(3)
        assert sorted(ward.objects()) == [NAME, "test.x.1"]


class TestRepair:
    def test_a_run_that_no_ledger_knows(self, ward: Ward, one: Replica) -> None:
        ward.make_remediation("prod.x.9")
        ward.edit_remediation("prod.x.9", "status", status={"phase": "Running", "step": "delete", "holder": "dead"})
        one.turn()
        found = ward.objects()["prod.x.9"]
        assert (found.phase, found.status["step"], found.status["holder"]) == ("Cancelled", "", "")

    def test_the_copy_of_what_ended(self, ward: Ward, one: Replica) -> None:
        one.play()
        ward.edit_remediation(NAME, "status", status={"phase": "Running"})
        one.turn()
        assert ward.remediation().phase == "Succeeded"

    def test_the_copy_of_what_waits(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.edit_remediation(NAME, "status", status={"phase": "Pending", "expires": "2099-01-01T00:00:00Z"})
        asking.turn()
        assert ward.remediation().phase == "AwaitingApproval"
        assert ward.remediation().status["expires"] == "2027-01-15T09:00:00Z"

    def test_an_expiry_put_off_by_hand_is_none(self, ward: Ward, asking: Replica) -> None:
        asking.notify()
        asking.turn()
        ward.clock.advance(3700)
        ward.edit_remediation(NAME, "status", status={"expires": "2099-01-01T00:00:00Z"})
        asking.turn()
        assert ward.end[0] == "Expired"

    def test_nothing_newer_is_overwritten(self, ward: Ward, one: Replica) -> None:
        """The list was read, the process slept; meanwhile the run ended and was told."""
        ward.make_remediation("prod.x.9")
        ward.edit_remediation("prod.x.9", "status", status={"phase": "Running"})

        def ended() -> None:
            ward.edit_remediation("prod.x.9", "status", status={"phase": "Succeeded"})

        ward.on("get", "configmaps", before=ended)
        one.turn()
        assert ward.objects()["prod.x.9"].phase == "Succeeded"


class TestTurns:
    def test_an_unknown_layout_is_waited_for(self, ward: Ward, one: Replica, caplog: pytest.LogCaptureFixture) -> None:
        one.lookout.unknown_layout = True
        one.turn(3)
        assert one.executor.problem == "the layout of prod is not known: no look was made yet"
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1, "told once"
        one.lookout.unknown_layout = False
        with caplog.at_level(logging.INFO):
            one.turn()
        assert one.executor.problem == ""
        assert "the state can be read and written again" in caplog.text

    @pytest.mark.parametrize("status", [403, 500])
    def test_a_state_that_cannot_be_read_is_counted(self, ward: Ward, one: Replica, status: int) -> None:
        ward.on("get", "configmaps", times=-1, status=status)
        one.turn(2)
        assert "cannot get configmaps" in one.executor.problem
        assert one.counted("stager_remediator_state_errors_total") == 2

    def test_a_ledger_that_is_not_understood_is_left_alone(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.store.update(CONFIGMAPS, "cf", ward.ledger_name, lambda found: {**found, "data": {"ledger": "{"}})
        one.turn(2)
        assert "not understood" in one.executor.problem
        assert ward.deletions(status=None) == []

    def test_it_works_until_it_is_stopped(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.clock.each.append(lambda: one.stopping.set() if ward.clock() > 1100 else None)
        one.executor.work()
        assert ward.end[0] == "Succeeded"

    def test_sigterm_while_the_api_server_is_away_does_not_spin(self, ward: Ward, one: Replica) -> None:
        def gone() -> None:
            one.stopping.set()
            ward.down = True

        one.notify()
        ward.on_step("replace", gone)
        one.executor.turn()
        after = [asked for asked in ward.journal if asked.status == 0]
        assert len(after) < 60
        assert ward.clock() - 1000 < 2 * CLAIM
