"""Evidence against a scripted API: what is kept, what never is, what a failing cluster leaves, and what is stored."""

from __future__ import annotations

import base64
import gzip
import json
import random
import string
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.diagnosis import diagnose
from foundation.kube.errors import Conflict, Forbidden, KubeError, Unreachable
from foundation.layout import Recognised, layouts
from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Locket,
    Observation,
    Pod,
    PodProbe,
    PodState,
    ServiceProbe,
    Signals,
    Witness,
)
from foundation.observer import Look, PodLook
from foundation.pods import Container, PodSeen, StatefulSetSeen
from foundation.probes.result import Cause, Certificate, ProbeResult, Stage, Target
from remediator.evidence import (
    KEY,
    EvidenceStore,
    EvidenceUnreadable,
    Limits,
    evidence_name,
    observation_text,
    packed,
    read_evidence,
)
from remediator.evidence_text import as_text
from remediator.excerpt import newest_lines
from remediator.ledger import Run, Trigger
from remediator.lookout import Sight
from remediator.words import Mode
from tests.support.scripted_api import ScriptedApi, chunks, drip, reply, silence, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.scripted_api import Answer

T0 = 1_800_000_000.0
NAMESPACE = "cf"
PODS = "/api/v1/namespaces/cf/pods"
EVENTS = "/api/v1/namespaces/cf/events"
CONFIGMAPS = "/api/v1/namespaces/cf/configmaps"
NAME = "prod.restart-diego-api.7"
QUICK = Limits(silence=0.3, request=0.6, total=20.0)

RUN = Run(
    name=NAME,
    uid="rem-uid",
    foundation="prod",
    playbook="restart-diego-api",
    mode=Mode.AUTO,
    trigger=Trigger(alertname="DiegoRestartWouldHelp", fingerprint="f1"),
    at=datetime.fromtimestamp(T0, UTC),
    started=datetime.fromtimestamp(T0, UTC),
)


def seen(name: str, role: str, labels: str) -> PodLook:
    target = Target(name, "10.0.0.1", 8889, "bbs.service")
    certificate = Certificate("CN=bbs", "CN=ca", T0 - 100, T0 + 100, ("bbs",))
    stages = MappingProxyType({Stage.TCP: 0.25})
    detail = "refused, password=hunter2secret"
    probe = ProbeResult(target, Stage.PING, T0, stages, Cause.REFUSED, Stage.TCP, detail, certificate)
    pod = PodSeen(
        NAMESPACE,
        name,
        f"uid-{name}",
        "41",
        {"skiff-role-name": labels},
        "10.0.0.1",
        "node-1",
        "Running",
        ready=True,
        containers=(Container("diego-api", True, 1, "c1", T0 - 500, None, ""),),
        owner="diego-api",
    )
    return PodLook(pod, role, PodState.READY, "Running, 1/1 ready", None, None if role == "api" else probe)


def look(*extra: PodLook) -> Look:
    words = tuple(
        Pod(PodState.READY, PodProbe.REFUSED, locket_hangs=False, name=f"diego-api-{number}") for number in (0, 1)
    )
    signals = Signals(
        observation_fresh=True,
        service_probe=ServiceProbe.FAIL,
        database=Database.UP,
        api_pods=ApiPods.READY,
        probe_from_api_pod=Witness.FAIL,
        settled=True,
        quiet=True,
        rollout=False,
        layout_has_label=True,
        control_port_answers=True,
        locket=Locket.IN_THE_BBS_PODS,
        database_from_bbs_pod=InnerDatabase.WAIVED,
        last_certificate_expired=False,
        depth=Stage.PING,
    )
    observation = Observation(words, signals, MappingProxyType({"database": "it answered in 0.01 s"}))
    pods = (*(seen(f"diego-api-{number}", "bbs", "diego-api") for number in (0, 1)), seen("api-0", "api", "api"))
    return Look(
        T0,
        Recognised(layouts()["cfee-2"], "the configuration"),
        observation,
        diagnose(observation),
        T0 - 60,
        (*pods, *extra),
        0.1,
        (StatefulSetSeen("diego-api", "set-uid", 2, rolling=False, revision="r1"),),
    )


SIGHT = Sight(look(), 0.0)
VERDICT_PODS = ("diego-api-0", "diego-api-1")


