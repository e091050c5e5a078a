"""The API server's bad hours, and the switches for them, over plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.cluster import Cluster

PODS = "/api/v1/namespaces/cf/pods"
CONFIGMAPS = "/api/v1/namespaces/cf/configmaps"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated(traffic=True) as running:
        yield running


def ask(url: str, method: str, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any, dict[str, str]]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())
    finally:
        connection.close()


def switch(cluster: Cluster, **faults: Any) -> None:
    status, answer, _ = ask(cluster.api.control_url, "POST", "/simulator/faults", faults)
    assert status == 200, answer


def test_down_refuses_and_comes_back_on_the_same_port(cluster: Cluster) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", urlsplit(cluster.url).port, timeout=5)
    kept.request("GET", PODS)
    kept.getresponse().read()
    switch(cluster, mode="down")
    with pytest.raises(ConnectionRefusedError):
        ask(cluster.url, "GET", PODS)
    assert kept.sock.recv(1) == b"", "what was open is closed"
    kept.close()
    switch(cluster, mode="ok")
    assert ask(cluster.url, "GET", PODS)[0] == 200


def test_frozen_accepts_and_is_silent_then_answers(cluster: Cluster) -> None:
    switch(cluster, mode="frozen")
    with pytest.raises(TimeoutError):
        ask(cluster.url, "GET", PODS, timeout=0.3)
    assert ask(cluster.api.control_url, "GET", PODS)[0] == 200, "the control address never fails"
    switch(cluster, mode="ok")
    assert ask(cluster.url, "GET", PODS)[0] == 200


def test_slow(cluster: Cluster) -> None:
    switch(cluster, delay=0.3)
    begun = time.monotonic()
    assert ask(cluster.url, "GET", PODS)[0] == 200
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "Forbidden", 'pods is forbidden: User "simulated" cannot list resource "pods" in API group ""'),
        (409, "Conflict", "the object has been modified"),
        (429, "TooManyRequests", "too many requests"),
        (500, "InternalError", "etcdserver"),
        (410, "Expired", "too old resource version"),
    ],
)
def test_an_error_for_one_verb_and_resource(cluster: Cluster, status: int, reason: str, message: str) -> None:
    switch(cluster, rules=[{"verb": "list", "resource": "pods", "status": status, "times": 1}])
    assert ask(cluster.url, "GET", CONFIGMAPS)[0] == 200
    code, answer, headers = ask(cluster.url, "GET", PODS)
    assert (code, answer["kind"], answer["reason"]) == (status, "Status", reason)
    assert message in answer["message"]
    assert headers.get("Retry-After") == ("1" if status == 429 else None)
    assert ask(cluster.url, "GET", PODS)[0] == 200, "once only"


def test_a_missing_permission_is_known_to_the_access_review(cluster: Cluster) -> None:
    def allowed(verb: str) -> bool:
        spec = {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "cf"}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(ask(cluster.url, "POST", path, {"spec": spec})[1]["status"]["allowed"])

    assert allowed("delete")
    switch(cluster, rules=[{"verb": "delete", "resource": "pods", "status": 403}])
    assert not allowed("delete")
    assert allowed("list")


def test_a_lost_answer_was_carried_out(cluster: Cluster) -> None:
    switch(cluster, rules=[{"verb": "create", "resource": "configmaps", "lost": True, "times": 1}])
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(cluster.url, "POST", CONFIGMAPS, {"metadata": {"name": "ledger"}})
    assert ask(cluster.url, "POST", CONFIGMAPS, {"metadata": {"name": "ledger"}})[0] == 409


def test_a_late_delete_meets_the_fence(cluster: Cluster) -> None:
    pod = ask(cluster.url, "GET", f"{PODS}/diego-api-0")[1]["metadata"]
    before = {"uid": pod["uid"], "resourceVersion": pod["resourceVersion"]}
    switch(cluster, rules=[{"verb": "delete", "resource": "pods", "delay": 0.4, "times": 1}])
    statuses: list[int] = []

    def delete() -> None:
        statuses.append(ask(cluster.url, "DELETE", f"{PODS}/diego-api-0", {"preconditions": before})[0])

    late = threading.Thread(target=delete)
    late.start()
    eventually(lambda: cluster.api.faults.rules[0].times == 0, "the DELETE has arrived and is held")
    fence = {"metadata": {"annotations": {"stager-medic.dev/fence": "2"}}}
    assert ask(cluster.url, "PATCH", f"{PODS}/diego-api-0", fence)[0] == 200
    late.join()
    assert statuses == [409]
    assert cluster.site().foundation.pods["diego-api-0"].uid == pod["uid"]


def test_unknown_faults_are_refused_and_change_nothing(cluster: Cluster) -> None:
    for wrong in ({"mode": "drunk"}, {"lunch": True}, {"mode": "down", "rules": [{"lunch": 1}]}):
        status, answer, _ = ask(cluster.api.control_url, "POST", "/simulator/faults", wrong)
        assert (status, answer["kind"]) == (400, "Status")
    assert ask(cluster.url, "GET", PODS)[0] == 200


def test_incidents_by_control(cluster: Cluster) -> None:
    where = "/simulator/foundations/demo/incidents"
    assert ask(cluster.url, "POST", f"{where}/locked_out")[1] == {"foundation": "demo", "incidents": ["locked_out"]}
    state = ask(cluster.url, "GET", "/simulator")[1]["foundations"]["demo"]
    assert state["incidents"] == ["locked_out"]
    assert state["active"] is None
    assert [pod["bbs"] for pod in state["pods"] if pod["role"] == "bbs"] == ["closed", "closed"]
    assert ask(cluster.url, "DELETE", f"{where}/locked_out")[1]["incidents"] == []
    assert ask(cluster.url, "POST", f"{where}/lunch")[0] == 422
    assert ask(cluster.url, "POST", "/simulator/foundations/none/incidents/split")[0] == 404
    assert ask(cluster.url, "GET", "/simulator/lunch")[0] == 404


def test_what_was_changed_is_on_record(cluster: Cluster) -> None:
    ask(cluster.url, "POST", CONFIGMAPS, {"metadata": {"name": "ledger"}})
    ask(cluster.url, "GET", CONFIGMAPS)
    ask(cluster.url, "DELETE", f"{PODS}/diego-api-9")
    entries = ask(cluster.url, "GET", "/simulator/requests")[1]["requests"]
    assert [(entry["verb"], entry["resource"], entry["name"], entry["status"]) for entry in entries] == [
        ("create", "configmaps", "", 201),
        ("delete", "pods", "diego-api-9", 404),
    ]
    assert entries[0]["body"]["metadata"]["name"] == "ledger"


def test_wrong_requests_get_a_status(cluster: Cluster) -> None:
    for method, path, code in (
        ("GET", "/api/v1/namespaces/cf/secrets", 404),
        ("PUT", PODS, 405),
        ("GET", f"{PODS}?labelSelector=a=b=c", 400),
        ("POST", f"{PODS}/api-0/exec?container=lunch", 400),
        ("GET", f"{PODS}?watch=true&sendInitialEvents=true", 422),
    ):
        status, answer, _ = ask(cluster.url, method, path, {} if method in ("PUT", "POST") else None)
        assert (status, answer["kind"], answer["code"]) == (code, "Status", code), path


def test_failed_pushes_are_written_and_counted(cluster: Cluster) -> None:
    cluster.start_incident("locked_out")
    ask(cluster.url, "POST", "/simulator/foundations/demo/pods/api-1/push")
    site = cluster.site()
    eventually(lambda: sum(site.traffic.counted.values()) >= 3, "three failed pushes")
    site.traffic.enabled = False
    path = "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"

    def written() -> int:
        with site.foundation.lock:
            lines = [line.text for pod in site.foundation.of("api") for line in pod.files[path].lines()]
            total = sum(site.traffic.counted.values())
        assert sum(b"Request failed: 503" in line for line in lines) == total
        return total

    assert written() >= 3
    assert ask(cluster.url, "GET", "/simulator")[1]["foundations"]["demo"]["failed_pushes"]["api-1"] >= 1
