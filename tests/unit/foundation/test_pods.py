"""Pods as the API server tells them, whole, half and broken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.layout import layouts
from foundation.observation import PodState
from foundation.pods import PodSeen, newest_start, pod_state, read_pod, read_statefulset

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()
CFEE2, KUBECF, CFEE1 = layouts()["cfee-2"], layouts()["kubecf"], layouts()["cfee-1"]


def stamp(age: float) -> str:
    return datetime.fromtimestamp(NOW - age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_json(age: float = 1000, *, ready: bool = True, phase: str = "Running", **container: Any) -> dict[str, Any]:
    status = {
        "name": "diego-api",
        "ready": ready,
        "restartCount": 0,
        "containerID": "containerd://1",
        "state": {"running": {"startedAt": stamp(age)}},
        **container,
    }
    return {
        "metadata": {
            "name": "diego-api-0",
            "namespace": "cf",
            "uid": "u1",
            "resourceVersion": "7",
            "labels": {"app.kubernetes.io/component": "diego-api"},
            "creationTimestamp": stamp(age + 5),
            "ownerReferences": [{"kind": "StatefulSet", "name": "diego-api"}],
        },
        "spec": {"containers": [{"name": "diego-api"}], "terminationGracePeriodSeconds": 600, "nodeName": "n1"},
        "status": {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [status],
        },
    }


def read(value: dict[str, Any]) -> PodSeen:
    pod = read_pod(value)
    assert pod is not None
    return pod


def test_a_whole_pod() -> None:
    pod = read(pod_json())
    assert (pod.name, pod.uid, pod.resource_version, pod.ip, pod.node, pod.owner) == (
        "diego-api-0",
        "u1",
        "7",
        "10.0.0.1",
        "n1",
        "diego-api",
    )
    assert pod.ready
    assert pod.ready_containers == "1/1"
    assert pod.deleted is None
    assert pod_state(pod, CFEE2, "bbs", NOW)[0] is PodState.READY


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": "x"}},
        {"metadata": {"uid": "x"}},
        {"metadata": [], "spec": 3, "status": "x"},
    ],
)
def test_what_is_no_pod(value: dict[str, Any]) -> None:
    assert read_pod(value) is None


def test_a_pod_with_nothing_but_a_name_is_read_as_unknown() -> None:
    pod = read({"metadata": {"name": "a", "uid": "b"}})
    assert pod_state(pod, CFEE2, "bbs", NOW)[0] is PodState.UNKNOWN
    assert not pod.ready


JSON_VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(where=st.lists(st.integers(0, 50), min_size=1, max_size=4), broken=JSON_VALUES)
def test_no_broken_field_raises(where: list[int], broken: object) -> None:
    value = pod_json()
    at: Any = value
    for step in where[:-1]:
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys or not isinstance(at[keys[step % len(keys)]], dict | list):
            break
        at = at[keys[step % len(keys)]]
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    if keys:
        at[keys[where[-1] % len(keys)]] = broken
    pod = read_pod(value)
    if pod is not None:
        pod_state(pod, CFEE2, "bbs", NOW)
    read_statefulset(value)


def terminating(since: float, grace: float) -> dict[str, Any]:
    value = pod_json()
    value["metadata"] |= {"deletionTimestamp": stamp(since - grace), "deletionGracePeriodSeconds": grace}
    return value


@pytest.mark.parametrize(("since", "state"), [(10, PodState.MOVING), (659, PodState.MOVING), (661, PodState.STUCK)])
def test_terminating_is_counted_from_when_it_was_asked_for(since: float, state: PodState) -> None:
    found, text = pod_state(read(terminating(since, 600)), CFEE2, "bbs", NOW)
    assert found is state
    assert text == f"Terminating for {since:.0f} s, grace 600 s"


@pytest.mark.parametrize(
    ("value", "layout", "state"),
    [
        (pod_json(100, ready=False), CFEE2, PodState.MOVING),
        (pod_json(301, ready=False), CFEE2, PodState.CRASH),
        (pod_json(400, ready=False), KUBECF, PodState.READY),
        (pod_json(100, ready=False), KUBECF, PodState.MOVING),
        (pod_json(100, ready=False), CFEE1, PodState.READY),
        (pod_json(400, ready=False), CFEE1, PodState.READY),
        (pod_json(100, ready=False, state={}), CFEE1, PodState.MOVING),
        (
            pod_json(400, ready=False, phase="Pending", state={"waiting": {"reason": "ImagePullBackOff"}}),
            CFEE2,
            PodState.STUCK,
        ),
        (pod_json(10, ready=False, phase="Pending", state={}), CFEE2, PodState.MOVING),
        (pod_json(phase="Failed"), CFEE2, PodState.UNKNOWN),
        (pod_json(ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}), CFEE2, PodState.CRASH),
        (pod_json(restartCount=1, lastState={"terminated": {"finishedAt": stamp(299)}}), CFEE2, PodState.CRASH),
        (pod_json(restartCount=1, lastState={"terminated": {"finishedAt": stamp(300)}}), CFEE2, PodState.READY),
        (pod_json(restartCount=0, lastState={"terminated": {"finishedAt": stamp(10)}}), CFEE2, PodState.READY),
    ],
)
def test_states(value: dict[str, Any], layout: Any, state: PodState) -> None:
    assert pod_state(read(value), layout, "bbs", NOW)[0] is state


def test_the_newest_start_with_and_without_bbs_itself() -> None:
    value = pod_json(1000)
    value["spec"]["containers"] = [{"name": "bbs-bbs"}, {"name": "locket-locket"}, {"name": "logs"}]
    value["status"]["containerStatuses"] = [
        {"name": "bbs-bbs", "state": {"running": {"startedAt": stamp(10)}}},
        {"name": "locket-locket", "state": {"running": {"startedAt": stamp(500)}}},
        {"name": "logs", "state": {"running": {"startedAt": stamp(1)}}},
    ]
    pods = [(read(value), "bbs"), (read(pod_json(3)), "api")]
    assert newest_start(pods, KUBECF, bbs_too=True) == NOW - 10
    assert newest_start(pods, KUBECF, bbs_too=False) == NOW - 500
    assert newest_start([], KUBECF, bbs_too=True) is None


@pytest.mark.parametrize(
    ("meta", "status", "rolling"),
    [
        ({}, {"currentRevision": "a", "updateRevision": "a"}, False),
        ({}, {"currentRevision": "a", "updateRevision": "b"}, True),
        ({"generation": 3}, {"observedGeneration": 2}, True),
        ({"generation": 3}, {"observedGeneration": 3}, False),
        ({}, {}, False),
    ],
)
def test_rollouts(meta: dict[str, Any], status: dict[str, Any], rolling: bool) -> None:
    found = read_statefulset({"metadata": {"name": "diego-api", **meta}, "spec": {"replicas": 2}, "status": status})
    assert found is not None
    assert (found.rolling, found.replicas) == (rolling, 2)
