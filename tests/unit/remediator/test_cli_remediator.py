"""The command line: what it prints for a person on call, and how it exits."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest
from click.testing import CliRunner, Result

from remediator import cli
from remediator import ledger as ledgers
from remediator.cli import main
from remediator.ledger import Breaker, Closed
from remediator.story import final_status, iso, spec_of
from remediator.words import Phase, Reason
from tests.support.remediator_web import (
    SERVER,
    TOKENS,
    House,
    evidence_configmap,
    failed_run,
    house,
    unreachable,
    usual_credentials,
)
from tests.support.served_remediator import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foundation.kube.client import Json

NAME = "prod.restart-diego-api.6"
FOUNDATION = "foundations: [{name: prod, namespace: cf}]\n"


@pytest.fixture
def one(tmp_path: Path) -> House:
    return house(tmp_path)


@pytest.fixture
def run(one: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    token = tmp_path / "token"
    token.write_text(TOKENS["all"])
    with served(one.app) as url:
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("STAGER_REMEDIATOR_URL", url)
        monkeypatch.setenv("STAGER_REMEDIATOR_TOKEN_FILE", str(token))

        def command(*arguments: str) -> Result:
            done = CliRunner().invoke(main, arguments)
            assert "Traceback" not in done.output
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            return done

        yield command


def past(one: House) -> Json:
    """A run that failed."""
    closed = Closed(
        request=failed_run(NAME),
        phase=Phase.FAILED,
        message="replace: diego-api-0 is still Terminating",
        finished=SERVER - timedelta(minutes=28),
        verdict_after="pods_stuck",
    )
    return one.remediation(NAME, spec_of(closed.request), final_status(closed))


# --- looking ----------------------------------------------------------------------------------------------------------


def test_list_has_open_and_past_ones(one: House, run: Callable[..., Result]) -> None:
    assert run("list").stdout == "no Remediations\n"
    past(one)
    waiting = one.awaiting()
    text = run("list").stdout
    assert f"{NAME}  Failed" in text
    assert f"{waiting}  AwaitingApproval" in text
    found = json.loads(run("list", "--json").stdout)
    assert {item["name"] for item in found["remediations"]} == {NAME, waiting}
    other = run("list", "--foundation", "test")
    assert (other.exit_code, other.stderr) == (1, "refused (404): no foundation 'test' is configured here\n")


def test_show_tells_one_as_a_page_as_markdown_and_as_data(one: House, run: Callable[..., Result]) -> None:
    past(one)
    page = run("show", NAME)
    assert page.exit_code == 0
    assert page.stdout.startswith(f"{NAME}: Failed\n  replace: diego-api-0 is still Terminating\n")
    assert "deleted the pod diego-api-0" in page.stdout
    assert run("show", "6").stdout == page.stdout
    assert run("show", NAME, "--markdown").stdout.startswith(f"### {NAME}: Failed")
    assert json.loads(run("show", NAME, "--json").stdout)["status"]["verdictAfter"] == "pods_stuck"
    assert run("show", NAME, "--markdown", "--json").exit_code == 2


def test_show_prints_the_evidence_that_was_saved(one: House, run: Callable[..., Result]) -> None:
    made = past(one)
    none = run("show", NAME, "--evidence")
    assert (none.exit_code, none.stderr) == (1, f"refused (404): no evidence is kept of {NAME}\n")
    document = {"remediation": {"name": NAME}, "captured": "then", "observation": {"pods": [], "signals": {}}}
    evidence_configmap(one, f"{NAME}.evidence", document, str(cast("Json", made["metadata"])["uid"]))
    assert run("show", NAME, "--evidence").stdout.startswith(f"Evidence of {NAME}, taken then\n")
    assert json.loads(run("show", NAME, "--observation").stdout) == {"pods": [], "signals": {}}
    both = json.loads(run("show", NAME, "--evidence", "--json").stdout)
    assert both["evidence"]["captured"] == "then"
    assert both["status"]["phase"] == "Failed"


def test_status_says_what_is_in_force_and_exits_1_where_a_person_is_needed(
    one: House, run: Callable[..., Result]
) -> None:
    fine = run("status")
    assert fine.exit_code == 0
    assert fine.stdout.startswith("prod (namespace cf, layout cfee-2): Ready\n")
    assert run("status", "--foundation", "prod").stdout == fine.stdout
    other = run("status", "--foundation", "test")
    assert (other.exit_code, other.stderr) == (1, "refused (404): there is no foundation 'test' (there are prod)\n")
    assert "restart-diego-api: mode auto, at most 5 pods" in fine.stdout
    assert "runs left: 2 of 2 per 1h, 4 of 4 per 24h; cooldown 10m" in " ".join(fine.stdout.split())
    assert "locked_out, restart yes" in fine.stdout
    one.ledger(
        lambda ledger: ledgers.refuse(
            ledger.changed(breaker=Breaker(since=SERVER, why=f"{NAME} failed", remediation=NAME)),
            Reason.BREAKER, "not before somebody acknowledges", fingerprint="f", now=SERVER,
        )
    )  # fmt: skip
    wrong = run("status")
    assert wrong.exit_code == 1
    assert f" stager-remediator acknowledge {NAME} --reason ...\n" in wrong.stdout, "on one line, to be copied"
    assert "breaker: not before somebody" in " ".join(wrong.stdout.split())
    assert json.loads(run("status", "--json").stdout)["foundations"][0]["breaker"]["remediation"] == NAME
    one.kubes["prod"].broken = unreachable()
    blind = run("status")
    assert blind.exit_code == 1
    assert "the state could not be read" in " ".join(blind.stdout.split())


# --- operating --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_what_is_answered_is_shown_first(one: House, run: Callable[..., Result], verb: str, state: str) -> None:
    name = one.awaiting()
    done = run(verb, name)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"{name} awaits approval"
    assert "  would delete  diego-api-0, diego-api-1" in lines
    assert "  verdict       locked_out" in lines
    assert any(line.startswith(f"  expires       {iso(SERVER + timedelta(minutes=55))[:10]}") for line in lines)
    assert any(line.startswith("  seen now      locked_out, restart yes") for line in lines)
    assert lines[-1] == f"{name}: {state} by root"
    assert cast("Json", one.object(name)["spec"])["approval"] == {"state": state, "by": "root", "at": iso(SERVER)}


def test_what_changed_meanwhile_is_not_approved(
    one: House, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = one.awaiting()
    shown = cli._show_request

    def and_then_it_changes(client: object, line: object) -> None:
        shown(client, line)  # type: ignore[arg-type]
        site = one.sites["prod"]
        site.remediations.write_status(name, {"verdictBefore": "zombie"})

    monkeypatch.setattr(cli, "_show_request", and_then_it_changes)
    done = run("approve", name)
    assert done.exit_code == 1
    assert done.stderr == f"refused (409): {name} has changed since it was shown: look again\n"
    assert "approval" not in cast("Json", one.object(name)["spec"])


def test_a_person_at_a_terminal_is_asked(
    one: House, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = one.awaiting()
    monkeypatch.setattr(cli, "_at_a_terminal", lambda: True)
    done = CliRunner().invoke(main, ["approve", name], input="n\n")
    assert done.exit_code == 1
    assert "Approve this? [y/N]" in done.stdout
    assert "nothing was done" in done.stderr
    assert "approval" not in cast("Json", one.object(name)["spec"])
    assert CliRunner().invoke(main, ["approve", name, "--yes"]).exit_code == 0


def test_what_awaits_nothing_cannot_be_approved(one: House, run: Callable[..., Result]) -> None:
    past(one)
    done = run("approve", NAME)
    assert (done.exit_code, done.stderr) == (1, f"refused (409): {NAME} awaits no approval: it is Failed\n")
    assert run("reject", "prod.restart-diego-api.99").stderr.startswith("refused (404): there is no Remediation")


def test_a_failure_is_acknowledged_by_its_name_or_the_end_of_it(one: House, run: Callable[..., Result]) -> None:
    past(one)
    for given in (NAME, "6", "prod"):
        one.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="failed", remediation=NAME)))
        done = run("acknowledge", given, "--reason", "the node is gone")
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("prod: ")
        assert done.stdout.endswith("acknowledged by root, the breaker is closed\n")
    assert run("acknowledge", "prod", "--reason", "again").exit_code == 1
    assert run("acknowledge", "prod").exit_code == 2


def test_pause_and_resume(one: House, run: Callable[..., Result]) -> None:
    done = run("pause", "--reason", "maintenance", "--for", "1h")
    assert (done.exit_code, done.stdout) == (0, "prod: paused until 2026-09-21 15:13:20 UTC\n"), done.output
    again = run("pause", "--reason", "longer", "--foundation", "prod")
    assert again.stdout == "prod: paused until somebody resumes it\n"
    pause = one.sites["prod"].ledger.read().ledger.pause
    assert pause is not None
    assert (pause.by, pause.why) == ("root", "longer")
    assert run("resume").stdout == "prod: resumed\n"
    assert run("resume").exit_code == 1
    wrong = run("pause", "--reason", "x", "--for", "10")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)


# --- failures and usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("list", "--url", "http://127.0.0.1:1"), 3, "http://127.0.0.1:1: no connection: Connection refused"),
        (("list", "--url", "nonsense"), 2, "--url nonsense: expected http://HOST:PORT"),
        (("list", "--token-file", "/none"), 2, "--token-file /none: cannot be read: No such file"),
        (("list", "--ca-file", "/none"), 2, "give https://"),
        (("list", "extra"), 2, "list: Got unexpected extra argument"),
        (("pause",), 2, "pause: Missing option '--reason'"),
        (("show",), 2, "show: Missing argument 'NAME'"),
        (("nosuch",), 2, "stager-remediator: No such command 'nosuch'"),
        (("serve",), 2, "serve: Missing option '--config'"),
        (("serve", "--config", "/none"), 2, "/none:1:1: cannot be read"),
        (("preflight", "--config", "/none"), 2, "/none:1:1: cannot be read"),
        (("simulate", "/none"), 2, "/none: cannot be read: No such file"),
        (("check-config", "/none"), 2, "/none:1:1: cannot be read"),
    ],
)
def test_each_failure_is_one_line(run: Callable[..., Result], arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_and_version(run: Callable[..., Result]) -> None:
    for command in ((), *((name,) for name in main.commands)):
        assert run(*command, "--help").exit_code == 0
    assert run("--version").stdout.startswith("stager-remediator, version ")
    assert "..." not in run("--help").stdout.partition("Commands:")[2], "every command's line fits"


# --- check-config -----------------------------------------------------------------------------------------------------


def test_a_good_configuration_is_told_in_its_numbers(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "credentials.yml").write_text(usual_credentials())
    file = tmp_path / "remediator.yml"
    file.write_text(FOUNDATION + "remediator: {credentials_file: credentials.yml}\n")
    done = run("check-config", str(file))
    assert done.exit_code == 0
    assert done.stdout == (
        f"{file}: good (1 foundation: prod)\n"
        "  restart-diego-api: mode approval, at most 5 pods, limits 2 per 1h, 4 per 24h, cooldown 10m\n"
    )
    (tmp_path / "credentials.yml").write_text(f"- {{name: a, scopes: [view], token_sha256: {'0' * 64}}}\n")
    notes = run("check-config", str(file)).stdout.splitlines()[2:]
    assert [line.partition(":")[0] for line in notes] == ["  note", "  note"]
    assert "nobody can approve" in notes[1]


def test_every_problem_of_every_file_is_told_at_once(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "credentials.yml").write_text("- {name: a, scopes: [fly]}\n")
    (tmp_path / "web.yml").write_text("basic_auth_users: {a: x}\nnonsense: 1\n")
    file = tmp_path / "remediator.yml"
    file.write_text(
        FOUNDATION + "remediator: {credentials_file: credentials.yml, web: {listen: x, config_file: web.yml}}\n"
    )
    done = run("check-config", str(file))
    assert done.exit_code == 2
    for said in ("credentials.yml:1:", "web.yml:1:", "web.yml:2:", "remediator.web.listen: listen 'x': expected"):
        assert said in done.stderr, said
    file.write_text(FOUNDATION)
    assert "remediator.credentials_file: is required" in run("check-config", str(file)).stderr
    assert "remediator.credentials_file" in run("serve", "--config", str(file)).stderr
