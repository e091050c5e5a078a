"""The API's description (OpenAPI 3.1), made once and served at /openapi.json. A test compares it with the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remediator.payload import MOST_ALERTS, MOST_TRUNCATED
from remediator.words import Mode, Outcome, Phase, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foundation.kube.client import Json

_TEXT: Json = {"type": "string"}
_MAYBE: Json = {"type": ["string", "null"]}
_TIME: Json = {"type": ["string", "null"], "format": "date-time"}
_FOR: Json = {
    **_MAYBE,
    "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$",
    "maxLength": 40,
    "description": "Such as 30m or 2h: more than nothing, 366d at the most; left out: until resumed.",
}
_NAME: Json = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
_FOUNDATION: Json = {"name": "foundation", "in": "query", "schema": _TEXT, "description": "Only this one's."}
_WHY: Mapping[int, str] = {
    400: "The body is not a JSON object, or ended early.",
    401: "No credentials, or none that are known. WWW-Authenticate names the ways.",
    403: "The credentials lack the scope, or a page of another site sent it.",
    404: "There is no such foundation or Remediation.",
    409: "It cannot be done now: it has changed since, has expired, or nothing waits for it.",
    413: "The body is too long.",
    415: "The body is not declared as application/json.",
    422: "The body is JSON, but not what is expected here.",
    503: "The state in the cluster could not be read or written, or too many passwords wait to be checked. Come again.",
}


def document() -> Json:
    """The whole description."""
    body = (400, 413, 415, 422)
    named = "#/components/schemas/Remediation"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stager-remediator",
            "version": "1",
            "description": (
                "Takes Alertmanager's notifications and tells what became of them. Each operation names its scope; "
                "scopes do not include each other. /livez, /readyz, /metrics and this description are open."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}, {"certificate": []}],
        "paths": {
            "/api/v1/alertmanager": {
                "post": _operation(
                    "notify", "webhook", "A notification of Alertmanager, version 4.", "#/components/schemas/Answers",
                    body, takes="#/components/schemas/Notification",
                    said="Each alert is stored, or refused with a reason on record.",
                )
            },
            "/api/v1/remediations": {
                "get": _operation(
                    "listRemediations", "view", "All Remediations, the newest first.",
                    "#/components/schemas/Remediations", (404,), parameters=[_FOUNDATION],
                )
            },
            "/api/v1/remediations/{name}": {
                "parameters": [_NAME],
                "get": _operation(
                    "getRemediation", "view", "One Remediation.", named, (404,),
                    parameters=[{
                        "name": "evidence", "in": "query", "schema": _TEXT,
                        "description": "1: with the evidence document, null where none is kept; else without.",
                    }],
                ),
            },
            "/api/v1/remediations/{name}/approve": _act("approve", "Approve what was shown.", "Answer", named),
            "/api/v1/remediations/{name}/reject": _act("reject", "Reject what was shown.", "Answer", named),
            "/api/v1/remediations/{name}/acknowledge": _act(
                "acknowledge", "Close the breaker. The name is the Remediation that opened it, or the foundation.",
                "Acknowledgement", "#/components/schemas/Acknowledged",
            ),
            "/api/v1/pause": {
                "post": _operation(
                    "pause", "operate", "Pause one foundation, or all.", "#/components/schemas/Paused", (*body, 404),
                    takes="#/components/schemas/Pause",
                )
            },
            "/api/v1/resume": {
                "post": _operation(
                    "resume", "operate", "Resume one foundation, or all.", "#/components/schemas/Resumed",
                    (*body, 404, 409), takes="#/components/schemas/Resume",
                )
            },
            "/api/v1/status": {
                "get": _operation(
                    "status", "view", "What is in force.", "#/components/schemas/Status", (),
                    said="What is known; `problem` says what could not be read.",
                )
            },
        },
        "components": {"securitySchemes": _schemes(), "schemas": _schemas()},
    }  # fmt: skip


def _operation(
    name: str,
    scope: str,
    summary: str,
    gives: str,
    refusals: Sequence[int],
    *,
    takes: str = "",
    parameters: Sequence[Json] = (),
    said: str = "Done.",
) -> Json:
    answers: Json = {"200": {"description": said, "content": {"application/json": {"schema": {"$ref": gives}}}}}
    for status in sorted({*refusals, 401, 403, 503}):
        answer: Json = {
            "description": _WHY[status],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        if status == 401:
            answer["headers"] = {"WWW-Authenticate": {"schema": _TEXT}}
        if status == 503:
            answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        answers[str(status)] = answer
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "description": f"Needs the scope `{scope}`.",
        "responses": answers,
    }
    if takes:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"$ref": takes}}}}
    if parameters:
        operation["parameters"] = list(parameters)
    return operation


def _act(name: str, summary: str, takes: str, gives: str) -> Json:
    refusals = (400, 404, 409, 413, 415, 422)
    operation = _operation(name, "operate", summary, gives, refusals, takes=f"#/components/schemas/{takes}")
    return {"parameters": [_NAME], "post": operation}


def _schemes() -> Json:
    return {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic"},
        "certificate": {"type": "mutualTLS"},
    }


def _object(required: Sequence[str], closed: bool = False, **properties: object) -> Json:
    made: Json = {"type": "object", "required": list(required), "properties": properties}
    return made | ({"additionalProperties": False} if closed else {})


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Json:
    free: Json = {"type": "object"}
    maybe: Json = {"type": ["object", "null"]}
    return {
        "Error": _object(["error"], error={**_TEXT, "description": "One line."}),
        "Notification": _object(
            ["version", "alerts"],
            version={"const": "4"},
            alerts={**_list(_ref("Alert")), "maxItems": MOST_ALERTS},
            truncatedAlerts={"type": "integer", "minimum": 0, "maximum": MOST_TRUNCATED},
            groupKey=_TEXT,
            receiver=_TEXT,
        ),
        "Alert": _object(
            ["status", "labels", "startsAt"],
            status={"enum": ["firing", "resolved"]},
            labels={"type": "object", "additionalProperties": _TEXT},
            startsAt={"type": "string", "format": "date-time"},
            fingerprint={**_TEXT, "maxLength": 1000},
        ),
        "Answers": _object(
            ["alerts"],
            alerts=_list(
                _object(
                    ["fingerprint", "outcome", "remediation", "reason"],
                    fingerprint=_TEXT,
                    outcome={"enum": [str(outcome) for outcome in Outcome]},
                    remediation={**_TEXT, "description": "The Remediation's name, or empty."},
                    reason={
                        **_TEXT,
                        "description": "Empty, or one of these words, a colon and a sentence: "
                        + ", ".join(str(reason) for reason in Reason),
                    },
                )
            ),
        ),
        "Remediations": _object(["remediations"], remediations=_list(_ref("Remediation"))),
        "Remediation": _object(
            ["name", "resourceVersion", "uid", "created", "spec", "status"],
            name=_TEXT,
            resourceVersion=_TEXT,
            uid=_TEXT,
            created=_TEXT,
            spec=free,
            status={
                "type": "object",
                "description": "As in the custom resource; `phase` is one of "
                + ", ".join(str(phase) for phase in Phase)
                + ". People can edit it: any field may be missing.",
            },
            evidence=maybe,
        ),
        "Answer": _object(
            ["resourceVersion"],
            closed=True,
            resourceVersion={**_TEXT, "minLength": 1, "maxLength": 200, "description": "What the person saw."},
        ),
        "Acknowledgement": _object(["reason"], closed=True, reason={**_TEXT, "minLength": 1, "maxLength": 1000}),
        "Acknowledged": _object(["foundation", "acknowledged", "by"], foundation=_TEXT, acknowledged=_TEXT, by=_TEXT),
        "Pause": _object(
            ["reason"],
            closed=True,
            foundation={**_MAYBE, "description": "Left out: all."},
            reason={**_TEXT, "minLength": 1, "maxLength": 1000},
            **{"for": _FOR},
        ),
        "Paused": _object(["paused"], paused=_list(_object(["foundation", "until"], foundation=_TEXT, until=_TIME))),
        "Resume": _object([], closed=True, foundation={**_MAYBE, "description": "Left out: all."}),
        "Resumed": _object(["resumed"], resumed=_list(_TEXT)),
        "Status": _object(["foundations"], foundations=_list(_ref("State"))),
        "State": _object(
            ["foundation", "namespace", "standing", "playbooks", "breaker", "pause", "refusals"],
            foundation=_TEXT,
            namespace=_TEXT,
            layout=_MAYBE,
            standing=_TEXT,
            why=_TEXT,
            asOf=_TIME,
            problem={**_MAYBE, "description": "Why the state could not be read just now; the rest is then older."},
            playbooks=_list(_ref("Playbook")),
            breaker=maybe,
            pause=maybe,
            backoff=maybe,
            open={**_MAYBE, "description": "The Remediation that is queued or under way."},
            holder=_MAYBE,
            wanted=maybe,
            refusals=_list(free),
            verdict=maybe,
        ),
        "Playbook": _object(
            ["name", "mode", "limits"],
            name=_TEXT,
            mode={"enum": [str(mode) for mode in Mode]},
            maxPods={"type": "integer"},
            cooldown=_TEXT,
            cooldownEnds=_TIME,
            limits=_list(
                _object(
                    ["runs", "per", "left"],
                    runs={"type": "integer"},
                    per=_TEXT,
                    left={"type": ["integer", "null"]},
                )
            ),
            refused=maybe,
        ),
    }