def pod_json(name: str, **more: object) -> dict[str, object]:
    """A pod that has what evidence keeps, and what it must never keep."""
    forbidden = "FORBIDDEN"
    terminated = {
        "exitCode": 137,
        "reason": "OOMKilled",
        "finishedAt": "2026-11-23T11:00:00Z",
        "message": "the last lines: db_password=hunter2secret",
        "containerID": forbidden,
    }
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "41",
            "labels": {"skiff-role-name": "diego-api", "skiff-role-active": "true", "team": forbidden},
            "annotations": {"note": forbidden},
            "managedFields": [forbidden],
        },
        "spec": {
            "nodeName": "node-1",
            "volumes": [{"secret": {"secretName": forbidden}}],
            "containers": [
                {"name": "sidecar", "env": [{"name": "A", "value": forbidden}]},
                {
                    "name": "diego-api",
                    "env": [{"name": "DB", "value": forbidden}],
                    "args": [forbidden],
                    "command": [forbidden],
                    "volumeMounts": [{"name": forbidden}],
                },
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "extra": forbidden}],
            "containerStatuses": [
                {
                    "name": "diego-api",
                    "image": "cf/diego:1",
                    "imageID": "docker-pullable://cf/diego@sha256:00aa",
                    "restartCount": 3,
                    "state": {"running": {"startedAt": "2026-11-23T11:00:01Z"}},
                    "lastState": {"terminated": terminated},
                    "volumeMounts": [forbidden],
                }
            ],
        },
        **more,
    }


def event_json(number: int, name: str = "diego-api-0", **more: object) -> dict[str, object]:
    return {
        "metadata": {"name": f"e{number}", "annotations": {"x": "FORBIDDEN"}},
        "involvedObject": {"kind": "Pod", "name": name, "uid": f"uid-{name}"},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": f"probe {number} failed: token=hunter2secret",
        "count": number,
        "lastTimestamp": f"2026-11-23T11:{number // 60:02}:{number % 60:02}Z",
        "source": {"component": "kubelet", "host": "node-1"},
        **more,
    }


