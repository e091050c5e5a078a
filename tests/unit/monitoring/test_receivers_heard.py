"""The played receivers: what they make of what Alertmanager posts, and their answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from simulator.monitoring.receivers import Receivers
from simulator.monitoring.service import _matcher, _unix


def post(url: str, body: object) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
        return int(answer.status)


def test_each_is_read_in_its_own_form() -> None:
    with Receivers() as found:
        page = {"event_action": "trigger", "payload": {"summary": "demo: down", "custom_details": {"firing": "A: x"}}}
        assert post(f"{found.url}/page", page) == 202
        assert post(f"{found.url}/page", {"event_action": "resolve"}) == 202
        assert post(f"{found.url}/chat", {"attachments": [{"title": "resolved: A demo", "text": "t"}]}) == 200
        assert post(f"{found.url}/dead-man", {"status": "firing", "alerts": [{"labels": {"alertname": "W"}}]}) == 200
        said = [(one.receiver, one.status, one.text, one.detail) for one in found.heard()]
    assert said == [
        ("page", "firing", "demo: down", "A: x"),
        ("page", "resolved", "", ""),
        ("chat", "resolved", "resolved: A demo", "t"),
        ("dead-man", "firing", "W", ""),
    ]
    assert [one.status for one in found.heard("page", since=1)] == ["resolved"]


@pytest.mark.parametrize(("path", "body", "status"), [("nobody", {}, 404), ("page", {}, 400), ("chat", [], 400)])
def test_what_is_for_nobody_is_refused(path: str, body: object, status: int) -> None:
    with Receivers() as found:
        with pytest.raises(urllib.error.HTTPError) as raised:
            post(f"{found.url}/{path}", body)
        raised.value.close()
        assert raised.value.code == status
        assert found.heard() == []


def test_matchers_are_written_as_for_amtool() -> None:
    assert _matcher("remediate=") == {"name": "remediate", "value": "", "isRegex": False, "isEqual": True}
    assert _matcher("alertname!~Diego.*") == {
        "name": "alertname",
        "value": "Diego.*",
        "isRegex": True,
        "isEqual": False,
    }
    assert _matcher("a!=b=c")["value"] == "b=c"
    with pytest.raises(ValueError, match="no matcher"):
        _matcher("alertname")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-23T12:00:00Z", 1795435200.0),
        ("2026-11-23T12:00:00.5Z", 1795435200.5),
        ("2026-11-23T12:00:00.123456789Z", 1795435200.123456789),
    ],
)
def test_gos_times_are_read(text: str, wanted: float) -> None:
    assert _unix(text) == pytest.approx(wanted, abs=1e-6)
