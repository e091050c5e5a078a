"""Compare-and-swap, preconditions, deletion, history: what every client's safety rests on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from simulator.api.errors import ApiError
from simulator.api.objects import metadata
from simulator.api.resources import CONFIGMAPS, NAMESPACES, PODS, REMEDIATIONS, STATEFULSETS
from simulator.api.store import Deletion, Store

if TYPE_CHECKING:
    from simulator.api.objects import Json


def fresh() -> Store:
    store = Store(lambda: 1_700_000_000.0, seed=1)
    store.create(NAMESPACES, "", {"metadata": {"name": "cf"}})
    return store


def set_to(value: str, version: str = "") -> Json:
    about = {"name": "ledger", **({"resourceVersion": version} if version else {})}
    return {"metadata": about, "data": {"holder": value}}


def test_of_many_who_swap_on_one_version_one_wins() -> None:
    store = fresh()
    version = metadata(store.create(CONFIGMAPS, "cf", set_to("nobody")))["resourceVersion"]
    outcomes: list[int] = []
    together = threading.Barrier(8)

    def swap(number: int) -> None:
        together.wait()
        try:
            store.update(CONFIGMAPS, "cf", "ledger", lambda _: set_to(f"holder-{number}", version))
            outcomes.append(200)
        except ApiError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [200] + [409] * 7


def test_an_update_that_changes_nothing_keeps_the_version() -> None:
    store = fresh()
    first = store.create(CONFIGMAPS, "cf", set_to("me"))
    assert store.update(CONFIGMAPS, "cf", "ledger", lambda _: set_to("me")) == first
    assert store.wait(CONFIGMAPS, int(metadata(first)["resourceVersion"]), 0)[0] == []


def test_create_says_what_is_wrong() -> None:
    store = fresh()
    store.create(CONFIGMAPS, "cf", set_to("me"))
    for namespace, thing, code, text in (
        ("cf", set_to("me"), 409, 'configmaps "ledger" already exists'),
        ("elsewhere", set_to("me"), 404, 'namespaces "elsewhere" not found'),
        ("cf", {"metadata": {}}, 422, "name is required"),
    ):
        with pytest.raises(ApiError, match=text) as caught:
            store.create(CONFIGMAPS, namespace, thing)
        assert caught.value.code == code


@pytest.mark.parametrize("options", [Deletion(uid="another"), Deletion(version="1")])
def test_a_precondition_that_does_not_hold_deletes_nothing(options: Deletion) -> None:
    store = fresh()
    pod = store.create(PODS, "cf", {"metadata": {"name": "diego-api-0"}, "spec": {}})
    with pytest.raises(ApiError, match="Precondition failed") as caught:
        store.delete(PODS, "cf", "diego-api-0", options)
    assert caught.value.code == 409
    assert store.get(PODS, "cf", "diego-api-0") == pod


def test_a_patched_pod_bounces_a_delete_that_saw_it_before() -> None:
    store = fresh()
    seen = metadata(store.create(PODS, "cf", {"metadata": {"name": "diego-api-0"}, "spec": {}}))

    def fence(thing: Json) -> Json:
        thing["metadata"]["annotations"] = {"stager-medic.dev/fence": "2"}
        return thing

    store.update(PODS, "cf", "diego-api-0", fence)
    with pytest.raises(ApiError) as caught:
        store.delete(PODS, "cf", "diego-api-0", Deletion(uid=seen["uid"], version=seen["resourceVersion"]))
    assert caught.value.code == 409


def test_a_deleted_pod_is_terminating_until_its_kubelet_removes_it() -> None:
    store = fresh()
    pod = store.create(PODS, "cf", {"metadata": {"name": "a"}, "spec": {"terminationGracePeriodSeconds": 600}})
    assert metadata(store.delete(PODS, "cf", "a", Deletion(dry_run=True)))["deletionGracePeriodSeconds"] == 600
    assert "deletionTimestamp" not in metadata(store.get(PODS, "cf", "a"))
    doomed = store.delete(PODS, "cf", "a", Deletion())
    assert metadata(doomed)["deletionTimestamp"] == "2023-11-14T22:23:20Z", "the end of the grace, not its beginning"
    assert store.delete(PODS, "cf", "a", Deletion()) == doomed, "a second delete changes nothing"
    store.remove(PODS, "cf", "a", "another uid")
    assert store.get(PODS, "cf", "a") == doomed
    store.remove(PODS, "cf", "a", metadata(pod)["uid"])
    with pytest.raises(ApiError, match='pods "a" not found'):
        store.get(PODS, "cf", "a")


def test_status_of_a_custom_resource_changes_through_its_own_door_only() -> None:
    store = fresh()
    made = store.create(
        REMEDIATIONS, "cf", {"metadata": {"name": "r"}, "spec": {"mode": "auto"}, "status": {"phase": "X"}}
    )
    assert "status" not in made
    store.update(REMEDIATIONS, "cf", "r", lambda thing: {**thing, "status": {"phase": "Running"}})
    assert "status" not in store.get(REMEDIATIONS, "cf", "r")

    def both(thing: Json) -> Json:
        return {**thing, "spec": {"mode": "off"}, "status": {"phase": "Running"}}

    changed = store.update(REMEDIATIONS, "cf", "r", both, subresource="status")
    assert changed["status"] == {"phase": "Running"}
    assert changed["spec"] == {"mode": "auto"}
    assert metadata(changed)["generation"] == 1
    assert metadata(store.update(REMEDIATIONS, "cf", "r", both))["generation"] == 2


def test_what_an_object_owns_goes_with_it() -> None:
    store = fresh()
    owner = store.create(REMEDIATIONS, "cf", {"metadata": {"name": "r"}})
    owned = {"name": "evidence", "ownerReferences": [{"uid": metadata(owner)["uid"]}]}
    store.create(CONFIGMAPS, "cf", {"metadata": owned})
    store.create(CONFIGMAPS, "cf", set_to("me"))
    store.delete(REMEDIATIONS, "cf", "r", Deletion())
    assert [metadata(thing)["name"] for thing in store.listing(CONFIGMAPS, "cf")[0]] == ["ledger"]


def test_history_in_order_and_gone_after_compaction() -> None:
    store = fresh()
    start = store.version
    store.create(CONFIGMAPS, "cf", set_to("a"))
    store.update(CONFIGMAPS, "cf", "ledger", lambda _: set_to("b"))
    store.delete(CONFIGMAPS, "cf", "ledger", Deletion())
    changes, seen = store.wait(CONFIGMAPS, start, 0)
    assert [change.kind for change in changes] == ["ADDED", "MODIFIED", "DELETED"]
    assert store.wait(CONFIGMAPS, seen, 0) == ([], seen)
    store.compact()
    with pytest.raises(ApiError) as caught:
        store.wait(CONFIGMAPS, start, 0)
    assert caught.value.code == 410
    assert store.wait(CONFIGMAPS, store.version, 0)[0] == [], "a list made now can be watched from"


def test_a_stateful_set_counts_its_specifications() -> None:
    store = fresh()
    store.create(STATEFULSETS, "cf", {"metadata": {"name": "s"}, "spec": {"replicas": 2}})
    store.update(STATEFULSETS, "cf", "s", lambda thing: {**thing, "status": {"replicas": 2}}, subresource="status")
    assert metadata(store.get(STATEFULSETS, "cf", "s"))["generation"] == 1
    store.update(STATEFULSETS, "cf", "s", lambda thing: {**thing, "spec": {"replicas": 3}})
    assert metadata(store.get(STATEFULSETS, "cf", "s"))["generation"] == 2


def test_finalizers_hold_an_object() -> None:
    store = fresh()
    store.create(CONFIGMAPS, "cf", {"metadata": {"name": "held", "finalizers": ["x/y"]}})
    store.delete(CONFIGMAPS, "cf", "held", Deletion())
    assert metadata(store.get(CONFIGMAPS, "cf", "held"))["deletionTimestamp"]
    store.update(CONFIGMAPS, "cf", "held", lambda _: {"metadata": {"name": "held"}})
    with pytest.raises(ApiError):
        store.get(CONFIGMAPS, "cf", "held")
