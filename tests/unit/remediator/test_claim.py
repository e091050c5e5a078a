"""A process's hold of a run: what it may still do, and from when on nothing more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from foundation.kube.errors import Forbidden, Unreachable
from remediator import ledger as ledgers
from remediator.claim import Claim
from remediator.ledger import Ledger, Superseded, Trigger
from remediator.store import LedgerStore
from remediator.words import PLAYBOOK, Mode, Phase, Step, Strategy
from tests.support.remediation import CLAIM, START, MemoryClient, Ward

NOW = datetime.fromtimestamp(START, UTC)


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def store(ward: Ward) -> LedgerStore:
    client = MemoryClient(ward, "one")
    return LedgerStore(client, "cf", "diego-api", wall=ward.clock.wall, sleep=ward.clock.advance)


@pytest.fixture
def claim(ward: Ward, store: LedgerStore) -> Claim:
    def made(ledger: Ledger, _: object) -> Ledger:
        queued, _entry = ledgers.enqueue(ledger, "prod", PLAYBOOK, Mode.AUTO, trigger=Trigger(), now=NOW)
        return ledgers.claim(queued, "me", Strategy.ALL, None, NOW)

    began = ward.clock()
    return Claim(store, store.swap(made), began=began, duration=CLAIM, boot=ward.clock, sleep=ward.clock.advance)


def stepped(claim: Claim, step: Step) -> None:
    claim.put(lambda run, _: run.model_copy(update={"step": step}))


class TestClaim:
    def test_without_a_run_there_is_none(self, ward: Ward, store: LedgerStore) -> None:
        with pytest.raises(Superseded):
            Claim(store, store.read(), began=0, duration=CLAIM, boot=ward.clock, sleep=ward.clock.advance)

    def test_its_age_counts_from_before_the_write(self, ward: Ward, claim: Claim) -> None:
        ward.on("update", "configmaps", before=lambda: ward.clock.advance(4))
        stepped(claim, Step.DELETE)
        assert 4 <= claim.age() < 4.5

    def test_every_write_renews_it(self, ward: Ward, claim: Claim) -> None:
        before = ward.ledger.beat
        ward.clock.advance(20)
        stepped(claim, Step.DELETE)
        assert claim.age() < 1
        assert ward.ledger.beat > before
        assert claim.run == ward.run
        assert claim.run.step is Step.DELETE

    def test_keep_writes_when_a_third_is_over(self, ward: Ward, claim: Claim) -> None:
        beat = ward.ledger.beat
        claim.keep()
        assert ward.ledger.beat == beat
        ward.clock.advance(CLAIM / 3 + 0.1)
        claim.keep()
        assert ward.ledger.beat == beat + 1

    @pytest.mark.parametrize("theirs", [{"epoch": 9}, {"holder": "other"}, {"run": None}])
    def test_one_that_is_anothers_writes_nothing(self, ward: Ward, claim: Claim, theirs: dict[str, object]) -> None:
        ward.put_ledger(**theirs)
        before = ward.ledger
        with pytest.raises(Superseded):
            stepped(claim, Step.DELETE)
        ward.clock.advance(CLAIM)
        with pytest.raises(Superseded):
            claim.keep()
        assert ward.ledger == before

    def test_one_lost_between_read_and_write(self, ward: Ward, claim: Claim) -> None:
        ward.on("update", "configmaps", who="one", before=lambda: ward.put_ledger(epoch=9, holder="other"))
        with pytest.raises(Superseded):
            stepped(claim, Step.DELETE)
        assert ward.run.step is Step.CONFIRM

    def test_a_short_outage_is_outlasted(self, ward: Ward, claim: Claim) -> None:
        ward.down = True
        back = ward.clock() + CLAIM / 2
        ward.clock.each.append(lambda: setattr(ward, "down", ward.clock() < back))
        stepped(claim, Step.DELETE)
        assert ward.run.step is Step.DELETE

    @pytest.mark.parametrize("status", [409, 429, 500])
    def test_so_are_other_writers_and_a_struggling_server(self, ward: Ward, claim: Claim, status: int) -> None:
        ward.on("update", "configmaps", times=12, status=status)
        stepped(claim, Step.DELETE)
        assert ward.run.step is Step.DELETE

    def test_a_long_one_is_the_end(self, ward: Ward, claim: Claim) -> None:
        ward.down = True
        began = ward.clock()
        with pytest.raises(Superseded, match="could not be renewed in time"):
            stepped(claim, Step.DELETE)
        assert CLAIM - 3 < ward.clock() - began <= CLAIM + 1
        assert len([asked for asked in ward.journal if asked.status == 0]) < 60, "it pauses between its tries"

    def test_a_missing_permission_is_the_callers(self, ward: Ward, claim: Claim) -> None:
        ward.on("update", "configmaps", status=403)
        with pytest.raises(Forbidden):
            stepped(claim, Step.DELETE)

    def test_a_change_is_made_from_our_own_copy(self, ward: Ward, claim: Claim) -> None:
        ward.on("update", "configmaps", lost=True)
        claim.put(lambda run, _: run.model_copy(update={"gone": (*run.gone, "u")}))
        assert ward.run.gone == ("u",)

    def test_what_the_change_raises(self, claim: Claim) -> None:
        def no(_: Ledger, __: object) -> Ledger:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            claim.write(no)


def ended(ledger: Ledger, _: object) -> Ledger:
    return ledgers.close(ledger, Phase.FAILED, "x", NOW, backoff=timedelta(0))


class TestFinish:
    def test_it_ends_the_run(self, ward: Ward, claim: Claim) -> None:
        assert claim.finish(ended).ledger == ward.ledger
        assert ward.end == ("Failed", "x")

    def test_a_lost_answer_is_found_made(self, ward: Ward, claim: Claim) -> None:
        ward.on("update", "configmaps", lost=True)
        assert claim.finish(ended).ledger.run is None
        assert ward.end == ("Failed", "x")

    @pytest.mark.parametrize("theirs", [{"epoch": 9}, {"run": None}])
    def test_one_that_is_anothers(self, ward: Ward, claim: Claim, theirs: dict[str, object]) -> None:
        ward.put_ledger(**theirs)
        with pytest.raises(Superseded):
            claim.finish(ended)
        assert ward.ledger.last is None

    def test_one_that_another_has_closed(self, ward: Ward, claim: Claim) -> None:
        ward.put_ledger(epoch=9)
        taken = ended(ward.ledger, None)
        ward.put_ledger(run=None, last=taken.last)
        with pytest.raises(Superseded):
            claim.finish(ended)

    def test_while_the_server_is_away(self, ward: Ward, claim: Claim) -> None:
        ward.down = True
        with pytest.raises(Unreachable):
            claim.finish(ended)