def _log(*lines: str) -> Answer:
    return reply("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        for name in VERDICT_PODS:
            server.on("GET", f"{PODS}/{name}", reply(pod_json(name)))
            server.on("GET", f"{PODS}/{name}/log", _log("one", "two"))
        server.on("GET", EVENTS, reply({"items": [event_json(2), event_json(1)], "metadata": {}}))
        server.on("POST", CONFIGMAPS, reply({"metadata": {}}, 201))
        yield server


def nothing() -> None:
    """Renew no claim."""


def save(
    api: ScriptedApi,
    *,
    run: Run = RUN,
    sight: Sight = SIGHT,
    limits: Limits = QUICK,
    log_lines: int = 200,
    keep: Callable[[], None] = nothing,
    clock: Callable[[], float] | None = None,
) -> str:
    with api.client() as client:
        if clock is None:
            store = EvidenceStore(client, NAMESPACE, log_lines, lambda: T0, limits)
        else:
            store = EvidenceStore(client, NAMESPACE, log_lines, lambda: T0, limits, clock=clock)
        return store.save(run, sight, keep)


def posted(api: ScriptedApi) -> dict[str, object]:
    body = [request for request in api.seen if request.method == "POST"][-1].json
    assert isinstance(body, dict)
    return body


def saved(api: ScriptedApi, **more: object) -> dict[str, object]:
    save(api, **more)  # type: ignore[arg-type]  # the options of save
    return read_evidence(posted(api))


def rows(document: dict[str, object], key: str) -> list[dict[str, object]]:
    found = document[key]
    assert isinstance(found, list)
    return found


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_the_configmap_belongs_to_the_remediation_and_never_changes(api: ScriptedApi) -> None:
    assert save(api) == f"{NAME}.evidence"
    body = posted(api)
    owner = {
        "apiVersion": "stager-medic.dev/v1alpha1",
        "kind": "Remediation",
        "name": NAME,
        "uid": "rem-uid",
    }
    assert body["metadata"] == {
        "name": f"{NAME}.evidence",
        "namespace": NAMESPACE,
        "labels": {"app.kubernetes.io/managed-by": "stager-remediator"},
        "ownerReferences": [owner],
    }
    assert body["immutable"] is True
    assert list(body["binaryData"]) == [KEY]  # type: ignore[call-overload]  # a mapping


def test_a_remediation_that_was_never_seen_owns_nothing(api: ScriptedApi) -> None:
    save(api, run=RUN.model_copy(update={"uid": None}))
    assert "ownerReferences" not in json.dumps(posted(api))


def test_only_named_fields_of_a_pod_are_kept(api: ScriptedApi) -> None:
    document = saved(api)
    assert "FORBIDDEN" not in json.dumps(document)
    pod = rows(document, "pods")[0]
    assert pod["labels"] == {"skiff-role-name": "diego-api", "skiff-role-active": "true"}
    assert (pod["uid"], pod["nodeName"], pod["resourceVersion"]) == ("uid-diego-api-0", "node-1", "41")
    assert pod["toBeRestarted"] is True
    assert pod["conditions"] == [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]
    container = rows(pod, "containers")[0]
    assert container["restartCount"] == 3
    assert container["imageID"] == "docker-pullable://cf/diego@sha256:00aa"
    assert "OOMKilled" in json.dumps(container["lastState"])


def test_no_text_of_the_document_keeps_a_planted_secret(api: ScriptedApi) -> None:
    for name in VERDICT_PODS:
        api.on("GET", f"{PODS}/{name}/log", _log("a", '{"password":"hunter2secret"}', "z"))
    document = saved(api)
    assert "hunter2secret" not in json.dumps(document)
    assert "best effort" in str(document["about"])


def test_logs_are_asked_for_with_bounds_and_never_followed(api: ScriptedApi) -> None:
    document = saved(api, log_lines=77)
    asked = [request.query for request in api.seen if request.path.endswith("/log")]
    assert len(asked) == 8  # 2 pods, 2 containers, now and before
    assert all(query["tailLines"] == ["77"] and query["timestamps"] == ["true"] for query in asked)
    assert all(query["limitBytes"] == [str(QUICK.log_bytes)] for query in asked)
    assert not any("follow" in query for query in asked)
    # The containers of BBS first.
    assert [query["container"][0] for query in asked] == ["diego-api"] * 4 + ["sidecar"] * 4
    assert rows(document, "logs")[0]["lines"] == ["one", "two"]


def test_without_log_lines_no_log_is_read(api: ScriptedApi) -> None:
    assert saved(api, log_lines=0)["logs"] == []
    assert not any(request.path.endswith("/log") for request in api.seen)


def test_the_status_of_other_bbs_pods_is_kept_but_not_their_logs(api: ScriptedApi) -> None:
    sight = Sight(look(seen("locket-0", "locket", "locket")), 0.0)
    api.on("GET", f"{PODS}/locket-0", reply(pod_json("locket-0")))
    document = saved(api, sight=sight)
    assert [(pod["name"], pod["toBeRestarted"]) for pod in rows(document, "pods")] == [
        ("diego-api-0", True),
        ("diego-api-1", True),
        ("locket-0", False),
    ]
    assert {log["pod"] for log in rows(document, "logs")} == set(VERDICT_PODS)
    looked = document["look"]
    assert isinstance(looked, dict)
    assert "api-0" in [pod["name"] for pod in looked["pods"]]


def test_events_of_the_pod_newest_last_and_of_no_older_namesake(api: ScriptedApi) -> None:
    older = event_json(3, involvedObject={"name": "diego-api-0", "uid": "uid-before"})
    many = [event_json(number) for number in range(80, 0, -1)]
    api.on("GET", EVENTS, reply({"items": [older, *many, "no object"], "metadata": {}}))
    events = rows(rows(saved(api), "events")[0], "events")
    assert [event["count"] for event in events] == list(range(31, 81))
    assert events[0]["from"] == "kubelet"
    asked = [request.one("fieldSelector") for request in api.seen if request.path == EVENTS]
    assert asked == [f"involvedObject.name={name}" for name in VERDICT_PODS]


def test_the_observation_can_be_replayed(api: ScriptedApi) -> None:
    document = saved(api)
    replayed = Observation.from_json(observation_text(document))
    assert replayed == SIGHT.look.observation
    assert diagnose(replayed) == SIGHT.look.diagnosis
    verdict = document["verdict"]
    assert isinstance(verdict, dict)
    assert verdict["verdict"] == "locked_out"
    assert verdict["evidence"] == list(SIGHT.look.diagnosis.evidence)


def test_two_captures_of_the_same_are_the_same_bytes(api: ScriptedApi) -> None:
    save(api)
    first = posted(api)
    save(api)
    assert posted(api) == first


# --- what a failing cluster leaves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (status(403, "Forbidden", "pods/log is forbidden"), "403 Forbidden: pods/log is forbidden"),
        (status(404, "NotFound", "it is gone"), "404 NotFound: it is gone"),
        (status(400, "BadRequest", "previous terminated container not found"), "previous terminated container"),
        (silence, "nothing more came for 0.3 s"),
        (chunks(b"one\n", then="hang"), "nothing more came for 0.3 s"),
        (drip, "it did not end within 0.6 s"),
        (chunks(b"one\n", then="reset"), "the connection to"),
    ],
)
def test_a_log_that_cannot_be_read_is_a_sentence(api: ScriptedApi, answer: Answer, sentence: str) -> None:
    api.on("GET", f"{PODS}/diego-api-0/log", answer)
    logs = rows(saved(api), "logs")
    assert sentence in str(logs[0]["said"])
    assert logs[2]["lines"] == ["one", "two"]


