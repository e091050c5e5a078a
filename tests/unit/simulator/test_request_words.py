"""Selectors, patches and paths, as clients spell them."""

from __future__ import annotations

import pytest

from simulator.api import requests
from simulator.api.errors import ApiError
from simulator.api.patches import apply
from simulator.api.resources import REMEDIATIONS, RESOURCES
from simulator.api.selectors import by_fields, by_labels

MERGE, STRATEGIC, JSON = (f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch"))
POD = {"metadata": {"name": "diego-api-0", "labels": {"app": "diego-api", "skiff-role-active": "true"}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=diego-api", True),
        ("app==diego-api,skiff-role-active=true", True),
        ("app=api", False),
        ("app!=api", True),
        ("other!=x", True),
        ("app", True),
        ("other", False),
        ("!other", True),
        ("!app", False),
        ("app in (api, diego-api)", True),
        ("app notin (api,diego-api)", False),
        ("app in (x),skiff-role-active", False),
    ],
)
def test_label_selectors(text: str, expected: bool) -> None:
    assert by_labels(text)(POD) is expected


def test_selectors_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ApiError, match="unable to parse"):
        by_labels("app=a=b c")
    with pytest.raises(ApiError, match="field label not supported"):
        by_fields("spec.colour=red")


def test_field_selectors() -> None:
    assert by_fields("metadata.name=diego-api-0")(POD)
    assert not by_fields("metadata.name!=diego-api-0")(POD)
    assert by_fields("involvedObject.name=x,involvedObject.kind=Pod")({"involvedObject": {"name": "x", "kind": "Pod"}})


def test_patches() -> None:
    thing = {"data": {"a": "1", "b": "2"}, "status": {"conditions": [{"type": "A", "status": "0"}, {"type": "B"}]}}
    assert apply(MERGE, thing, {"data": {"a": None, "c": "3"}})["data"] == {"b": "2", "c": "3"}
    patched = apply(STRATEGIC, thing, {"status": {"conditions": [{"type": "A", "status": "1"}]}})
    assert patched["status"]["conditions"] == [{"type": "A", "status": "1"}, {"type": "B"}]
    assert apply(MERGE, thing, {"status": {"conditions": []}})["status"]["conditions"] == []
    steps = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "9"}]
    assert apply(JSON, thing, steps)["data"]["a"] == "9"
    assert thing["data"] == {"a": "1", "b": "2"}, "the original is not touched"


@pytest.mark.parametrize(
    ("kind", "patch", "code"),
    [
        (JSON, [{"op": "test", "path": "/data", "value": 1}], 422),
        (JSON, [{"op": "remove", "path": "/nowhere"}], 422),
        (JSON, {"op": "add"}, 400),
        (MERGE, [], 400),
        ("application/apply-patch+yaml", {}, 415),
    ],
)
def test_patches_that_are_refused(kind: str, patch: object, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        apply(kind, {"data": {}}, patch)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "pods", "", "")),
        ("GET", "/api/v1/namespaces/cf", ("get", "namespaces", "", "cf")),
        ("GET", "/api/v1/namespaces/cf/pods/a", ("get", "pods", "cf", "a")),
        ("GET", "/api/v1/namespaces/cf/pods/a/log", ("get", "pods/log", "cf", "a")),
        ("GET", "/api/v1/namespaces/cf/pods/a/exec", ("create", "pods/exec", "cf", "a")),
        ("DELETE", "/api/v1/namespaces/cf/pods", ("deletecollection", "pods", "cf", "")),
        ("POST", "/api/v1/namespaces/cf/configmaps", ("create", "configmaps", "cf", "")),
        (
            "PATCH",
            "/apis/stager-medic.dev/v1alpha1/namespaces/cf/remediations/r/status",
            ("patch", "remediations/status", "cf", "r"),
        ),
    ],
)
def test_paths(method: str, path: str, expected: tuple[str, str, str, str]) -> None:
    request = requests.read(method, path, {}, "", [*RESOURCES, REMEDIATIONS])
    assert (request.verb, request.kind, request.namespace, request.name) == expected


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/cf/secrets", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis", 404),
        ("GET", "/api/v1/namespaces/cf/configmaps/a/log", 404),
        ("PUT", "/api/v1/namespaces/cf/pods", 405),
        ("DELETE", "/api/v1/pods", 405),
        ("OPTIONS", "/api/v1/namespaces/cf/pods/a", 405),
    ],
)
def test_paths_that_are_not_served(method: str, path: str, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        requests.read(method, path, {}, "")
    assert caught.value.code == code
