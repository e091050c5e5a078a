"""The ledger as a value: what each transition allows, and what none of them ever does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from remediator import ledger as ledgers
from remediator.admission import Instant, Limit, Policy, admit
from remediator.ledger import (
    Breaker,
    Deleted,
    Ledger,
    LedgerUnreadable,
    Pause,
    Recorded,
    Run,
    Superseded,
    Trigger,
    Wanted,
)
from remediator.words import PLAYBOOK, Mode, Phase, Reason, Step, Strategy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BACKOFF = timedelta(minutes=2)
PODS = (Recorded(name="diego-api-0", uid="u0", role="bbs"), Recorded(name="diego-api-1", uid="u1", role="bbs"))


def queued(ledger: Ledger | None = None, now: datetime = NOW) -> Ledger:
    trigger = Trigger(alertname="DiegoRestartWouldHelp", fingerprint="f")
    return ledgers.enqueue(ledger or Ledger(), "prod", PLAYBOOK, Mode.AUTO, trigger=trigger, now=now)[0]


def running(ledger: Ledger | None = None, now: datetime = NOW, holder: str = "me") -> Ledger:
    claimed = ledgers.claim(ledger or queued(now=now), holder, Strategy.ALL, None, now)
    run = claimed.run
    assert run is not None
    return ledgers.with_run(claimed, run.model_copy(update={"pods": PODS, "recorded": True}))


def run_of(ledger: Ledger) -> Run:
    assert ledger.run is not None
    return ledger.run


class TestQueue:
    def test_a_request_gets_a_name_of_its_own(self) -> None:
        ledger = queued()
        assert ledger.pending is not None
        assert ledger.pending.name == f"prod.{PLAYBOOK}.1"
        assert ledger.next_n == 2

    def test_one_at_a_time(self) -> None:
        with pytest.raises(ValueError, match="is open"):
            queued(queued())
        with pytest.raises(ValueError, match="is open"):
            queued(running())

    def test_a_name_is_never_given_twice(self) -> None:
        ledger = ledgers.close(queued(), Phase.CANCELLED, "x", NOW, backoff=BACKOFF)
        again = queued(ledger)
        assert again.pending is not None
        assert again.pending.name == f"prod.{PLAYBOOK}.2"

    def test_what_is_queued_is_wanted_no_more(self) -> None:
        wanted = Wanted(foundation="prod", playbook=PLAYBOOK, trigger=Trigger(), reason=Reason.COOLDOWN, until=NOW)
        assert queued(Ledger(wanted=wanted)).wanted is None


class TestClaim:
    def test_every_entry_into_a_run_raises_the_epoch(self) -> None:
        claimed = running()
        assert (claimed.epoch, claimed.holder) == (1, "me")
        taken = ledgers.take_over(claimed, "other")
        assert (taken.epoch, taken.holder) == (2, "other")
        assert run_of(taken).pods == PODS

    def test_the_old_holder_is_told(self) -> None:
        taken = ledgers.take_over(running(), "other")
        with pytest.raises(Superseded, match="epoch 2, other"):
            ledgers.held(taken, "me", 1)

    def test_two_entries_of_one_name_are_two_holders(self) -> None:
        again = ledgers.take_over(running(), "me")
        with pytest.raises(Superseded):
            ledgers.held(again, "me", 1)

    def test_a_claim_needs_what_is_queued(self) -> None:
        with pytest.raises(Superseded):
            ledgers.claim(Ledger(), "me", Strategy.ALL, None, NOW)
        with pytest.raises(Superseded):
            ledgers.claim(running(), "me", Strategy.ALL, None, NOW)

    def test_a_released_run_has_no_holder(self) -> None:
        released = ledgers.release(running(), "me", 1)
        assert released.holder == ""
        assert released.run is not None
        with pytest.raises(Superseded):
            ledgers.release(released, "me", 1)

    def test_every_write_of_the_run_is_a_beat(self) -> None:
        before = running()
        assert ledgers.with_run(before, run_of(before)).beat == before.beat + 1


class TestAnnounce:
    def test_the_first_intent_counts_as_a_start_and_only_it(self) -> None:
        one = ledgers.announce(running(), "u0", NOW)
        two = ledgers.announce(one, "u1", NOW + timedelta(seconds=1))
        assert run_of(two).intents == ("u0", "u1")
        assert two.starts == (NOW,)

    def test_twice_is_once(self) -> None:
        one = ledgers.announce(running(), "u0", NOW)
        again = ledgers.announce(one, "u0", NOW)
        assert run_of(again).intents == ("u0",)

    @pytest.mark.parametrize("uid", ["", "u2", "diego-api-0"])
    def test_only_what_was_recorded(self, uid: str) -> None:
        with pytest.raises(Superseded):
            ledgers.announce(running(), uid, NOW)

    def test_not_what_is_deleted_or_gone(self) -> None:
        ledger = running()
        gone = run_of(ledger).model_copy(
            update={"deleted": (Deleted(name="diego-api-0", uid="u0", at=NOW),), "gone": ("u1",)}
        )
        for uid in ("u0", "u1"):
            with pytest.raises(Superseded):
                ledgers.announce(ledgers.with_run(ledger, gone), uid, NOW)

    def test_not_while_paused(self) -> None:
        paused = running().changed(pause=Pause(by="ann", why="x", since=NOW))
        with pytest.raises(Superseded):
            ledgers.announce(paused, "u0", NOW)

    def test_again_after_the_pause(self) -> None:
        over = running().changed(pause=Pause(by="ann", why="x", since=NOW, until=NOW))
        assert run_of(ledgers.announce(over, "u0", NOW)).intents == ("u0",)

    def test_not_after_the_run_was_told_to_delete_no_more(self) -> None:
        ledger = running()
        told = ledgers.with_run(ledger, run_of(ledger).model_copy(update={"no_more": "paused"}))
        with pytest.raises(Superseded):
            ledgers.announce(told, "u0", NOW)

    def test_starts_older_than_any_limit_are_forgotten(self) -> None:
        old = NOW - timedelta(days=32)
        assert ledgers.announce(running().changed(starts=(old,)), "u0", NOW).starts == (NOW,)


class TestClose:
    def test_a_failure_opens_the_breaker(self) -> None:
        closed = ledgers.close(running(), Phase.FAILED, "no pod came back", NOW, backoff=BACKOFF, cooldown=True)
        assert closed.breaker is not None
        assert closed.breaker.remediation == f"prod.{PLAYBOOK}.1"
        assert "no pod came back" in closed.breaker.why
        assert closed.run is None
        assert closed.holder == ""

    def test_an_older_breaker_stays(self) -> None:
        old = Breaker(since=NOW - timedelta(days=1), why="first")
        closed = ledgers.close(running().changed(breaker=old), Phase.FAILED, "second", NOW, backoff=BACKOFF)
        assert closed.breaker == old

    @pytest.mark.parametrize("phase", [Phase.NOT_NEEDED, Phase.WOULD_NOT_HELP, Phase.SUCCEEDED])
    def test_what_deleted_nothing_is_followed_by_a_short_wait(self, phase: Phase) -> None:
        closed = ledgers.close(running(), phase, "x", NOW, backoff=BACKOFF)
        assert closed.backoff is not None
        assert closed.backoff.until == NOW + BACKOFF
        assert (closed.last_end, closed.starts, closed.breaker) == (None, (), None)

    def test_what_deleted_something_by_a_cooldown(self) -> None:
        closed = ledgers.close(running(), Phase.SUCCEEDED, "x", NOW, backoff=BACKOFF, cooldown=True)
        assert closed.last_end == NOW
        assert closed.backoff is None

    def test_the_story_of_the_end_is_kept_for_repair(self) -> None:
        began = running()
        began = ledgers.with_run(began, ledgers.began(run_of(began), Step.VERIFY, NOW))
        closed = ledgers.close(began, Phase.SUCCEEDED, "done", NOW, backoff=BACKOFF)
        assert closed.last is not None
        assert isinstance(closed.last.request, Run)
        assert closed.last.request.steps[-1].finished == NOW

    def test_nothing_to_close(self) -> None:
        with pytest.raises(Superseded):
            ledgers.close(Ledger(), Phase.CANCELLED, "x", NOW, backoff=BACKOFF)

    def test_only_a_success_that_deleted_can_fail_to_hold(self) -> None:
        ledger = running()
        run = run_of(ledger).model_copy(
            update={"verdict_before": "locket_hung", "deleted": (Deleted(name="a", uid="u0", at=NOW),)}
        )
        closed = ledgers.close(ledgers.with_run(ledger, run), Phase.SUCCEEDED, "x", NOW, backoff=BACKOFF)
        assert closed.last_success is not None
        assert closed.last_success.verdict == "locket_hung"
        assert ledgers.acknowledge(closed).last_success is None
        assert ledgers.close(ledger, Phase.SUCCEEDED, "x", NOW, backoff=BACKOFF).last_success is None


class TestRefusals:
    def test_one_kind_is_counted_and_the_newest_are_kept(self) -> None:
        ledger = Ledger()
        for turn in range(30):
            ledger = ledgers.refuse(ledger, Reason.LIMIT, "no", fingerprint=f"f{turn}", now=NOW)
        assert len(ledger.refusals) == ledgers.REFUSALS_KEPT
        again = ledgers.refuse(ledger, Reason.LIMIT, "no, still", fingerprint="f29", now=NOW)
        assert again.refusals[-1].count == 2
        assert again.refusals[-1].text == "no, still"
        assert len(again.refusals) == ledgers.REFUSALS_KEPT


class TestJson:
    def test_there_and_back(self) -> None:
        ledger = ledgers.announce(running(), "u0", NOW).changed(
            pause=Pause(by="ann", why="x", since=NOW), breaker=Breaker(since=NOW, why="y")
        )
        assert ledgers.parse(ledgers.dump(ledger)) == ledger

    def test_the_protocols_names(self) -> None:
        text = ledgers.dump(ledgers.close(running(), Phase.SUCCEEDED, "x", NOW, backoff=BACKOFF, cooldown=True))
        assert '"nextN":2' in text
        assert '"lastEnd":"2026-11-23T12:00:00Z"' in text

    def test_what_a_newer_replica_wrote_is_kept(self) -> None:
        read = ledgers.parse('{"version":1,"nextN":1,"fromTheFuture":{"a":1}}')
        assert '"fromTheFuture":{"a":1}' in ledgers.dump(queued(read))

    @pytest.mark.parametrize(
        "text", ["", "null", "[]", "{", '{"epoch":"x"}', '{"starts":["yesterday"]}', '{"version":2}', '{"run":{}}']
    )
    def test_what_is_no_ledger_is_refused(self, text: str) -> None:
        with pytest.raises(LedgerUnreadable):
            ledgers.parse(text)


POLICY = Policy(Mode.AUTO, timedelta(minutes=10), (Limit(2, timedelta(hours=1)), Limit(4, timedelta(days=1))))


class Replicas(RuleBasedStateMachine):
    """Two replicas, time, a person, and every order of what they do."""

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger()
        self.now = NOW
        self.epochs: dict[str, int] = {}
        self.names: list[str] = []
        self.begun: list[datetime] = []
        self.ends: list[datetime] = []
        self.after: list[tuple[datetime, datetime]] = []
        """Each start with the ends before it."""
        self.epoch = 0

    @rule(seconds=st.integers(1, 3000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.ledger.open is None)
    @rule()
    def an_alert_comes(self) -> None:
        if admit(self.ledger, POLICY, Instant(self.now, 0.0)) is None:
            self.ledger = queued(self.ledger, self.now)
            assert self.ledger.pending is not None
            self.names.append(self.ledger.pending.name)

    @precondition(lambda self: self.ledger.pending is not None)
    @rule(holder=st.sampled_from("ab"))
    def a_replica_claims(self, holder: str) -> None:
        if admit(self.ledger, POLICY, Instant(self.now, 0.0)) is None:
            self.ledger = running(self.ledger, self.now, holder)
            self.epochs[holder] = self.ledger.epoch

    @precondition(lambda self: self.ledger.run is not None)
    @rule(holder=st.sampled_from("ab"))
    def a_replica_takes_over(self, holder: str) -> None:
        self.ledger = ledgers.take_over(self.ledger, holder)
        self.epochs[holder] = self.ledger.epoch

    @rule(holder=st.sampled_from("ab"), pod=st.sampled_from(["u0", "u1", "u2"]))
    def a_replica_announces(self, holder: str, pod: str) -> None:
        was = self.ledger
        try:
            ledgers.held(was, holder, self.epochs.get(holder, -1))
            self.ledger = ledgers.announce(was, pod, self.now)
        except Superseded:
            return
        assert was.holder == holder
        assert was.paused(self.now) is None
        if not run_of(was).intents:
            self.begun.append(self.now)
            self.after += [(self.now, end) for end in self.ends]

    @rule(holder=st.sampled_from("ab"), phase=st.sampled_from([Phase.SUCCEEDED, Phase.FAILED, Phase.NOT_NEEDED]))
    def a_replica_closes(self, holder: str, phase: Phase) -> None:
        try:
            run = ledgers.held(self.ledger, holder, self.epochs.get(holder, -1))
        except Superseded:
            return
        acted = bool(run.intents)
        if acted:
            self.ends.append(self.now)
        self.ledger = ledgers.close(self.ledger, phase, "x", self.now, backoff=BACKOFF, cooldown=acted)

    @rule()
    def a_person_pauses(self) -> None:
        self.ledger = self.ledger.changed(pause=Pause(by="ann", why="x", since=self.now))

    @rule()
    def a_person_resumes_and_acknowledges(self) -> None:
        self.ledger = ledgers.acknowledge(self.ledger.changed(pause=None))

    @invariant()
    def survives_being_written(self) -> None:
        if hasattr(self, "ledger"):
            assert ledgers.parse(ledgers.dump(self.ledger)) == self.ledger

    @invariant()
    def holds_what_it_promises(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert not (self.ledger.pending and self.ledger.run)
        assert len(set(self.names)) == len(self.names)
        assert self.ledger.epoch >= self.epoch
        self.epoch = self.ledger.epoch
        for limit in POLICY.limits:
            for start in self.begun:
                window = [other for other in self.begun if start <= other < start + limit.per]
                assert len(window) <= limit.runs
        for start, ended in self.after:
            assert start - ended >= POLICY.cooldown


Replicas.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestReplicas = Replicas.TestCase
