"""The pages: what they show, forms and their tokens, and that nothing of the cluster becomes markup."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, cast

import pytest

from foundation.durations import format_duration
from remediator import ledger as ledgers
from remediator.ledger import Breaker, Closed, Wanted
from remediator.story import final_status, iso, spec_of, status_of
from remediator.web import text
from remediator.web.guard import WINDOW
from remediator.words import PLAYBOOK, Phase, Reason
from tests.support.remediator_web import (
    NOW,
    PASSWORD,
    SERVER,
    House,
    bearer,
    evidence_configmap,
    failed_run,
    house,
    trigger,
    unreachable,
)

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.test import TestResponse

    from foundation.kube.client import Json

ALICE, VICTOR = ("alice", PASSWORD), ("victor", PASSWORD)
NAUGHTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


class Page(HTMLParser):
    """Tags with their attributes, the words, and each form's fields."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.forms: dict[str, dict[str, str]] = {}
        self._action = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "form":
            self._action = given.get("action") or ""
            self.forms[self._action] = {}
        elif tag == "input" and self._action:
            self.forms[self._action][given.get("name") or ""] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._action = ""

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())

    @property
    def said(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def one(tmp_path: Path) -> House:
    return house(tmp_path)


def page(at: House, path: str = "/", who: tuple[str, str] = ALICE, status: int = 200) -> Page:
    answer = at.client.get(path, auth=who)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


def send(at: House, action: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> TestResponse:
    return at.client.post(action, data=fields, auth=ALICE, headers=headers)


def breaker(at: House) -> str:
    name = f"prod.{PLAYBOOK}.6"
    at.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="it is stuck", remediation=name)))
    return name


# --- what is shown --------------------------------------------------------------------------------------------------


def test_the_overview_says_what_is_in_force(one: House) -> None:
    shown = page(one)
    for words in ("Ready A notification would be taken.", "mode auto", "left per 1h 2 of 2", "none now (10m)",
                  "locked_out restart yes", "refuses connections on 8889", "None was ever needed."):  # fmt: skip
        assert words in shown.said, words
    wanted = Wanted(foundation="prod", playbook=PLAYBOOK, trigger=trigger(), reason=Reason.COOLDOWN, until=SERVER)
    one.ledger(
        lambda ledger: ledgers.refuse(
            ledger.changed(last_end=SERVER - timedelta(minutes=4), starts=(SERVER, SERVER)),
            Reason.COOLDOWN, "6m left", fingerprint="f", now=SERVER, wanted=wanted,
        )
    )  # fmt: skip
    shown = page(one)
    for words in (
        "Not now",
        "left per 1h 0 of 2",
        "ends 14:19:20 UTC in 6m",
        "cooldown now 6m left",
        "tried again by itself",
    ):
        assert words in shown.said, words


def test_the_overview_lists_what_was_done(one: House) -> None:
    run = failed_run()
    closed = Closed(request=run, phase=Phase.FAILED, message="it is stuck", finished=SERVER)
    one.remediation(run.name, spec_of(run), final_status(closed))
    name = breaker(one)
    shown = page(one)
    for words in ("Breaker open", "it is stuck", "Failed", "DiegoRestartWouldHelp"):
        assert words in shown.said, words
    assert f"/acknowledge/{name}" in shown.forms
    assert ("a", {"href": f"/remediations/{name}"}) in shown.tags


def test_old_ones_are_behind_a_link(one: House) -> None:
    for n in range(40):
        one.remediation(f"prod.{PLAYBOOK}.{n}", {"foundation": "prod", "playbook": PLAYBOOK}, {"phase": "Succeeded"})
    shown = page(one)
    assert "10 older" in shown.said
    assert f"prod.{PLAYBOOK}.39" in shown.said
    assert f"prod.{PLAYBOOK}.9 " not in shown.said
    assert f"prod.{PLAYBOOK}.9 " in page(one, "/?all=1").said


