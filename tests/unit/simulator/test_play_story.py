"""What the demo tells and what it leaves out, and that the product takes the configuration that it writes."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from remediator.config import load_config
from remediator.credentials import Credentials, Scope
from remediator.words import Mode
from simulator.alerting import Delivered
from simulator.cluster import Cluster, Options
from simulator.daemons import Access, Remediator, StartError, write_remediator
from simulator.play import WIDTH, Story, shortened

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
        story.tell_answer(Delivered("firing", 200, "refused", reason, ""))
    story.tell_answer(Delivered("resolved", 200, "ignored", "resolved", ""))
    story.tell_answer(Delivered("firing", 0, "", "Connection refused", ""))
    assert [line.partition(" -> ")[2] for line in lines] == [
        "remediator, firing: 200 refused: cooldown: 16s ago",
        "remediator, resolved: 200 ignored: resolved",
        "remediator, firing: 0 Connection refused",
    ]


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
    assert (playbook.mode, playbook.cooldown) == (Mode.AUTO, 30.0)
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
    with pytest.raises(StartError, match=r"stager-remediator did not start: .*at least one foundation"):
        Remediator(Access(config, "n", "v", "o", "demo", "p"))
