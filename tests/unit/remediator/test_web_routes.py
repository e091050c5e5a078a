"""Every route of the remediator: what it answers, to whom, and how it refuses."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.test import create_environ, run_wsgi_app

from foundation.kube.errors import KubeError, Target, from_status
from foundation.serving.house import STATIC
from foundation.serving.passwords import TooBusy
from remediator import ledger as ledgers
from remediator.ledger import Breaker, Closed
from remediator.openapi import document
from remediator.story import final_status, iso, spec_of
from remediator.web.api import LARGEST_BODY, LARGEST_NOTIFICATION
from remediator.words import PLAYBOOK, Mode, Phase, Reason
from tests.support.remediator_web import (
    NOW,
    SERVER,
    FixedLookout,
    House,
    bearer,
    evidence_configmap,
    failed_run,
    house,
    unreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

    from foundation.kube.client import Json

HOOK = "/api/v1/alertmanager"
VIEWS = ["/", "/api/v1/remediations", "/api/v1/status", "/remediations/{name}", "/api/v1/remediations/{name}"]
OPERATIONS = [
    "/api/v1/remediations/{name}/approve",
    "/api/v1/remediations/{name}/reject",
    "/api/v1/remediations/{name}/acknowledge",
    "/api/v1/pause",
    "/api/v1/resume",
    "/remediations/{name}/approve",
    "/remediations/{name}/reject",
    "/acknowledge/{name}",
    "/pause",
    "/resume",
]
OPEN = ["/livez", "/readyz", "/metrics", "/openapi.json", "/static/style.css"]


@pytest.fixture
def one(tmp_path: Path) -> House:
    return house(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> House:
    return house(tmp_path, ("prod", "staging"))


def alert(**more: object) -> Json:
    labels = {"alertname": "DiegoRestartWouldHelp", "foundation": "prod", "remediate": PLAYBOOK}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "x"},
        "startsAt": iso(SERVER - timedelta(minutes=3)),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "8f3c1a2b4d5e6f70",
        **more,
    }


def notification(*alerts: Json, **more: object) -> Json:
    return {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "medic",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am",
            "alerts": list(alerts), **more}  # fmt: skip


def notify(at: House, body: object, scope: str = "webhook") -> TestResponse:
    return at.client.post(HOOK, json=body, headers=bearer(scope))


def error_of(answer: TestResponse) -> str:
    """One line of JSON that says what is wrong, and nothing else."""
    assert answer.content_type == "application/json"
    said = json.loads(answer.text)
    assert set(said) == {"error"}
    assert said["error"]
    assert "\n" not in said["error"]
    assert "Traceback" not in said["error"]
    return str(said["error"])


# --- who may what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["webhook", "view", "operate", "all", "nothing", None])
def test_each_route_takes_its_scope_and_no_other(one: House, scope: str | None) -> None:
    name = one.awaiting()
    headers = bearer(scope) if scope else {}
    before = one.metric("stager_remediator_auth_failures_total") or 0.0
    refused = 0
    routes = [("POST", HOOK, "webhook")]
    routes += [("GET", path.format(name=name), "view") for path in VIEWS]
    routes += [("POST", path.format(name=name), "operate") for path in OPERATIONS]
    for method, path, wanted in routes:
        answer = one.client.open(path, method=method, headers=headers)
        if scope in (wanted, "all"):
            assert answer.status_code not in (401, 503), (path, answer.text)
            # Without a body: refused for that, as it is reached; forms also lack their token.
            assert answer.status_code in ((200,) if method == "GET" else (415,) if "/api/" in path else (403,)), path
        else:
            assert answer.status_code == (403 if scope and scope != "nothing" else 401), path
            assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
            refused += 1
            if path.startswith("/api/"):
                error_of(answer)
    assert one.metric("stager_remediator_auth_failures_total") == before + refused
    assert one.object(name)["spec"] == spec_of(_pending(one)), "nothing was done"


def _pending(at: House) -> ledgers.Pending:
    pending = at.sites["prod"].ledger.read().ledger.pending
    assert pending is not None
    return pending


def test_every_route_declares_who_may_call_it(one: House) -> None:
    """A route added without a scope is closed, and this test names it."""
    for rule in one.app.url_map.iter_rules():
        scope = getattr(one.app.view_functions[rule.endpoint], "_scope", None)
        assert rule.endpoint in STATIC or scope is not None, rule


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_to_anybody(one: House, path: str) -> None:
    answer = one.client.get(path)
    assert answer.status_code == 200
    answer.close()


@pytest.mark.parametrize(("path", "schemes"), [("/", ["Basic"]), ("/api/v1/status", ["Bearer", "Basic"])])
def test_a_browser_is_asked_for_a_password_and_a_program_for_a_token(one: House, path: str, schemes: list[str]) -> None:
    answer = one.client.get(path)
    assert answer.status_code == 401
    assert [value.split()[0] for value in answer.headers.getlist("WWW-Authenticate")] == schemes


def test_nobody_unknown_makes_us_read_a_body(one: House) -> None:
    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("the body was read")

    answer = one.client.post(
        HOOK, content_type="application/json", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "100"}
    )
    assert answer.status_code == 401


def test_too_many_passwords_wait(one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: object, environ: object) -> None:
        raise TooBusy("too many passwords wait to be checked")

    monkeypatch.setattr("remediator.credentials.Credentials.authenticate", busy)
    answer = one.client.get("/api/v1/status", auth=("alice", "x"))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert one.client.get("/readyz", auth=("alice", "x")).status_code == 200


# --- the webhook ----------------------------------------------------------------------------------------------------


def test_a_notification_is_stored_then_a_duplicate_then_resolved(one: House) -> None:
    answer = notify(one, notification(alert()))
    name = f"prod.{PLAYBOOK}.1"
    assert answer.status_code == 200
    assert answer.json == {
        "alerts": [{"fingerprint": "8f3c1a2b4d5e6f70", "outcome": "created", "remediation": name, "reason": ""}]
    }
    assert _pending(one).name == name
    assert cast("Json", one.object(name)["spec"])["foundation"] == "prod"
    again = notify(one, notification(alert(), {"status": "firing", "labels": {}, "startsAt": iso(SERVER)}))
    told = cast("list[Json]", cast("Json", again.json)["alerts"])
    assert [(a["outcome"], a["remediation"]) for a in told] == [
        ("duplicate", name),
        ("ignored", ""),
    ]
    notify(one, notification(alert(status="resolved")))
    assert one.sites["prod"].ledger.read().ledger.pending is None
    assert one.metric("stager_remediator_notifications_total", status="200") == 3


def test_a_refusal_is_an_answer_with_its_reason(one: House) -> None:
    one.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="it failed")))
    (said,) = cast("list[Json]", cast("Json", notify(one, notification(alert())).json)["alerts"])
    assert said["outcome"] == "refused"
    assert said["reason"] == "breaker: not before somebody acknowledges: it failed"
    assert one.sites["prod"].ledger.read().ledger.refusals[0].reason is Reason.BREAKER


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "application/json", 422),
        (b'{"version":"3","alerts":[]}', "application/json", 422),
        (b'{"version":"4","alerts":[{}]}', "application/json", 422),
        (b'{"version":"4","alerts":{}}', "application/json", 422),
        (b'{"version":"4","alerts":[]}', "text/plain", 415),
        (b'{"version":"4","alerts":[]}', "application/x-www-form-urlencoded", 415),
        (b'{"version":"4","alerts":[]}', None, 415),
        (b'{"version":"4","alerts":[]}', "application/json; charset=utf-8", 200),
    ],
)
def test_what_is_not_understood(one: House, body: bytes, kind: str | None, status: int) -> None:
    answer = one.client.post(HOOK, data=body, content_type=kind, headers=bearer("webhook"))
    assert answer.status_code == status, answer.text
    if status != 200:
        error_of(answer)
    assert one.metric("stager_remediator_notifications_total", status=str(status)) == 1
    assert one.kubes["prod"].objects == {}


def test_a_body_that_is_too_long_is_refused_by_its_length_and_by_its_bytes(one: House) -> None:
    headers = {**bearer("webhook"), "Content-Type": "application/json"}
    length = {"CONTENT_LENGTH": str(LARGEST_NOTIFICATION + 1)}
    told = one.client.post(HOOK, data=b"{}", headers=headers, environ_overrides=length)
    assert told.status_code == 413
    assert error_of(told) == "the body is too long"

    class Endless:
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += 65536 if size < 0 else size
            return b" " * (65536 if size < 0 else size)

        def readline(self, size: int = -1) -> bytes:
            return self.read(size)

    stream = Endless()
    environ = create_environ(HOOK, method="POST", headers=headers)
    environ |= {"wsgi.input": stream, "wsgi.input_terminated": True}  # as gunicorn has it for a chunked body
    environ.pop("CONTENT_LENGTH", None)
    _, status, _ = run_wsgi_app(one.app, environ)
    assert status.startswith("413")
    assert stream.given <= LARGEST_NOTIFICATION + (1 << 20), "reading ended at the limit"
    assert one.metric("stager_remediator_notifications_total", status="413") == 2
    small = one.client.post("/api/v1/pause", data=b" " * (LARGEST_BODY + 1), headers={**headers, **bearer("operate")})
    assert small.status_code == 413


@pytest.mark.parametrize("path", [HOOK, "/pause"])
def test_chunks_that_are_none_are_the_senders_fault(one: House, path: str, caplog: pytest.LogCaptureFixture) -> None:
    class Garbled:
        def read(self, size: int = -1) -> bytes:
            raise InvalidChunkSize(b"ZZ")

        readline = read

    form = "application/x-www-form-urlencoded"
    scope, kind = ("webhook", "application/json") if path == HOOK else ("operate", form)
    environ = create_environ(path, method="POST", headers={**bearer(scope), "Content-Type": kind})
    environ |= {"wsgi.input": Garbled(), "wsgi.input_terminated": True}
    environ.pop("CONTENT_LENGTH", None)
    body, status, _ = run_wsgi_app(one.app, environ)
    assert status.startswith("400")
    assert b"not as HTTP has it" in b"".join(body)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_notification_as_long_as_allowed_is_taken(one: House) -> None:
    filler = alert(labels={"alertname": "x" * 1000}, fingerprint="f")
    body = json.dumps(notification(*[filler] * 5000)).encode()
    assert 4 << 20 < len(body) < LARGEST_NOTIFICATION
    answer = one.client.post(HOOK, data=body, content_type="application/json", headers=bearer("webhook"))
    assert answer.status_code == 200
    assert one.metric("stager_remediator_alerts_total", outcome="ignored", reason="no_remedy") == 5000


@pytest.mark.parametrize("fault", [TimeoutError("silent"), ConnectionResetError("gone"), b"{"])
def test_a_client_that_falls_silent_in_the_middle(one: House, fault: OSError | bytes) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            if isinstance(fault, bytes):
                return b""  # it ended before its length
            raise fault

    answer = one.client.post(
        HOOK,
        content_type="application/json",
        headers=bearer("webhook"),
        environ_overrides={"wsgi.input": Broken(), "CONTENT_LENGTH": "100"},
    )
    assert answer.status_code == 400
    error_of(answer)


def test_a_state_that_cannot_be_read_is_503_and_comes_again(one: House) -> None:
    one.kubes["prod"].broken = unreachable()
    answer = notify(one, notification(alert()))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "connection refused" in error_of(answer)
    assert one.metric("stager_remediator_state_errors_total") == 1
    assert one.metric("stager_remediator_notifications_total", status="503") == 1


def test_a_fault_of_our_own_is_503_and_shows_no_traceback(
    one: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object, notification: object) -> None:
        raise RuntimeError("a secret of the code")

    monkeypatch.setattr("remediator.intake.Intake.notify", broken)
    with caplog.at_level(logging.ERROR):
        answer = notify(one, notification(alert()))
    assert answer.status_code == 503
    assert "secret" not in error_of(answer)
    assert caplog.records[0].exc_info is not None
    page = one.client.get("/remediations/x.y", headers=bearer("view"))
    assert page.status_code == 404


# --- reading --------------------------------------------------------------------------------------------------------


def test_the_list_and_one(two: House) -> None:
    first = two.awaiting()
    two.kubes["staging"].now = NOW + 60
    second = two.awaiting("staging")
    view = bearer("view")
    listed = cast("Json", two.client.get("/api/v1/remediations", headers=view).json)["remediations"]
    assert [item["name"] for item in cast("list[Json]", listed)] == [second, first]
    mine = cast("Json", two.client.get("/api/v1/remediations?foundation=prod", headers=view).json)["remediations"]
    assert [item["name"] for item in cast("list[Json]", mine)] == [first]
    assert two.client.get("/api/v1/remediations?foundation=none", headers=view).status_code == 404
    got = cast("Json", two.client.get(f"/api/v1/remediations/{second}", headers=view).json)
    assert got["resourceVersion"] == two.version(second, "staging")
    assert cast("Json", got["status"])["phase"] == "AwaitingApproval"
    assert "evidence" not in got
    two.kubes["staging"].broken = unreachable()
    assert two.client.get("/api/v1/remediations", headers=view).status_code == 503, "a part is not a list"
    assert two.client.get(f"/api/v1/remediations/{first}", headers=view).status_code == 200
    assert two.client.get("/api/v1/remediations/by-hand", headers=view).status_code == 503, "it may be there"


def test_a_name_made_by_hand_is_looked_for_everywhere(two: House) -> None:
    two.remediation("please-help", {"foundation": "staging", "playbook": PLAYBOOK}, {}, "staging")
    two.remediation("prod.odd.1", {"foundation": "staging", "playbook": PLAYBOOK}, {}, "staging")
    two.remediation("nobodys", {"foundation": "elsewhere", "playbook": PLAYBOOK}, {}, "prod")
    for name, status in (("please-help", 200), ("prod.odd.1", 200), ("nobodys", 404), ("absent", 404)):
        assert two.client.get(f"/api/v1/remediations/{name}", headers=bearer("view")).status_code == status
        assert two.client.get(f"/remediations/{name}", headers=bearer("view")).status_code == status


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "UPPER", "a" * 300, "%00", "-a", "a..b", "x%0ay", "é"])
def test_a_name_that_cannot_be_one_never_reaches_the_api_server(one: House, name: str) -> None:
    one.kubes["prod"].asked.clear()
    answer = one.client.get(f"/api/v1/remediations/{name}", headers=bearer("view"))
    assert answer.status_code in (404, 308)
    assert not any("remediations/" in asked for asked in one.kubes["prod"].asked)


def test_evidence_is_decoded_and_only_our_own(one: House) -> None:
    run = failed_run()
    closed = Closed(request=run, phase=Phase.FAILED, message="stuck", finished=SERVER)
    one.remediation(run.name, spec_of(run), final_status(closed))
    path = f"/api/v1/remediations/{run.name}?evidence=1"
    view = bearer("view")
    assert cast("Json", one.client.get(path, headers=view).json)["evidence"] is None
    evidence_configmap(one, run.evidence, {"format": "x", "verdict": {"verdict": "locked_out"}}, f"uid-{run.name}")
    got = cast("Json", one.client.get(path, headers=view).json)["evidence"]
    assert cast("Json", got)["verdict"] == {"verdict": "locked_out"}
    text = one.client.get(f"/remediations/{run.name}/evidence", headers=view)
    assert text.status_code == 200
    assert "locked_out" in text.text
    assert text.content_type.startswith("text/plain")
    # A status edited by hand to name another ConfigMap shows nothing of it.
    evidence_configmap(one, "not-ours", {"secret": "x"}, "uid-somebody-else")
    store = one.sites["prod"].remediations
    store.write_status(run.name, {"evidence": "not-ours"})
    assert cast("Json", one.client.get(path, headers=view).json)["evidence"] is None
    assert one.client.get(f"/remediations/{run.name}/evidence", headers=view).status_code == 404
    store.write_status(run.name, {"evidence": "../../secrets/x"})
    assert cast("Json", one.client.get(path, headers=view).json)["evidence"] is None


def test_evidence_that_cannot_be_decoded(one: House) -> None:
    run = failed_run()
    closed = Closed(request=run, phase=Phase.FAILED, message="stuck", finished=SERVER)
    one.remediation(run.name, spec_of(run), final_status(closed))
    body: Json = {"metadata": {"name": run.evidence, "ownerReferences": [{"uid": f"uid-{run.name}"}]}, "data": {}}
    one.kubes["prod"].create("/api/v1/namespaces/cf/configmaps", body)
    answer = one.client.get(f"/api/v1/remediations/{run.name}?evidence=1", headers=bearer("view"))
    assert answer.status_code == 503
    assert "cannot be decoded" in error_of(answer)
    page = one.client.get(f"/remediations/{run.name}", headers=bearer("view"))
    assert page.status_code == 200
    assert "cannot be decoded" in page.text


def test_the_status_says_what_is_in_force(one: House) -> None:
    one.ledger(
        lambda ledger: ledger.changed(
            starts=(SERVER - timedelta(minutes=30),),
            last_end=SERVER - timedelta(minutes=4),
            breaker=Breaker(since=SERVER, why="it failed", remediation="prod.x.1"),
            pause=ledgers.Pause(by="alice", why="upgrade", since=SERVER, until=SERVER + timedelta(hours=1)),
        )
    )
    (state,) = cast(
        "list[Json]", cast("Json", one.client.get("/api/v1/status", headers=bearer("view")).json)["foundations"]
    )
    (playbook,) = cast("list[Json]", state["playbooks"])
    assert playbook["limits"] == [{"runs": 2, "per": "1h", "left": 1}, {"runs": 4, "per": "24h", "left": 3}]
    assert playbook["cooldownEnds"] == iso(SERVER + timedelta(minutes=6))
    assert cast("Json", playbook["refused"])["reason"] == "paused"
    assert cast("Json", state["breaker"])["why"] == "it failed"
    assert cast("Json", state["pause"])["until"] == iso(SERVER + timedelta(hours=1))
    assert state["standing"] == "Breaker open"
    assert cast("Json", state["verdict"])["verdict"] == "locked_out"
    assert state["problem"] is None


def test_the_status_stays_with_what_is_known_when_the_api_server_is_gone(one: House) -> None:
    one.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="it failed")))
    one.kubes["prod"].broken = unreachable()
    answer = one.client.get("/api/v1/status", headers=bearer("view"))
    (state,) = cast("list[Json]", cast("Json", answer.json)["foundations"])
    assert answer.status_code == 200
    assert "connection refused" in str(state["problem"])
    assert state["breaker"] is not None
    page = one.client.get("/", headers=bearer("view"))
    assert page.status_code == 200
    assert "The state cannot be read now" in page.text
    one.executors["prod"].note(None)
    (state,) = cast(
        "list[Json]", cast("Json", one.client.get("/api/v1/status", headers=bearer("view")).json)["foundations"]
    )
    assert state["standing"] == "Not known"
    assert one.client.get("/", headers=bearer("view")).status_code == 200


# --- operating ------------------------------------------------------------------------------------------------------


def post(at: House, path: str, body: object, scope: str = "operate") -> TestResponse:
    return at.client.post(f"/api/v1/{path}", json=body, headers=bearer(scope))


@pytest.mark.parametrize(("verb", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_an_answer_carries_the_version_that_was_shown(one: House, verb: str, state: str) -> None:
    name = one.awaiting()
    old = one.version(name)
    one.sites["prod"].remediations.write_status(name, {"message": "something changed"})
    stale = post(one, f"remediations/{name}/{verb}", {"resourceVersion": old})
    assert stale.status_code == 409
    assert "changed since it was shown" in error_of(stale)
    done = post(one, f"remediations/{name}/{verb}", {"resourceVersion": one.version(name)})
    assert done.status_code == 200
    assert cast("Json", one.object(name)["spec"])["approval"] == {"state": state, "by": "operateer", "at": iso(SERVER)}
    twice = post(one, f"remediations/{name}/{verb}", {"resourceVersion": one.version(name)})
    assert twice.status_code == 409


def test_an_approval_that_comes_too_late_is_409(one: House) -> None:
    name = one.awaiting()
    one.kubes["prod"].now += 3600
    answer = post(one, f"remediations/{name}/approve", {"resourceVersion": one.version(name)})
    assert answer.status_code == 409
    assert "expired" in error_of(answer)


@pytest.mark.parametrize(
    "body", [{}, {"resourceVersion": 7}, {"resourceVersion": ""}, {"resourceVersion": "1", "by": "me"}]
)
def test_a_body_of_another_shape_is_422(one: House, body: Json) -> None:
    answer = post(one, f"remediations/{one.awaiting()}/approve", body)
    assert answer.status_code == 422
    error_of(answer)


def test_acknowledging_closes_the_breaker_even_of_a_deleted_remediation(two: House) -> None:
    for name in (f"prod.{PLAYBOOK}.6", "made-by-hand"):
        breaker = Breaker(since=SERVER, why="it failed", remediation=name)
        two.ledger(lambda ledger, breaker=breaker: ledger.changed(breaker=breaker))  # type: ignore[misc]
        wrong = post(two, f"remediations/prod.{PLAYBOOK}.5/acknowledge", {"reason": "seen"})
        assert wrong.status_code == 409
        assert post(two, f"remediations/{name}/acknowledge", {"reason": " "}).status_code == 422
        done = post(two, f"remediations/{name}/acknowledge", {"reason": "the node was broken"})
        assert done.json == {"foundation": "prod", "acknowledged": name, "by": "operateer"}
        two.executors["prod"].note(two.sites["prod"].ledger.read())
        assert two.sites["prod"].ledger.read().ledger.breaker is None
    two.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="the ledger is gone")))
    assert post(two, "remediations/prod/acknowledge", {"reason": "seen"}).status_code == 200
    assert post(two, "remediations/prod/acknowledge", {"reason": "seen"}).status_code == 409
    assert post(two, "remediations/absent/acknowledge", {"reason": "seen"}).status_code == 404


def test_pause_and_resume_one_or_all(two: House) -> None:
    done = post(two, "pause", {"foundation": "prod", "reason": "upgrade", "for": "1h"})
    assert done.json == {"paused": [{"foundation": "prod", "until": iso(SERVER + timedelta(hours=1))}]}
    pause = two.sites["prod"].ledger.read().ledger.pause
    assert pause is not None
    assert (pause.by, pause.why) == ("operateer", "upgrade"), "who paused is who is authenticated"
    assert two.sites["staging"].ledger.read().ledger.pause is None
    assert post(two, "resume", {"foundation": "staging"}).status_code == 409
    assert post(two, "resume", {}).json == {"resumed": ["prod"]}
    assert post(two, "resume", {}).status_code == 409
    every = cast("Json", post(two, "pause", {"reason": "both"}).json)["paused"]
    assert every == [{"foundation": "prod", "until": None}, {"foundation": "staging", "until": None}]
    assert post(two, "pause", {"foundation": "none", "reason": "x"}).status_code == 404
    for body in ({}, {"reason": ""}, {"reason": "x", "for": "1"}, {"reason": "x", "for": "0s"}, {"reason": "x" * 1001}):
        assert post(two, "pause", body).status_code == 422, body


def test_pausing_all_pauses_whom_it_can_and_says_whom_it_could_not(two: House) -> None:
    two.kubes["prod"].broken = unreachable()
    answer = post(two, "pause", {"reason": "stop"})
    assert answer.status_code == 503
    assert "prod was not paused" in error_of(answer)
    assert two.sites["staging"].ledger.read().ledger.pause is not None


@pytest.mark.parametrize(
    "fault",
    [
        unreachable(),
        from_status(Target("get", "configmaps"), 403, {}),
        from_status(Target("get", "configmaps"), 500, {}),
    ],
)
def test_operations_on_a_state_that_cannot_be_read_are_503(one: House, fault: KubeError) -> None:
    name = one.awaiting()
    version = one.version(name)
    one.kubes["prod"].broken = fault
    for path, body in (
        (f"remediations/{name}/approve", {"resourceVersion": version}),
        (f"remediations/{name}/acknowledge", {"reason": "x"}),
        ("pause", {"foundation": "prod", "reason": "x"}),
        ("resume", {}),
    ):
        answer = post(one, path, body)
        assert answer.status_code == 503, (path, answer.text)
        assert "Retry-After" in answer.headers
    assert one.metric("stager_remediator_state_errors_total") == 4


@pytest.mark.parametrize("kind", ["unknown layout", "unreadable ledger"])
def test_a_state_that_is_not_understood_is_503(one: House, kind: str) -> None:
    if kind == "unknown layout":
        object.__setattr__(one.sites["prod"], "lookout", FixedLookout(None, None))
    else:
        one.awaiting()
        body = one.kubes["prod"].objects["/api/v1/namespaces/cf/configmaps/stager-medic-diego-api"]
        body["data"] = {"ledger": "{"}
    for answer in (post(one, "pause", {"reason": "x", "foundation": "prod"}), notify(one, notification(alert()))):
        assert answer.status_code == 503
        error_of(answer)
    assert one.client.get("/", headers=bearer("view")).status_code == 200


# --- the rest -------------------------------------------------------------------------------------------------------


def test_readiness_tells_why_only_to_those_who_may_look(one: House) -> None:
    assert one.client.get("/readyz").text == "ok\n"
    one.ready[0] = "prod: the ledger was not read yet"
    said = one.client.get("/readyz")
    assert said.status_code == 503
    assert "ledger was not" not in said.text
    assert "ledger was not read yet" in one.client.get("/readyz", headers=bearer("view")).text
    assert "ledger was not" not in one.client.get("/readyz", headers=bearer("webhook")).text


def test_liveness_depends_on_nothing(one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one.kubes["prod"].broken = unreachable()
    one.ready[0] = "nothing works"
    assert one.client.get("/livez").status_code == 200


@pytest.mark.parametrize("scope", ["view", None])
@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/static/../app.py", "/static/nothing.css"])
def test_what_is_not_there(one: House, path: str, scope: str | None) -> None:
    answer = one.client.get(path, headers=bearer(scope) if scope else {})
    assert answer.status_code == 404
    if path.startswith("/api/"):
        error_of(answer)
    else:
        assert answer.content_type.startswith("text/html")


def test_a_method_that_is_not_meant(one: House) -> None:
    answer = one.client.get(HOOK, headers=bearer("webhook"))
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    error_of(answer)
    assert one.client.delete("/", headers=bearer("all")).status_code == 405


def test_every_answer_carries_the_headers_that_keep_it_from_harm(one: House) -> None:
    for path in ("/", "/nothing", "/metrics", "/livez", "/static/style.css", "/api/v1/status"):
        answer = one.client.get(path, headers=bearer("view"))
        policy = answer.headers["Content-Security-Policy"]
        for part in ("default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"):
            assert part in policy
        assert "script-src" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert (answer.headers["Cache-Control"] == "no-store") == (not path.startswith("/static"))
        answer.close()


def test_the_description_names_every_route_and_every_answer(one: House) -> None:
    described = cast("Json", one.client.get("/openapi.json").json)
    assert described == json.loads(json.dumps(document()))
    assert str(described["openapi"]).startswith("3.1")
    paths = cast("dict[str, Json]", described["paths"])
    mine = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in one.app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {(path, method) for path, item in paths.items() for method in item if method in ("get", "post")}
    assert told == mine
    names = set()
    for path, method in told:
        operation = cast("Json", paths[path][method])
        names.add(operation["operationId"])
        answers = set(cast("Json", operation["responses"]))
        assert {"200", "401", "403", "503"} <= answers
        assert method == "get" or {"400", "413", "415", "422"} <= answers
    assert len(names) == len(told)
    schemas = cast("Json", cast("Json", described["components"])["schemas"])
    for part in json.dumps(described).split('"$ref": "')[1:]:
        assert part.split('"')[0].removeprefix("#/components/schemas/") in schemas


def test_series_exist_at_zero_and_follow_the_ledger(two: House) -> None:
    text = two.client.get("/metrics").text
    for line in (
        'stager_remediation_running{foundation="prod"} 0.0',
        'stager_remediation_awaiting_approval{foundation="staging"} 0.0',
        'stager_remediator_breaker_open{foundation="prod"} 0.0',
        'stager_remediator_paused{foundation="staging"} 0.0',
        'stager_remediator_notifications_total{status="503"} 0.0',
        'stager_remediator_alerts_total{outcome="created",reason=""} 0.0',
        'stager_remediator_alerts_total{outcome="refused",reason="cooldown"} 0.0',
        f'stager_remediations_total{{foundation="prod",outcome="Succeeded",playbook="{PLAYBOOK}"}} 0.0',
        f'stager_remediation_duration_seconds_count{{foundation="staging",playbook="{PLAYBOOK}"}} 0.0',
        'stager_remediation_step_duration_seconds_count{step="delete"} 0.0',
        'stager_remediator_pods_deleted_total{foundation="prod",role="bbs"} 0.0',
        "stager_remediator_auth_failures_total 0.0",
        "stager_remediator_state_errors_total 0.0",
        'stager_remediator_build_info{python="',
    ):
        assert line in text, line
    two.awaiting()
    assert two.metric("stager_remediation_awaiting_approval", foundation="prod") == 1
    assert two.metric("stager_remediation_awaiting_approval", foundation="staging") == 0

    def run(ledger: ledgers.Ledger) -> ledgers.Ledger:
        return ledger.changed(
            pending=None,
            run=failed_run(),
            breaker=Breaker(since=SERVER, why="x"),
            pause=ledgers.Pause(by="a", why="b", since=SERVER),
        )

    two.ledger(run)
    for name in ("stager_remediation_running", "stager_remediator_breaker_open", "stager_remediator_paused"):
        assert two.metric(name, foundation="prod") == 1
        assert two.metric(name, foundation="staging") == 0
    assert two.metric("stager_remediation_awaiting_approval", foundation="prod") == 0
    two.executors["prod"].note(None)
    assert two.metric("stager_remediator_ready", foundation="prod") == 0


def test_two_names_of_one_target_show_one_run(tmp_path: Path) -> None:
    both = house(tmp_path, ("prod", "alias"), one_namespace=True)
    both.ledger(lambda ledger: ledger.changed(run=failed_run()))
    both.executors["alias"].note(both.sites["alias"].ledger.read())
    assert both.metric("stager_remediation_running", foundation="prod") == 1
    assert both.metric("stager_remediation_running", foundation="alias") == 0


def test_metrics_are_openmetrics_for_those_who_ask(one: House) -> None:
    answer = one.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_no_foundation_is_a_fault_of_whoever_starts_it(tmp_path: Path) -> None:
    make: Callable[..., object] = house
    with pytest.raises(ValueError, match="at least one foundation"):
        make(tmp_path, ())


def test_modes_are_shown(tmp_path: Path) -> None:
    off = house(tmp_path, mode=Mode.OFF)
    page = off.client.get("/", headers=bearer("view")).text
    assert "Not now" in page
    assert "mode is off" in page
