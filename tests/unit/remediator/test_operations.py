"""What people do, and what is refused them."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from foundation.kube.errors import Unreachable
from remediator import operations
from remediator.ledger import Breaker, Success
from remediator.operations import LONGEST_REASON, Refusal
from remediator.words import PLAYBOOK
from tests.support.remediation import Ward, replica

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.remediation import Replica

NAME = f"prod.{PLAYBOOK}.1"


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def one(ward: Ward) -> Replica:
    return replica(ward, playbook={"mode": "approval"})


@pytest.fixture
def version(ward: Ward, one: Replica) -> str:
    """One awaits approval; the resourceVersion that is shown."""
    one.notify()
    one.turn()
    return ward.remediation().version


def now(ward: Ward) -> datetime:
    return datetime.fromtimestamp(int(ward.clock.wall()), UTC)


@contextmanager
def refused(status: int, words: str) -> Iterator[None]:
    with pytest.raises(Refusal, match=words) as found:
        yield
    assert found.value.status == status


class TestApproving:
    def test_it_is_written_with_who_and_when(self, ward: Ward, one: Replica, version: str) -> None:
        written = operations.approve(one.site, NAME, "olga", version)
        assert written.approval == {"state": "approved", "by": "olga", "at": f"{now(ward):%Y-%m-%dT%H:%M:%SZ}"}
        assert one.site.wake.is_set()
        assert "Approved" in [asked.body["reason"] for asked in ward.asked("create", "events")]

    def test_what_is_not_there(self, one: Replica, version: str) -> None:
        with refused(404, "there is no Remediation x"):
            operations.approve(one.site, "x", "olga", version)

    def test_anothers(self, ward: Ward, one: Replica, version: str) -> None:
        ward.make_remediation("test.x.1", foundation="test")
        with refused(404, "there is no Remediation test.x.1 of prod"):
            operations.approve(one.site, "test.x.1", "olga", version)

    def test_what_awaits_none(self, ward: Ward, one: Replica) -> None:
        one.notify()
        with refused(409, "awaits no approval: it is not looked at yet"):
            operations.approve(one.site, NAME, "olga", ward.remediation().version)

    def test_what_has_an_answer(self, ward: Ward, one: Replica, version: str) -> None:
        operations.approve(one.site, NAME, "olga", version)
        with refused(409, "awaits no approval"):
            operations.reject(one.site, NAME, "otto", ward.remediation().version)

    def test_what_has_changed_since(self, ward: Ward, one: Replica, version: str) -> None:
        ward.edit_remediation(NAME, "status", status={"message": "another verdict"})
        with refused(409, "has changed since it was shown"):
            operations.approve(one.site, NAME, "olga", version)
        assert not ward.remediation().approval

    @pytest.mark.parametrize(("verb", "kind"), [("patch", "remediations"), ("get", "configmaps")])
    def test_what_changes_at_the_last_moment(
        self, ward: Ward, one: Replica, version: str, verb: str, kind: str
    ) -> None:
        def changed() -> None:
            ward.edit_remediation(NAME, "status", status={"message": "another verdict"})

        ward.on(verb, kind, before=changed)
        with refused(409, "has changed since it was shown"):
            operations.approve(one.site, NAME, "olga", version)
        assert not ward.remediation().approval

    def test_two_people_at_once(self, ward: Ward, one: Replica, version: str) -> None:
        def rejected() -> None:
            operations.reject(one.site, NAME, "otto", version)

        ward.on("patch", "remediations", before=rejected)
        with refused(409, "has changed"):
            operations.approve(one.site, NAME, "olga", version)
        assert ward.remediation().approval["by"] == "otto"

    def test_what_the_ledger_has_closed_already(self, ward: Ward, one: Replica, version: str) -> None:
        """Paused a moment ago: the copy for people does not say so yet."""
        ward.put_ledger(pending=None)
        with refused(409, "is no longer waiting"):
            operations.approve(one.site, NAME, "olga", version)

    @pytest.mark.parametrize("late", [3600, 3599, 7200])
    def test_expired_by_the_servers_clock(self, ward: Ward, one: Replica, version: str, late: float) -> None:
        ward.clock.advance(late)
        slow = replica(ward, "slow", skew=-7200.0)
        with refused(409, "has expired"):
            operations.approve(slow.site, NAME, "olga", version)

    def test_without_the_servers_clock(self, one: Replica, version: str) -> None:
        one.client.dates = False
        with refused(409, "the API server's clock is not known"):
            operations.approve(one.site, NAME, "olga", version)

    def test_a_state_that_cannot_be_written(self, ward: Ward, one: Replica, version: str) -> None:
        ward.on("patch", "remediations", down=True)
        with pytest.raises(Unreachable):
            operations.approve(one.site, NAME, "olga", version)


class TestAcknowledging:
    @pytest.fixture(autouse=True)
    def _failed(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.put_ledger(
            breaker=Breaker(since=now(ward), why="it failed", remediation=NAME),
            last_success=Success(at=now(ward), verdict="locked_out"),
        )

    @pytest.mark.parametrize("name", [NAME, "prod"])
    def test_the_breaker_closes(self, ward: Ward, one: Replica, name: str) -> None:
        operations.acknowledge(one.site, name, "olga", "  the  disk\nwas full ")
        assert ward.ledger.breaker is None
        assert ward.ledger.last_success is None, "else the same verdict would open it again"
        if name == NAME:
            told = ward.remediation().spec["acknowledged"]
            assert told == {"by": "olga", "at": f"{now(ward):%Y-%m-%dT%H:%M:%SZ}", "reason": "the disk was full"}

    def test_another_than_the_one_that_waits(self, ward: Ward, one: Replica) -> None:
        with refused(409, f"it is {NAME} that waits"):
            operations.acknowledge(one.site, "prod.x.7", "olga", "x")
        assert ward.ledger.breaker is not None

    def test_where_nothing_waits(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(breaker=None)
        with refused(409, "nothing waits to be acknowledged for prod"):
            operations.acknowledge(one.site, NAME, "olga", "x")

    def test_a_breaker_of_no_remediation(self, ward: Ward, one: Replica) -> None:
        ward.put_ledger(breaker=Breaker(since=now(ward), why="history lost"))
        operations.acknowledge(one.site, "whatever", "olga", "x")
        assert ward.ledger.breaker is None

    def test_a_remediation_that_is_gone(self, ward: Ward, one: Replica) -> None:
        ward.remove_remediation(NAME)
        operations.acknowledge(one.site, NAME, "olga", "x")
        assert ward.ledger.breaker is None

    def test_a_lost_answer_is_a_yes(self, ward: Ward, one: Replica) -> None:
        ward.on("update", "configmaps", lost=True)
        operations.acknowledge(one.site, NAME, "olga", "x")
        assert ward.ledger.breaker is None

    @pytest.mark.parametrize("reason", ["", " \n\t", "x" * (LONGEST_REASON + 1)])
    def test_a_reason_that_is_none(self, ward: Ward, one: Replica, reason: str) -> None:
        with refused(422, "reason"):
            operations.acknowledge(one.site, NAME, "olga", reason)
        assert ward.ledger.breaker is not None


class TestPausing:
    def test_until_somebody_resumes(self, ward: Ward, one: Replica) -> None:
        made = operations.pause(one.site, "olga", "maintenance")
        stored = ward.ledger
        assert stored.pause == made
        assert (made.by, made.why, made.until) == ("olga", "maintenance", None)
        assert one.notify().reason == "paused"
        operations.resume(one.site, "otto")
        assert ward.ledger.pause is None
        assert one.notify().outcome == "created"

    def test_for_a_time_by_the_servers_clock(self, ward: Ward) -> None:
        slow = replica(ward, skew=-20.0)
        made = operations.pause(slow.site, "olga", "maintenance", 60)
        assert made.until == now(ward) + timedelta(seconds=60)
        assert slow.notify().reason == "paused"
        ward.clock.advance(61)
        assert slow.notify().outcome == "created"

    @pytest.mark.parametrize("seconds", [0, -1, 367 * 86400, float("nan"), float("inf")])
    def test_a_time_that_is_none(self, one: Replica, seconds: float) -> None:
        with refused(422, "duration"):
            operations.pause(one.site, "olga", "x", seconds)

    def test_a_reason_is_needed(self, one: Replica) -> None:
        with refused(422, "a reason is needed"):
            operations.pause(one.site, "olga", "  ")

    def test_the_newest_counts(self, ward: Ward, one: Replica) -> None:
        operations.pause(one.site, "olga", "x", 60)
        operations.pause(one.site, "otto", "y")
        pause = ward.ledger.pause
        assert pause is not None
        assert (pause.by, pause.until) == ("otto", None)

    def test_what_is_not_paused(self, ward: Ward, one: Replica) -> None:
        one.notify()
        with refused(409, "prod is not paused"):
            operations.resume(one.site, "olga")
        operations.pause(one.site, "olga", "x", 60)
        ward.clock.advance(61)
        with refused(409, "prod is not paused"):
            operations.resume(one.site, "olga")

    def test_lost_answers(self, ward: Ward, one: Replica) -> None:
        one.notify()
        ward.on("update", "configmaps", lost=True)
        operations.pause(one.site, "olga", "x")
        ward.on("update", "configmaps", lost=True)
        operations.resume(one.site, "olga")
        assert ward.ledger.pause is None
