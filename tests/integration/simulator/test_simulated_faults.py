"""The API server's bad hours, and the switches for them, over plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from simulator.api.custom import REMEDIATION_DEFINITION
from simulator.cluster import Cluster, Options
from tests.support.simulated import eventually, quick, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PODS = "/api/v1/namespaces/cf/pods"
CONFIGMAPS = "/api/v1/namespaces/cf/configmaps"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated(traffic=True) as running:
        yield running


def ask(
    url: str, method: str, path: str, body: Any = None, *, timeout: float = 5.0, identity: str = ""
) -> tuple[int, Any, dict[str, str]]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, **({"Authorization": f"Bearer {identity}"} if identity else {})}
        connection.request(method, path, data, headers)
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


def test_a_request_cut_off_in_its_body_does_nothing(cluster: Cluster) -> None:
    """As a client that was killed leaves it; taken for one without options, it would be an unconditional deletion."""
    place = urlsplit(cluster.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as connection:
        head = f"DELETE {PODS}/diego-api-0 HTTP/1.1\r\nHost: api\r\nContent-Length: 200\r\n\r\n"
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert "deletionTimestamp" not in ask(cluster.url, "GET", f"{PODS}/diego-api-0")[1]["metadata"]


def test_a_missing_permission_names_what_was_asked_for(cluster: Cluster) -> None:
    switch(cluster, rules=[{"verb": "get", "resource": "pods/log", "status": 403}])
    code, answer, _ = ask(cluster.url, "GET", f"{PODS}/api-0/log")
    assert (code, answer["message"].partition(" in API")[0]) == (
        403,
        'pods "api-0" is forbidden: User "simulated" cannot get resource "pods/log"',
    )


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


def test_a_rule_catches_the_nth_matching_request(cluster: Cluster) -> None:
    switch(cluster, rules=[{"path": "/configmaps$", "verb": "list", "status": 500, "skip": 2, "times": 1}])
    assert ask(cluster.url, "GET", PODS)[0] == 200
    assert [ask(cluster.url, "GET", CONFIGMAPS)[0] for _ in range(4)] == [200, 200, 500, 200]
    (rule,) = ask(cluster.api.control_url, "GET", "/simulator")[1]["faults"]["rules"]
    assert (rule["caught"], rule["times"], rule["skip"]) == (1, 0, 0)


def test_a_share_of_the_requests_is_repeatable(cluster: Cluster) -> None:
    def story() -> list[int]:
        switch(cluster, seed=7, rules=[{"verb": "list", "status": 429, "chance": 0.5}])
        return [ask(cluster.url, "GET", PODS)[0] for _ in range(20)]

    first = story()
    assert set(first) == {200, 429}
    assert story() == first


def test_a_fault_for_one_client_alone_and_the_journal_tells_them_apart(cluster: Cluster) -> None:
    switch(cluster, rules=[{"identity": "replica-1", "status": 500}])
    assert ask(cluster.url, "GET", PODS, identity="replica-1")[0] == 500
    assert ask(cluster.url, "GET", PODS, identity="replica-2")[0] == 200
    assert ask(cluster.url, "GET", PODS)[0] == 200
    entries = ask(cluster.api.control_url, "GET", "/simulator/requests?all")[1]["requests"]
    assert [(entry["identity"], entry["status"], entry["path"]) for entry in entries] == [
        ("replica-1", 500, PODS), ("replica-2", 200, PODS), ("", 200, PODS),
    ]  # fmt: skip
    assert cluster.kubeconfig("replica-1")["users"][0]["user"] == {"token": "replica-1"}
    newer = ask(cluster.api.control_url, "GET", f"/simulator/requests?all&after={entries[1]['number']}")[1]["requests"]
    assert [entry["identity"] for entry in newer] == [""]


def test_a_held_request_takes_effect_when_it_is_released_though_its_client_has_gone(cluster: Cluster) -> None:
    pod = ask(cluster.url, "GET", f"{PODS}/diego-api-0")[1]["metadata"]
    switch(cluster, rules=[{"verb": "delete", "hold": True, "times": 1}])
    with pytest.raises(TimeoutError):
        ask(cluster.url, "DELETE", f"{PODS}/diego-api-0", {"preconditions": {"uid": pod["uid"]}}, timeout=0.3)
    held = ask(cluster.api.control_url, "GET", "/simulator")[1]["faults"]["rules"][0]["held"]
    assert held == 1
    assert "deletionTimestamp" not in ask(cluster.url, "GET", f"{PODS}/diego-api-0")[1]["metadata"]
    switch(cluster, rules=[])
    (entry,) = eventually(cluster.api.journal.entries, "the DELETE is carried out")
    assert (entry.verb, entry.status, entry.body) == ("delete", 200, {"preconditions": {"uid": pod["uid"]}})
    assert entry.at - entry.received >= 0.3


def test_hanging_up_carries_the_request_out(cluster: Cluster) -> None:
    switch(cluster, rules=[{"verb": "create", "hang_up": True, "delay": 0.3, "times": 1}])
    begun = time.monotonic()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(cluster.url, "POST", CONFIGMAPS, {"metadata": {"name": "ledger"}})
    assert time.monotonic() - begun < 0.3, "the client knows at once"
    (entry,) = eventually(cluster.api.journal.entries, "it is carried out later")
    assert (entry.status, entry.lost) == (201, True)
    assert ask(cluster.url, "GET", f"{CONFIGMAPS}/ledger")[1]["metadata"]["resourceVersion"] == entry.version


def test_rules_with_wrong_fields_are_refused(cluster: Cluster) -> None:
    for rule in ({"times": "1"}, {"skip": True}, {"hold": 1}, {"path": "("}, {"caught": 1}, {"released": None}):
        assert ask(cluster.api.control_url, "POST", "/simulator/faults", {"rules": [rule]})[0] == 400, rule


def test_one_pod_by_control(cluster: Cluster) -> None:
    where = "/simulator/foundations/demo/pods"
    assert ask(cluster.url, "POST", f"{where}/diego-api-0", {"bbs": "wedged"})[0] == 200
    state = ask(cluster.url, "GET", "/simulator")[1]["foundations"]["demo"]
    assert {pod["name"]: pod["bbs"] for pod in state["pods"] if pod["role"] == "bbs"}["diego-api-0"] == "hangs"
    assert ask(cluster.url, "POST", f"{where}/diego-api-0", {"bbs": "drunk"})[0] == 422
    assert ask(cluster.url, "POST", f"{where}/diego-api-9", {"bbs": "well"})[0] == 404


def test_remediations_are_not_served_without_their_definition() -> None:
    options = Options(traffic=False, remediations=False, timing=quick())
    place = "/apis/stager-medic.dev/v1alpha1"
    with Cluster(options) as cluster:
        assert ask(cluster.url, "GET", place)[0] == 404
        assert ask(cluster.url, "POST", f"{place}/namespaces/cf/remediations", {})[0] == 404
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        status, made, _ = ask(cluster.url, "POST", path, REMEDIATION_DEFINITION)
        assert (status, made["status"]["conditions"][1]["type"]) == (201, "Established")
        assert ask(cluster.url, "GET", place)[1]["resources"][0]["kind"] == "Remediation"
        spec = {"foundation": "demo", "playbook": "play"}
        body = {"metadata": {"generateName": "demo.play.", "name": "demo.play.1"}, "spec": spec}
        assert ask(cluster.url, "POST", f"{place}/namespaces/cf/remediations", body)[0] == 201
        assert ask(cluster.url, "DELETE", f"{path}/remediations.stager-medic.dev")[0] == 200
        assert ask(cluster.url, "GET", place)[0] == 404


def test_the_journals_file_has_every_request(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Cluster(Options(traffic=False, timing=quick(), journal=path)) as cluster:
        ask(cluster.url, "GET", PODS)
        ask(cluster.url, "GET", "/version")
        ask(cluster.url, "GET", f"{PODS}/nobody")
        entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["verb"], entry["path"], entry["status"]) for entry in entries] == [
        ("list", PODS, 200), ("", "/version", 200), ("get", f"{PODS}/nobody", 404),
    ]  # fmt: skip
