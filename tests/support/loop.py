"""The whole loop as processes: simulator, exporter, remediator, a real Prometheus, real Alertmanagers, and receivers.

Nothing is played but the foundation and the people: what is asked here is asked of pages, of the Kubernetes API's
journal and of what the receivers were sent. Each case has a foundation of its own, so that several share one set of
processes without touching each other.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from simulator.daemons import Access, Exporter, Remediator
from simulator.monitoring import Monitoring, MonitoringError, Receivers, Targets, find_programs, free_port
from tests.bench.processes import Daemon
from tests.bench.simulated import send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.monitoring import Heard

TRIGGER: Final = "DiegoRestartWouldHelp"
INCIDENT: Final = "locket_hung"
_BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Deleted:
    """One pod's deletion, as the Kubernetes API saw it."""

    pod: str
    at: float
    """Unix time."""


def eventually(
    look: Callable[[], Any], what: str, seconds: float = 60.0, seen: Callable[[], object] = str, pause: float = 0.1
) -> Any:
    """The first true value of `look`, which may raise MonitoringError meanwhile; fails, saying what was `seen`."""
    ends = time.monotonic() + seconds
    problem = ""
    while True:
        try:
            if found := look():
                return found
        except MonitoringError as error:
            problem = str(error)
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} s; {seen()} {problem}"
        time.sleep(pause)