def test_a_run_is_told_as_a_story(one: House) -> None:
    run = failed_run()
    closed = Closed(request=run, phase=Phase.FAILED, message="it is stuck", finished=SERVER, verdict_after="pods_stuck")
    one.remediation(run.name, spec_of(run), final_status(closed))
    evidence_configmap(one, run.evidence, {"verdict": {"verdict": "locked_out"}, "about": "of old"}, f"uid-{run.name}")
    shown = page(one, f"/remediations/{run.name}")
    for words in ("Failed it is stuck", "verdict before locked_out", "verdict after pods_stuck",
                  "confirm 13:33:20 UTC 11s",
                  "replace 13:33:37 UTC 11m", "failed diego-api-0 is stuck in Terminating",
                  "diego-api-0 0a1b2c3d-0 13:33:34 UTC",
                  "diego-api-1 0a1b2c3d-1 no", "severity none", "prometheus monitoring/k8s", "of old"):  # fmt: skip
        assert words in shown.said, words
    assert ("details", {"class": "saved"}) in shown.tags, "collapsed"


def test_a_run_under_way(one: House) -> None:
    run = failed_run("prod.x.7")
    run = ledgers.began(run.model_copy(update={"approved_by": "alice"}), run.step, SERVER - timedelta(seconds=5))
    one.ledger(lambda ledger: ledger.changed(run=run, holder="pod-1"))
    one.remediation(run.name, spec_of(run), status_of(run, "pod-1"))
    assert "Restarting prod.x.7 is under way" in page(one).said
    shown = page(one, f"/remediations/{run.name}").said
    assert "under way, 5s" in shown
    assert "held by pod-1" in shown


def test_who_only_looks_sees_no_form_and_a_page_that_refreshes(one: House) -> None:
    name = one.awaiting()
    for path in ("/", f"/remediations/{name}"):
        assert page(one, path, VICTOR).forms == {}
        assert any(
            tag == "meta" and given.get("http-equiv") == "refresh" for tag, given in page(one, path, VICTOR).tags
        )
        operating = page(one, path)
        assert operating.forms
        assert not any(given.get("http-equiv") == "refresh" for _, given in operating.tags), (
            "it would lose what is typed"
        )
    assert "Somebody with the scope operate" in page(one, f"/remediations/{name}", VICTOR).said


def test_a_list_that_cannot_be_read_is_not_shown_as_empty(one: House) -> None:
    one.kubes["prod"].broken = unreachable()
    shown = page(one).said
    assert "Remediations cannot be listed." in shown
    assert "None was ever needed" not in shown
    one.executors["prod"].note(None)
    assert "Not known" in page(one).said
    assert "Not available now" in page(one, "/remediations/prod.x.1", status=503).said


# --- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_a_person_answers_what_was_shown(one: House, verb: str, state: str) -> None:
    name = one.awaiting()
    shown = page(one, f"/remediations/{name}")
    fields = shown.forms[f"/remediations/{name}/{verb}"]
    assert fields["resourceVersion"] == one.version(name)
    one.sites["prod"].remediations.write_status(name, {"message": "changed meanwhile"})
    late = send(one, f"/remediations/{name}/{verb}", fields)
    assert late.status_code == 409
    assert "changed since it was shown" in Page(late.text).said
    fields = page(one, f"/remediations/{name}").forms[f"/remediations/{name}/{verb}"]
    done = send(one, f"/remediations/{name}/{verb}", fields)
    assert (done.status_code, done.headers["Location"]) == (303, f"/remediations/{name}")
    assert cast("Json", one.object(name)["spec"])["approval"] == {"state": state, "by": "alice", "at": iso(SERVER)}
    assert f"{state} by alice" in page(one, f"/remediations/{name}").said


