"""What the demo tells and what it leaves out, and that the product takes the configuration that it writes."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from remediator.config import load_config
from remediator.credentials import Credentials, Scope
from remediator.words import Mode
from simulator.cluster import Cluster, Options
from simulator.daemons import Access, Remediator, StartError, write_remediator
from simulator.monitoring import Alert, Heard
from simulator.story import FIRING, RESOLVED, WIDTH, Answer, Story, answers_between, shortened

if TYPE_CHECKING:
    from pathlib import Path


def told() -> tuple[Story, list[str]]:
    lines: list[str] = []
    return Story(lines.append, threading.Event()), lines


def remediation(*steps: dict[str, str]) -> dict[str, Any]:
    return {"name": "demo.play.1", "status": {"message": "seeing that it stays well", "steps": list(steps)}}


def test_a_verdict_is_told_when_it_changes() -> None:
    story, lines = told()
    for verdict, restart in (
        ("electing", "wait"),
        ("electing", "wait"),
        ("locket_hung", "wait"),
        ("locket_hung", "yes"),
    ):
        story.tell_verdict({"verdict": verdict, "restart": restart, "evidence": ["because"]})
    story.tell_verdict({"verdict": "", "restart": "", "evidence": []})
    assert [line.partition("  ")[2].strip() for line in lines] != []
    assert [(event["verdict"], event["restart"]) for event in story.events] == [
        ("electing", "wait"), ("locket_hung", "wait"), ("locket_hung", "yes"),
    ]  # fmt: skip


def test_an_answer_is_told_once_however_often_it_is_repeated() -> None:
    story, lines = told()
    for reason in ("cooldown: 16s ago", "cooldown: 17s ago", "cooldown: 18s ago"):
        story.tell_answer(Answer(FIRING, 200, "refused", reason))
    story.tell_answer(Answer(RESOLVED, 200, "ignored", "resolved"))
    story.tell_answer(Answer("", 503))
    assert [line.partition(" -> ")[2] for line in lines] == [
        "remediator, firing: 200 refused: cooldown: 16s ago",
        "remediator, resolved: 200 ignored: resolved",
        "remediator: 503",
    ]


def test_answers_that_differ_in_their_times_alone_are_of_one_kind() -> None:
    one = Answer(FIRING, 200, "refused", "cooldown: 16s ago")
    assert one.kind == Answer(FIRING, 200, "refused", "cooldown: 17s ago").kind
    assert one.kind != Answer(FIRING, 200, "refused", "limit: used up").kind


def test_answers_are_read_from_counters_that_have_risen() -> None:
    before = {("created", ""): 1, ("duplicate", "running"): 2}
    after = {("ignored", "resolved"): 1, ("created", ""): 2, ("duplicate", "running"): 2, ("", "503"): 1}
    assert answers_between(before, after) == [
        Answer(FIRING, 200, "created"), Answer("", 503), Answer(RESOLVED, 200, "ignored", "resolved"),
    ]  # fmt: skip
    assert answers_between(after, after) == []
    assert answers_between(after, before) == [], "a remediator that began anew has answered nothing yet"


def alert(name: str, state: str = FIRING, **labels: str) -> Alert:
    return Alert(name, state, {"alertname": name, **labels}, 0.0)


def test_an_alert_is_told_when_it_fires_and_when_it_has_resolved() -> None:
    story, lines = told()
    restart = alert("DiegoRestartWouldHelp", severity="none", foundation="demo")
    story.tell_alerts([alert("DiegoRestartWouldHelp", "pending", severity="none"), alert("Watchdog", severity="none")])
    story.tell_alerts([restart])
    story.tell_alerts([restart, alert("Page", severity="critical")])
    story.tell_alerts([alert("Page", severity="critical")])
    assert [line.partition(" s  ")[2] for line in lines] == [
        "Prometheus: DiegoRestartWouldHelp fires",
        "Prometheus: Page (critical) fires",
        "Prometheus: DiegoRestartWouldHelp has resolved",
    ]
    first, second = story.alerts()
    assert (first["alert"], second["alert"]) == ("DiegoRestartWouldHelp", "Page")
    assert first["resolved"] is not None
    assert second["resolved"] is None


def test_alerts_of_one_name_that_come_together_are_one_line() -> None:
    story, lines = told()
    story.tell_alerts([alert("Burn", severity="warning", window="6h"), alert("Burn", severity="warning", window="1h")])
    assert [line.partition(" s  ")[2] for line in lines] == ["Prometheus: Burn (warning 1h, warning 6h) fires"]
    assert len(story.events) == 2


def test_an_alert_that_fires_twice_is_in_the_summary_twice() -> None:
    story, _ = told()
    for alerts in ([alert("Page")], [], [alert("Page")]):
        story.tell_alerts(alerts)
    assert [found["resolved"] is None for found in story.alerts()] == [False, True]


def test_a_page_is_told_in_the_words_of_whoever_gets_it() -> None:
    story, lines = told()
    story.tell_page(Heard(0.0, "page", "firing", "demo: BBS does not answer", "long"))
    assert lines[0].endswith("Alertmanager -> on call, firing: demo: BBS does not answer")
    assert story.events[0]["title"] == "demo: BBS does not answer"


def test_evidence_is_told_in_full() -> None:
    story, lines = told()
    story.sentence("word " * 60)
    assert len(lines) > 1
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines).split() == ["-", *["word"] * 60]


def test_each_step_is_told_once_it_has_ended_and_a_slow_one_before() -> None:
    story, lines = told()
    confirm = {
        "name": "confirm",
        "started": "10:00:00",
        "finished": "10:00:02",
        "result": "confirmed",
        "detail": "seen",
    }
    verify = {"name": "verify", "started": "10:00:02"}
    for now in (0.0, 1.0, 2.5, 3.0):
        story.tell_steps(remediation(confirm, verify), now)
    story.tell_steps(remediation(confirm, {**verify, "finished": "10:00:05", "result": "verified", "detail": ""}), 4.0)
    assert [" ".join(line.split()[-2:]) for line in lines[:1]] == ["confirmed: seen"]
    assert lines[1].split() == ["verify", "seeing", "that", "it", "stays", "well", "…"]
    assert lines[2].endswith("verify    verified")
    assert len(lines) == 3
    assert [(event["step"], event["result"]) for event in story.events] == [
        ("confirm", "confirmed"), ("verify", "verified"),
    ]  # fmt: skip


def test_a_step_that_is_begun_twice_is_told_twice() -> None:
    story, _ = told()
    first = {"name": "confirm", "started": "10:00:00", "finished": "10:00:02", "result": "ask", "detail": ""}
    story.tell_steps(remediation(first), 0.0)
    story.tell_steps(remediation(first, {**first, "started": "11:00:00", "result": "confirmed"}), 1.0)
    assert [event["result"] for event in story.events] == ["ask", "confirmed"]


@pytest.mark.parametrize(("length", "wanted"), [(WIDTH, WIDTH), (WIDTH + 1, WIDTH)])
def test_a_long_outcome_is_cut(length: int, wanted: int) -> None:
    assert len(shortened("x" * length)) == wanted


def test_the_remediators_configuration_is_one_that_it_takes(tmp_path: Path) -> None:
    with Cluster(Options(traffic=False)) as cluster:
        access = write_remediator(cluster, cluster.write(tmp_path), ("n" * 32, "v" * 32, "o" * 32, "secret-word"))
    read = load_config(access.config)
    playbook = read.remediator.playbooks["restart-diego-api"]
    assert (playbook.mode, playbook.cooldown) == (Mode.AUTO, 40.0)
    assert [found.name for found in read.foundations] == ["demo"]
    assert read.remediator.credentials_file is not None
    credentials = Credentials(read.remediator.credentials_file)
    basic = f"Basic {b64encode(f'{access.user}:{access.password}'.encode()).decode()}"
    for header, scopes in (
        (f"Bearer {access.notify}", {Scope.WEBHOOK}),
        (f"Bearer {access.view}", {Scope.VIEW}),
        (f"Bearer {access.operate}", {Scope.VIEW, Scope.OPERATE}),
        (basic, {Scope.VIEW, Scope.OPERATE}),
        ("Bearer " + "x" * 32, None),
    ):
        found = credentials.authenticate({"HTTP_AUTHORIZATION": header})
        assert (found and set(found.scopes)) == scopes
    assert "secret-word" not in (tmp_path / "credentials.yml").read_text()
    assert (tmp_path / "alertmanager.token").stat().st_mode & 0o077 == 0


def test_a_daemon_that_does_not_start_says_why(tmp_path: Path) -> None:
    config = tmp_path / "remediator.yml"
    config.write_text("foundations: []\n")
    with pytest.raises(StartError, match=r"stager-remediator did not start: .*at least one foundation") as raised:
        Remediator(Access(config, "n", "v", "o", "demo", "p"))
    log = tmp_path / "stager-remediator.log"
    assert str(raised.value).endswith(f"its log: {log}")
    assert "at least one foundation" in log.read_text()
