"""`stager-demo`: runs the simulated cluster until it is told to stop."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

if Path(sys.argv[0]).name == "stager-demo":
    # Until `main` takes it, Ctrl-C ends this program without a word; what follows takes half a second to load.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import click

try:
    from simulator.cluster import DEFAULT_SPEED, Cluster, Options
except ModuleNotFoundError as missing:
    sys.exit(f"stager-demo: needs {missing.name}: pip install '.[demo]', or use make demo")
from foundation.turns import take_longer_turns
from simulator.clock import Timing
from simulator.daemons import Access, new_secrets, write_remediator
from simulator.debian import TOOLS
from simulator.incidents import INCIDENTS, NAMES, NotApplicableError
from simulator.layouts import LAYOUT_NAMES
from simulator.play import Played, PlayError, StoppedError, play

_PLAY_GRACE = 8.0
"""Seconds of termination grace in the play: a tenth of SCF's 600 s would be a minute of nothing to see."""


def _listen(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, separator, port = value.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"expected ADDRESS:PORT, got {value!r}")
    return host or "127.0.0.1", int(port)


def _epilog() -> str:
    lines = (f"  {incident.name:<18} {incident.about}" for incident in INCIDENTS)
    return "\b\nIncidents:\n" + "\n".join(lines)


@click.command(epilog=_epilog())
@click.option(
    "--incident", type=click.Choice(NAMES), metavar="NAME", help="Start this incident (see below) in every foundation."
)
@click.option("--foundations", type=click.IntRange(1, 200), default=1, show_default=True, help="How many to run.")
@click.option("--layout", type=click.Choice(LAYOUT_NAMES), default="cfee-2", show_default=True)
@click.option(
    "--listen", callback=_listen, default="127.0.0.1:0", show_default=True, help="Where the Kubernetes API listens."
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write kubeconfig, certificates and configurations.  [default: a new temporary folder]",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_SPEED,
    show_default=True,
    help="How many times faster than a real foundation things happen.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=1),
    help="Seconds that a hung process may take to be deleted.  [default: 600 / SPEED; 8 in the play]",
)
@click.option(
    "--play", "play_it", is_flag=True, help="Play the whole story beside exporter and remediator, then stay up."
)
@click.option("--once", is_flag=True, help="Play it, and end: exit 0 if all of it happened.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON only: with --once a summary of what was seen when, else one line with the addresses.",
)
@click.option(
    "--tools",
    type=click.Path(file_okay=False, path_type=Path),
    default=TOOLS,
    help="Where the play unpacks Debian's Prometheus and Alertmanager if they are not on the PATH.  "
    "[default: .tools in the project]",
)
@click.option("--no-traffic", is_flag=True, help="Let nobody send requests: Cloud Controller then logs nothing.")
@click.option(
    "--no-crd", is_flag=True, help="Do not serve Remediations until somebody creates their CustomResourceDefinition."
)
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append every request to the Kubernetes API to this file, one JSON object per line.",
)
@click.version_option(version("stager-medic"))
def main(
    *,
    incident: str | None,
    foundations: int,
    layout: str,
    listen: tuple[str, int],
    state_dir: Path | None,
    speed: float,
    grace: float | None,
    play_it: bool,
    once: bool,
    as_json: bool,
    tools: Path,
    no_traffic: bool,
    no_crd: bool,
    journal: Path | None,
) -> None:
    """Run simulated Cloud Foundry foundations on loopback until Ctrl-C."""
    if foundations > 1:
        take_longer_turns()
    if as_json and play_it and not once:
        raise click.UsageError("with --play, --json needs --once")
    if incident and (play_it or once):
        raise click.UsageError("--play and --once bring their own incident")
    timing = Timing().scaled(speed)
    if grace is not None or play_it or once:
        timing = replace(timing, grace=min(timing.grace, _PLAY_GRACE) if grace is None else grace)
    cluster = Cluster(
        Options(
            foundations=foundations,
            layout=layout,
            address=listen[0],
            port=listen[1],
            timing=timing,
            traffic=not no_traffic,
            remediations=not no_crd,
            journal=journal,
        )
    )
    stop = threading.Event()
    kept: list[Path] = []
    """Folders that stay behind, as something in them tells what went wrong."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(cluster)
        except OSError as error:
            click.echo(f"stager-demo: cannot listen on {listen[0]}:{listen[1]}: {error.strerror}", err=True)
            sys.exit(2)
        if state_dir is None:
            state_dir = Path(tempfile.mkdtemp(prefix="stager-demo-"))
            stack.callback(lambda: None if kept else shutil.rmtree(state_dir, ignore_errors=True))
        try:
            config = cluster.write(state_dir)
        except OSError as error:
            click.echo(f"stager-demo: {error.filename or state_dir}: {error.strerror}", err=True)
            sys.exit(2)
        try:
            for name in cluster.sites if incident else ():
                cluster.start_incident(str(incident), name)
        except NotApplicableError as error:
            click.echo(f"stager-demo: {error}", err=True)
            sys.exit(2)
        if not (play_it or once):
            access = write_remediator(cluster, config, new_secrets())
            click.echo(json.dumps(_addresses(cluster, config)) if as_json else _welcome(cluster, config, access))
            stop.wait()
            return
        played = _play(cluster, config, tools, stop, kept, as_json=as_json)
        stack.callback(played.stop)
        if as_json:
            click.echo(json.dumps(played.summary, indent=1))
        if not once:
            click.echo(_staying(cluster, config, played))
            stop.wait()


def _play(
    cluster: Cluster, config: Path, tools: Path, stop: threading.Event, kept: list[Path], *, as_json: bool
) -> Played:
    """Play it; where that fails, say so, keep the folder with the logs, and exit."""
    try:
        return play(cluster, config, lambda line: None if as_json else click.echo(line), stop, tools)
    except StoppedError:
        sys.exit(130)
    except PlayError as error:
        if stop.is_set():
            sys.exit(130)  # what was under way broke off
        kept.append(config.parent)
        problem = json.dumps({"recovered": False, **error.seen, "problem": str(error)}, indent=1)
        click.echo(problem if as_json else f"stager-demo: {error}", err=not as_json)
        sys.exit(1)


def _staying(cluster: Cluster, config: Path, played: Played) -> str:
    """Give what a person may try while it stays up."""
    site, access = cluster.site().foundation, played.access
    kubectl = f"kubectl --kubeconfig {config.with_name('kubeconfig')} -n {site.namespace}"
    lines = [
        "",
        "It stays up until Ctrl-C.",
        "",
        *played.carrier.lines(),
        f"exporter      {played.exporter.url}",
        f"remediator    {played.remediator.url}   user {access.user}, password {access.password}",
        "the same in the terminal:",
        f"export STAGER_REMEDIATOR_URL={played.remediator.url}",
        f"export STAGER_REMEDIATOR_TOKEN_FILE={config.with_name('operator.token')}",
        f"{_program('remediator')} list",
        "",
        f"{kubectl} get rem -o wide",
        f"{kubectl} describe rem {site.name}.restart-diego-api.1",
        f"{kubectl} get events",
        f"{kubectl} get pods{_label(cluster)}",
        "",
        "Break it again (the same verdict within an hour would open the breaker; `hung` is another one):",
        f"curl -X POST {cluster.api.control_url}/simulator/foundations/{site.name}/incidents/hung",
        "Ask for a restart by hand, needed or not:",
        f"{kubectl} create -f {config.with_name('remediation.yml')}",
        f"All of it: {config.parent}",
    ]
    return "\n".join(lines)


def _program(name: str) -> str:
    """Give the command that was installed beside this one."""
    return str(Path(sys.executable).with_name(f"stager-{name}"))


def _addresses(cluster: Cluster, config: Path) -> dict[str, object]:
    """Give what a program needs to find everything."""
    return {
        "kubernetes": cluster.url,
        "control": f"{cluster.api.control_url}/simulator",
        "kubeconfig": str(config.with_name("kubeconfig")),
        "exporter_yml": str(config),
        "remediator_yml": str(config.with_name("remediator.yml")),
        "foundations": {
            name: {
                "namespace": site.foundation.namespace,
                "layout": site.foundation.layout.name,
                "service": f"{site.foundation.service_address}:8889",
                "database": f"{site.foundation.database_address}:5432",
            }
            for name, site in cluster.sites.items()
        },
    }


def _label(cluster: Cluster) -> str:
    key = cluster.site().foundation.layout.active_key
    return f" -L {key}" if key else ""


def _welcome(cluster: Cluster, config: Path, access: Access) -> str:
    first = cluster.site().foundation
    lines = [
        f"Kubernetes API   {cluster.url}",
        f"control          {cluster.api.control_url}/simulator",
        f"kubeconfig       {config.with_name('kubeconfig')}",
        f"exporter.yml     {config}",
        f"remediator.yml   {access.config}",
    ]
    lines += [
        f"{name:<16} namespace {site.foundation.namespace}, layout {site.foundation.layout.name}, "
        f"BBS Service {site.foundation.service_address}:8889, database {site.foundation.database_address}:5432"
        for name, site in cluster.sites.items()
    ]
    lines += [
        "",
        f"{_program('exporter')} serve --config {config}",
        f"{_program('remediator')} serve --config {access.config}",
        f"the remediator's page: user {access.user}, password {access.password}; the terminal's way to it:",
        f"export STAGER_REMEDIATOR_TOKEN_FILE={config.with_name('operator.token')}; {_program('remediator')} status",
        f"kubectl --kubeconfig {config.with_name('kubeconfig')} get pods -n {first.namespace}{_label(cluster)}",
        f"curl -X POST {cluster.api.control_url}/simulator/foundations/{first.name}/incidents/locket_hung",
        "Ctrl-C ends it.",
    ]
    return "\n".join(lines)