def test_what_came_before_silence_is_kept(api: ScriptedApi) -> None:
    api.on("GET", f"{PODS}/diego-api-0/log", chunks(b"one\ntwo\n", then="hang"))
    assert rows(saved(api), "logs")[0]["lines"] == ["one", "two"]


def test_pods_and_events_that_cannot_be_read_are_sentences_and_the_logs_still_come(api: ScriptedApi) -> None:
    api.on("GET", f"{PODS}/diego-api-0", status(404, "NotFound", "gone"))
    api.on("GET", f"{PODS}/diego-api-1", reply(b"<html>"))
    api.on("GET", EVENTS, status(403, "Forbidden", "events are forbidden"))
    document = saved(api)
    pods = rows(document, "pods")
    assert "404" in str(pods[0]["said"])
    assert "not JSON" in str(pods[1]["said"])
    said = str(rows(document, "events")[0]["said"])
    assert "cannot list events" in said
    assert "events are forbidden" in said
    assert [log["container"] for log in rows(document, "logs")] == ["diego-api"] * 4


def test_a_pod_replaced_since_the_look_is_named(api: ScriptedApi) -> None:
    api.on("GET", f"{PODS}/diego-api-0", reply(pod_json("diego-api-0", metadata={"name": "diego-api-0", "uid": "new"})))
    pod = rows(saved(api), "pods")[0]
    assert pod["uid"] == "new"
    assert "uid-diego-api-0" in str(pod["said"])


@pytest.mark.parametrize("shape", [[], "text", {"metadata": [], "spec": 3, "status": {"containerStatuses": {}}}, {}])
def test_pods_of_any_shape(api: ScriptedApi, shape: object) -> None:
    api.on("GET", f"{PODS}/diego-api-0", reply(shape))
    assert rows(saved(api), "pods")[0]["name"] == "diego-api-0"


def test_the_time_for_all_reads_is_bounded(api: ScriptedApi) -> None:
    ticks = iter(range(0, 10_000, 3))
    document = saved(api, clock=lambda: float(next(ticks)))
    assert "the 20 s for all evidence were over" in str(rows(document, "logs")[-1]["said"])
    assert len([request for request in api.seen if request.method == "GET"]) < 8


def test_the_newest_lines_are_read_where_the_kubelet_would_cut_them_off(api: ScriptedApi) -> None:
    long, short = b"x" * 60 + b"\n", b"newest\n"
    api.on("GET", f"{PODS}/diego-api-0/log", reply(long * 4), reply(short))
    log = rows(saved(api, limits=replace(QUICK, log_bytes=200), log_lines=40), "logs")[0]
    assert log["lines"] == ["newest"]
    tails = [request.one("tailLines") for request in api.seen if request.path.endswith("diego-api-0/log")]
    assert tails[:2] == ["40", "10"]


