"""Prometheus and one or two Alertmanagers, started together on free ports of loopback, and what one asks of them."""

from __future__ import annotations

import json
import random
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from simulator.monitoring.files import ALERTS, aimed, duration, prometheus_config, shortened
from simulator.monitoring.process import MonitoringError, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulator.monitoring.files import Targets
    from simulator.monitoring.programs import Programs

SCRAPE: Final = 15.0
"""Seconds between two scrapes, and two evaluations, before they are shortened; the rules hold up to 30."""
RESEND: Final = 60.0
"""Seconds after which Prometheus tells Alertmanager again of an alert that fires: its own default."""
PEER_TIMEOUT: Final = 15.0
"""Seconds that a second Alertmanager gives the first to notify: its own default."""
SILENCE_MATCHER: Final = re.compile(r"([a-zA-Z_]\w*)(=~|!~|!=|=)(.*)", re.DOTALL)
_TRIES: Final = 3
"""Starts of one server, as another program may take its port meanwhile."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of Prometheus."""

    name: str
    state: str
    """pending or firing."""
    labels: Mapping[str, str]
    active_at: float
    """Unix time of the evaluation that found its condition true."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How much faster than deployed."""

    factor: float = 1.0
    """By which all waits of the files and programs are divided."""
    scrape: float = SCRAPE
    """Seconds between two scrapes and two evaluations before that."""
    least_window: float = 10.0
    """Seconds below which no window of an expression goes; at least four scrapes anyway."""

    @property
    def interval(self) -> float:
        """Seconds between two scrapes and two evaluations."""
        return max(0.2, self.scrape / self.factor)


