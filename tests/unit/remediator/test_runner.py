"""One run against everything that can change under it: every ending of every step, and what was done until then."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from foundation.kube.errors import Conflict, Forbidden, Target, Unreachable
from foundation.observation import Database, PodProbe, PodState, Witness
from remediator.ledger import Pause, Success
from remediator.run.deleting import FENCE_PATIENCE
from remediator.seeing import foreign_owner
from remediator.words import FENCE, PLAYBOOK, Step
from tests.support.looks import probe
from tests.support.remediation import CLAIM, START, Rule, Ward, kill, replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.remediation import Replica

NAME = f"prod.{PLAYBOOK}.1"
BOTH = ["diego-api-0", "diego-api-1"]
STEPS = [str(step) for step in Step if step is not Step.FENCE]
BEFORE = ("confirm", "evidence", "record")
"""The steps before anything is deleted."""
ONE_BY_ONE: dict[str, Any] = {"strategy": "one-by-one", "steps": {"verify": {"dwell": "2s"}}}


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def one(ward: Ward) -> Replica:
    return replica(ward)


def pause(ward: Ward) -> None:
    ward.put_ledger(pause=Pause(by="olga", why="maintenance", since=datetime.fromtimestamp(START, UTC)))


def is_sound(ward: Ward, first: dict[str, str]) -> None:
    """What holds of every run: only pods of its start are deleted, once each, announced and under preconditions."""
    taken = [asked for asked in ward.asked("delete", "pods") if asked.status == 200 and not asked.dry_run]
    uids = [asked.body["preconditions"]["uid"] for asked in taken]
    assert len(uids) == len(set(uids))
    assert set(uids) <= set(first.values())
    assert all(asked.body["preconditions"]["resourceVersion"] for asked in taken)
    assert ward.ledger.run is None


class TestWholeRun:
    def test_the_runbook(self, ward: Ward, one: Replica, caplog: pytest.LogCaptureFixture) -> None:
        first = ward.uids()
        with caplog.at_level(logging.INFO, "remediator.audit"):
            assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH
        is_sound(ward, first)
        assert set(ward.uids().values()).isdisjoint(first.values())
        ledger = ward.ledger
        assert (len(ledger.starts), ledger.last_end is not None, ledger.breaker) == (1, True, None)
        assert ledger.last_success is not None
        assert ledger.last_success.verdict == "locked_out"
        status = ward.remediation().status
        assert status["phase"] == "Succeeded"
        steps = status["steps"]
        assert isinstance(steps, list)
        assert [step["name"] for step in steps] == STEPS
        assert all(step["finished"] and step["result"] for step in steps)
        assert status["evidence"] == f"{NAME}.evidence"
        assert (status["verdictBefore"], status["verdictAfter"]) == ("locked_out", "healthy")
        assert one.counted("stager_remediator_pods_deleted_total", foundation="prod", role="bbs") == 2
        ended = {"foundation": "prod", "playbook": PLAYBOOK, "outcome": "Succeeded"}
        assert one.counted("stager_remediations_total", **ended) == 1
        assert one.counted("stager_remediation_duration_seconds_count", foundation="prod", playbook=PLAYBOOK) == 1
        assert {record.__dict__["decision"] for record in caplog.records} >= {"claimed", "step", "deleted", "closed"}
        about = {asked.body["involvedObject"]["kind"] for asked in ward.asked("create", "events")}
        assert about == {"Remediation", "StatefulSet"}

    def test_two_looks_an_interval_apart_come_before_the_first_deletion(self, ward: Ward, one: Replica) -> None:
        one.play()
        delete = ward.asked("delete", "pods")[0]
        looks = [asked.at for asked in ward.asked("list", "pods") if asked.at < delete.at]
        assert len(looks) >= 3
        assert looks[1] - looks[0] >= one.lookout.interval
        assert delete.at - looks[-1] < CLAIM / 2

    def test_each_deletion_is_announced_before_it_is_sent(self, ward: Ward, one: Replica) -> None:
        announced: list[tuple[str, ...]] = []
        ward.on("delete", "pods", times=-1, before=lambda: announced.append(ward.run.intents))
        first = ward.uids()
        one.play()
        assert announced == [(first[BOTH[0]],), (first[BOTH[0]], first[BOTH[1]])]

    def test_one_by_one_stops_when_healthy(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        first = ward.uids()
        assert one.play() == ("Succeeded", "1 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH[:1]
        assert FENCE in ward.annotations(BOTH[1]), "what was left is fenced"
        is_sound(ward, first)

    def test_one_by_one_goes_on_while_a_restart_would_help(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE, foundation={"settle": "10s"})
        ward.heals = False
        ward.on("delete", "pods", skip=1, before=lambda: setattr(ward, "heals", True))
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH
        times = [asked.at for asked in ward.asked("delete", "pods")]
        assert times[1] - times[0] > ward.starts, "the first was back before the second was taken"

    def test_a_locket_of_its_own_comes_first(self) -> None:
        ward = Ward("cfee-4")
        one = replica(ward, foundation={"settle": "10s"})
        assert one.play()[0] == "Succeeded"
        assert ward.deletions()[0] == "locket-0"
        assert ward.ledger.last is not None
        assert ward.remediation().status["strategy"] == "one-by-one", "the layout's own"

    def test_the_events_name_pods_verdict_and_run(self, ward: Ward, one: Replica) -> None:
        one.play()
        told = [asked.body for asked in ward.asked("create", "events")]
        on_set = [body["message"] for body in told if body["involvedObject"]["kind"] == "StatefulSet"]
        assert on_set == [f"{NAME} deleted {pod} (locked_out)" for pod in BOTH]

    def test_events_that_are_not_taken_stop_nothing(self, ward: Ward, one: Replica) -> None:
        ward.on("create", "events", times=-1, status=403)
        assert one.play()[0] == "Succeeded"

    def test_a_status_that_cannot_be_written_stops_nothing(self, ward: Ward, one: Replica) -> None:
        ward.on("patch", "remediations/status", times=-1, status=500)
        assert one.play()[0] == "Succeeded"
        assert ward.remediation().phase == ""
        ward.rules.clear()
        one.turn()
        assert ward.remediation().phase == "Succeeded", "the copy was repaired"


class TestDryRun:
    @pytest.fixture
    def one(self, ward: Ward) -> Replica:
        return replica(ward, playbook={"mode": "dry-run"})

    def test_every_step_but_the_deletion(self, ward: Ward, one: Replica) -> None:
        first = ward.uids()
        phase, message = one.play()
        assert (phase, message) == (
            "Succeeded",
            "dry run: would have deleted diego-api-0, diego-api-1; nothing was deleted",
        )
        assert ward.uids() == first
        assert ward.deletions(dry_run=True) == BOTH
        assert not ward.asked("patch", "pods"), "a rehearsal writes to no pod"
        ledger = ward.ledger
        assert (ledger.starts, ledger.last_end, ledger.last_success) == ((), None, None)
        assert ledger.backoff is not None

    @pytest.mark.parametrize("status", [404, 409, 429, 500])
    def test_what_passes_is_rehearsed_again(self, ward: Ward, one: Replica, status: int) -> None:
        ward.on("delete", "pods", status=status)
        assert one.play()[0] == "Succeeded"
        assert ward.ledger.breaker is None

    def test_what_does_not_pass_ends_it(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", times=-1, status=409)
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert "would have failed" in message
        assert ward.ledger.breaker is None

    def test_a_missing_permission_is_found(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", status=403)
        phase, message = one.play()
        assert phase == "Failed"
        assert "cannot delete pods diego-api-0" in message

    def test_one_that_is_taken_over_writes_to_no_pod(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", before=kill)
        one.notify()
        one.dies()
        two = replica(ward, "two", playbook={"mode": "dry-run"})
        assert two.until_closed()[0] == "Succeeded"
        assert not ward.asked("patch", "pods")


class TestConfirm:
    def test_healthy_needs_nothing(self, ward: Ward, one: Replica) -> None:
        ward.cure()
        phase, message = one.play()
        assert (phase, message) == ("NotNeeded", "healthy: diego-api-0 serves, and it alone.")
        assert not ward.asked("delete", "pods")
        assert ward.ledger.backoff is not None
        assert ward.ledger.starts == ()

    def test_a_verdict_of_wait_is_waited_for(self, ward: Ward, one: Replica) -> None:
        ward.signals["settled"] = False
        ward.at_look[10] = lambda: ward.signals.update(settled=True)
        assert one.play()[0] == "Succeeded"

    def test_but_not_for_ever(self, ward: Ward, one: Replica) -> None:
        ward.signals["settled"] = False
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith("still electing: ")
        assert 300 <= ward.clock() - 1000 < 320
        assert ward.ledger.wanted is not None, "it is tried again by itself"

    def test_a_no_that_stays_is_told(self, ward: Ward, one: Replica) -> None:
        ward.signals["database"] = Database.DOWN
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith("database_down: ")
        assert ward.looks == 2
        assert ward.ledger.wanted is None
        status = ward.remediation().status
        assert (status["verdictBefore"], status["verdictAfter"]) == ("", "database_down")
        assert isinstance(status["steps"], list)
        assert [(step["name"], step["result"], step["detail"]) for step in status["steps"]] == [
            ("confirm", "wouldnothelp", message)
        ]

    def test_a_no_seen_once_is_looked_at_again(self, ward: Ward, one: Replica) -> None:
        ward.signals["database"] = Database.DOWN
        ward.at_look[2] = lambda: ward.signals.update(database=Database.UP)
        assert one.play()[0] == "Succeeded"

    def test_two_that_serve_are_a_persons(self, ward: Ward, one: Replica) -> None:
        ward.probes = dict.fromkeys(BOTH, PodProbe.SERVES)
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith("split: ")

    def test_looks_that_never_agree_end(self, ward: Ward, one: Replica) -> None:
        def flip() -> None:
            down = ward.signals["database"] is Database.DOWN
            ward.signals["database"] = Database.UP if down else Database.DOWN
            ward.at_look[ward.looks + 1] = flip

        ward.at_look[1] = flip
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith("no two looks agreed, the last: ")
        assert ward.clock() - 1000 < 320

    def test_other_pods_under_the_same_verdict_do_not_agree(self, ward: Ward, one: Replica) -> None:
        def replaced() -> None:
            ward.heals = False
            ward.delete("diego-api-1")
            ward.clock.advance(140)
            ward.heals = True

        ward.at_look[2] = replaced
        assert one.play()[0] == "Succeeded"
        delete = ward.asked("delete", "pods")[0]
        assert len([asked for asked in ward.asked("list", "pods") if asked.at < delete.at]) == 4

    def test_blindness_is_waited_for(self, ward: Ward, one: Replica) -> None:
        ward.on("list", "pods", times=2, status=500)
        assert one.play()[0] == "Succeeded"

    def test_but_not_for_ever_either(self, ward: Ward, one: Replica) -> None:
        ward.on("list", "pods", times=-1, status=403)
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert "nothing could be seen: cannot list pods" in message

    def test_a_restart_that_does_not_hold_opens_the_breaker(self, ward: Ward, one: Replica) -> None:
        ago = datetime.fromtimestamp(START, UTC) - timedelta(minutes=50)
        ward.put_ledger(last_success=Success(at=ago, verdict="locked_out"))
        phase, message = one.play()
        assert (phase, message) == (
            "WouldNotHelp",
            "restart does not hold: locked_out again within an hour of a success",
        )
        assert ward.ledger.breaker is not None
        assert one.notify().reason.startswith("breaker")

    @pytest.mark.parametrize(("minutes", "verdict"), [(61, "locked_out"), (5, "hung")])
    def test_an_older_one_or_another_verdict_does_not(
        self, ward: Ward, one: Replica, minutes: int, verdict: str
    ) -> None:
        ago = datetime.fromtimestamp(START, UTC) - timedelta(minutes=minutes)
        ward.put_ledger(last_success=Success(at=ago, verdict=verdict))
        assert one.play()[0] == "Succeeded"

    @pytest.mark.parametrize(("status", "least"), [(403, 0), (500, 290)])
    def test_a_remediation_that_cannot_be_read(self, ward: Ward, one: Replica, status: int, least: float) -> None:
        one.notify()
        ward.on_step("confirm", lambda: ward.rules.append(blind))
        blind = Rule("get", "remediations", times=-1, status=status)
        phase, message = one.until_closed()
        assert phase == "Cancelled"
        assert "the Remediation cannot be read" in message
        assert least <= ward.clock() - 1000 < 320


class TestEvidence:
    def test_it_can_be_switched_off(self, ward: Ward) -> None:
        one = replica(ward, evidence=False)
        assert one.play()[0] == "Succeeded"
        assert ward.remediation().status["evidence"] == ""

    def test_it_is_tried_again(self, ward: Ward, one: Replica) -> None:
        target = Target("create", "configmaps")
        one.evidence.problems = [Unreachable("gone", target=target, retry=True)] * 3
        assert one.play()[0] == "Succeeded"
        assert one.evidence.saved == 1

    def test_without_it_nothing_is_deleted(self, ward: Ward, one: Replica) -> None:
        one.evidence.problems = [Unreachable("gone", target=Target("create", "configmaps"), retry=True)] * 1000
        phase, message = one.play()
        assert phase == "Failed"
        assert "nothing was deleted" in message
        assert not ward.asked("delete", "pods")
        assert ward.ledger.breaker is not None

    def test_a_missing_permission_is_not_tried_again(self, ward: Ward, one: Replica) -> None:
        one.evidence.problems = [Forbidden("no", target=Target("create", "configmaps"))] * 2
        assert one.play()[0] == "Failed"
        assert len(one.evidence.problems) == 1


class TestRecord:
    def test_pods_of_no_readable_statefulset_are_left_alone(self, ward: Ward, one: Replica) -> None:
        ward.on("list", "statefulsets", times=-1, status=403)
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert "belongs to a StatefulSet that could be read" in message
        assert not ward.asked("delete", "pods")

    def test_it_is_never_extended(self, ward: Ward, one: Replica) -> None:
        first = ward.uids()

        def scaled() -> None:
            ward.scale("diego-api", 3)
            ward.clock.advance(1)

        ward.on_step("delete", scaled)
        one.play()
        assert set(ward.deletions()) <= set(first)
        is_sound(ward, first)


class TestDelete:
    def test_a_pod_that_changed_is_looked_at_again(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", name=BOTH[0], before=lambda: ward.touch(BOTH[0]))
        first = ward.uids()
        assert one.play()[0] == "Succeeded"
        assert ward.deletions(status=409) == BOTH[:1]
        deletes = ward.asked("delete", "pods")
        between = [asked for asked in ward.asked("list", "pods") if deletes[0].at < asked.at < deletes[1].at]
        assert between, "it looked before the next DELETE"
        is_sound(ward, first)

    @pytest.mark.parametrize("fault", [{"status": 429, "retry_after": 3.0}, {"status": 500}, {"down": True}])
    def test_a_deletion_that_was_not_made_is_made_later(self, ward: Ward, one: Replica, fault: dict[str, Any]) -> None:
        ward.on("delete", "pods", **fault)
        first = ward.uids()
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        is_sound(ward, first)

    def test_one_whose_answer_was_lost_is_recorded_as_ours(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", name=BOTH[1], lost=True)
        first = ward.uids()
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH
        is_sound(ward, first)

    def test_after_a_lost_answer_a_long_grace_is_waited_out(self) -> None:
        ward = Ward(grace=600)
        ward.dies_after = None
        one = replica(ward)
        ward.on("delete", "pods", name=BOTH[0], lost=True)
        assert one.play()[0] == "Succeeded"
        assert ward.ledger.breaker is None

    def test_one_that_never_works_ends_the_run(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", times=-1, status=500)
        phase, message = one.play()
        assert phase == "Failed"
        assert "delete: cannot delete pods diego-api-0" in message
        assert ward.clock() - 1000 < 400

    def test_a_missing_permission_ends_it_at_once(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", status=403)
        phase, message = one.play()
        assert (phase, ward.ledger.breaker is not None) == ("Failed", True)
        assert message.startswith("delete: cannot delete pods diego-api-0 in namespace cf: 403")

    def test_somebody_elses_deletion_is_not_told_as_ours(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", name=BOTH[0], before=lambda: ward.delete(BOTH[0]))
        first = ward.uids()
        phase, message = one.play()
        assert phase in ("Succeeded", "NotNeeded")
        assert ward.deletions() in ([], [BOTH[1]])
        assert one.counted("stager_remediator_pods_deleted_total", foundation="prod", role="bbs") == len(
            ward.deletions()
        )
        is_sound(ward, first)
        assert "2 of 2" not in message

    def test_all_deleted_by_somebody_else(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", ward.runbook)
        assert one.play() == ("NotNeeded", "somebody else restarted the pods; BBS answers")
        assert ward.deletions(status=None) == []

    def test_somebody_elses_long_grace_is_no_failure(self) -> None:
        ward = Ward(grace=600)
        ward.dies_after = None
        one = replica(ward)
        ward.on_step("delete", ward.runbook)
        assert one.play()[0] == "NotNeeded"
        assert ward.ledger.breaker is None

    def test_a_replaced_pod_is_not_deleted(self, ward: Ward, one: Replica) -> None:
        """Its name is the recorded one's, its UID is not."""
        ward.dies_after, ward.starts, ward.heals = 0.1, 0.1, False

        def replaced() -> None:
            ward.delete(BOTH[0])
            ward.clock.advance(200)

        ward.on_step("delete", replaced)
        first = ward.uids()
        one.play()
        assert ward.deletions() == [BOTH[1]]
        is_sound(ward, first)

    def test_an_old_look_deletes_nothing(self, ward: Ward, one: Replica) -> None:
        """The announcement took longer than half the claim: it looks again before it deletes."""
        slow = ward.on("update", "configmaps", times=0, after=lambda: ward.clock.advance(CLAIM / 2))

        def announcing() -> None:
            slow.times = 1

        ward.at_look[3] = announcing
        assert one.play()[0] == "Succeeded"
        delete, looks = ward.asked("delete", "pods")[0], ward.asked("list", "pods")
        newest = max(asked.at for asked in looks if asked.at < delete.at)
        assert delete.at - newest < 2

    def test_a_look_that_always_takes_too_long_ends_the_run(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", lambda: setattr(ward, "look_seconds", CLAIM / 2 + 1))
        phase, message = one.play()
        assert (phase, message) == ("WouldNotHelp", "no look was young enough to delete on")
        assert ward.deletions(status=None) == []

    def test_healthy_before_the_first(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", ward.cure)
        assert one.play() == ("NotNeeded", "it became healthy before anything was deleted")
        assert ward.ledger.starts == ()

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"database": Database.DOWN}, "database_down"),
            ({"settled": False}, "electing"),
            ({"rollout": True}, "electing"),
            ({"database": Database.NOT_CONFIGURED}, "locked_out, restart ask"),
        ],
    )
    def test_another_verdict_before_the_first(
        self, ward: Ward, one: Replica, changes: dict[str, Any], word: str
    ) -> None:
        ward.on_step("delete", lambda: ward.signals.update(changes))
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith(word)
        assert ward.deletions(status=None) == []

    def test_two_that_serve_before_the_first(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", lambda: ward.probes.update(dict.fromkeys(BOTH, PodProbe.SERVES)))
        phase, message = one.play()
        assert phase == "WouldNotHelp"
        assert message.startswith("split")
        assert ward.deletions(status=None) == []

    def test_the_database_goes_after_the_first_of_two(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        ward.heals = False
        ward.on("delete", "pods", after=lambda: ward.signals.update(database=Database.DOWN))
        phase, message = one.play()
        assert phase == "Failed"
        assert message.startswith("delete: database_down, restart no: ")
        assert ward.deletions() == BOTH[:1]

    def test_blind_after_the_first_of_two(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        ward.heals = False

        def blind() -> None:
            if ward.serving() == "" and ward.deletions():
                ward.blind = "the watch is stale"
            ward.at_look[ward.looks + 1] = blind

        ward.at_look[1] = blind
        phase, message = one.play()
        assert phase == "Failed"
        assert "nothing could be seen: the watch is stale" in message

    def test_a_pause_between_look_and_announcement(self, ward: Ward, one: Replica) -> None:
        ward.at_look[3] = lambda: pause(ward)
        assert one.play() == ("Cancelled", "paused by olga: maintenance")
        assert ward.deletions(status=None) == []
        assert ward.ledger.starts == ()
        assert ward.ledger.epoch == 1, "its own holder ends it"

    def test_a_pause_between_two_deletions(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", name=BOTH[0], after=lambda: pause(ward))
        assert one.play() == ("Succeeded", "1 of 2 pods restarted; BBS answers")
        assert ward.deletions(status=None) == BOTH[:1]
        assert FENCE in ward.annotations(BOTH[1])

    def test_a_pause_after_a_lost_answer_still_sees_what_was_done(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", name=BOTH[0], lost=True, after=lambda: pause(ward))
        first = ward.uids()
        assert one.play() == ("Succeeded", "1 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH[:1]
        is_sound(ward, first)

    def test_what_was_announced_is_fenced_before_the_end_is_verified(self, ward: Ward, one: Replica) -> None:
        """Nobody knows whether the DELETE was made; it becomes healthy: from then on it must bounce."""
        ward.on("delete", "pods", name=BOTH[0], down=True)
        ward.at_look[4] = ward.cure
        fenced: list[bool] = []
        ward.on_step("active", lambda: fenced.append(FENCE in ward.annotations(BOTH[0])))
        one.play()
        assert fenced in ([], [True])
        assert FENCE in ward.annotations(BOTH[0])

    def test_a_rollout_ends_it(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", lambda: ward.revise("diego-api", "two"))
        phase, message = one.play()
        assert phase == "Cancelled"
        assert message.startswith("rollout: StatefulSet diego-api")
        assert ward.deletions(status=None) == []

    def test_a_statefulset_that_cannot_be_read_now_is_no_rollout(self, ward: Ward, one: Replica) -> None:
        ward.on_step("delete", lambda: ward.rules.insert(0, Rule("list", "statefulsets", status=500)))
        assert one.play()[0] == "Succeeded"


class TestWaiting:
    def test_no_replacement(self, ward: Ward, one: Replica) -> None:
        ward.on("delete", "pods", after=lambda: setattr(ward, "replaces", False))
        phase, message = one.play()
        assert (phase, message) == ("Failed", "replace: diego-api-0 has no replacement")
        assert ward.ledger.breaker is not None
        assert 300 < ward.clock() - 1000 < 360

    def test_a_pod_that_stays_terminating_is_named_with_its_grace(self, ward: Ward) -> None:
        one = replica(ward)
        ward.dies_after = 10_000
        phase, message = one.play()
        assert (phase, message) == ("Failed", "replace: diego-api-0 is still Terminating, its grace is 10s")

    def test_a_long_grace_is_waited_out(self) -> None:
        ward = Ward(grace=600)
        ward.dies_after = None
        assert replica(ward).play()[0] == "Succeeded"
        assert ward.clock() - 1000 > 600

    def test_a_replacement_that_never_gets_ready(self, ward: Ward, one: Replica) -> None:
        ward.starts = 10_000
        phase, message = one.play()
        assert phase == "Failed"
        assert message.startswith("replace: diego-api-0 was replaced, but is not ready: ")

    def test_pods_that_cannot_be_listed(self, ward: Ward, one: Replica) -> None:
        ward.on_step("replace", lambda: ward.rules.insert(0, Rule("list", "pods", times=-1, status=500)))
        phase, message = one.play()
        assert phase == "Failed"
        assert "cannot be seen" in message

    def test_a_pod_that_is_scaled_away_needs_no_replacement(self, ward: Ward, one: Replica) -> None:
        ward.on_step("replace", lambda: ward.scale("diego-api", 1))
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")

    @pytest.mark.parametrize("step", ["replace"])
    def test_a_rollout_in_the_middle(self, ward: Ward, one: Replica, step: str) -> None:
        ward.on_step(step, lambda: ward.revise("diego-api", "two"))
        assert one.play()[0] == "Cancelled"

    def test_a_statefulset_made_anew_is_another(self, ward: Ward, one: Replica) -> None:
        ward.on_step("replace", lambda: ward.remove_statefulset("diego-api"))
        assert one.play()[0] == "Cancelled"

    def test_nothing_becomes_active(self, ward: Ward, one: Replica) -> None:
        ward.heals = False
        phase, message = one.play()
        assert (phase, message) == ("Failed", "active: 0 BBS pods serve instead of one")
        assert ward.ledger.starts

    def test_the_label_is_awaited(self, ward: Ward, one: Replica) -> None:
        ward.on_step("active", lambda: setattr(ward, "_label", lambda *_: None))
        ward.heals = False
        ward.on_step("active", ward.cure)
        phase, message = one.play()
        assert phase == "Failed"
        assert "the active label is on no pod, while diego-api-0 serves" in message

    def test_blindness_while_waiting_for_the_active_one(self, ward: Ward, one: Replica) -> None:
        ward.on_step("active", lambda: setattr(ward, "blind", "no word"))
        phase, message = one.play()
        assert (phase, message) == ("Failed", "active: nothing could be seen: no word")

    @pytest.mark.parametrize(
        ("happens", "words"),
        [
            (lambda ward: setattr(ward, "witness", (Witness.FAIL, "nc said no")), "not from an api pod: nc said no"),
            (lambda ward: setattr(ward, "blind", "no word"), "nothing could be seen: no word"),
            (lambda ward: ward.sicken(), "locked_out: "),
        ],
    )
    def test_what_is_not_well_in_the_end_failed(
        self, ward: Ward, one: Replica, happens: Callable[[Ward], None], words: str
    ) -> None:
        ward.on_step("verify", lambda: happens(ward))
        phase, message = one.play()
        assert phase == "Failed"
        assert message.startswith(f"verify: {words}")

    def test_a_moment_of_illness_starts_the_dwell_anew(self, ward: Ward) -> None:
        one = replica(ward, playbook={"steps": {"verify": {"dwell": "10s"}}})
        ward.witness = (Witness.OK, "")

        def ill() -> None:
            at = ward.looks
            ward.at_look[at + 5] = lambda: setattr(ward, "witness", (Witness.FAIL, "once"))
            ward.at_look[at + 6] = lambda: setattr(ward, "witness", (Witness.OK, ""))

        ward.on_step("verify", ill)
        assert one.play()[0] == "Succeeded"
        steps = ward.remediation().status["steps"]
        assert isinstance(steps, list)
        begun, ended = (datetime.fromisoformat(steps[-1][key]) for key in ("started", "finished"))
        assert (ended - begun).total_seconds() >= 14

    def test_no_dwell_is_one_good_look(self, ward: Ward) -> None:
        one = replica(ward, playbook={"steps": {"verify": {"dwell": "0s"}}})
        assert one.play()[0] == "Succeeded"

    def test_locket_that_names_another_owner(self, ward: Ward, one: Replica) -> None:
        one.play()
        sight = one.lookout.fresh()
        assert foreign_owner(sight) == ""

        def named(name: str) -> str:
            told = probe("locket", detail=f"the lock is held by {name}")
            pods = tuple(replace(pod, locket=told) for pod in sight.look.pods)
            return foreign_owner(replace(sight, look=replace(sight.look, pods=pods)))

        assert named("diego-api-0") == ""
        assert named("somebody") == ""
        assert named("diego-api-1") == "Locket says that diego-api-1 holds the lock, while diego-api-0 serves"


class TestFence:
    def test_what_is_left_is_fenced_at_the_end(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        one.play()
        assert ward.annotations(BOTH[1])[FENCE] == "1"

    def test_one_that_is_gone_needs_none(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        ward.on("patch", "pods", status=404)
        assert one.play()[0] == "Succeeded"

    def test_a_failing_patch_is_tried_again(self, ward: Ward) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        ward.on("patch", "pods", times=3, status=500)
        assert one.play()[0] == "Succeeded"
        assert FENCE in ward.annotations(BOTH[1])

    @pytest.mark.parametrize("status", [403, 500])
    def test_a_pod_that_was_never_announced_may_stay_without(self, ward: Ward, status: int) -> None:
        one = replica(ward, playbook=ONE_BY_ONE)
        ward.on("patch", "pods", times=-1, status=status)
        assert one.play()[0] == "Succeeded"

    @pytest.mark.parametrize("status", [403, 500])
    def test_an_announced_one_that_cannot_be_fenced_fails_and_ends(self, ward: Ward, one: Replica, status: int) -> None:
        ward.on("delete", "pods", name=BOTH[0], times=-1, down=True)
        ward.on("patch", "pods", times=-1, status=status)
        ward.at_look[6] = ward.cure
        phase, message = one.play()
        assert phase == "Failed"
        assert "may still be under way" in message
        assert ward.clock() - 1000 < 2 * FENCE_PATIENCE + 400


@pytest.mark.parametrize("step", STEPS)
class TestAtEachStep:
    def test_a_pause(self, ward: Ward, one: Replica, step: str) -> None:
        first = ward.uids()
        ward.on_step(step, lambda: pause(ward))
        phase, message = one.play()
        if step in (*BEFORE, "delete"):
            assert (phase, message) == ("Cancelled", "paused by olga: maintenance")
            assert ward.deletions(status=None) == []
        else:
            assert (phase, ward.deletions()) == ("Succeeded", BOTH)
        is_sound(ward, first)

    def test_the_remediation_deleted_by_hand(self, ward: Ward, one: Replica, step: str) -> None:
        first = ward.uids()
        ward.on_step(step, lambda: ward.remove_remediation(NAME))
        phase, message = one.play()
        if step in (*BEFORE, "delete"):
            assert (phase, message) == ("Cancelled", "the Remediation was deleted by hand")
            assert ward.deletions(status=None) == []
        else:
            assert phase == "Succeeded"
        assert NAME not in ward.objects(), "it is not made again"
        is_sound(ward, first)

    def test_the_remediation_made_anew_by_hand(self, ward: Ward, one: Replica, step: str) -> None:
        def remade() -> None:
            ward.remove_remediation(NAME)
            ward.make_remediation(NAME)

        ward.on_step(step, remade)
        assert one.play()[0] == ("Cancelled" if step in (*BEFORE, "delete") else "Succeeded")

    def test_the_remediation_edited_by_hand(self, ward: Ward, one: Replica, step: str) -> None:
        """What it says of mode and phase is nothing to the run."""

        def edited() -> None:
            ward.edit_remediation(NAME, spec={"mode": "off", "playbook": "delete-everything"})
            ward.edit_remediation(NAME, "status", status={"phase": "Failed", "pods": [{"name": "api-0"}]})

        ward.on_step(step, edited)
        assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH
        assert ward.remediation().phase == "Succeeded"

    def test_sigterm_and_another_goes_on(self, ward: Ward, one: Replica, step: str) -> None:
        first = ward.uids()
        one.notify()
        ward.on_step(step, one.stopping.set)
        one.turn()
        ledger = ward.ledger
        assert ledger.run is not None
        assert ledger.holder == "", "the claim was given up"
        done = len(ward.deletions())
        assert len(ledger.run.deleted) == done, "what was deleted is recorded"
        two = replica(ward, "two")
        begun = ward.clock()
        assert two.until_closed()[0] == "Succeeded"
        assert ward.ledger.epoch == 2
        assert ward.clock() - begun < CLAIM, "it waited for no claim to expire"
        is_sound(ward, first)

    def test_a_claim_lost_to_another_does_nothing_more(self, ward: Ward, one: Replica, step: str) -> None:
        first = ward.uids()
        ward.on_step(step, lambda: ward.put_ledger(epoch=7, holder="other"))
        one.notify()
        one.executor.turn()
        at = len(ward.journal)
        assert ward.ledger.run is not None
        assert (ward.ledger.holder, ward.ledger.epoch) == ("other", 7)
        one.turn(3)
        later = [asked for asked in ward.journal[at:] if asked.verb not in ("get", "list") and asked.who == "one"]
        assert [asked for asked in later if asked.kind != "remediations/status"] == []
        two = replica(ward, "two")
        assert two.until_closed()[0] == "Succeeded"
        is_sound(ward, first)

    def test_an_api_server_away_for_longer_than_the_claim(self, ward: Ward, one: Replica, step: str) -> None:
        first = ward.uids()
        one.notify()
        ward.on_step(step, lambda: setattr(ward, "down", True))
        one.executor.turn()
        ward.clock.advance(CLAIM)
        deleted = len(ward.deletions())
        one.turn(2)
        ward.down = False
        assert len(ward.deletions()) == deleted
        two = replica(ward, "two")
        assert two.until_closed()[0] == "Succeeded"
        is_sound(ward, first)


class TestKilled:
    """SIGKILL at every write that matters; another goes on with what stands in the ledger."""

    @pytest.mark.parametrize("strategy", ["all", "one-by-one"])
    @pytest.mark.parametrize("verb", ["update", "delete"])
    def test_after_each_write(self, strategy: str, verb: str) -> None:
        for number in range(60):
            ward = Ward()
            playbook = {**ONE_BY_ONE, "strategy": strategy}
            one, first = replica(ward, playbook=playbook), ward.uids()
            one.notify()
            kind = "configmaps" if verb == "update" else "pods"
            rule = ward.on(verb, kind, who="one", skip=number, after=kill)
            try:
                one.dies()
            except AssertionError:
                assert rule.hits == 0
                break
            two = replica(ward, "two", playbook=playbook)
            phase, message = two.until_closed()
            assert phase == "Succeeded", (number, message)
            assert two.counted("stager_remediator_pods_deleted_total", foundation="prod", role="bbs") <= 2
            is_sound(ward, first)
            assert len(ward.ledger.starts) == 1, "a run counts once"
        assert number >= (2 if verb == "delete" and strategy == "all" else 1)

    @pytest.mark.parametrize("pods", [BOTH[:1], BOTH])
    def test_just_before_a_deletion(self, ward: Ward, one: Replica, pods: list[str]) -> None:
        first = ward.uids()
        one.notify()
        ward.on("delete", "pods", name=pods[-1], before=kill)
        one.dies()
        two = replica(ward, "two")
        assert two.until_closed()[0] == "Succeeded"
        is_sound(ward, first)

    def test_the_fence_comes_before_the_first_look(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", before=kill)
        one.dies()
        two = replica(ward, "two")
        two.until_closed()
        mine = [asked for asked in ward.journal if asked.who == "two" and asked.kind == "pods"]
        assert [asked.verb for asked in mine[:3]] == ["patch", "patch", "list"]

    def test_a_late_deletion_of_a_dead_holder_bounces(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", before=kill)
        one.dies()
        uid = ward.uids()[BOTH[0]]
        version = str(ward.pods("bbs")[0]["metadata"]["resourceVersion"])
        two = replica(ward, "two")
        late: list[int] = []

        def land() -> None:
            try:
                one.client.delete("/api/v1/namespaces/cf/pods/diego-api-0", uid=uid, resource_version=version)
            except Conflict:
                late.append(409)

        ward.on("list", "pods", who="two", before=land)
        two.until_closed()
        assert late == [409]

    def test_what_is_paused_meanwhile_is_only_seen_to_its_end(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", name=BOTH[1], before=kill)
        one.dies()
        pause(ward)
        two = replica(ward, "two")
        assert two.until_closed() == ("Succeeded", "1 of 2 pods restarted; BBS answers")
        assert ward.deletions() == BOTH[:1]

    @pytest.mark.parametrize("mode", ["off", "approval"])
    def test_a_stricter_configuration_deletes_nothing_more(self, ward: Ward, one: Replica, mode: str) -> None:
        one.notify()
        ward.on("delete", "pods", name=BOTH[1], before=kill)
        one.dies()
        two = replica(ward, "two", playbook={"mode": mode})
        assert two.until_closed()[0] == "Succeeded"
        assert ward.deletions() == BOTH[:1]

    def test_nothing_seen_after_an_announcement_ends(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("delete", "pods", before=kill)
        one.dies()
        pause(ward)
        ward.blind = "no word"
        two = replica(ward, "two")
        phase, message = two.until_closed()
        assert (phase, "nothing could be seen: no word" in message) == ("Failed", True)


class TestLedgerFaults:
    def test_each_lost_answer_in_turn(self) -> None:
        """Of every write of the ledger in a run: it is applied, nothing is done twice, nobody waits for a claim."""
        for number in range(60):
            ward = Ward()
            one, first = replica(ward), ward.uids()
            rule = ward.on("update", "configmaps", skip=number, lost=True)
            assert one.play() == ("Succeeded", "2 of 2 pods restarted; BBS answers"), number
            if not rule.hits:
                break
            is_sound(ward, first)
            assert ward.ledger.epoch == 1
            assert ward.clock() - 1000 < CLAIM, number
            ended = {"foundation": "prod", "playbook": PLAYBOOK, "outcome": "Succeeded"}
            assert one.counted("stager_remediations_total", **ended) == 1
        assert number > 15

    @pytest.mark.parametrize("status", [409, 429, 500])
    def test_every_third_write_is_refused(self, ward: Ward, one: Replica, status: int) -> None:
        rule = ward.on("update", "configmaps", times=-1, every=3, status=status)
        assert one.play()[0] == "Succeeded"
        assert rule.hits > 5
        assert len(ward.ledger.starts) == 1

    def test_the_ledger_deleted_in_the_middle(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.at_look[3] = ward.remove_ledger
        one.turn(3)
        assert ward.deletions(status=None) == []
        assert one.notify().reason.startswith("breaker")
        assert ward.ledger.breaker is not None
        one.turn(2)
        assert ward.remediation().phase == "Cancelled"


def test_a_pod_state_word_is_not_ready_by_accident() -> None:
    """Guards the fixture: an unready replacement is moving, so that `replaced` means something."""
    ward = Ward()
    one = replica(ward)
    ward.delete(BOTH[0])
    ward.clock.advance(2)
    states = {pod.seen.name: pod.state for pod in one.lookout.fresh().look.pods}
    assert states[BOTH[0]] is PodState.MOVING
