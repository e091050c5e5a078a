"""The command `stager-exporter`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import IO

import click

from exporter import report
from exporter.config import ExporterConfig, load_config
from exporter.logs.offline import UsageProblem, read_files
from foundation.diagnosis import Verdict, diagnose
from foundation.observation import Observation, ObservationError
from foundation.yamlfile import ConfigurationError

_CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), default=None, help="The configuration file."
)


class _Refused(click.ClickException):
    """Bad usage or configuration: the message as it is, exit 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(self.message, file=file, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("stager-medic"), prog_name="stager-exporter")
def main() -> None:
    """Tells why Cloud Foundry on Kubernetes cannot stage, as metrics and as a verdict."""


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(config_file: Path, log_level: str) -> None:
    """Watch the configured foundations and serve metrics and a page."""
    from exporter import jsonlog
    from exporter.service import Exporter
    from exporter.web.server import serve as serve_web
    from exporter.web.web_config import WebConfig, WebConfigError

    config = _load(config_file)
    jsonlog.configure(log_level)
    web = config.exporter.web
    try:
        web_config = None if web.config_file is None else WebConfig(config_file.parent / web.config_file)
    except WebConfigError as problem:
        raise _Refused(str(problem)) from None
    serve_web(web.listen, web_config, lambda: Exporter(config_file, config))


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
        found = diagnose(_recorded(observation))
        text = report.as_text(found, title=observation.name, namespace=None)
        click.echo(report.as_json(found) if json_output else text)
        sys.exit(0 if found.verdict is Verdict.HEALTHY else 1)
    if config_file is None:
        raise _Refused("diagnose: give --config FILE, or --observation FILE")
    _diagnose_live(_load(config_file), foundation, save, json_output)


def _diagnose_live(config: ExporterConfig, name: str | None, save: Path | None, json_output: bool) -> None:
    from exporter.diagnose import lasting_text, look_twice
    from foundation.kube.errors import ConfigurationProblem

    names = [foundation.name for foundation in config.foundations]
    if name is None and len(names) > 1:
        raise _Refused(f"diagnose: several foundations are configured, give --foundation {'|'.join(names)}")
    if name is not None and name not in names:
        raise _Refused(f"diagnose: there is no foundation {name} (there are {', '.join(names)})")
    chosen = next(item for item in config.foundations if name in (None, item.name))
    try:
        finding = look_twice(chosen, config.probe)
    except ConfigurationProblem as problem:
        click.echo(f"{chosen.name}: cannot look: {problem}", err=True)
        sys.exit(3)
    look = finding.look
    if save is not None:
        save.write_text(look.observation.to_json(), encoding="utf-8")
    if finding.blind:
        why = "; ".join(look.problems.values()) or look.observation.seen.get("observation_fresh", "")
        click.echo(f"{chosen.name}: cannot look: {why}", err=True)
        sys.exit(3)
    layout = look.layout
    title = f"{layout.layout.name} ({layout.by})" if layout else ""
    if json_output:
        lasting = finding.if_lasting
        more = {
            "foundation": chosen.name,
            "layout": layout.layout.name if layout else None,
            "if_lasting": None if lasting is None else {"verdict": lasting.verdict, "restart": lasting.restart},
        }
        click.echo(report.as_json(look.diagnosis, **more))
    else:
        click.echo(report.as_text(look.diagnosis, title=chosen.name, namespace=chosen.namespace, layout=title))
        if finding.if_lasting is not None:
            click.echo("\n" + lasting_text(finding.if_lasting, chosen.settle))
    sys.exit(0 if look.diagnosis.verdict is Verdict.HEALTHY else 1)


@main.command()
@click.argument("files", nargs=-1, required=True)
def logs(files: tuple[str, ...]) -> None:
    """Read log lines from FILES (or - for standard input) and print the log metrics on standard output."""
    try:
        read_files(files, sys.stdout, sys.stderr)
    except UsageProblem as problem:
        raise _Refused(str(problem)) from None


@main.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check a configuration file without starting anything."""
    config = _load(file)
    names = ", ".join(foundation.name for foundation in config.foundations)
    click.echo(f"{file}: good ({len(config.foundations)} foundations: {names})")


def _load(file: Path) -> ExporterConfig:
    try:
        return load_config(file)
    except ConfigurationError as problem:
        raise _Refused(str(problem)) from None


def _recorded(file: Path) -> Observation:
    try:
        return Observation.from_json(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise _Refused(f"{file}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise _Refused(f"{file}: is not UTF-8") from None
    except ObservationError as problem:
        raise _Refused(f"{file}: {problem}") from None