class Monitoring:
    """Running between `start` and `stop`, or inside `with`. The folder keeps configurations, data and logs."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        targets: Targets,
        *,
        factor: float = 1.0,
        scrape: float = SCRAPE,
        alertmanagers: int = 1,
        peer_timeout: float | None = None,
    ) -> None:
        """`factor`: by which all waits are divided. `alertmanagers`: 1, or 2 in a cluster.

        `scrape`: seconds between two scrapes, and two evaluations, before they are divided. `peer_timeout`: seconds
        that the second Alertmanager gives the first (default: 15 s, divided); with 0 both notify.
        """
        if alertmanagers not in (1, 2):
            raise ValueError(f"1 or 2 Alertmanagers, not {alertmanagers}")
        self._programs, self._folder, self._targets = programs, folder, targets
        self._speed = Speed(factor, scrape)
        self._count = alertmanagers
        self._peer_timeout = PEER_TIMEOUT / factor if peer_timeout is None else peer_timeout
        self.prometheus: Server
        self.alertmanagers: list[Server] = []
        self._started: list[Server] = []

    @property
    def prometheus_url(self) -> str:
        """Prometheus' address."""
        return self.prometheus.url

    @property
    def alertmanager_urls(self) -> list[str]:
        """Each Alertmanager's address."""
        return [server.url for server in self.alertmanagers]

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Write the files, start all and wait until they are ready; raises MonitoringError, and then nothing runs."""
        try:
            self._write()
            peers: list[str] = []
            for number in range(self._count):
                self.alertmanagers.append(self._begin(partial(self._alertmanager, number, peers)))
            self._write_prometheus()
            self.prometheus = self._begin(self._prometheus)
        except OSError as error:
            self.stop()
            raise MonitoringError(f"{error.filename or self._folder}: {error.strerror}") from None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of them, Prometheus first. Safe to repeat."""
        while self._started:
            self._started.pop().stop()

    def _begin(self, make: Callable[[], Server]) -> Server:
        """Start a server on a free port, on another where that was taken meanwhile."""
        for left in reversed(range(_TRIES)):
            server = make()
            self._started.append(server)
            server.start()
            try:
                server.wait()
            except MonitoringError:
                server.stop()
                if not left or "address already in use" not in server.last_words():
                    raise
            else:
                return server
        raise AssertionError("the last try gives or raises")

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rules = yaml.safe_load((ALERTS / "rules.yml").read_text(encoding="utf-8"))
        config = yaml.safe_load((ALERTS / "alertmanager.yml").read_text(encoding="utf-8"))
        factor, least = self._speed.factor, max(self._speed.least_window, 4 * self._speed.interval)
        rules = shortened(rules, factor, least_window=least)
        config, secrets = aimed(shortened(config, factor), self._targets, self._folder)
        for path, text in secrets.items():
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        self._dump("rules.yml", rules)
        self._dump("alertmanager.yml", config)

    def _write_prometheus(self) -> None:
        places = [urllib.parse.urlsplit(url).netloc for url in self.alertmanager_urls]
        every = self._speed.interval
        self._dump("prometheus.yml", prometheus_config(self._targets, places, scrape=every, evaluate=every))

    def _dump(self, name: str, document: object) -> None:
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10000)
        (self._folder / name).write_text(text, encoding="utf-8")

    def _prometheus(self) -> Server:
        address = f"127.0.0.1:{free_port()}"
        command = [
            str(self._programs.prometheus),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address={address}",
            f"--web.external-url=http://{address}",  # else the links in notifications name this machine
            f"--rules.alert.resend-delay={duration(max(RESEND / self._speed.factor, self._speed.interval))}",
        ]
        if self._programs.assets is not None:
            command.append(f"--web.local-assets={self._programs.assets}")
        return Server("Prometheus", command, f"http://{address}", self._folder / "prometheus.log")

    def _alertmanager(self, number: int, peers: list[str]) -> Server:
        """Make the one of this number, which joins those before it; its own place in the cluster is then among them."""
        address = f"127.0.0.1:{free_port()}"
        cluster = f"127.0.0.1:{free_port()}" if self._count > 1 else ""
        del peers[number:]
        factor = self._speed.factor
        command = [
            str(self._programs.alertmanager),
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / f'alertmanager-{number}'}",
            f"--web.listen-address={address}",
            f"--web.external-url=http://{address}",
            f"--cluster.listen-address={cluster}",
            "--log.level=debug",  # which tells of every notification
        ]
        if cluster:
            command += [
                f"--cluster.advertise-address={cluster}",
                f"--cluster.peer-timeout={duration(self._peer_timeout)}",
                f"--cluster.gossip-interval={duration(max(0.05, 0.2 / factor))}",
                f"--cluster.pushpull-interval={duration(max(1.0, 60 / factor))}",
                f"--cluster.reconnect-interval={duration(max(0.5, 10 / factor))}",
                *(f"--cluster.peer={peer}" for peer in peers),
            ]
        peers.append(cluster)
        log = self._folder / f"alertmanager-{number}.log"
        return Server(f"Alertmanager {number}", command, f"http://{address}", log)

    # -- questions ----------------------------------------------------------------------------------------------------

    def versions(self) -> tuple[str, str]:
        """Give Prometheus' version and the first Alertmanager's. Raises MonitoringError."""
        prometheus = _ask(f"{self.prometheus_url}/api/v1/status/buildinfo")["data"]["version"]
        alertmanager = _ask(f"{self.alertmanager_urls[0]}/api/v2/status")["versionInfo"]["version"]
        return str(prometheus), str(alertmanager)

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Ask Prometheus now: the series' labels and values. Raises MonitoringError."""
        answer = _ask(f"{self.prometheus_url}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def alerts(self, name: str = "") -> list[Alert]:
        """Give Prometheus' pending and firing alerts, or those of one name. Raises MonitoringError."""
        found = _ask(f"{self.prometheus_url}/api/v1/alerts")["data"]["alerts"]
        return [
            Alert(one["labels"]["alertname"], one["state"], one["labels"], _unix(one["activeAt"]))
            for one in found
            if name in ("", one["labels"]["alertname"])
        ]

    def firing(self) -> set[str]:
        """Give the names of the alerts that fire. Raises MonitoringError."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def told(self, number: int = 0) -> list[dict[str, Any]]:
        """Give what an Alertmanager knows: `labels`, `status.state` (active, suppressed), `receivers`.

        In the form of its API, version 2. Raises MonitoringError.
        """
        found = _ask(f"{self.alertmanager_urls[number]}/api/v2/alerts")
        return list(found)

    def delivered(self, receiver: str, number: int = 0) -> int:
        """Give how many notifications an Alertmanager has delivered to a receiver, by its log."""
        log = self.alertmanagers[number].log.read_text(encoding="utf-8", errors="replace")
        return sum("Notify success" in line and f"receiver={receiver} " in line for line in log.splitlines())

    def peers(self, number: int = 0) -> int:
        """Give how many Alertmanagers one of them sees in its cluster, itself included; 0: it is in none.

        Raises MonitoringError.
        """
        found = _ask(f"{self.alertmanager_urls[number]}/api/v2/status")["cluster"]
        return len(found.get("peers") or ())

    def silence(self, matchers: Sequence[str], lasting: float, *, comment: str = "by the simulator") -> str:
        """Silence what matches (`foundation=demo`, `alertname=~Diego.*`, `remediate=`) for so many seconds.

        Given to the first Alertmanager that takes it, which tells the other. Gives the silence's id. Raises ValueError
        for what is no matcher, MonitoringError where none takes it.
        """
        now = datetime.now(UTC)
        body = {
            "matchers": [_matcher(text) for text in matchers],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=lasting)).isoformat(),
            "createdBy": "simulator",
            "comment": comment,
        }
        return str(self._first("/api/v2/silences", body)["silenceID"])

    def unsilence(self, silence: str) -> None:
        """End a silence. Raises MonitoringError."""
        self._first(f"/api/v2/silence/{silence}", None, "DELETE")

    def _first(self, path: str, body: object, method: str = "POST") -> Any:  # noqa: ANN401  JSON
        problem = ""
        for url in self.alertmanager_urls:
            try:
                return _ask(url + path, body, method)
            except MonitoringError as error:
                problem = str(error)
        raise MonitoringError(problem)


def _matcher(text: str) -> dict[str, object]:
    found = SILENCE_MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"no matcher: {text!r}")
    name, how, value = found.groups()
    return {"name": name, "value": value, "isRegex": "~" in how, "isEqual": "!" not in how}


def _ask(url: str, body: object = None, method: str = "GET") -> Any:  # noqa: ANN401  JSON
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = answer.read()
            return json.loads(said) if said else None
    except urllib.error.HTTPError as error:
        with error:
            raise MonitoringError(f"{url}: {error.code} {error.read().decode(errors='replace')[:200]}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise MonitoringError(f"{url}: {error}") from None


def _unix(text: str) -> float:
    """Read Go's RFC 3339 with up to nanoseconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + (float(f"0.{rest}") if rest else 0.0)


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on now, and that no outgoing connection is given.

    So a server that was stopped can come back to it.
    """
    while True:
        port = random.randint(20000, 29999)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
