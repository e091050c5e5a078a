"""The command `stager-remediator`.

The commands of an operator talk to a running remediator over its HTTP API, so that whoever approves or pauses is the
name that the remediator itself has authenticated. Exit 0: good. 1: found wrong, or refused. 2: bad usage or
configuration. 3: could not look, or no remediator answers.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import contextmanager
from functools import update_wrapper
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from foundation.commandline import Commands, Refused
from foundation.durations import format_duration, parse_duration
from foundation.yamlfile import ConfigurationError
from remediator.client import DEFAULT_URL, Access, AccessProblem, Client, Refusal, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from remediator.config import RemediatorConfig
    from remediator.payload import Notification
    from remediator.timeline import Timeline

_P = ParamSpec("_P")
_FILE = click.Path(path_type=Path)
_CONFIG = click.option("--config", "config_file", type=_FILE, required=True, help="The configuration file.")
_JSON = click.option("--json", "json_output", is_flag=True, help="For programs.")
_FOUNDATION = click.option("--foundation", default=None, help="Only this one; left out: all.")
_REASON = click.option("--reason", required=True, help="Why: whoever looks next will want to know.")


def _over_http(command: Callable[Concatenate[Client, _P], None]) -> Callable[_P, None]:
    """Give a command its client, and the options that say where the remediator is."""

    def run(
        url: str,
        token_file: Path | None,
        ca_file: Path | None,
        cert_file: Path | None,
        key_file: Path | None,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        with _told():
            try:
                client = Client(Access(url, token_file, ca_file, cert_file, key_file))
            except AccessProblem as problem:
                raise Refused(str(problem)) from None
            with client:
                command(client, *args, **kwargs)

    found: Callable[..., None] = update_wrapper(run, command)
    for option in (
        click.option("--key-file", type=_FILE, default=None, help="Its key."),
        click.option("--cert-file", type=_FILE, default=None, help="A client certificate to show (PEM)."),
        click.option("--ca-file", type=_FILE, default=None, help="Whom to trust (PEM); else the system's."),
        click.option(
            "--token-file",
            type=_FILE,
            envvar="STAGER_REMEDIATOR_TOKEN_FILE",
            default=None,
            help="A file with a token of the remediator's credentials. Also STAGER_REMEDIATOR_TOKEN_FILE.",
        ),
        click.option(
            "--url",
            envvar="STAGER_REMEDIATOR_URL",
            default=DEFAULT_URL,
            show_default=True,
            help="Where the remediator listens. Also STAGER_REMEDIATOR_URL.",
        ),
    ):
        found = option(found)
    return found


@contextmanager
def _told() -> Iterator[None]:
    """What went wrong is one line and an exit code."""
    try:
        yield
    except Refusal as refusal:
        click.echo(f"refused ({refusal.status}): {_clean(str(refusal))}", err=True)
        sys.exit(1)
    except Unreachable as problem:
        click.echo(_clean(str(problem)), err=True)
        sys.exit(3)


def _clean(text: str) -> str:
    from remediator.redact import clean

    return clean(text)


def _width() -> int:
    return max(60, min(shutil.get_terminal_size((100, 40)).columns, 110))


@click.group(
    "stager-remediator",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("stager-medic"), prog_name="stager-remediator")
def main() -> None:
    """Restarts Diego's API where that helps, safely: the webhook and executor, and what people do with it."""


# --- the daemon and its configuration ---------------------------------------------------------------------------------


@main.command()
@_CONFIG
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(config_file: Path, log_level: str) -> None:
    """Take notifications, act on them, serve the page."""
    from foundation.serving.web_config import WebConfigError
    from remediator.serving import UsageProblem
    from remediator.serving import serve as serve_remediator

    try:
        serve_remediator(config_file, log_level=log_level)
    except (ConfigurationError, WebConfigError, UsageProblem) as problem:
        raise Refused(str(problem)) from None


