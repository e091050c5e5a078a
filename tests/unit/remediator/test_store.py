"""The ledger in the cluster: one compare-and-swap for each change, whatever the API server says meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from foundation.kube.errors import Conflict, Forbidden, NotFound, ServerError, TooManyRequests, Unreachable
from remediator.ledger import Ledger, LedgerUnreadable, Superseded
from remediator.store import ATTEMPTS, Busy, LedgerStore, Remediation, Remediations
from simulator.api.resources import CONFIGMAPS
from tests.support.remediation import START, MemoryClient, Ward

SPEC: dict[str, object] = {"foundation": "prod", "playbook": "restart-diego-api"}


def more(ledger: Ledger, _: object) -> Ledger:
    return ledger.changed(epoch=ledger.epoch + 1)


@pytest.fixture
def ward() -> Ward:
    return Ward()


@pytest.fixture
def client(ward: Ward) -> MemoryClient:
    return MemoryClient(ward, "one")


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def store(ward: Ward, client: MemoryClient, slept: list[float]) -> LedgerStore:
    return LedgerStore(client, "cf", "diego-api", wall=ward.clock.wall, sleep=slept.append)


class TestReading:
    def test_none_is_an_empty_one(self, store: LedgerStore) -> None:
        reading = store.read()
        assert (reading.ledger, reading.version) == (Ledger(), "")

    def test_the_time_is_that_of_the_very_answer(self, ward: Ward, store: LedgerStore) -> None:
        ward.clock.advance(100.7)
        instant = store.read().instant
        assert instant.server == datetime.fromtimestamp(START + 100, UTC)
        assert 0 <= instant.skew < 1

    def test_without_a_date_nothing_can_be_judged(self, store: LedgerStore, client: MemoryClient) -> None:
        client.dates = False
        assert store.read().instant.skew == float("inf")

    def test_what_is_written_is_read(self, store: LedgerStore) -> None:
        written = store.swap(more)
        assert store.read().ledger == written.ledger == Ledger(epoch=1)
        assert store.read().version == written.version

    @pytest.mark.parametrize("data", [None, [], {}, {"ledger": 7}, {"ledger": "{"}, {"ledger": '{"version":2}'}])
    def test_what_is_no_ledger(self, ward: Ward, store: LedgerStore, data: Any) -> None:
        store.swap(more)
        ward.store.update(CONFIGMAPS, "cf", store.name, lambda found: {**found, "data": data})
        with pytest.raises(LedgerUnreadable):
            store.read()
        with pytest.raises(LedgerUnreadable):
            store.swap(more)

    def test_an_object_without_a_version(self, store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.swap(more)
        bare = {"data": {"ledger": "{}"}, "metadata": {"resourceVersion": 7}}
        monkeypatch.setattr(MemoryClient, "get", lambda *_: bare)
        with pytest.raises(LedgerUnreadable, match="without resourceVersion"):
            store.read()

    def test_a_lost_history_opens_the_breaker(self, ward: Ward, store: LedgerStore, client: MemoryClient) -> None:
        Remediations(client, "cf").create("prod.p.41", SPEC, store.name)
        reading = store.read()
        assert reading.ledger.breaker is not None
        assert reading.ledger.next_n == 42
        assert reading.version == ""
        assert store.swap(lambda ledger, _: ledger).ledger.breaker is not None
        assert ward.ledger.breaker is not None, "it is written even where nothing else changes"

    def test_of_another_target_it_does_not(self, store: LedgerStore, client: MemoryClient) -> None:
        Remediations(client, "cf").create("prod.p.41", SPEC, "stager-medic-other")
        assert store.read().ledger.breaker is None

    def test_where_remediations_cannot_be_read_it_is_not_known(self, ward: Ward, store: LedgerStore) -> None:
        ward.on("list", "remediations", status=403)
        with pytest.raises(Forbidden):
            store.read()


class TestSwapping:
    @pytest.mark.parametrize("when", ["after the read", "before the write"])
    def test_another_writer_in_between(self, ward: Ward, store: LedgerStore, when: str) -> None:
        def other() -> None:
            ward.put_ledger(holder="other")

        store.swap(more)
        if when == "after the read":
            ward.on("get", "configmaps", who="one", after=other)
        else:
            ward.on("update", "configmaps", who="one", before=other)
        assert store.swap(more).ledger == Ledger(epoch=2, holder="other")

    def test_another_that_made_it_first(self, ward: Ward, store: LedgerStore) -> None:
        ward.on("create", "configmaps", who="one", before=lambda: ward.put_ledger(holder="other"))
        assert store.swap(more).ledger == Ledger(epoch=1, holder="other")

    def test_always_another_writer(self, ward: Ward, store: LedgerStore, slept: list[float]) -> None:
        store.swap(more)
        ward.on("update", "configmaps", times=-1, status=409)
        with pytest.raises(Busy):
            store.swap(more)
        assert len(slept) == ATTEMPTS - 1
        assert all(0 <= pause <= 0.02 * ATTEMPTS for pause in slept)
        assert ward.ledger.epoch == 1

    def test_no_change_is_no_write(self, ward: Ward, store: LedgerStore) -> None:
        first = store.swap(more)
        assert store.swap(lambda ledger, _: ledger).version == first.version
        assert len(ward.asked("update", "configmaps")) == 0

    def test_what_the_change_raises(self, ward: Ward, store: LedgerStore) -> None:
        def no(_: Ledger, __: object) -> Ledger:
            raise Superseded("no")

        with pytest.raises(Superseded):
            store.swap(no)
        assert not ward.asked("create", "configmaps")

    @pytest.mark.parametrize("fault", [{"lost": True}, {"down": True}, {"status": 500}, {"status": 429}])
    def test_one_unclear_answer_is_read_again(self, ward: Ward, store: LedgerStore, fault: dict[str, Any]) -> None:
        store.swap(more)
        ward.on("update", "configmaps", **fault)
        assert store.swap(lambda ledger, _: ledger.changed(holder="me")).ledger.holder == "me"
        applied = [asked for asked in ward.asked("update", "configmaps") if asked.status == 200]
        assert len(applied) == 1, "what was applied is not applied again"

    @pytest.mark.parametrize(
        ("fault", "error"),
        [({"down": True}, Unreachable), ({"status": 500}, ServerError), ({"status": 429}, TooManyRequests)],
    )
    def test_two_are_the_callers(
        self, ward: Ward, store: LedgerStore, fault: dict[str, Any], error: type[Exception]
    ) -> None:
        store.swap(more)
        ward.on("update", "configmaps", times=-1, **fault)
        with pytest.raises(error):
            store.swap(more)
        assert len(ward.asked("update", "configmaps")) == 2

    def test_a_missing_permission(self, ward: Ward, store: LedgerStore) -> None:
        ward.on("create", "configmaps", status=403)
        with pytest.raises(Forbidden):
            store.swap(more)

    def test_deleted_in_between(self, ward: Ward, store: LedgerStore) -> None:
        store.swap(more)
        ward.on("update", "configmaps", before=ward.remove_ledger)
        with pytest.raises(Superseded, match="was deleted"):
            store.swap(more)

    def test_a_namespace_that_is_not_there(self, ward: Ward, client: MemoryClient) -> None:
        store = LedgerStore(client, "gone", "diego-api", wall=ward.clock.wall)
        with pytest.raises(NotFound):
            store.swap(more)

    def test_it_says_who_made_it(self, ward: Ward, store: LedgerStore) -> None:
        store.swap(more)
        found = ward.store.get(CONFIGMAPS, "cf", "stager-medic-diego-api")
        assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "stager-remediator"}


class TestRemediation:
    def test_what_is_not_there_is_empty(self) -> None:
        found = Remediation({"metadata": {"name": 7, "labels": []}, "spec": "x"})
        words = (found.name, found.uid, found.version, found.foundation, found.playbook, found.phase, found.target)
        assert set(words) == {""}
        assert (found.approval, found.number, found.deleting) == ({}, 0, False)

    @pytest.mark.parametrize(
        ("name", "number"),
        [("a.b.12", 12), ("a.b.x", 0), ("a", 0), ("a.b.²", 0), ("a.b." + "9" * 16, 0), ("a.b.-1", 0)],
    )
    def test_its_number(self, name: str, number: int) -> None:
        assert Remediation({"metadata": {"name": name}}).number == number

    def test_deleting(self) -> None:
        assert Remediation({"metadata": {"deletionTimestamp": "x"}}).deleting


class TestRemediations:
    def test_one_that_exists_is_taken_for_it(self, ward: Ward, client: MemoryClient) -> None:
        found = Remediations(client, "cf")
        first = found.create("prod.p.1", SPEC, "t")
        assert found.create("prod.p.1", SPEC, "t").uid == first.uid

    def test_writes_under_a_version(self, ward: Ward, client: MemoryClient) -> None:
        found = Remediations(client, "cf")
        first = found.create("prod.p.1", SPEC, "t")
        second = found.write_status("prod.p.1", {"phase": "Running"}, first.version)
        with pytest.raises(Conflict):
            found.write_status("prod.p.1", {"phase": "Failed"}, first.version)
        with pytest.raises(Conflict):
            found.write_spec("prod.p.1", {"approval": {"state": "approved"}}, first.version)
        assert found.write_spec("prod.p.1", {"approval": {"state": "approved"}}, second.version).approval
        assert found.get("prod.p.1").phase == "Running"

    def test_only_the_very_object_is_deleted(self, ward: Ward, client: MemoryClient) -> None:
        found = Remediations(client, "cf")
        old = found.create("prod.p.1", SPEC, "t")
        ward.remove_remediation("prod.p.1")
        found.create("prod.p.1", SPEC, "t")
        with pytest.raises(Conflict):
            found.delete(old)
        assert len(found.list()) == 1