def test_a_line_that_was_cut_loses_its_last_word(api: ScriptedApi) -> None:
    cut = f"sent to {'y' * 50} postgres://diego:hunter2secret@10.0.0.1/".encode()[:85]
    api.on("GET", f"{PODS}/diego-api-0/log", reply(cut))
    log = rows(saved(api, limits=replace(QUICK, log_bytes=85), log_lines=1), "logs")[0]
    assert log["lines"] == [f"sent to {'y' * 50} "]


def test_all_logs_together_are_bounded(api: ScriptedApi) -> None:
    logs = rows(saved(api, limits=replace(QUICK, all_logs=12)), "logs")
    assert [log["lines"] for log in logs[:3]] == [["one", "two"], ["two"], []]
    assert "took all the room" in str(logs[-1]["said"])


# --- storing ----------------------------------------------------------------------------------------------------------


def test_the_claim_is_kept_before_every_request_and_may_end_it(api: ScriptedApi) -> None:
    calls: list[int] = []
    save(api, keep=lambda: calls.append(len(api.seen)))
    assert calls == list(range(len(api.seen)))

    class LostError(Exception):
        pass

    def lose() -> None:
        raise LostError

    before = len(api.seen)
    with pytest.raises(LostError):
        save(api, keep=lose)
    assert len(api.seen) == before


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(403, "Forbidden", "configmaps is forbidden"), Forbidden),
        (silence, Unreachable),
        (status(500, "InternalError", "etcd"), KubeError),
    ],
)
def test_only_storing_that_fails_is_an_error(api: ScriptedApi, answer: Answer, kind: type[KubeError]) -> None:
    api.on("POST", CONFIGMAPS, answer)
    with api.client(read_timeout=0.3) as client, pytest.raises(kind):
        EvidenceStore(client, NAMESPACE, 10, lambda: T0, QUICK).save(RUN, SIGHT, nothing)


def _existing(api: ScriptedApi, **changes: object) -> Answer:
    save(api)
    return reply({**posted(api), **changes})


def test_evidence_that_is_there_is_taken(api: ScriptedApi) -> None:
    existing = _existing(api)
    api.on("POST", CONFIGMAPS, status(409, "AlreadyExists", "it exists"))
    api.on("GET", f"{CONFIGMAPS}/{NAME}.evidence", existing)
    assert save(api) == f"{NAME}.evidence"


@pytest.mark.parametrize("why", ["other owner", "unreadable", "other pods"])
def test_evidence_of_something_else_under_the_name_is_not_taken(api: ScriptedApi, why: str) -> None:
    known: dict[str, dict[str, object]] = {
        "other owner": {"metadata": {"ownerReferences": [{"uid": "older"}]}},
        "unreadable": {"binaryData": {}},
        "other pods": {
            "binaryData": {KEY: base64.b64encode(gzip.compress(b'{"verdict":{"pods":[{"uid":"x"}]}}')).decode()}
        },
    }
    existing = _existing(api, **known[why])
    api.on("POST", CONFIGMAPS, status(409, "AlreadyExists", "it exists"), reply({"metadata": {}}, 201))
    api.on("GET", f"{CONFIGMAPS}/{NAME}.evidence", existing)
    assert save(api) == f"{NAME}.evidence.2"


def test_when_every_name_is_taken_it_could_not_be_stored(api: ScriptedApi) -> None:
    api.on("POST", CONFIGMAPS, status(409, "AlreadyExists", "it exists"))
    with pytest.raises(Conflict):
        save(api)


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.integers(1, 5))
def test_every_name_is_a_subdomain(name: str, turn: int) -> None:
    found = evidence_name(name, turn)
    assert len(found) <= 253
    allowed = set(string.ascii_lowercase + string.digits + "-.")
    assert set(found) <= allowed
    assert all(part and part[0] != "-" and part[-1] != "-" for part in found.split("."))
    assert evidence_name(name, turn) == found


# --- size -------------------------------------------------------------------------------------------------------------


def _noise(count: int, width: int) -> list[str]:
    dice = random.Random(count * 1000 + width)
    return [f"{number} " + "".join(dice.choices(string.printable[:90], k=width)) for number in range(count)]


