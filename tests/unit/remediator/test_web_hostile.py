"""Whatever is posted to the webhook: an answer of the contract, never a fault, and nothing stored that none meant."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remediator.story import iso
from remediator.words import PLAYBOOK, Outcome, Reason
from tests.support.remediator_web import SERVER, House, bearer, house

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS = {200, 400, 413, 415, 422}
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(max_size=30) | st.sampled_from(
    ["prod", PLAYBOOK, "\n", "\x00", "x" * 2000, "../..", "\u202e", "prod\n"]
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
times = st.sampled_from(
    [iso(SERVER), iso(SERVER - timedelta(days=400)), "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-09-21T14:00:00", "yesterday", "", "1e99"]
) | st.datetimes().map(lambda when: when.isoformat() + "Z")  # fmt: skip
labels = st.fixed_dictionaries(
    {}, optional={"alertname": texts, "foundation": texts, "remediate": st.just(PLAYBOOK) | texts}
) | st.dictionaries(texts, texts, max_size=80)
alerts = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "resolved"]), "labels": labels, "startsAt": times},
    optional={"fingerprint": texts, "endsAt": times, "annotations": anything, "odd": anything},
)
notifications = st.fixed_dictionaries(
    {"version": st.just("4"), "alerts": st.lists(alerts | anything, max_size=6)},
    optional={"truncatedAlerts": st.integers() | anything, "groupKey": anything, "receiver": anything},
)


def check(at: House, body: bytes) -> None:
    answer = at.client.post(
        "/api/v1/alertmanager", data=body, content_type="application/json", headers=bearer("webhook")
    )
    assert answer.status_code in ANSWERS, answer.text
    said = json.loads(answer.text)
    if answer.status_code != 200:
        assert set(said) == {"error"}
        assert said["error"]
        assert "\n" not in said["error"]
        assert len(said["error"]) <= 500
        return
    assert len(said["alerts"]) == len(json.loads(body)["alerts"])
    for one in said["alerts"]:
        assert set(one) == {"fingerprint", "outcome", "remediation", "reason"}
        assert one["outcome"] in set(Outcome)
        assert one["reason"].partition(":")[0] in {"", *Reason}
        if one["outcome"] == "created":
            assert one["remediation"].startswith(f"prod.{PLAYBOOK}.")


def verify_no_fault(at: House, records: list[logging.LogRecord]) -> None:
    assert not [record for record in records if record.levelno >= logging.ERROR]
    families = {name for metric in at.registry.collect() for sample in metric.samples for name in [sample.name]}
    assert "stager_remediator_alerts_total" in families
    series = [s for m in at.registry.collect() if m.name == "stager_remediator_alerts" for s in m.samples]
    assert len(series) <= 2 * len(Outcome) * (len(Reason) + 1), "no label comes from what was sent"


def test_payloads_that_are_almost_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path)

    @QUICK
    @given(body=notifications)
    def try_it(body: object) -> None:
        # allow_nan writes what JSON does not know: that must be 400, not a fault.
        check(at, json.dumps(body).encode("utf-8", "surrogatepass"))

    try_it()
    verify_no_fault(at, caplog.records)


def test_any_json_and_any_bytes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path)

    @QUICK
    @given(
        body=st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    )
    def try_it(body: bytes) -> None:
        check(at, body)

    try_it()
    verify_no_fault(at, caplog.records)
    assert at.kubes["prod"].objects == {}, "nothing of it was an alert of ours"


def test_any_body_to_the_operations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path)
    name = at.awaiting()

    @QUICK
    @given(
        path=st.sampled_from(["pause", "resume", f"remediations/{name}/approve", f"remediations/{name}/acknowledge"]),
        body=anything
        | st.fixed_dictionaries({}, optional={"reason": anything, "for": anything, "foundation": anything}),
    )
    def try_it(path: str, body: object) -> None:
        raw = json.dumps(body).encode("utf-8", "surrogatepass")
        answer = at.client.post(f"/api/v1/{path}", data=raw, content_type="application/json", headers=bearer("operate"))
        assert answer.status_code in ANSWERS | {404, 409}, answer.text

    try_it()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_labels_that_are_too_many_or_too_long_are_refused_and_not_kept(tmp_path: Path) -> None:
    at = house(tmp_path)
    ours = {"alertname": "x", "foundation": "prod", "remediate": PLAYBOOK}
    for labels in ({**ours, "long": "x" * 100_000}, {**ours, **{f"l{n}": "x" for n in range(100)}}):
        alert = {"status": "firing", "labels": labels, "startsAt": iso(SERVER), "fingerprint": "f"}
        answer = at.client.post(
            "/api/v1/alertmanager", json={"version": "4", "alerts": [alert]}, headers=bearer("webhook")
        )
        assert answer.json is not None
        assert answer.json["alerts"][0]["reason"].startswith("bad_alert: ")
        assert len(answer.text) < 1000
    assert at.kubes["prod"].objects == {}


@pytest.mark.parametrize(
    "when", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_times_at_the_calendars_ends_are_refused_and_no_fault(when: str, status: str, tmp_path: Path) -> None:
    at = house(tmp_path)
    labels = {"alertname": "x", "foundation": "prod", "remediate": PLAYBOOK}
    alert = {"status": status, "labels": labels, "startsAt": when, "fingerprint": "f"}
    answer = at.client.post("/api/v1/alertmanager", json={"version": "4", "alerts": [alert]}, headers=bearer("webhook"))
    assert answer.json is not None
    wanted = "bad_alert: it says that it began at " if status == "firing" else "resolved"
    assert answer.json["alerts"][0]["reason"].startswith(wanted)


def test_no_count_of_truncated_alerts_can_spoil_the_counter(tmp_path: Path) -> None:
    at = house(tmp_path)
    body = b'{"version": "4", "alerts": [], "truncatedAlerts": 1' + b"0" * 320 + b"}"
    answer = at.client.post(
        "/api/v1/alertmanager", data=body, content_type="application/json", headers=bearer("webhook")
    )
    assert answer.status_code == 422