@main.command("check-config")
@click.argument("file", type=_FILE)
def check_config(file: Path) -> None:
    """Check a configuration, without starting anything.

    It reads the file, its web.yml and its credentials. Certificates and kubeconfigs are not looked at: preflight does
    that, where they are.
    """
    from remediator.preflight import scopes_missing
    from remediator.timeline import span

    config = _load(file)
    problems, credentials = _beside(file, config)
    if problems:
        raise Refused("\n".join(problems))
    names = ", ".join(foundation.name for foundation in config.foundations)
    many = f"{len(config.foundations)} foundations" if len(config.foundations) > 1 else "1 foundation"
    click.echo(f"{file}: good ({many}: {names})")
    for name, playbook in config.remediator.playbooks.items():
        limits = ", ".join(f"{limit.runs} per {span(limit.per)}" for limit in playbook.limits)
        most, cooldown = playbook.max_pods, span(playbook.cooldown)
        click.echo(f"  {name}: mode {playbook.mode}, at most {most} pods, limits {limits}, cooldown {cooldown}")
    for missing in scopes_missing(credentials):
        click.echo(f"  note: {missing}")


def _beside(file: Path, config: RemediatorConfig) -> tuple[list[str], Sequence[frozenset[str]]]:
    """What is wrong with web.yml and the credentials, and the scopes that each credential has."""
    from foundation.serving.address import ListenError, split_listen
    from foundation.serving.web_config import WebConfigError
    from foundation.serving.web_config import check as check_web
    from remediator.preflight import scopes_of

    problems: list[str] = []
    try:
        split_listen(config.remediator.web.listen)
    except ListenError as problem:
        problems.append(f"{file}:1:1: remediator.web.listen: {problem}")
    web = config.remediator.web.config_file
    try:
        if web is not None and check_web(web).users:
            problems.append(f"{web}:1:1: basic_auth_users: people are in remediator.credentials_file, not here")
    except WebConfigError as problem:
        problems += problem.problems
    credentials = config.remediator.credentials_file
    scopes: Sequence[frozenset[str]] = ()
    if credentials is None:
        problems.append(
            f"{file}:1:1: remediator.credentials_file: is required: without it anybody could have pods deleted"
        )
    else:
        try:
            scopes = scopes_of(credentials)
        except ConfigurationError as problem:
            problems += map(str, problem.problems)
    return problems, scopes


def _load(file: Path) -> RemediatorConfig:
    from remediator.config import load_config

    try:
        return load_config(file)
    except ConfigurationError as problem:
        raise Refused(str(problem)) from None


# --- looking ----------------------------------------------------------------------------------------------------------


@main.command("list")
@_FOUNDATION
@_JSON
@_over_http
def list_command(client: Client, foundation: str | None, json_output: bool) -> None:
    """Open and past Remediations, the newest first."""
    from remediator import timeline

    found = client.remediations(foundation)
    if json_output:
        click.echo(json.dumps({"remediations": found}, indent=1))
    else:
        click.echo(timeline.table(found, time.time(), _width()), nl=False)


@main.command()
@click.argument("name")
@click.option("--markdown", is_flag=True, help="For pasting into an incident report.")
@click.option("--evidence", is_flag=True, help="The evidence that was saved before anything was deleted.")
@click.option("--observation", is_flag=True, help="Of the evidence, what `diagnose --observation` reads.")
@_JSON
@_over_http
def show(client: Client, name: str, *, markdown: bool, evidence: bool, observation: bool, json_output: bool) -> None:
    """One Remediation: what happened when, and why.

    NAME is [FOUNDATION.]PLAYBOOK.NUMBER, or the end of it where only one has that.
    """
    from remediator import timeline

    if sum((markdown, observation, json_output)) > 1 or (evidence and (markdown or observation)):
        raise Refused("show: give one of --markdown, --evidence, --observation and --json (--evidence --json has both)")
    found = client.remediation(name, evidence=evidence or observation)
    if json_output:
        click.echo(json.dumps(found, indent=1))
    elif evidence or observation:
        click.echo(_evidence(found, observation=observation), nl=False)
    elif markdown:
        click.echo(timeline.as_markdown(timeline.timeline_of(found)), nl=False)
    else:
        click.echo(timeline.as_text(timeline.timeline_of(found), _width()), nl=False)


