"""The command `stager-exporter`. Each command imports what it needs: reading a log should not wait for the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from foundation.commandline import Commands, Refused

if TYPE_CHECKING:
    from exporter.config import ExporterConfig
    from foundation.config import FoundationConfig
    from foundation.diagnosis import Diagnosis
    from foundation.observation import Observation

_CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), default=None, help="The configuration file."
)


@click.group("stager-exporter", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stager-medic", prog_name="stager-exporter")
def main() -> None:
    """Tells why Cloud Foundry on Kubernetes cannot stage, as metrics and as a verdict."""


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(config_file: Path, log_level: str) -> None:
    """Watch the configured foundations and serve metrics and a page."""
    from exporter.service import Exporter
    from foundation.serving import jsonlog
    from foundation.serving.server import CannotStartError
    from foundation.serving.server import serve as serve_web
    from foundation.serving.web_config import WebConfig, WebConfigError
    from foundation.turns import take_longer_turns

    config = _load(config_file)
    jsonlog.configure(log_level)
    web = config.exporter.web
    try:
        web_config = None if web.config_file is None else WebConfig(web.config_file)
    except WebConfigError as problem:
        raise Refused(str(problem)) from None

    def make() -> Exporter:
        take_longer_turns()
        try:
            return Exporter(config_file, config)
        except ValueError as problem:
            raise CannotStartError(str(problem)) from None

    serve_web(web.listen, web_config, make, "stager-exporter")


@main.command("diagnose")
@_CONFIG
@click.option("--foundation", default=None, help="Which one, where several are configured.")
@click.option(
    "--observation", type=click.Path(path_type=Path), default=None, help="Judge a recorded observation instead (JSON)."
)
@click.option("--save", type=click.Path(path_type=Path), default=None, help="Record what was seen, for --observation.")
@click.option("--json", "json_output", is_flag=True, help="For programs.")
def diagnose_command(
    config_file: Path | None, foundation: str | None, observation: Path | None, save: Path | None, json_output: bool
) -> None:
    """Look at a foundation now and say what is wrong and whether a restart would help.

    Exit 0: healthy. 1: not. 2: bad usage. 3: could not look.
    """
    if observation is not None:
        if save is not None:
            raise Refused("diagnose: --save records a look, and --observation looks at nothing: give one of them")
        _diagnose_recorded(observation, json_output)
    if config_file is None:
        raise Refused("diagnose: give --config FILE, or --observation FILE")
    _diagnose_live(_load(config_file), foundation, save, json_output)


def _diagnose_recorded(file: Path, json_output: bool) -> NoReturn:
    from exporter import report
    from foundation.diagnosis import Verdict, diagnose
    from foundation.looking import if_lasting

    observation = _recorded(file)
    found, lasting = diagnose(observation), if_lasting(observation)
    if json_output:
        click.echo(report.as_json(found, if_lasting=_brief(lasting)))
    else:
        click.echo(report.as_text(found, title=file.name))
        _tell_lasting(lasting, None)
    sys.exit(0 if found.verdict is Verdict.HEALTHY else 1)


def _diagnose_live(config: ExporterConfig, name: str | None, save: Path | None, json_output: bool) -> NoReturn:
    from exporter import report
    from exporter.diagnose import record
    from foundation.diagnosis import Verdict
    from foundation.kube.errors import ConfigurationProblem
    from foundation.looking import look_and_confirm

    chosen = _chosen(config, name)
    try:
        finding = look_and_confirm(chosen, config.probe)
    except ConfigurationProblem as problem:
        click.echo(f"{chosen.name}: cannot look: {problem}", err=True)
        sys.exit(3)
    look = finding.look
    if save is not None:
        _save(save, record(look, chosen.name))
    if finding.blind:
        click.echo(f"{chosen.name}: cannot look: {finding.why_blind}", err=True)
        sys.exit(3)
    layout = look.layout
    if json_output:
        more = {"foundation": chosen.name, "layout": layout.layout.name if layout else None}
        click.echo(report.as_json(look.diagnosis, **more, if_lasting=_brief(finding.if_lasting)))
    else:
        title = f"{layout.layout.name} ({layout.by})" if layout else ""
        click.echo(report.as_text(look.diagnosis, title=chosen.name, config=chosen, layout=title))
        _tell_lasting(finding.if_lasting, chosen.settle)
    sys.exit(0 if look.diagnosis.verdict is Verdict.HEALTHY else 1)


def _chosen(config: ExporterConfig, name: str | None) -> FoundationConfig:
    names = [foundation.name for foundation in config.foundations]
    if name is None and len(names) > 1:
        raise Refused(f"diagnose: several foundations are configured, give --foundation {'|'.join(names)}")
    if name is not None and name not in names:
        raise Refused(f"diagnose: there is no foundation {name} (there are {', '.join(names)})")
    return next(item for item in config.foundations if name in (None, item.name))


def _save(file: Path, text: str) -> None:
    """What was seen is told all the same where it cannot be kept."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as problem:
        click.echo(f"{file}: cannot be written: {problem.strerror}; what was seen is not recorded", err=True)


def _brief(lasting: Diagnosis | None) -> dict[str, object] | None:
    if lasting is None:
        return None
    pods = list(lasting.pods_to_restart)
    return {"verdict": lasting.verdict, "restart": lasting.restart, "pods_to_restart": pods}


def _tell_lasting(lasting: Diagnosis | None, settle: float | None) -> None:
    from exporter import report
    from foundation.looking import lasting_text

    if lasting is not None:
        click.echo("\n" + report.printable(lasting_text(lasting, settle)))


@main.command()
@click.argument("files", nargs=-1, required=True)
def logs(files: tuple[str, ...]) -> None:
    """Read log lines from FILES (or - for standard input) and print the log metrics on standard output."""
    from exporter.logs.offline import UsageProblem, read_files

    try:
        read_files(files, sys.stdout, sys.stderr)
    except UsageProblem as problem:
        raise Refused(str(problem)) from None


@main.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check a configuration file and the web.yml that it names, without starting anything.

    Certificates and kubeconfigs are not looked at: they may be elsewhere than this file is checked.
    """
    from foundation.serving.web_config import WebConfigError
    from foundation.serving.web_config import check as check_web

    config = _load(file)
    web = config.exporter.web.config_file
    try:
        if web is not None:
            check_web(web)
    except WebConfigError as problem:
        raise Refused(str(problem)) from None
    names = ", ".join(foundation.name for foundation in config.foundations)
    many = f"{len(config.foundations)} foundations" if len(config.foundations) > 1 else "1 foundation"
    click.echo(f"{file}: good ({many}: {names})")


def _load(file: Path) -> ExporterConfig:
    from exporter.config import load_config
    from foundation.yamlfile import ConfigurationError

    try:
        return load_config(file)
    except ConfigurationError as problem:
        raise Refused(str(problem)) from None


def _recorded(file: Path) -> Observation:
    from foundation.observation import Observation, ObservationError

    try:
        return Observation.from_json(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise Refused(f"{file}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{file}: is not UTF-8") from None
    except ObservationError as problem:
        raise Refused(f"{file}: {problem}") from None