def test_acknowledge_pause_and_resume(one: House) -> None:
    name = breaker(one)
    fields = page(one).forms[f"/acknowledge/{name}"]
    done = send(one, f"/acknowledge/{name}", {**fields, "reason": "a broken node"})
    assert (done.status_code, done.headers["Location"]) == (303, "/")
    assert one.sites["prod"].ledger.read().ledger.breaker is None
    fields = page(one).forms["/pause"]
    assert fields["foundation"] == "prod"
    assert send(one, "/pause", {**fields, "reason": "upgrade", "for": "soon"}).status_code == 422
    assert send(one, "/pause", {**fields, "reason": ""}).status_code == 422
    assert send(one, "/pause", {**fields, "reason": "upgrade", "for": " 2h "}).status_code == 303
    pause = one.sites["prod"].ledger.read().ledger.pause
    assert pause is not None
    assert (pause.by, pause.why, pause.until) == ("alice", "upgrade", SERVER + timedelta(hours=2))
    shown = page(one)
    assert "alice: upgrade (until 16:13:20 UTC, in 2h00m)" in shown.said
    assert send(one, "/resume", shown.forms["/resume"]).status_code == 303
    assert one.sites["prod"].ledger.read().ledger.pause is None
    assert send(one, "/resume", shown.forms["/resume"]).status_code == 409


def test_all_foundations_at_once(tmp_path: Path) -> None:
    both = house(tmp_path, ("prod", "staging"))
    token = page(both).forms["/pause"]["token"]
    assert send(both, "/pause", {"token": token, "foundation": "", "reason": "stop"}).status_code == 303
    assert all(site.ledger.read().ledger.pause for site in both.sites.values())
    assert send(both, "/resume", {"token": token, "foundation": ""}).status_code == 303
    assert not any(site.ledger.read().ledger.pause for site in both.sites.values())


@pytest.mark.parametrize("token", ["", "0" * 64, "é", "of victor", "x" * 10_000])
def test_a_form_without_its_own_token_does_nothing(one: House, token: str) -> None:
    if token == "of victor":
        # A token is good for nobody but whom it was made for: bob's cannot be given to alice.
        other = one.client.get("/", headers=bearer("all"))
        token = Page(other.text).forms["/pause"]["token"]
    answer = send(one, "/pause", {"token": token, "foundation": "prod", "reason": "x"})
    assert answer.status_code == 403
    assert one.sites["prod"].ledger.read().ledger.pause is None


def test_a_token_lasts_an_hour_at_least_and_two_at_most(one: House) -> None:
    fields = {**page(one).forms["/pause"], "reason": "x"}
    one.clock[0] = NOW + WINDOW
    assert send(one, "/pause", fields).status_code == 303
    one.clock[0] = NOW + 2 * WINDOW
    assert send(one, "/pause", fields).status_code == 403


def test_replicas_agree_on_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = house(tmp_path / "a"), house(tmp_path / "b")
    fields = {**page(first).forms["/pause"], "reason": "x"}
    assert send(second, "/pause", fields).status_code == 303
    with_others = house(
        tmp_path / "b", credentials=(tmp_path / "b" / "credentials.yml").read_text().replace("root", "toor")
    )
    assert send(with_others, "/pause", fields).status_code == 303, "names are no part of the secret"


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_other_sites_may_not_send_anything(one: House, headers: dict[str, str], taken: bool) -> None:
    fields = {**page(one).forms["/pause"], "reason": "x"}
    assert send(one, "/pause", fields, headers=headers).status_code == (303 if taken else 403)
    api = one.client.post("/api/v1/pause", json={"reason": "x"}, headers={**headers, **bearer("operate")})
    assert api.status_code == (200 if taken else 403)


def test_a_form_that_is_too_long(one: House) -> None:
    answer = send(one, "/pause", {**page(one).forms["/pause"], "reason": "x" * 100_000})
    assert answer.status_code == 413
    assert "the body is too long" in Page(answer.text).said


# --- nothing of the cluster is markup -------------------------------------------------------------------------------


