"""The official Python client against the simulated API server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.cluster import Cluster


# Parts of the client that carry no types.
WATCH: Any = watch.Watch
LOAD: Any = config.load_kube_config_from_dict


def body_of(error: ApiException) -> dict[str, Any]:
    return dict(json.loads(error.body or "{}"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        running.api.bookmark_interval = 0.1
        yield running


@pytest.fixture
def api_client(cluster: Cluster) -> Iterator[client.ApiClient]:
    configuration = client.Configuration()
    LOAD(cluster.kubeconfig(), client_configuration=configuration)
    with client.ApiClient(configuration) as made:
        yield made
        made.rest_client.pool_manager.clear()


@pytest.fixture
def core(api_client: client.ApiClient) -> Any:
    return client.CoreV1Api(api_client)


def test_list_by_label_and_read(core: Any) -> None:
    pods = core.list_namespaced_pod("cf", label_selector="app.kubernetes.io/component=diego-api")
    assert [pod.metadata.name for pod in pods.items] == ["diego-api-0", "diego-api-1"]
    assert [pod.metadata.labels["skiff-role-active"] for pod in pods.items] == ["true", "false"]
    pod = core.read_namespaced_pod("diego-api-0", "cf")
    assert pod.status.container_statuses[0].ready
    assert pod.metadata.owner_references[0].kind == "StatefulSet"
    assert core.read_namespaced_endpoints("diego-api", "cf").subsets[0].addresses[0].ip == pod.status.pod_ip


def test_paging(core: Any) -> None:
    names: list[str] = []
    page = core.list_namespaced_pod("cf", limit=2)
    assert page.metadata.remaining_item_count == 3
    while True:
        names += [pod.metadata.name for pod in page.items]
        if not page.metadata._continue:
            break
        page = core.list_namespaced_pod("cf", limit=2, _continue=page.metadata._continue)
    assert names == ["api-0", "api-1", "cc-clock-0", "diego-api-0", "diego-api-1"]


def test_an_old_page_is_gone(cluster: Cluster, core: Any) -> None:
    page = core.list_namespaced_pod("cf", limit=2)
    cluster.api.change_faults({"compact": True})
    with pytest.raises(ApiException) as caught:
        core.list_namespaced_pod("cf", limit=2, _continue=page.metadata._continue)
    assert caught.value.status == 410


def test_deleting_with_preconditions(cluster: Cluster, core: Any) -> None:
    pod = core.read_namespaced_pod("diego-api-0", "cf")
    for wrong in (
        client.V1Preconditions(uid="0"),
        client.V1Preconditions(uid=pod.metadata.uid, resource_version="1"),
    ):
        with pytest.raises(ApiException) as caught:
            core.delete_namespaced_pod("diego-api-0", "cf", body=client.V1DeleteOptions(preconditions=wrong))
        assert caught.value.status == 409
        assert "Precondition failed" in body_of(caught.value)["message"]
    right = client.V1Preconditions(uid=pod.metadata.uid, resource_version=pod.metadata.resource_version)
    core.delete_namespaced_pod("diego-api-0", "cf", body=client.V1DeleteOptions(preconditions=right, dry_run=["All"]))
    assert core.read_namespaced_pod("diego-api-0", "cf").metadata.deletion_timestamp is None
    core.delete_namespaced_pod("diego-api-0", "cf", body=client.V1DeleteOptions(preconditions=right))

    def replaced() -> bool:
        pods = core.list_namespaced_pod("cf", field_selector="metadata.name=diego-api-0").items
        return (
            bool(pods) and pods[0].metadata.uid != pod.metadata.uid and pods[0].status.conditions[-1].status == "True"
        )

    eventually(replaced, "diego-api-0 replaced and ready")
    deletes = [entry for entry in cluster.api.journal.entries() if entry.verb == "delete"]
    assert [(entry.status, entry.dry_run) for entry in deletes] == [
        (409, False),
        (409, False),
        (200, True),
        (200, False),
    ]


def test_both_deleted_come_back_in_order(core: Any) -> None:
    before = core.list_namespaced_pod("cf", label_selector="skiff-role-name=diego-api")
    watcher, made = WATCH(), []
    for pod in before.items:
        core.delete_namespaced_pod(pod.metadata.name, "cf")
    new: dict[str, bool] = {}
    for event in watcher.stream(
        core.list_namespaced_pod,
        "cf",
        label_selector="skiff-role-name=diego-api",
        resource_version=before.metadata.resource_version,
        timeout_seconds=15,
    ):
        pod = event["object"]
        if pod.metadata.uid in {old.metadata.uid for old in before.items}:
            continue
        if event["type"] == "ADDED":
            made.append((pod.metadata.name, new.get("diego-api-0", False)))
        new[pod.metadata.name] = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
        if len(new) == 2 and all(new.values()):
            watcher.stop()
    assert made == [("diego-api-0", False), ("diego-api-1", True)]


def test_watch_gives_bookmarks_and_410(cluster: Cluster, core: Any) -> None:
    def watched(version: str) -> list[dict[str, Any]]:
        response = core.list_namespaced_pod(
            "cf",
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=1,
            _preload_content=False,
        )
        try:
            return [json.loads(line) for line in response.data.splitlines()]
        finally:
            response.release_conn()

    version = core.list_namespaced_pod("cf").metadata.resource_version
    events = watched(version)
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert events[-1]["object"]["metadata"]["resourceVersion"] == version
    cluster.api.change_faults({"compact": True})
    (event,) = watched(version)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert watched(core.list_namespaced_pod("cf").metadata.resource_version)[0]["type"] == "BOOKMARK"


def test_a_selector_turns_a_lost_label_into_a_deletion(cluster: Cluster, core: Any) -> None:
    active = "skiff-role-active=true"
    version = core.list_namespaced_pod("cf", label_selector=active).metadata.resource_version
    cluster.start_incident("locked_out")
    watcher = WATCH()
    seen = []
    for event in watcher.stream(
        core.list_namespaced_pod, "cf", label_selector=active, resource_version=version, timeout_seconds=10
    ):
        seen.append((event["type"], event["object"].metadata.name))
        watcher.stop()
    assert seen == [("DELETED", "diego-api-0")]


def test_swap_on_a_config_map(core: Any) -> None:
    made = core.create_namespaced_config_map("cf", client.V1ConfigMap(metadata={"name": "ledger"}, data={"epoch": "1"}))
    made.data = {"epoch": "2"}
    assert core.replace_namespaced_config_map("ledger", "cf", made).data == {"epoch": "2"}
    made.data = {"epoch": "3"}
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("ledger", "cf", made)
    assert caught.value.status == 409
    assert core.read_namespaced_config_map("ledger", "cf").data == {"epoch": "2"}


def test_custom_resources(api_client: client.ApiClient) -> None:
    custom: Any = client.CustomObjectsApi(api_client)
    where = ("stager-medic.dev", "v1alpha1", "cf", "remediations")
    name = "demo.restart-diego-api.1"
    thing = {"metadata": {"name": name}, "spec": {"foundation": "demo", "playbook": "restart-diego-api"}}
    custom.create_namespaced_custom_object(*where, thing)
    with pytest.raises(ApiException) as caught:
        custom.create_namespaced_custom_object(*where, thing)
    assert body_of(caught.value)["reason"] == "AlreadyExists"
    custom.patch_namespaced_custom_object_status(*where, name, {"status": {"phase": "Running"}})
    found = custom.list_namespaced_custom_object(*where)["items"]
    assert [item["status"] for item in found] == [{"phase": "Running"}]
    custom.delete_namespaced_custom_object(*where, name)
    assert custom.list_namespaced_custom_object(*where)["items"] == []


def test_exec_tells_output_and_status_apart(core: Any) -> None:
    def run(*command: str) -> tuple[str, str, dict[str, Any]]:
        session = stream(
            core.connect_get_namespaced_pod_exec,
            "api-0",
            "cf",
            container="api",
            command=list(command),
            stdout=True,
            stderr=True,
            stdin=False,
            _preload_content=False,
        )
        session.run_forever(timeout=10)
        out, err, status = session.read_stdout(0), session.read_stderr(0), session.read_channel(3)
        # websocket-client counts a connection as closed once it has answered the closing frame, and leaves its socket.
        session.sock.shutdown()
        return out or "", err or "", json.loads(status)

    assert run("hostname")[0] == "api-0\n"
    out, err, status = run("nc", "-zv", "-w", "5", "diego-api.cf.svc.cluster.local", "8889")
    assert (out, status["status"]) == ("", "Success")
    assert err == "Connection to diego-api.cf.svc.cluster.local 8889 port [tcp/*] succeeded!\n"
    status = run("sh", "-c", "exit 3")[2]
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert "executable file not found" in run("frobnicate")[2]["message"]
    assert run("cat", "/nowhere")[1:] == ("cat: /nowhere: No such file or directory\n", run("false")[2] | {
        "message": "command terminated with non-zero exit code: ['cat', '/nowhere'], exit code 1"
    })  # fmt: skip
    assert run("nc", "-zv", "no.such.host", "8889")[1].endswith("Name or service not known\n")


def test_exec_follows_a_log_across_a_rotation(cluster: Cluster, core: Any) -> None:
    path = "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"
    log = cluster.site().foundation.pods["api-0"].files[path]
    for number in range(5):
        log.append(f"old {number}")
    session = stream(
        core.connect_get_namespaced_pod_exec,
        "api-0",
        "cf",
        container="api",
        command=["tail", "-n", "1", "-F", path],
        stdout=True,
        stderr=True,
        stdin=False,
        _preload_content=False,
    )
    seen = ""

    def read() -> str:
        nonlocal seen
        session.update(timeout=0.1)
        seen += session.read_stdout(0) or ""
        return seen

    eventually(lambda: "old 4\n" in read(), "the last old line")
    log.append("before")
    log.rotate()
    log.append("after")
    eventually(lambda: "after\n" in read(), "the first line of the new file")
    assert seen == "old 4\nbefore\nafter\n"
    session.sock.shutdown()


def test_logs_follow_previous_and_since(cluster: Cluster, core: Any) -> None:
    foundation = cluster.site().foundation
    pod = foundation.pods["api-0"]

    def raw(**options: Any) -> str:
        response = core.read_namespaced_pod_log("api-0", "cf", container="api", _preload_content=False, **options)
        try:
            return str(response.data.decode())
        finally:
            response.release_conn()

    pod.logs["api"].append("first")
    pod.logs["api"].append("second")
    assert raw(tail_lines=1) == "second\n"
    assert raw(tail_lines=1, limit_bytes=3) == "sec"
    assert raw(tail_lines=1, timestamps=True)[-12:] != raw(tail_lines=1)
    following = core.read_namespaced_pod_log(
        "api-0", "cf", container="api", follow=True, tail_lines=1, _preload_content=False
    )
    chunks = following.stream()
    assert next(chunks) == b"second\n"
    pod.logs["api"].append("third")
    foundation.restart_container(pod, "api")
    assert b"".join(chunks) == b"third\n", "a restart ends the stream after its last line"
    following.release_conn()
    assert raw() == ""
    assert raw(previous=True).endswith("first\nsecond\nthird\n")
    for container, text in (("nothing", "not valid for pod"), ("", "a container name must be specified")):
        with pytest.raises(ApiException) as caught:
            core.read_namespaced_pod_log("api-0", "cf", **({"container": container} if container else {}))
        assert caught.value.status == 400
        assert text in body_of(caught.value)["message"]


def test_every_answer_carries_the_date(cluster: Cluster, api_client: client.ApiClient) -> None:
    cluster.api.change_faults({"clock_skew": 3600})
    pool = api_client.rest_client.pool_manager
    for path in ("/version", "/api/v1/namespaces/cf/pods", "/api/v1/namespaces/cf/pods/none", "/nowhere"):
        answer = pool.request("GET", cluster.url + path)
        from email.utils import parsedate_to_datetime

        assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == pytest.approx(time.time() + 3600, abs=30)