def test_the_document_fits_a_configmap_with_the_newest_lines_kept() -> None:
    logs: list[dict[str, object]] = [
        {"pod": f"p{number}", "container": "c", "previous": False, "lines": _noise(1500, 80)} for number in range(8)
    ]
    logs.append({"pod": "small", "container": "c", "previous": False, "lines": ["a", "b"]})
    raw = packed({"verdict": {"verdict": "hung"}, "logs": logs}, 700_000)
    assert 400_000 < len(raw) <= 700_000
    kept = rows(json.loads(gzip.decompress(raw)), "logs")
    for before, after in zip(logs, kept, strict=True):
        lines, wanted = after["lines"], before["lines"]
        assert isinstance(lines, list)
        assert isinstance(wanted, list)
        assert lines == wanted[len(wanted) - len(lines) :]
        assert after.get("olderLinesLeftOut", 0) == len(wanted) - len(lines)
    assert kept[-1]["lines"] == ["a", "b"]


LINES = st.lists(st.text(max_size=200), max_size=40)


@settings(max_examples=60, deadline=None)
@given(logs=st.lists(LINES, max_size=6), events=LINES, most=st.integers(150, 20_000))
def test_whatever_there_is_it_fits(logs: list[list[str]], events: list[str], most: int) -> None:
    entries = [{"pod": "p", "container": "c", "previous": False, "lines": lines} for lines in logs]
    document = {"logs": entries, "events": events, "verdict": {"verdict": "hung"}}
    raw = packed(document, most)
    assert len(raw) <= most
    assert raw == packed(document, most)
    assert isinstance(json.loads(gzip.decompress(raw)), dict)


@given(LINES, st.integers(0, 2000))
def test_newest_lines(lines: list[str], most: int) -> None:
    kept = newest_lines(lines, most)
    assert sum(len(line) + 1 for line in kept) <= most
    assert kept == lines[len(lines) - len(kept) :]
    if len(kept) < len(lines):
        assert sum(len(line) + 1 for line in lines[len(lines) - len(kept) - 1 :]) > most


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_person_can_read_it(api: ScriptedApi) -> None:
    api.on("GET", f"{PODS}/diego-api-1/log", status(403, "Forbidden", "not allowed"))
    shown = as_text(saved(api))
    for part in (
        f"Evidence of {NAME}, taken 2027-01-15T08:00:00Z",
        "Verdict: locked_out, restart yes (diego-api-0, diego-api-1)",
        "diego-api-0 10.0.0.1:8889: refused at tcp after 250.0 ms: refused, password=[redacted]",
        "diego-api-0 (bbs, to be restarted): Running on node-1, UID uid-diego-api-0",
        "not Ready: ContainersNotReady",
        "before: terminated, exitCode 137",
        "2026-11-23T11:00:02Z diego-api-0 Warning Unhealthy (x2): probe 2 failed: token=[redacted]",
        "--- log of diego-api-0, container diego-api: 2 lines ---",
        "not allowed",
    ):
        assert part in shown, part


PARTS = "pods events logs lines look verdict evidence service seconds containers state said count name"
KEYS = PARTS.split()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=6,
            )
        ),
        max_leaves=30,
    )
)
def test_a_document_of_any_shape_is_shown_without_control_characters(value: object) -> None:
    shown = as_text(value if isinstance(value, dict) else {"logs": value})
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("configmap", "why"),
    [
        ({}, "no binaryData"),
        ({"binaryData": {KEY: 3}}, "no binaryData"),
        ({"binaryData": {KEY: "%%"}}, "cannot be read"),
        ({"binaryData": {KEY: base64.b64encode(b"plain").decode()}}, "cannot be read"),
        ({"binaryData": {KEY: base64.b64encode(gzip.compress(b"{}")[:-9]).decode()}}, "cut off"),
        ({"binaryData": {KEY: base64.b64encode(gzip.compress(b"[]")).decode()}}, "no object"),
        ({"binaryData": {KEY: base64.b64encode(gzip.compress(b"x")).decode()}}, "cannot be read"),
        ({"binaryData": {KEY: base64.b64encode(gzip.compress(bytes(65 << 20))).decode()}}, "longer than 64 MiB"),
    ],
)
def test_what_is_no_evidence_is_said(configmap: dict[str, object], why: str) -> None:
    with pytest.raises(EvidenceUnreadable, match=why):
        read_evidence(configmap)
