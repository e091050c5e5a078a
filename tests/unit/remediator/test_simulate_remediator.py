"""`simulate`: what it says of a stored notification, and that it changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from foundation.kube.client import KubeClient
from remediator.cli import main
from remediator.ledger import Backoff, Breaker, Ledger, Pause, Success
from remediator.store import LedgerStore
from remediator.words import PLAYBOOK
from tests.support.remediator_files import alert, write_config, write_payload
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.cluster import Cluster

ASKS = {"foundation": "demo", "remediate": PLAYBOOK}


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["simulate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def words(done: Result) -> str:
    return " ".join(done.stdout.split())


# --- the notification alone -------------------------------------------------------------------------------------------


def test_without_a_configuration_the_notification_alone_is_judged(tmp_path: Path) -> None:
    file = write_payload(
        tmp_path,
        alert(**ASKS),
        alert("1", alertname="Watchdog"),
        alert("2", remediate=PLAYBOOK),
        alert("3", foundation="demo", remediate="reboot-everything"),
        alert("4", status="resolved", **ASKS),
        alert("5", **ASKS, long="x" * 2000),
        alert("", **ASKS),
        truncated=7,
    )
    told = json.loads(run(file, "--json").stdout)
    found = [(one["outcome"], one["reason"]) for one in told["alerts"]]
    assert found == [
        (None, None),
        ("ignored", "no_remedy"),
        ("refused", "unknown_foundation"),
        ("refused", "unknown_playbook"),
        (None, None),
        ("refused", "bad_alert"),
        ("refused", "bad_alert"),
    ]
    assert told["foundations"] == []
    done = run(file)
    assert done.exit_code == 0
    assert "Alertmanager left out 7 more: set max_alerts to 0" in words(done)
    assert "asks for restart-diego-api on demo: whether it is taken depends on the state (give --config)" in words(done)
    assert "Neither state nor foundation was looked at (--config): nothing was changed." in words(done)
    assert max(map(len, done.stdout.splitlines())) <= 110


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"version": "5", "alerts": []}', b'{"version": "4"}'])
def test_what_is_no_notification_is_one_line_and_exit_2(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(content)
    done = run(file)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file}: not an Alertmanager notification of version 4: " in done.stderr


def test_times_beyond_any_clock_and_odd_words_are_told(tmp_path: Path) -> None:
    first, last = alert("1", **ASKS), alert("2", alertname="\x1b[2Jevil\nname")
    first["startsAt"], last["startsAt"] = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
    done = run(write_payload(tmp_path, first, last))
    assert done.exit_code == 0
    assert all(sign.isprintable() or sign == "\n" for sign in done.stdout)


# --- with state and foundation ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        yield running


@pytest.fixture
def hung(cluster: Cluster) -> Iterator[Cluster]:
    """Every BBS is locked out."""
    cluster.start_incident("locked_out")
    yield cluster
    cluster.heal_incident("locked_out")
    _forget(cluster)


@pytest.fixture
def healthy(cluster: Cluster) -> Iterator[Cluster]:
    """One BBS serves and is labelled."""
    eventually(lambda: cluster.site().foundation.active is not None, "an active BBS")
    yield cluster
    _forget(cluster)


def _store(cluster: Cluster, client: KubeClient) -> LedgerStore:
    return LedgerStore(client, "cf", "diego-api", wall=lambda: datetime.now(UTC).timestamp())


def _client(cluster: Cluster) -> KubeClient:
    from kubernetes.client import Configuration

    conf = Configuration()
    conf.host = cluster.url
    return KubeClient(conf)


def _put(cluster: Cluster, **fields: object) -> Ledger:
    with _client(cluster) as client:
        return _store(cluster, client).swap(lambda ledger, _: Ledger().changed(**fields)).ledger


def _forget(cluster: Cluster) -> None:
    _put(cluster)


def _changes(cluster: Cluster) -> list[tuple[str, str]]:
    return [(entry.verb, entry.path) for entry in cluster.api.journal.entries()]


def test_it_tells_what_would_be_deleted_and_changes_nothing(hung: Cluster, tmp_path: Path) -> None:
    config = write_config(hung, tmp_path, identity="simulate")
    before = _changes(hung)
    uids = {pod.name: pod.uid for pod in hung.site().foundation.of("bbs")}
    file = write_payload(tmp_path, alert(**ASKS), alert("2", foundation="nowhere", remediate=PLAYBOOK))
    told = json.loads(run(file, "--config", config, "--json").stdout)
    assert _changes(hung) == before, "no changing request was made"
    asked = [entry for entry in hung.api.journal.entries(everything=True) if entry.identity == "simulate"]
    assert asked, "it looked"
    assert not [entry for entry in asked if entry.changes or entry.method != "GET"]

    first, second = told["alerts"]
    assert first["outcome"] == "created"
    assert first["remediation"].startswith(f"demo.{PLAYBOOK}.")
    assert (second["outcome"], second["reason"]) == ("refused", "unknown_foundation")
    (demo,) = told["foundations"]
    assert (demo["mode"], demo["strategy"], demo["refused"]) == ("auto", "all", None)
    assert [(pod["name"], pod["uid"]) for pod in demo["podsToDelete"]] == sorted(uids.items())
    assert "the verdict is locked_out, restart yes" in demo["ifLasting"] or demo["verdict"] == "locked_out"
    assert [(one["left"], one["leftAfter"]) for one in demo["limits"]] == [(2, 1), (4, 3)]
    assert "stager-medic.dev/fence=1" in demo["fence"]
    assert any("it deletes diego-api-0, diego-api-1" in sentence for sentence in demo["course"])
    assert any("saves evidence of diego-api-0, diego-api-1" in sentence for sentence in demo["course"])
    assert hung.site().foundation.pods["diego-api-0"].uid == uids["diego-api-0"]


def test_the_page_says_what_would_follow_and_that_nothing_was_done(hung: Cluster, tmp_path: Path) -> None:
    config = write_config(hung, tmp_path, mode="approval", strategy="one-by-one")
    done = run(write_payload(tmp_path, alert(**ASKS)), "--config", config)
    assert done.exit_code == 0, done.output
    text = words(done)
    assert "mode approval, strategy one-by-one" in text
    assert "1. it awaits a person's approval for 1h (AwaitingApproval), as the mode is approval" in text
    assert "it deletes diego-api-0, waits for its replacement and looks again; it goes on with diego-api-1 only" in text
    assert "runs left 2 of 2 per 1h (1 after it), 4 of 4 per 24h (3 after it)" in text
    assert text.endswith("It only read and looked: nothing was changed.")
    assert max(map(len, done.stdout.splitlines())) <= 110


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"last_end": NOW}, "cooldown", "it is then tried again by itself"),
        ({"starts": (NOW, NOW)}, "limit", "the limit of 2 per"),
        ({"breaker": Breaker(since=NOW, why="x failed")}, "breaker", "this ends when a person changes it"),
        ({"pause": Pause(by="bob", why="upgrade", since=NOW)}, "paused", "paused by bob: upgrade"),
        ({"backoff": Backoff(until=NOW + timedelta(hours=1), why="y")}, "backoff", "it is then tried again by itself"),
    ],
)
def test_a_refusal_is_told_with_its_reason_and_end(
    healthy: Cluster, tmp_path: Path, fields: dict[str, object], reason: str, said: str
) -> None:
    _put(healthy, **fields)
    config = write_config(healthy, tmp_path, identity="simulate")
    before = _changes(healthy)
    file = write_payload(tmp_path, alert(**ASKS))
    done = run(file, "--config", config)
    assert done.exit_code == 0
    assert f"refused ({reason})" in words(done)
    assert said in words(done)
    assert "What would follow if it were let in" in done.stdout
    assert _changes(healthy) == before
    told = json.loads(run(file, "--config", config, "--json").stdout)
    assert told["alerts"][0]["reason"] == reason
    assert told["foundations"][0]["refused"]["reason"] == reason


def test_what_is_well_would_end_as_not_needed(healthy: Cluster, tmp_path: Path) -> None:
    eventually(lambda: _healthy(healthy, tmp_path), "a healthy look")
    done = run(write_payload(tmp_path, alert(**ASKS)), "--config", write_config(healthy, tmp_path))
    assert "it ends as NotNeeded, as all is well; nothing begins for 2m then" in words(done)
    assert "it deletes" not in words(done)


def _healthy(cluster: Cluster, folder: Path) -> bool:
    done = run(write_payload(folder, alert(**ASKS)), "--config", write_config(cluster, folder), "--json")
    return bool(json.loads(done.stdout)["foundations"][0]["verdict"] == "healthy")


def test_a_success_that_did_not_hold_is_foreseen(hung: Cluster, tmp_path: Path) -> None:
    _put(hung, last_success=Success(at=datetime.now(UTC) - timedelta(minutes=20), verdict="locked_out"))
    done = run(write_payload(tmp_path, alert(**ASKS)), "--config", write_config(hung, tmp_path))
    assert "ends as WouldNotHelp and opens the breaker: a restart for locked_out succeeded at" in words(done)
    dry = run(write_payload(tmp_path, alert(**ASKS)), "--config", write_config(hung, tmp_path, mode="off"))
    assert "refused (mode_off): the playbook's mode is off" in words(dry)


def test_a_resolved_alert_and_a_second_one_of_the_same_target(healthy: Cluster, tmp_path: Path) -> None:
    config = write_config(healthy, tmp_path)
    resolved = run(write_payload(tmp_path, alert(status="resolved", **ASKS)), "--config", config)
    assert "ignored (resolved): nothing waits for it; a run under way goes on" in words(resolved)
    both = run(write_payload(tmp_path, alert("a", **ASKS), alert("b", **ASKS)), "--config", config, "--json")
    assert [one["outcome"] for one in json.loads(both.stdout)["alerts"]] == ["created", "duplicate"]


def test_a_dry_run_says_that_nothing_is_deleted(hung: Cluster, tmp_path: Path) -> None:
    done = run(write_payload(tmp_path, alert(**ASKS)), "--config", write_config(hung, tmp_path, mode="dry-run"))
    assert (
        "asks the API server whether it would delete diego-api-0, diego-api-1, and ends: nothing is deleted"
        in words(done)
    )


def test_an_api_server_that_is_not_there_is_exit_3(cluster: Cluster, tmp_path: Path) -> None:
    config = write_config(cluster, tmp_path)
    (tmp_path / "kubeconfig").write_text(
        (tmp_path / "kubeconfig").read_text().replace(cluster.url, "http://127.0.0.1:1")
    )
    file = write_payload(tmp_path, alert(**ASKS))
    done = run(file, "--config", config)
    assert done.exit_code == 3
    assert "unavailable: the webhook would answer 503, and Alertmanager come again" in words(done)
    (tmp_path / "kubeconfig").unlink()
    gone = run(file, "--config", config)
    assert gone.exit_code == 3
    assert "unavailable: the remediator would not start: no way to Kubernetes is configured" in words(gone)
    assert "Traceback" not in done.output + gone.output
