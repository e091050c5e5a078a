"""The CustomResourceDefinition where its rules are enforced: what may change, what not, and what is kept."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from foundation.kube.errors import Conflict, Invalid, KubeError, NotFound
from foundation.kube.paths import core_path, group_path
from remediator.definition import missing_fields
from remediator.ledger import Closed, Ledger, LedgerUnreadable, Pending
from remediator.store import LedgerStore, Remediation, Remediations
from remediator.story import spec_of, status_of
from remediator.words import GROUP, PLAYBOOK, PLURAL, VERSION, Mode, Phase
from tests.support.remediator_web import SERVER, failed_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.kube.client import KubeClient
    from remediator.admission import Instant

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("definition")
NAME = f"prod.{PLAYBOOK}.1"
REQUEST = "a Remediation's request does not change"


def path(namespace: str, name: str | None = NAME, sub: str | None = None) -> str:
    return group_path(GROUP, VERSION, namespace, PLURAL, name, sub=sub)


def make(admin: KubeClient, namespace: str, **spec: object) -> Remediation:
    """One as the remediator makes it, with changes."""
    return Remediations(admin, namespace).create(NAME, {**spec_of(failed_run()), **spec}, "stager-medic-diego-api")


def test_what_the_remediator_writes_is_kept_field_by_field(admin: KubeClient, namespace: str) -> None:
    found = make(admin, namespace)
    assert found.spec == spec_of(failed_run())
    closed = Closed(request=failed_run(), phase=Phase.FAILED, message="x", finished=SERVER, verdict_after="healthy")
    entry = Pending(name=NAME, foundation="prod", playbook=PLAYBOOK, mode=Mode.AUTO, at=SERVER, expires=SERVER)
    store = Remediations(admin, namespace)
    for status in (status_of(entry), status_of(closed.request)):
        written = store.write_status(NAME, cast("Json", status))
        assert {key: written.status.get(key) for key in status if status[key] is not None} == {
            key: value for key, value in status.items() if value is not None
        }


def test_the_definition_as_served_has_every_field(admin: KubeClient) -> None:
    served = admin.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{GROUP}")
    assert missing_fields(served) == []


@pytest.mark.parametrize(
    "change",
    [
        {"foundation": "another"},
        {"playbook": "restart-everything"},
        {"mode": "auto"},
        {"mode": None},
        {"trigger": {"fingerprint": "another"}},
        {"trigger": {"labels": {"foundation": "another"}}},
    ],
    ids=lambda change: "-".join(f"{key}" for key in change) + ("-gone" if None in change.values() else ""),
)
def test_the_request_never_changes(admin: KubeClient, namespace: str, change: Json) -> None:
    make(admin, namespace, mode="approval")
    with pytest.raises(Invalid, match=REQUEST):
        admin.patch(path(namespace), {"spec": change})


def test_a_mode_cannot_be_put_in_later(admin: KubeClient, namespace: str) -> None:
    spec = {key: value for key, value in spec_of(failed_run()).items() if key != "mode"}
    Remediations(admin, namespace).create(NAME, cast("Json", spec), "stager-medic-diego-api")
    with pytest.raises(Invalid, match=REQUEST):
        admin.patch(path(namespace), {"spec": {"mode": "auto"}})


def test_people_may_approve_and_acknowledge(admin: KubeClient, namespace: str) -> None:
    make(admin, namespace)
    for state in ("approved", "rejected"):
        found = admin.patch(path(namespace), {"spec": {"approval": {"state": state, "by": "ann"}}})
        assert cast("Json", found)["spec"]["approval"] == {"state": state, "by": "ann"}
    found = admin.patch(path(namespace), {"spec": {"approval": None, "acknowledged": {"by": "ann", "reason": "seen"}}})
    assert "approval" not in cast("Json", found)["spec"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"mode": "now"}, 'spec.mode: Unsupported value: "now"'),
        ({"foundation": ""}, "spec.foundation"),
        ({"foundation": "x" * 64}, "spec.foundation: Too long"),
        ({"foundation": None}, "spec.foundation: Required value"),
        ({"playbook": 7}, "spec.playbook"),
        ({"approval": {"state": "perhaps"}}, "spec.approval.state: Unsupported value"),
        ({"trigger": {"labels": {f"l{n}": "" for n in range(65)}}}, "spec.trigger.labels"),
        ({"acknowledged": {"reason": "x" * 1001}}, "spec.acknowledged.reason: Too long"),
    ],
)
def test_bad_values_are_refused(admin: KubeClient, namespace: str, spec: Json, said: str) -> None:
    with pytest.raises(Invalid, match=said.replace("(", r"\(")):
        make(admin, namespace, **spec)


def test_a_request_by_hand_needs_little(admin: KubeClient, namespace: str) -> None:
    body: Json = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Remediation",
        "metadata": {"name": "by-hand"},
        "spec": {"foundation": "prod", "playbook": PLAYBOOK},
    }
    made = admin.create(path(namespace, None), body)
    assert cast("Json", made)["spec"]["trigger"] == {"alertname": "by hand"}


def test_status_is_written_only_through_its_subresource(admin: KubeClient, namespace: str) -> None:
    store = Remediations(admin, namespace)
    found = make(admin, namespace)
    admin.patch(path(namespace), {"status": {"phase": "Succeeded"}})
    assert store.get(NAME).status == {}
    written = store.write_status(NAME, {"phase": "Running", "steps": [{"name": "confirm"}]}, found.version)
    assert written.phase == "Running"
    admin.patch(path(namespace, NAME, "status"), {"spec": {"foundation": "another"}, "status": {"step": "delete"}})
    assert store.get(NAME).foundation == found.foundation
    with pytest.raises(Conflict, match="the object has been modified"):
        store.write_status(NAME, {"phase": "Failed"}, found.version)
    with pytest.raises(Conflict):
        store.write_spec(NAME, {"approval": {"state": "approved"}}, found.version)


def test_one_that_exists_is_taken_for_ours_and_deleted_only_as_itself(admin: KubeClient, namespace: str) -> None:
    store = Remediations(admin, namespace)
    first = make(admin, namespace)
    assert make(admin, namespace).uid == first.uid
    store.delete(first)
    second = make(admin, namespace)
    assert second.uid != first.uid
    with pytest.raises(Conflict, match=r"UID in (the )?precondition"):
        store.delete(first)
    assert [one.uid for one in store.list()] == [second.uid]


def test_kubectl_prints_the_columns(admin: KubeClient, namespace: str) -> None:
    served = admin.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{GROUP}")
    columns = cast("Json", served)["spec"]["versions"][0]["additionalPrinterColumns"]
    names = [one["name"] for one in columns]
    assert names == ["Playbook", "Foundation", "Phase", "Step", "Trigger", "Age", "Message"]
    assert admin.get(f"/apis/{GROUP}/{VERSION}")["resources"]
    short = [one.get("shortNames") for one in cast("Json", admin.get(f"/apis/{GROUP}/{VERSION}"))["resources"]]
    assert ["rem"] in short
    del namespace


class TestTheLedger:
    """The project's own compare-and-swap where the resourceVersions are etcd's."""

    def store(self, admin: KubeClient, namespace: str) -> LedgerStore:
        return LedgerStore(admin, namespace, "diego-api", wall=time.time)

    def test_many_writers_lose_nothing(self, admin: KubeClient, namespace: str) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from remediator.store import Busy

        def once(_: int) -> None:
            def change(ledger: Ledger, _: Instant) -> Ledger:
                return ledger.model_copy(update={"next_n": ledger.next_n + 1})

            while True:
                try:
                    self.store(admin, namespace).swap(change)
                except Busy:
                    continue
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(once, range(40)))
        reading = self.store(admin, namespace).read()
        assert reading.ledger.next_n == Ledger().next_n + 40
        assert abs(reading.instant.skew) < 5

    def test_an_old_version_is_refused(self, admin: KubeClient, namespace: str) -> None:
        store = self.store(admin, namespace)
        first = store.swap(lambda ledger, _: ledger.model_copy(update={"next_n": 7}))
        store.swap(lambda ledger, _: ledger.model_copy(update={"next_n": 8}))
        with pytest.raises(Conflict, match="the object has been modified"):
            store._write(Ledger(next_n=9), first)
        assert store.read().ledger.next_n == 8

    def test_two_that_make_it_at_once(self, admin: KubeClient, namespace: str) -> None:
        store = self.store(admin, namespace)
        reading = store.read()
        assert reading.version == ""
        store._write(Ledger(next_n=2), reading)
        with pytest.raises(Conflict, match="already exists"):
            store._write(Ledger(next_n=3), reading)

    def test_one_that_is_lost_opens_the_breaker(self, admin: KubeClient, namespace: str) -> None:
        make(admin, namespace)
        found = self.store(admin, namespace).read().ledger
        assert found.breaker is not None
        assert "is gone while Remediations exist" in found.breaker.why

    def test_one_that_makes_no_sense(self, admin: KubeClient, namespace: str) -> None:
        body: Json = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "stager-medic-diego-api"},
            "data": {"ledger": "{"},
        }
        admin.create(core_path(namespace, "configmaps"), body)
        with pytest.raises(LedgerUnreadable):
            self.store(admin, namespace).read()

    def test_a_namespace_that_is_not_there(self, admin: KubeClient) -> None:
        with pytest.raises(NotFound, match="namespaces"):
            self.store(admin, "e2e-nowhere").swap(lambda ledger, _: ledger.model_copy(update={"next_n": 2}))


def test_what_a_dry_run_tells(admin: KubeClient, namespace: str) -> None:
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "diego-api-0"},
        "spec": {"containers": [{"name": "x", "image": "x"}], "schedulerName": "nobody"},
    }
    made = cast("Json", admin.create(core_path(namespace, "pods"), pod))
    where, meta = core_path(namespace, "pods", "diego-api-0"), made["metadata"]
    admin.delete(where, uid=meta["uid"], resource_version=meta["resourceVersion"], dry_run=True)
    for uid, version, said in (
        ("00000000-0000-4000-8000-000000000000", meta["resourceVersion"], "UID in (the )?precondition"),
        (meta["uid"], "1", "ResourceVersion in (the )?precondition"),
    ):
        with pytest.raises(Conflict, match=said):
            admin.delete(where, uid=uid, resource_version=version)
    # The fence: any change of the pod makes a deletion that is under way bounce.
    admin.patch(where, {"metadata": {"annotations": {"stager-medic.dev/fence": "1"}}})
    with pytest.raises(Conflict, match=r"ResourceVersion in (the )?precondition"):
        admin.delete(where, uid=meta["uid"], resource_version=meta["resourceVersion"])
    newest = cast("Json", admin.get(where))["metadata"]
    admin.delete(where, uid=newest["uid"], resource_version=newest["resourceVersion"], grace=0)
    with pytest.raises(NotFound):
        admin.get(where)


def _refused(do: Callable[[], object]) -> str:
    with pytest.raises(KubeError) as caught:
        do()
    return str(caught.value)


def test_the_clock_is_the_servers(admin: KubeClient) -> None:
    admin.get("/version")
    told = admin.answer_date()
    assert told is not None
    assert abs(datetime.now(UTC).timestamp() - told) < 5