def test_whatever_stands_in_the_cluster_is_text(one: House) -> None:
    run = failed_run().model_copy(update={"trigger": trigger(alertname=NAUGHTY, **{NAUGHTY: NAUGHTY})})
    closed = Closed(request=run, phase=Phase.FAILED, message=NAUGHTY, finished=SERVER, verdict_after=NAUGHTY)
    status = final_status(closed) | {
        "steps": [dict.fromkeys(("name", "started", "finished", "result", "detail"), NAUGHTY)],
        "pods": [dict.fromkeys(("name", "uid", "deletedAt"), NAUGHTY)],
        "phase": NAUGHTY,
        "verdictBefore": NAUGHTY,
    }
    one.remediation(run.name, spec_of(run), status)
    evidence_configmap(
        one, run.evidence, {"about": NAUGHTY, "logs": [{"pod": NAUGHTY, "lines": [NAUGHTY]}]}, f"uid-{run.name}"
    )

    def fill(ledger: ledgers.Ledger) -> ledgers.Ledger:
        after = ledgers.refuse(ledger, Reason.LIMIT, NAUGHTY, fingerprint=NAUGHTY, now=SERVER)
        return after.changed(
            breaker=Breaker(since=SERVER, why=NAUGHTY, remediation=NAUGHTY),
            pause=ledgers.Pause(by=NAUGHTY, why=NAUGHTY, since=SERVER),
        )

    one.ledger(fill)
    for path in ("/", f"/remediations/{run.name}"):
        answer = one.client.get(path, auth=ALICE)
        shown = Page(answer.text)
        tags = {tag for tag, _ in shown.tags}
        assert not tags & {"script", "img", "iframe", "style"}, tags
        assert not any(name.startswith("on") or name == "style" for _, given in shown.tags for name in given)
        assert "alert(1)" in shown.said, "shown as text"
        assert "{{7*7}}" in shown.said
    raw = one.client.get(f"/remediations/{NAUGHTY}", auth=ALICE)
    assert raw.status_code == 404
    assert "<script" not in raw.text


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"steps": "x", "pods": 7, "phase": None, "message": {"a": 1}},
        {"steps": [None, 1, {"name": 3, "started": "yesterday", "finished": "x"}], "pods": [[], {"name": None}]},
        {"phase": "Running", "steps": [{"name": "confirm", "started": "9999-12-31T23:59:59+00:01"}], "expires": []},
        {"phase": "AwaitingApproval", "expires": "0001-01-01T00:00:00Z", "evidence": ["a"]},
    ],
)
def test_a_status_that_hands_have_edited_is_shown_as_far_as_it_goes(one: House, status: Json) -> None:
    one.remediation("odd", {"foundation": "prod", "trigger": "x", "approval": [], "acknowledged": 3}, status)
    page(one)
    page(one, "/remediations/odd")
    assert one.client.get("/api/v1/remediations/odd?evidence=1", auth=ALICE).status_code == 200


def test_no_page_asks_for_a_script(one: House) -> None:
    for path in ("/", f"/remediations/{one.awaiting()}", "/nothing"):
        markup = one.client.get(path, auth=ALICE).text
        assert not re.search(r"<script|javascript:|<style| style=|https?://(?!localhost)", markup), path


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "read", "ago", "machine"),
    [
        (None, "-", "", ""),
        ("", "-", "", ""),
        ("rubbish", "-", "", ""),
        (NOW, "14:13:20 UTC", "now", "2026-09-21T14:13:20Z"),
        (NOW - 86400, "2026-09-20 14:13:20 UTC", "1d00h ago", "2026-09-20T14:13:20Z"),
        (iso(SERVER + timedelta(minutes=5)), "14:18:20 UTC", "in 5m", "2026-09-21T14:18:20Z"),
        (SERVER.replace(tzinfo=None), "14:13:20 UTC", "now", "2026-09-21T14:13:20Z"),
        (1e30, "-", f"in {format_duration(1e30 - NOW)}", ""),
    ],
)
def test_times(when: text.When, read: str, ago: str, machine: str) -> None:
    assert (text.utc(when, NOW), text.ago(when, NOW), text.machine(when)) == (read, ago, machine)
    assert text.took(when, None) == ""
