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
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.text(max_size=8),
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


def changed(value: Any, path: str, new: object) -> dict[str, Any]:
    """The pod with one field replaced, `path` dotted; a missing list or mapping on the way is an error of the test."""
    *way, last = path.split(".")
    at = value
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[last] = new
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "new", "why"),
    [
        ("metadata.deletionTimestamp", "soon", "metadata.deletionTimestamp cannot be read"),
        ("metadata.deletionTimestamp", 5, "metadata.deletionTimestamp cannot be read"),
        ("metadata.deletionTimestamp", "2026-02-03T04:05:06", "metadata.deletionTimestamp cannot be read"),
        ("metadata.creationTimestamp", "0001-01-01T00:00:00", "metadata.creationTimestamp cannot be read"),
        ("status.conditions", "Ready", "status.conditions cannot be read"),
        ("status.conditions", [{"type": "Ready", "status": True}], "status of the condition Ready cannot be read"),
        ("status.containerStatuses", ["diego-api"], "status.containerStatuses cannot be read"),
        ("status.containerStatuses", None, "Running, 0/1 ready, 0 restarts, start time of diego-api not given"),
        ("status.containerStatuses.0.state", None, "Running, 1/1 ready, 0 restarts, start time of diego-api not given"),
        ("status.containerStatuses.0.restartCount", float("inf"), "restartCount of a container cannot be read"),
        ("status.containerStatuses.0.restartCount", 10**400, "restartCount of a container cannot be read"),
        ("status.containerStatuses.0.restartCount", "3", "restartCount of a container cannot be read"),
        ("status.phase", None, "phase not given"),
        ("status.phase", "Run\x1b[2Jning", "phase not given"),
        ("status", None, "phase not given"),
    ],
)
def test_what_cannot_be_read_is_not_known_and_never_ready(path: str, new: object, why: str) -> None:
    found = read(changed(pod_json(), path, new))
    assert pod_state(found, CFEE2, "bbs", NOW) == (PodState.UNKNOWN, why)


def test_a_pod_without_any_time_is_not_known() -> None:
    value = changed(changed(pod_json(), "metadata.creationTimestamp", None), "status.containerStatuses", [])
    state, why = pod_state(read(value), CFEE2, "bbs", NOW)
    assert (state, why) == (PodState.UNKNOWN, "Running, 0/1 ready, 0 restarts, start time not given")


def test_a_grace_that_is_no_number_is_the_pods_own() -> None:
    value = changed(terminating(10, 600), "metadata.deletionGracePeriodSeconds", float("nan"))
    assert read(value).grace == 600.0


def test_a_clock_ahead_of_ours_makes_no_negative_ages() -> None:
    assert pod_state(read(terminating(-7, 600)), CFEE2, "bbs", NOW)[1] == "Terminating for 0 s, grace 600 s"
    state, why = pod_state(read(pod_json(-3, ready=False)), CFEE2, "bbs", NOW)
    assert (state, why) == (PodState.MOVING, "Running, 0/1 ready, 0 restarts, started 0 s ago")


def test_a_first_end_is_a_crash_at_once() -> None:
    """Rule: a BBS or Locket container that ended less than 5 min ago; nothing was restarted yet."""
    for layout in (CFEE2, KUBECF):
        value = pod_json(5000, ready=False, state={"terminated": {"finishedAt": stamp(10)}})
        found, why = pod_state(read(value), layout, "bbs", NOW)
        assert (found, why) == (PodState.CRASH, "diego-api ended 10 s ago")


def test_how_long_a_pod_is_not_ready_is_told_only_where_it_is_known() -> None:
    value = pod_json(5000, ready=False)
    text = "Running, 0/1 ready, 0 restarts, not ready"
    assert pod_state(read(value), KUBECF, "bbs", NOW) == (PodState.READY, f"{text}, started 5000 s ago")
    value["status"]["conditions"][0]["lastTransitionTime"] = stamp(12)
    assert pod_state(read(value), CFEE2, "bbs", NOW) == (PodState.CRASH, f"{text} for 12 s, started 5000 s ago")


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
        ({}, {}, None),
        ({"generation": 3}, {"currentRevision": "a"}, None),
        ({"generation": 10**400}, {"observedGeneration": float("nan")}, None),
    ],
)
def test_rollouts(meta: dict[str, Any], status: dict[str, Any], rolling: bool | None) -> None:
    found = read_statefulset({"metadata": {"name": "diego-api", **meta}, "spec": {"replicas": 2}, "status": status})
    assert found is not None
    assert (found.rolling, found.replicas) == (rolling, 2)