class Loop:
    """Everything, started and healthy inside `with`."""

    def __init__(
        self,
        folder: Path,
        foundations: int,
        *,
        speed: float,
        grace: float,
        alertmanagers: int = 1,
        peer_timeout: float | None = None,
        as_deployed: bool = False,
    ) -> None:
        """`speed`: how many times faster than deployed, of the foundation and of everything that waits.

        `grace`: seconds that a hung pod takes to end. `as_deployed`: the products' own defaults instead of the
        demo's quick looks.
        """
        self._folder, self._count, self._speed, self._grace = folder, foundations, speed, grace
        self._alertmanagers, self._peer_timeout, self._as_deployed = alertmanagers, peer_timeout, as_deployed
        self._stack = ExitStack()
        self.names: list[str] = []

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        programs = find_programs()
        state = self._folder / "foundation"
        self._journal = self._folder / "journal.jsonl"
        command = [str(_BIN / "stager-demo"), "--json", "--speed", f"{self._speed:g}", "--grace", f"{self._grace:g}"]
        command += ["--foundations", str(self._count), "--state-dir", str(state), "--journal", str(self._journal)]
        demo = self._stack.enter_context(Daemon(command))
        said = demo.wait_for(lambda text: next((line for line in text.splitlines() if line[:1] == "{"), None), "starts")
        addresses = json.loads(said)
        self._control = addresses["control"]
        self.names = list(addresses["foundations"])
        self._namespaces = {name: one["namespace"] for name, one in addresses["foundations"].items()}
        exporter_yml, remediator_yml = Path(addresses["exporter_yml"]), Path(addresses["remediator_yml"])
        port = free_port()
        self._configure(exporter_yml, "exporter", 0)
        self._configure(remediator_yml, "remediator", port)
        token, view = (state / "alertmanager.token", (state / "viewer.token").read_text(encoding="utf-8").strip())
        self._access = Access(remediator_yml, "", view, "", "", "")
        self.exporter = Exporter(exporter_yml)
        self._stack.callback(self.exporter.stop)
        self.start_remediator()
        self._stack.callback(self._stop_remediator)
        self.receivers = self._stack.enter_context(Receivers())
        targets = Targets(
            exporters=(self.exporter.url.partition("//")[2],),
            remediators=(f"127.0.0.1:{port}",),
            webhook=f"http://127.0.0.1:{port}/api/v1/alertmanager",
            token_file=token,
            receivers=self.receivers.url,
        )
        self.monitoring = Monitoring(
            programs,
            self._folder / "monitoring",
            targets,
            factor=self._speed,
            alertmanagers=self._alertmanagers,
            peer_timeout=self._peer_timeout,
        )
        self._stack.enter_context(self.monitoring)
        for name in self.names:
            eventually(partial(self.has_verdict, name, "healthy"), f"{name} is healthy")
        self.metric("min(stager_remediator_ready)", lambda value: value == 1)

    def _configure(self, file: Path, section: str, port: int) -> None:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings[section]["web"]["listen"] = f"127.0.0.1:{port}"
        if self._as_deployed:
            settings["probe"] = {"interval": "5s", "timeout": "3s"}
            if section == "remediator":
                kept = {name: settings[section][name] for name in ("web", "credentials_file")}
                settings[section] = {**kept, "playbooks": {"restart-diego-api": {"mode": "auto"}}}
        file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def _stop_remediator(self) -> None:
        """End the one that runs then."""
        self.remediator.stop()

    def start_remediator(self) -> None:
        """Start it, on the port that it always has."""
        self.remediator = Remediator(self._access)

    # -- deeds --------------------------------------------------------------------------------------------------------

    def incident(self, foundation: str, name: str = INCIDENT) -> float:
        """Break a foundation: every Locket hangs, or another incident; gives the Unix time."""
        began = time.time()
        send(f"{self._control}/foundations/{foundation}/incidents/{name}", "POST", None)
        return began

    def tell_alerts(self, alerts: Sequence[Mapping[str, str]]) -> None:
        """Have alerts with these labels fire for the next hour: told to Alertmanager as Prometheus tells it."""
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        body = [{"labels": dict(labels), "annotations": {"summary": "told"}, "endsAt": ends} for labels in alerts]
        for url in self.monitoring.alertmanager_urls:
            send(f"{url}/api/v2/alerts", "POST", body)

    # -- what is seen -------------------------------------------------------------------------------------------------

    def verdict(self, foundation: str) -> str:
        """What the exporter's page says; empty while there is none."""
        text = self.exporter.get("/view.json")
        found = json.loads(text)["foundations"] if text else []
        return next((str(one["verdict"]) for one in found if one["name"] == foundation), "")

    def has_verdict(self, foundation: str, verdict: str) -> bool:
        """Whether it is this one."""
        return self.verdict(foundation) == verdict

    def remediations(self, foundation: str) -> list[dict[str, Any]]:
        """All of a foundation; none also while the remediator does not answer."""
        text = self.remediator.get(f"/api/v1/remediations?foundation={foundation}")
        return list(json.loads(text)["remediations"]) if text else []

    def phase(self, foundation: str) -> str:
        """The newest one's; empty where there is none."""
        found = self.remediations(foundation)
        return str(found[0].get("status", {}).get("phase", "")) if found else ""

    def deleted(self, foundation: str) -> list[Deleted]:
        """The pods that were deleted in a foundation, one for each request that the API carried out."""
        entries = [
            json.loads(line) for line in self._journal.read_text(encoding="utf-8").splitlines() if line[-1] == "}"
        ]
        return [
            Deleted(one["name"], one["received"])
            for one in entries
            if (one["verb"], one["resource"], one["subresource"]) == ("delete", "pods", "")
            and one["namespace"] == self._namespaces[foundation]
            and one["status"] < 300
            and not one["dry_run"]
        ]

    def fires(self, foundation: str, name: str = TRIGGER) -> bool:
        """Whether Prometheus says that an alert of a foundation fires."""
        return any(
            alert.state == "firing" and alert.labels.get("foundation") == foundation
            for alert in self.monitoring.alerts(name)
        )

    def suppressed(self, foundation: str, name: str = TRIGGER) -> bool:
        """Whether Alertmanager knows an alert and keeps it to itself."""
        return any(
            alert["status"]["state"] == "suppressed"
            for alert in self.monitoring.told()
            if (alert["labels"]["alertname"], alert["labels"].get("foundation")) == (name, foundation)
        )

    def heard(self, foundation: str, receiver: str, status: str, text: str = "", *, after: float = 0.0) -> list[Heard]:
        """What a receiver was sent for a foundation after a Unix time."""
        return [
            one
            for one in self.receivers.heard(receiver)
            if (one.status, one.at > after) == (status, True)
            and foundation in one.text
            and text in f"{one.text} {one.detail}"
        ]

    def metric(self, expr: str, good: Callable[[float], bool], seconds: float = 60.0) -> float:
        """Wait until Prometheus' answer is good; gives it."""
        last: list[float] = []

        def look() -> bool:
            last[:] = [value for _, value in self.monitoring.query(expr)]
            return bool(last) and good(last[0])

        eventually(look, expr, seconds, lambda: last)
        return last[0]

    def answers(self, outcome: str, reason: str = "") -> float:
        """How many alerts the remediator has answered so since it started."""
        wanted = f'stager_remediator_alerts_total{{outcome="{outcome}",reason="{reason}"}} '
        lines = self.remediator.get("/metrics").splitlines()
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    def sent(self, number: int, kind: str = "requests_total") -> float:
        """How many webhook requests an Alertmanager has made (`requests_failed_total`: in vain), the dead man's too."""
        wanted = f'alertmanager_notification_{kind}{{integration="webhook"}} '
        page = _page(f"{self.monitoring.alertmanager_urls[number]}/metrics")
        return sum(float(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted))


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
