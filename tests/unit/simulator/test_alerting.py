"""The demo's stand-in for Prometheus and Alertmanager: when its alert fires, and what is sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import yaml

from remediator import payload
from simulator.alerting import HOLD, REPEAT, Alerting, Rule, fingerprint, restart_would_help
from tests.support.alert_rules import ALERTS, alerts
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

YES = 'diego_verdict_restart{foundation="demo",restart="yes"} 1.0\n'


def rule() -> Rule:
    return Rule("demo", hold=2.0, repeat=5.0)


def test_it_fires_after_it_was_true_for_long_enough_and_repeats() -> None:
    made = rule()
    assert made.see(0, 100, true=True) is None
    assert made.see(1.9, 101.9, true=True) is None
    fired = made.see(2.0, 102, true=True)
    assert fired is not None
    assert (fired.status, fired.starts_at) == ("firing", 102)
    made.taken(2.0)
    assert made.see(6.9, 106.9, true=True) is None
    again = made.see(7.0, 107, true=True)
    assert again == fired, "it began when it began, however often it is told"


def test_a_gap_begins_the_wait_anew() -> None:
    made = rule()
    made.see(0, 0, true=True)
    made.see(1, 1, true=False)
    made.see(2, 2, true=True)
    assert made.see(3.9, 3.9, true=True) is None
    assert made.see(4, 4, true=True) is not None


def test_its_end_is_told_once() -> None:
    made = rule()
    made.see(0, 100, true=True)
    made.see(2, 102, true=True)
    made.taken(2)
    ended = made.see(3, 103, true=False)
    assert ended is not None
    assert (ended.status, ended.starts_at, ended.ends_at) == ("resolved", 102, 103)
    made.taken(3)
    assert made.see(4, 104, true=False) is None
    assert made.see(5, 105, true=True) is None, "the next time it has to hold again"


def test_what_was_not_taken_is_sent_again() -> None:
    made = rule()
    made.see(0, 0, true=True)
    assert made.see(2, 2, true=True) is not None
    made.put_off(2)
    assert made.see(2.5, 2.5, true=True) is None
    assert made.see(3, 3, true=True) is not None


def test_nobody_hears_of_the_end_of_what_they_never_heard_of() -> None:
    made = rule()
    made.see(0, 0, true=True)
    made.see(2, 2, true=True)
    made.put_off(2)
    assert made.see(3, 3, true=False) is None
    assert made.see(9, 9, true=False) is None


def test_it_is_true_again_before_its_end_was_told() -> None:
    made = rule()
    made.see(0, 0, true=True)
    made.see(2, 2, true=True)
    made.taken(2)
    assert made.see(3, 3, true=False) is not None
    made.put_off(3)
    found = made.see(4, 4, true=True)
    assert found is not None
    assert (found.status, found.starts_at) == ("firing", 2)


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (YES, True),
        (YES.replace("yes", "ask"), True),
        (YES.replace("1.0", "0.0"), False),
        (YES.replace("yes", "wait"), False),
        (YES.replace("demo", "other"), False),
        ("", False),
        ("<html>", False),
    ],
)
def test_what_a_page_says(page: str, wanted: bool) -> None:
    assert restart_would_help(page, "demo") is wanted


def test_the_fingerprint_is_prometheus_own() -> None:
    # The values of its own test, prometheus/common model/signature_test.go.
    assert fingerprint({}) == "cbf29ce484222325"
    assert int(fingerprint({"name": "garland, briggs", "fear": "love is not enough"}), 16) == 5799056148416392346


def test_the_remediator_understands_the_payload() -> None:
    made = rule()
    made.see(0, 1_700_000_000, true=True)
    notice = made.see(2, 1_700_000_002, true=True)
    assert notice is not None
    read = payload.parse(json.dumps(notice.payload()).encode())
    (alert,) = read.alerts
    assert (alert.status, alert.labels["alertname"]) == ("firing", "DiegoRestartWouldHelp")
    assert (alert.labels["foundation"], alert.labels["remediate"]) == ("demo", "restart-diego-api")
    assert alert.starts_at.timestamp() == 1_700_000_002
    assert alert.fingerprint == fingerprint(alert.labels)


class Webhook(BaseHTTPRequestHandler):
    """Says 503 the first time, then what a remediator would."""

    seen: list[tuple[str, str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((body["status"], self.headers["Authorization"]))
        answer = {"alerts": [{"outcome": "created", "reason": "", "remediation": "demo.restart-diego-api.1"}]}
        self.send_response(503 if len(self.seen) == 1 else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nobody wants to read it."""


@pytest.fixture
def webhook() -> Iterator[tuple[ThreadingHTTPServer, list[tuple[str, str]]]]:
    seen: list[tuple[str, str]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Webhook,), {"seen": seen})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server, seen
        server.shutdown()
        thread.join()


AT_ONCE = 1000.0
"""A factor by which nothing that a test waits for takes long."""


def test_from_the_page_to_the_webhook(webhook: tuple[ThreadingHTTPServer, list[tuple[str, str]]]) -> None:
    server, seen = webhook
    page = [YES]
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    alerting = Alerting(lambda: page[0], url, "secret", "demo", factor=AT_ONCE)
    alerting.start()
    try:
        eventually(lambda: len(seen) > 1, "it is sent again after a 503")
        (alert,) = alerting.alerts()
        assert (alert.name, alert.state, alert.labels["foundation"]) == ("DiegoRestartWouldHelp", "firing", "demo")
        page[0] = ""
        eventually(lambda: seen[-1][0] == "resolved", "its end is told")
        assert alerting.alerts() == ()
    finally:
        alerting.stop()
    assert {status for status, _ in seen[:-1]} == {"firing"}
    assert {token for _, token in seen} == {"Bearer secret"}


def test_nobody_there(webhook: tuple[ThreadingHTTPServer, list[tuple[str, str]]]) -> None:
    server, seen = webhook
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    server.server_close()
    alerting = Alerting(lambda: YES, url, "secret", "demo", factor=AT_ONCE)
    alerting.start()
    try:
        eventually(lambda: [alert.state for alert in alerting.alerts()] == ["firing"], "it fires")
    finally:
        alerting.stop()
    assert seen == []


def test_it_is_listed_as_prometheus_would() -> None:
    made = rule()
    assert made.alert() is None
    made.see(0, 100, true=True)
    pending = made.alert()
    assert pending is not None
    assert (pending.state, pending.active_at) == ("pending", 100)
    made.see(2, 102, true=True)
    firing = made.alert()
    assert firing is not None
    assert firing.state == "firing"
    made.see(3, 103, true=False)
    assert made.alert() is None


def test_its_waits_are_those_of_the_shipped_files() -> None:
    (trigger,) = (alert for alert in alerts() if alert.name == "DiegoRestartWouldHelp")
    assert trigger.hold == f"{HOLD:.0f}s"
    config = yaml.safe_load((ALERTS / "alertmanager.yml").read_text(encoding="utf-8"))
    assert config["route"]["routes"][0]["repeat_interval"] == f"{REPEAT / 60:.0f}m"