def _evidence(found: Mapping[str, object], *, observation: bool) -> str:
    document = found.get("evidence")
    if not isinstance(document, dict):
        raise Refusal(404, f"no evidence is kept of {found.get('name')}")
    if observation:
        from remediator.evidence import observation_text

        return observation_text(document)
    from remediator.evidence_text import as_text

    return as_text(document)


@main.command()
@_FOUNDATION
@_JSON
@_over_http
def status(client: Client, foundation: str | None, json_output: bool) -> None:
    """What is in force, for each foundation.

    The verdict, modes, limits left, breaker, pause, refusals. Exit 1 where a breaker is open, or the state could not
    be read.
    """
    from remediator.status_text import as_text, is_wrong

    found = client.status(foundation)
    if json_output:
        click.echo(json.dumps({"foundations": found}, indent=1))
    else:
        click.echo(as_text(found, time.time(), _width()), nl=False)
    sys.exit(1 if any(map(is_wrong, found)) else 0)


# --- operating --------------------------------------------------------------------------------------------------------

_YES = click.option("--yes", is_flag=True, help="Do not ask, on a terminal either.")


@main.command()
@click.argument("name")
@_YES
@_over_http
def approve(client: Client, name: str, yes: bool) -> None:
    """Approve what awaits it.

    What is approved is shown first; if anything changes meanwhile, the remediator refuses.
    """
    _answer(client, name, "approve", yes=yes)


@main.command()
@click.argument("name")
@_YES
@_over_http
def reject(client: Client, name: str, yes: bool) -> None:
    """Reject what awaits approval.

    What is rejected is shown first; if anything changes meanwhile, the remediator refuses.
    """
    _answer(client, name, "reject", yes=yes)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _answer(client: Client, name: str, verb: str, *, yes: bool) -> None:
    from remediator import timeline

    found = client.remediation(name)
    line = timeline.timeline_of(found)
    if line.story.awaits:
        _show_request(client, line)
        if not yes and _at_a_terminal() and not click.confirm(f"{verb.capitalize()} this?"):
            click.echo("nothing was done", err=True)
            sys.exit(1)
    answered = timeline.timeline_of(client.answer(str(found.get("name")), verb, str(found.get("resourceVersion"))))
    state, by, _ = answered.story.approval
    click.echo(_clean(f"{answered.story.name}: {state or verb + 'd'} by {by or 'you'}"))


def _show_request(client: Client, line: Timeline) -> None:
    """What the person decides on, and what is seen now where that is something else."""
    from remediator import timeline
    from remediator.web.text import unix

    story, width = line.story, _width()
    pods = ", ".join(pod.name for pod in story.pods)
    expires = unix(story.expires)
    left = f" (in {format_duration(expires - time.time())})" if expires is not None else ""
    lines = [_clean(f"{story.name} awaits approval")]
    for title, text in (
        ("asked by", story.alertname),
        ("verdict", story.verdict_before),
        ("would delete", pods or "the pods of the verdict at that time"),
        ("why", story.message),
        ("expires", f"{timeline.moment(story.expires) or 'not known when'}{left}"),
    ):
        if text:
            lines += timeline.wrapped(text, width, f"  {title:<14}")
    seen = next((item for item in client.status() if item.get("foundation") == story.foundation), {}).get("verdict")
    if isinstance(seen, dict):
        now = seen.get("podsToRestart")
        names = ", ".join(map(str, now)) if isinstance(now, list) else ""
        text = f"{seen.get('verdict')}, restart {seen.get('restart')}{f' ({names})' if names else ''}"
        lines += timeline.wrapped(text, width, f"  {'seen now':<14}")
    click.echo("\n".join(lines))


