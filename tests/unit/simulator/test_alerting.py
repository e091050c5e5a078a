"""The demo's Prometheus and Alertmanager: when an alert fires, what is sent, and what is made of the answers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from remediator import payload
from simulator.alerting import Alerting, Delivered, Rule, fingerprint, restart_would_help
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
def webhook() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (Webhook,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_from_the_page_to_the_webhook(webhook: ThreadingHTTPServer) -> None:
    page = [YES]
    url = f"http://127.0.0.1:{webhook.server_address[1]}/"
    alerting = Alerting(lambda: page[0], url, "secret", "demo", hold=0.0, repeat=60.0)
    heard: list[Delivered] = []

    def outcomes() -> list[tuple[str, int]]:
        heard.extend(alerting.delivered())
        return [(one.sent, one.status) for one in heard]

    alerting.start()
    try:
        eventually(lambda: outcomes() == [("firing", 503), ("firing", 200)], "it was taken at the second try")
        page[0] = ""
        eventually(lambda: outcomes()[2:] == [("resolved", 200)], "its end was told")
    finally:
        alerting.stop()
    assert heard[1].remediation == "demo.restart-diego-api.1"


def test_nobody_there(webhook: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{webhook.server_address[1]}/"
    webhook.server_close()
    alerting = Alerting(lambda: YES, url, "secret", "demo", hold=0.0, repeat=60.0)
    alerting.start()
    try:
        heard = eventually(alerting.delivered, "a try")
    finally:
        alerting.stop()
    assert (heard[0].status, heard[0].outcome) == (0, "")


def test_answers_that_differ_in_their_times_alone_are_of_one_kind() -> None:
    one = Delivered("firing", 200, "refused", "cooldown: 16s ago", "")
    assert one.kind == Delivered("firing", 200, "refused", "cooldown: 17s ago", "").kind
    assert one.kind != Delivered("firing", 200, "refused", "limit: used up", "").kind
