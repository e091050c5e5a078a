"""What a real API server refuses or renames, and this one too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.api import requests
from simulator.api.errors import ApiError
from simulator.api.resources import CONFIGMAPS, EVENTS, NAMESPACES, PODS, STATEFULSETS
from simulator.api.store import Deletion, Store

if TYPE_CHECKING:
    from simulator.api.objects import Json

MERGE = "application/merge-patch+json"
CORE, APPS = "/api/v1/namespaces/cf", "/apis/apps/v1/namespaces/cf"
NEW = "/apis/events.k8s.io/v1/namespaces/cf/events"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner"}


@pytest.fixture
def store() -> Store:
    made = Store(lambda: 1_700_000_000.0, seed=1)
    made.create(NAMESPACES, "", {"metadata": {"name": "cf"}})
    made.create(PODS, "cf", {"metadata": {"name": "p"}, "spec": {"containers": []}, "status": {"phase": "Running"}})
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}
    made.create(STATEFULSETS, "cf", {"metadata": {"name": "s"}, "spec": spec})
    return made


def ask(store: Store, method: str, path: str, body: Any = None, **query: str) -> Json:
    request = requests.read(method, path, {key: [value] for key, value in query.items()}, "")
    return requests.write(store, request, body, MERGE)[1]


def refused(store: Store, code: int, method: str, path: str, body: Any = None, **query: str) -> str:
    before = store.version
    with pytest.raises(ApiError) as caught:
        ask(store, method, path, body, **query)
    assert caught.value.code == code, caught.value
    assert store.version == before, "nothing was changed"
    return str(caught.value)


def event(**more: Any) -> Json:
    return {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "cf"},
        "note": "gone",
        "type": "Normal",
        "reason": "Deleted",
        "action": "Delete",
        "reportingController": "medic",
        "reportingInstance": "medic-0",
        "eventTime": "2023-11-14T22:13:20.000000Z",
        **more,
    }


@pytest.mark.parametrize(
    "about",
    [{"name": "Upper"}, {"name": "under_score"}, {"name": "a" * 254}, {"generateName": "diego-api-0."}, {"name": "-a"}],
)
def test_names_that_are_refused(store: Store, about: Json) -> None:
    assert "RFC 1123" in refused(store, 422, "POST", f"{CORE}/configmaps", {"metadata": about})


@pytest.mark.parametrize("about", [{"name": "demo.restart-diego-api.12"}, {"generateName": "evidence-"}])
def test_names_that_are_taken(store: Store, about: Json) -> None:
    made = ask(store, "POST", f"{CORE}/configmaps", {"metadata": about})["metadata"]["name"]
    assert made.startswith(about.get("name") or about["generateName"])


def test_a_generated_name_is_fresh_each_time(store: Store) -> None:
    names = {
        ask(store, "POST", f"{CORE}/configmaps", {"metadata": {"generateName": "e-"}})["metadata"]["name"]
        for _ in range(20)
    }
    assert len(names) == 20


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"data": {"a": 1}}, 400, "cannot unmarshal"),
        ({"data": {"a/b": ""}}, 422, "valid config key"),
        ({"data": {"a": "x" * 1_048_577}}, 422, "must have at most 1048576 bytes"),
        ({"metadata": {"name": "c", "labels": {"a": "x" * 64}}}, 422, "valid label"),
        ({"metadata": {"name": "c", "labels": {"a": "true "}}}, 422, "valid label"),
        ({"metadata": {"name": "c", "annotations": {"a": True}}}, 400, "a string is expected"),
        ({"metadata": {"name": "c", "annotations": {"a": "x" * 262_144}}}, 422, "metadata.annotations: Too long"),
        ({"metadata": {"name": "c", "resourceVersion": "7"}}, 500, "should not be set"),
        ({"metadata": {"name": "c", "namespace": "other"}}, 400, "does not match the namespace"),
        ([], 400, "JSON object is expected"),
    ],
)
def test_content_that_is_refused(store: Store, body: Any, code: int, message: str) -> None:
    wanted = {"metadata": {"name": "c"}, **body} if isinstance(body, dict) else body
    assert message in refused(store, code, "POST", f"{CORE}/configmaps", wanted)


def test_a_pods_annotation_raises_its_version_and_its_specification_stays(store: Store) -> None:
    before = store.get(PODS, "cf", "p")["metadata"]["resourceVersion"]
    fenced = ask(store, "PATCH", f"{CORE}/pods/p", {"metadata": {"annotations": {"stager-medic.dev/fence": "3"}}})
    assert int(fenced["metadata"]["resourceVersion"]) > int(before)
    options = {"preconditions": {"uid": fenced["metadata"]["uid"], "resourceVersion": before}}
    assert "ResourceVersion in precondition" in refused(store, 409, "DELETE", f"{CORE}/pods/p", options)
    assert "may not change" in refused(store, 422, "PATCH", f"{CORE}/pods/p", {"spec": {"nodeName": "n"}})
    kept = ask(store, "PATCH", f"{CORE}/pods/p", {"status": {"phase": "Failed"}})
    assert kept["status"] == {"phase": "Running"}, "status changes through its own door"


def test_a_dry_run_checks_everything_and_changes_nothing(store: Store) -> None:
    uid, version = (store.get(PODS, "cf", "p")["metadata"][key] for key in ("uid", "resourceVersion"))
    good = {"preconditions": {"uid": uid, "resourceVersion": version}, "dryRun": ["All"]}
    assert "deletionTimestamp" in ask(store, "DELETE", f"{CORE}/pods/p", good)["metadata"]
    assert "deletionTimestamp" not in store.get(PODS, "cf", "p")["metadata"]
    bad = {"preconditions": {"uid": "another", "resourceVersion": version}, "dryRun": ["All"]}
    refused(store, 409, "DELETE", f"{CORE}/pods/p", bad)
    assert "Unsupported value" in refused(store, 422, "DELETE", f"{CORE}/pods/p", {"dryRun": ["yes"]})
    refused(store, 422, "DELETE", f"{CORE}/pods/p", None, dryRun="yes")


def test_scale_reads_and_writes_the_replicas_alone(store: Store) -> None:
    path = f"{APPS}/statefulsets/s/scale"
    shown = ask(store, "PATCH", path, {"spec": {"replicas": 3}})
    assert (shown["kind"], shown["spec"], shown["status"]["selector"]) == ("Scale", {"replicas": 3}, "a=b")
    thing = store.get(STATEFULSETS, "cf", "s")
    assert (thing["spec"]["replicas"], thing["metadata"]["generation"]) == (3, 2)
    refused(store, 409, "PUT", path, {**shown, "metadata": {"resourceVersion": "1"}, "spec": {"replicas": 0}})
    refused(store, 422, "PATCH", path, {"spec": {"replicas": -1}})


def test_a_stateful_sets_selector_stays_and_replicas_have_a_default(store: Store) -> None:
    path = f"{APPS}/statefulsets/s"
    refused(store, 422, "PATCH", path, {"spec": {"selector": None}})
    assert ask(store, "PATCH", path, {"spec": {"replicas": None}})["spec"]["replicas"] == 1


def test_an_event_is_one_object_under_both_addresses(store: Store) -> None:
    made = ask(store, "POST", NEW, event())
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "gone")
    kept = store.get(EVENTS, "cf", "e")
    assert (kept["apiVersion"], kept["message"], kept["involvedObject"]["name"]) == ("v1", "gone", "p")
    again = ask(store, "PATCH", f"{NEW}/e", {"note": "gone twice"})
    assert again["note"] == store.get(EVENTS, "cf", "e")["message"] == "gone twice"
    request = requests.read("GET", NEW, {"fieldSelector": ["regarding.name=p"]}, "")
    assert [item["note"] for item in requests.listing(store, request, 0.0, 0)["items"]] == ["gone twice"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"eventTime": None}, "eventTime: Required value"),
        ({"reportingController": ""}, "reportingController: Required value"),
        ({"type": "Bad"}, "type: Invalid value"),
        ({"note": "ü" * 513}, "at most 1024"),
        ({"regarding": {"kind": "Pod", "name": "p"}}, "does not match event.namespace"),
        ({"metadata": {"generateName": "p."}}, "RFC 1123"),
    ],
)
def test_events_that_are_refused(store: Store, more: Json, message: str) -> None:
    assert message in refused(store, 422, "POST", NEW, event(**more))


def test_what_is_owned_goes_unless_it_is_orphaned(store: Store) -> None:
    for orphan in (False, True):
        owner = store.create(CONFIGMAPS, "cf", {"metadata": {"name": "owner"}})
        reference = {**OWNER, "uid": owner["metadata"]["uid"]}
        store.create(CONFIGMAPS, "cf", {"metadata": {"name": "owned", "ownerReferences": [reference]}})
        store.delete(CONFIGMAPS, "cf", "owner", Deletion(orphan=orphan))
        left = [thing["metadata"]["name"] for thing in store.listing(CONFIGMAPS, "cf")[0]]
        assert left == (["owned"] if orphan else [])