@main.command()
@click.argument("name")
@_REASON
@_over_http
def acknowledge(client: Client, name: str, reason: str) -> None:
    """Close the breaker after a failure. NAME is the Remediation that opened it, or the foundation."""
    try:
        found = client.acknowledge(name, reason)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        found = client.acknowledge(str(client.remediation(name).get("name")), reason)
    who = found.get("by")
    click.echo(
        _clean(f"{found.get('foundation')}: {found.get('acknowledged')} acknowledged by {who}, the breaker is closed")
    )


@main.command()
@_REASON
@click.option("--for", "duration", default=None, help="Such as 30m or 2h; left out: until resumed.")
@_FOUNDATION
@_over_http
def pause(client: Client, reason: str, duration: str | None, foundation: str | None) -> None:
    """Let nothing begin and nothing more be deleted.

    A run under way sees to what it has deleted already, and ends.
    """
    from remediator.timeline import moment

    if duration is not None:
        try:
            parse_duration(duration)
        except ValueError as problem:
            raise Refused(f"pause: --for: {problem}") from None
    for item in client.pause(reason, duration, foundation):
        until = item.get("until")
        end = f"until {moment(until)}" if isinstance(until, str) else "until somebody resumes it"
        click.echo(_clean(f"{item.get('foundation')}: paused {end}"))


@main.command()
@_FOUNDATION
@_over_http
def resume(client: Client, foundation: str | None) -> None:
    """End the pause."""
    for name in client.resume(foundation):
        click.echo(_clean(f"{name}: resumed"))


# --- without a remediator ---------------------------------------------------------------------------------------------


@main.command()
@click.argument("payload_file", metavar="PAYLOAD.json", type=_FILE)
@click.option(
    "--config", "config_file", type=_FILE, default=None, help="Also read the state and look at the foundation."
)
@_JSON
def simulate(payload_file: Path, config_file: Path | None, json_output: bool) -> None:
    """Explain what a stored notification would lead to.

    PAYLOAD.json is what Alertmanager posts. Nothing is changed anywhere.
    Without --config only the notification itself is judged. Exit 3 where the state could not be read.
    """
    from remediator import simulate as simulating

    notification = _payload(payload_file)
    config = None if config_file is None else _load(config_file)
    told = simulating.simulate(notification, config)
    click.echo(json.dumps(told.as_json(), indent=1) if json_output else told.as_text(_width()), nl=json_output)
    sys.exit(3 if told.blind else 0)


def _payload(file: Path) -> Notification:
    from remediator import payload
    from remediator.web.api import LARGEST_NOTIFICATION

    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_NOTIFICATION + 1)
    except OSError as problem:
        raise Refused(f"{file}: cannot be read: {problem.strerror}") from None
    if len(raw) > LARGEST_NOTIFICATION:
        raise Refused(f"{file}: is longer than the {LARGEST_NOTIFICATION >> 20} MiB that the webhook takes")
    try:
        return payload.parse(raw)
    except payload.NotUnderstood as problem:
        raise Refused(_clean(f"{file}: not an Alertmanager notification of version 4: {problem}")) from None


@main.command()
@_CONFIG
@click.option(
    "--alertmanager-config", "alertmanager_file", type=_FILE, default=None, help="alertmanager.yml, to check its route."
)
@_JSON
def preflight(config_file: Path, alertmanager_file: Path | None, json_output: bool) -> None:
    """Check, where it will run, all that it needs.

    It changes nothing. Exit 1 where anything fails.
    """
    from remediator import checks
    from remediator.preflight import preflight as check

    config = _load(config_file)
    found = check(config, config_file, alertmanager_file)
    click.echo(
        json.dumps(checks.as_json(found), indent=1) if json_output else checks.as_text(found, _width()),
        nl=json_output,
    )
    sys.exit(1 if any(one.result is checks.Result.FAIL for one in found) else 0)
