"""Definitions of custom resources: what they make the server keep, drop and refuse."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from simulator.api import custom, requests
from simulator.api.errors import ApiError
from simulator.api.resources import CRDS, NAMESPACES, REMEDIATIONS, RESOURCES, discovery
from simulator.api.store import Deletion, Store

if TYPE_CHECKING:
    from simulator.api.objects import Json

MERGE = "application/merge-patch+json"
PATH = "/apis/stager-medic.dev/v1alpha1/namespaces/cf/remediations"
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["foundation"],
            "properties": {
                "foundation": {
                    "type": "string",
                    "minLength": 1,
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "foundation is immutable"}],
                },
                "mode": {"type": "string", "enum": ["auto", "off"], "default": "auto"},
                "size": {"type": "integer", "maximum": 5},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "by": {"type": "string", "nullable": True, "pattern": "^[a-z]+$"},
            },
        },
        "status": {
            "type": "object",
            "properties": {"phase": {"type": "string"}, "pods": {"type": "array", "items": {"type": "object"}}},
        },
    },
}


def definition(schema: Json = SCHEMA) -> Json:
    made = copy.deepcopy(custom.REMEDIATION_DEFINITION)
    made["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": schema}
    return made


@pytest.fixture
def store() -> Store:
    made = Store(lambda: 1_700_000_000.0, seed=1)
    made.create(NAMESPACES, "", {"metadata": {"name": "cf"}})
    custom.install(made, definition())
    return made


def ask(store: Store, method: str, path: str, body: Any, media: str = MERGE) -> Json:
    request = requests.read(method, path, {}, "", [*RESOURCES, *custom.served(store)])
    return requests.write(store, request, body, media)[1]


def create(store: Store, **spec: Any) -> Json:
    return ask(store, "POST", PATH, {"metadata": {"name": "demo.play.1"}, "spec": spec})


def test_the_group_exists_while_its_definition_does(store: Store) -> None:
    place = "/apis/stager-medic.dev/v1alpha1"
    assert custom.served(store) == [REMEDIATIONS]
    create(store, foundation="demo")
    found = discovery(place, [*RESOURCES, *custom.served(store)])
    assert found is not None
    assert [entry["name"] for entry in found["resources"]] == ["remediations", "remediations/status"]
    store.delete(CRDS, "", "remediations.stager-medic.dev", Deletion())
    assert custom.served(store) == []
    assert discovery(place, RESOURCES) is None
    assert store.listing(REMEDIATIONS)[0] == [], "the objects go with their definition"
    with pytest.raises(ApiError, match="could not find the requested resource"):
        ask(store, "POST", PATH, {})


def test_defaults_are_filled_in_and_unknown_fields_dropped(store: Store) -> None:
    made = create(store, foundation="demo", lunch=1, labels={"severity": "none"}, by=None)
    assert made["spec"] == {"foundation": "demo", "mode": "auto", "labels": {"severity": "none"}, "by": None}
    status = {"status": {"phase": "Running", "lunch": 1, "pods": [{"name": "diego-api-0"}]}}
    shown = ask(store, "PATCH", f"{PATH}/demo.play.1/status", status)
    assert shown["status"] == {"phase": "Running", "pods": [{}]}, "an undescribed list entry keeps no field"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.foundation: Required value"),
        ({"foundation": 1}, "must be of type string"),
        ({"foundation": ""}, "should be at least 1"),
        ({"foundation": "demo", "mode": "fast"}, 'Unsupported value: "fast": supported values: "auto", "off"'),
        ({"foundation": "demo", "size": 6}, "should be at most 5"),
        ({"foundation": "demo", "size": True}, "must be of type integer"),
        ({"foundation": "demo", "labels": {"a": 1}}, "spec.labels.a in body must be of type string"),
        ({"foundation": "demo", "by": "ME"}, "should match"),
    ],
)
def test_what_the_schema_forbids_is_422(store: Store, spec: Json, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        create(store, **spec)
    assert caught.value.code == 422
    assert store.listing(REMEDIATIONS)[0] == []


def test_a_field_that_may_not_change_does_not(store: Store) -> None:
    create(store, foundation="demo")
    where = f"{PATH}/demo.play.1"
    assert ask(store, "PATCH", where, {"spec": {"mode": "off"}})["spec"]["mode"] == "off"
    with pytest.raises(ApiError, match="foundation is immutable"):
        ask(store, "PATCH", where, {"spec": {"foundation": "other"}})


def test_a_replacement_without_resource_version_is_422(store: Store) -> None:
    made = create(store, foundation="demo")
    where = f"{PATH}/demo.play.1"
    bare = {"metadata": {"name": "demo.play.1"}, "spec": {"foundation": "demo"}}
    with pytest.raises(ApiError, match="must be specified for an update"):
        ask(store, "PUT", where, bare)
    assert ask(store, "PUT", where, made)["metadata"]["uid"] == made["metadata"]["uid"]


@pytest.mark.parametrize("door", ["", "/status"])
def test_of_two_who_saw_the_same_version_one_gets_409(store: Store, door: str) -> None:
    seen = create(store, foundation="demo")
    where = f"{PATH}/demo.play.1{door}"
    for phase, mode in (("Running", "off"), ("Failed", "auto")):
        wanted = {**seen, "spec": {**seen["spec"], "mode": mode}, "status": {"phase": phase}}
        if phase == "Running":
            ask(store, "PUT", where, wanted)
        else:
            with pytest.raises(ApiError, match="the object has been modified") as caught:
                ask(store, "PUT", where, wanted)
            assert caught.value.code == 409


def test_a_definition_that_cannot_be_served_is_422(store: Store) -> None:
    wrong = definition()
    wrong["metadata"]["name"] = "remediations"
    with pytest.raises(ApiError, match=r"must be spec\.names\.plural"):
        custom.install(store, wrong)
    with pytest.raises(ApiError, match="is required"):
        custom.install(store, {"metadata": {"name": "x"}, "spec": {}})


def test_a_column_leads_through_the_object() -> None:
    thing = {"spec": {"trigger": {"alertname": "A"}, "list": [1]}}
    assert custom.at_path(thing, ".spec.trigger.alertname") == "A"
    assert custom.at_path(thing, ".spec.trigger['alertname']") == "A"
    assert custom.at_path(thing, ".spec.list.x") is None
    assert custom.at_path(thing, ".status.phase") is None
