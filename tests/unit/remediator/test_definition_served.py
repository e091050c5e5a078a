"""Whether what is served keeps what is written: read from the OpenAPI description, which needs no right of its own."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from foundation.kube.errors import Forbidden, KubeError
from remediator.definition import FIELDS, Watch, lost_fields
from simulator.api.custom import REMEDIATION_DEFINITION
from tests.support.scripted_api import ScriptedApi, reply, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scripted_api import Answer

DESCRIPTION = "/openapi/v3/apis/stager-medic.dev/v1alpha1"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/remediations.stager-medic.dev"
KIND = {"group": "stager-medic.dev", "version": "v1alpha1", "kind": "Remediation"}


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as running:
        yield running


def described(*, without: str = "") -> dict[str, Any]:
    """As Kubernetes describes it: the definition's own schema, and beside it those of lists and metadata."""
    version: Any = deepcopy(REMEDIATION_DEFINITION)["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    part, _, field = without.partition(".")
    if without:
        del schema["properties"][part]["properties"][field]
    schema["properties"]["metadata"] = {"allOf": [{"$ref": "#/components/schemas/io.k8s.ObjectMeta"}]}
    listed = {"properties": {}, "x-kubernetes-group-version-kind": [{**KIND, "kind": "RemediationList"}]}
    schemas = {
        "dev.stager-medic.v1alpha1.RemediationList": listed,
        "dev.stager-medic.v1alpha1.Remediation": {**schema, "x-kubernetes-group-version-kind": [KIND]},
    }
    return {"openapi": "3.0.0", "components": {"schemas": schemas}}


def forbidden() -> Answer:
    return status(403, "Forbidden", "customresourcedefinitions is forbidden")


def test_what_this_release_defines_keeps_all(api: ScriptedApi) -> None:
    api.on("GET", DESCRIPTION, reply(described()))
    with api.client() as client:
        assert lost_fields(client) == []
    assert [seen.path for seen in api.seen] == [DESCRIPTION]  # nothing that would need a right


def test_an_older_definition_is_told_by_its_missing_fields(api: ScriptedApi) -> None:
    api.on("GET", DESCRIPTION, reply(described(without="status.evidence")))
    with api.client() as client:
        assert lost_fields(client) == ["status.evidence"]


@pytest.mark.parametrize(
    "answer",
    [status(404, "NotFound", "gone"), reply(b"404 page not found\n", 404), forbidden(), reply({"openapi": "3.0.0"})],
)
def test_without_a_description_the_definition_itself_is_asked_for(api: ScriptedApi, answer: Answer) -> None:
    api.on("GET", DESCRIPTION, answer)
    api.on("GET", DEFINITION, reply({"spec": {"versions": [{"name": "v1"}]}}), forbidden())
    with api.client() as client:
        assert lost_fields(client) == FIELDS
        with pytest.raises(Forbidden):
            lost_fields(client)


def test_an_api_server_that_fails_is_no_verdict(api: ScriptedApi) -> None:
    api.on("GET", DESCRIPTION, status(500, "InternalError", "etcd is away"))
    with api.client() as client, pytest.raises(KubeError):
        lost_fields(client)


def test_it_is_looked_at_until_it_is_good_and_then_no_more(api: ScriptedApi) -> None:
    api.on(
        "GET",
        DESCRIPTION,
        status(500, "InternalError", "etcd is away"),
        reply(described(without="status.steps")),
        status(500, "InternalError", "etcd is away"),
        reply(described()),
    )
    with api.client() as client:
        watch = Watch({"prod": client})
        assert (watch.problem, watch.look(), watch.problem) == ("", True, "")
        assert watch.look()
        assert watch.problem == (
            "prod: remediations.stager-medic.dev has no fields status.steps.name, status.steps.started, "
            "status.steps.finished, status.steps.result, status.steps.detail: they would be lost; "
            "apply the CustomResourceDefinition of this release"
        )
        assert watch.look()
        assert watch.problem  # what was seen once stands until something better is seen
        assert not watch.look()
        assert watch.problem == ""
        asked = len(api.seen)
        watch.run(threading.Event())
        assert len(api.seen) == asked


def test_where_nobody_tells_it_does_not_stand_in_the_way_and_asks_for_no_right(api: ScriptedApi) -> None:
    with api.client() as client:
        watch = Watch({"prod": client})
        assert not watch.look()
        assert watch.problem == ""
    assert [seen.path for seen in api.seen] == [DESCRIPTION]
