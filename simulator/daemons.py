"""The product's daemons as processes of their own, as they would run in a cluster, and their pages."""

from __future__ import annotations

import json
import queue
import re
import secrets
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import bcrypt
import yaml

if TYPE_CHECKING:
    from simulator.cluster import Cluster

HERE = "http://127.0.0.1"
_ANSWERED = re.compile(
    r'stager_remediator_alerts_total\{outcome="(?P<outcome>\w+)",reason="(?P<reason>\w*)"\} (?P<count>\S+)'
)
_STATUS = re.compile(r'stager_remediator_notifications_total\{status="(?P<status>\d+)"\} (?P<count>\S+)')
STOP_LIMIT = 6.0
"""Seconds that a daemon may take to end."""
START_LIMIT = 60.0
"""Seconds that a daemon may take to listen."""


class StartError(Exception):
    """A daemon did not start; one line with its last words and where its log is."""


class Daemon:
    """A `serve` process on a port of its own choice. What it logs is in a file beside its configuration."""

    def __init__(self, program: str, config: Path, token: str = "") -> None:
        """Start it and wait until it listens; raises StartError. `token` goes with every question."""
        command = [str(Path(sys.executable).with_name(program)), "serve", "--config", str(config)]
        self.name, self.log = program, config.with_name(f"{program}.log")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            log = self.log.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StartError(f"{self.log}: {error.strerror}") from None
        try:
            # In a session of its own: Ctrl-C in the terminal is for the demo, which then ends the daemon.
            self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        except OSError as error:
            log.close()
            raise StartError(f"{command[0]}: {error.strerror}") from None
        self._ports: queue.Queue[int | None] = queue.Queue()
        self.last_words = ""
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()
        try:
            port = self._ports.get(timeout=START_LIMIT)
        except queue.Empty:
            port = None
        if port is None:
            self.stop()
            raise StartError(f"{program} did not start: {self.last_words or 'it said nothing'}; its log: {self.log}")
        self.url = f"{HERE}:{port}"

    def _read(self, log: TextIO) -> None:
        with log:
            for line in self._process.stderr or ():
                log.write(line)
                self.last_words = line.strip()
                if '"listening on' in line:
                    self._ports.put(int(json.loads(line)["port"]))
        self._ports.put(None)

    def ended(self) -> str:
        """Tell in one line that it has ended by itself; empty while it runs."""
        if self._process.poll() is None:
            return ""
        self._reader.join(timeout=5)
        return f"{self.name} ended: {self.last_words or 'it said nothing'}; its log: {self.log}"

    def get(self, path: str) -> str:
        """Give one page's text; empty while there is none."""
        try:
            request = urllib.request.Request(self.url + path, headers=self._headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return ""

    def stop(self) -> None:
        """End it as Kubernetes would: asked first, killed where it takes its time. Safe to repeat."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stderr is not None:
            self._process.stderr.close()


class Exporter(Daemon):
    """A `stager-exporter serve` process and its pages."""

    def __init__(self, config: Path) -> None:
        """Start it; raises StartError."""
        super().__init__("stager-exporter", config)

    def foundation(self) -> dict[str, Any]:
        """Give the first foundation as the page shows it."""
        text = self.get("/view.json")
        found = json.loads(text)["foundations"] if text else []
        return dict(found[0]) if found else {}

    def refused_pushes(self) -> float:
        """Give the requests that failed with 503 StagerUnavailable, over all pods."""
        lines = self.get("/metrics").splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("cf_cc_stager_unavailable_total{")
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what at the demo's remediator; made anew for each run."""

    config: Path
    """remediator.yml."""
    notify: str
    """Alertmanager's token."""
    view: str
    """The token of whoever only looks."""
    operate: str
    """A person's token, for the terminal."""
    user: str
    """The same person's, for the page."""
    password: str


class Remediator(Daemon):
    """A `stager-remediator serve` process, asked by somebody who may only look."""

    def __init__(self, access: Access) -> None:
        """Start it; raises StartError."""
        super().__init__("stager-remediator", access.config, access.view)

    def remediation(self, name: str) -> dict[str, Any]:
        """Give one Remediation; empty while there is none."""
        text = self.get(f"/api/v1/remediations/{name}")
        return dict(json.loads(text)) if text else {}

    def answers(self) -> dict[tuple[str, str], int]:
        """Give how many notifications it answered how so far: by outcome and reason, and by "" and another status.

        Empty while it does not answer.
        """
        found = {}
        for line in self.get("/metrics").splitlines():
            if read := _ANSWERED.fullmatch(line):
                found[read["outcome"], read["reason"]] = int(float(read["count"]))
            elif (read := _STATUS.fullmatch(line)) and read["status"] != "200":
                found["", read["status"]] = int(float(read["count"]))
        return found

    def refused(self, reason: str) -> str:
        """Give the sentence of the newest refusal on record for this reason; empty without one."""
        text = self.get("/api/v1/status")
        records = json.loads(text)["foundations"][0]["refusals"] if text else []
        return next((str(record["text"]) for record in records if record["reason"] == reason), "")

    def newest(self) -> str:
        """Give the name of the Remediation that a notification made last; empty without one."""
        text = self.get("/api/v1/remediations")
        asked = [one for one in json.loads(text)["remediations"] if one["spec"].get("trigger")] if text else []
        return str(max(asked, key=lambda one: (one["created"], one["name"]))["name"]) if asked else ""

    def refusal(self) -> dict[str, Any] | None:
        """Give what admission would answer now; None where it would let a request pass."""
        text = self.get("/api/v1/status")
        playbooks = json.loads(text)["foundations"][0]["playbooks"] if text else []
        if not playbooks:
            return {"text": "its state is not known"}
        refused = playbooks[0]["refused"]
        return None if refused is None else dict(refused)


def new_secrets() -> tuple[str, str, str, str]:
    """Three tokens and a password."""
    return secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(9)


def write_remediator(cluster: Cluster, exporter_yml: Path, given: tuple[str, str, str, str]) -> Access:
    """Write `remediator.yml`, its credentials and their tokens beside the exporter's configuration.

    And `remediation.yml`, for whoever wants to ask for a restart by hand.

    `given`: the tokens of Alertmanager, of whoever only looks and of a person, and the person's password, which stands
    in the file as a hash only.
    """
    folder = exporter_yml.parent
    notify, view, operate, password = given
    for name, token in (("alertmanager.token", notify), ("viewer.token", view), ("operator.token", operate)):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(f"{token}\n", encoding="utf-8")
    credentials = [
        {"name": "alertmanager", "scopes": ["webhook"], "token_file": "alertmanager.token"},
        {"name": "viewer", "scopes": ["view"], "token_file": "viewer.token"},
        {
            "name": "demo",
            "scopes": ["view", "operate"],
            "token_file": "operator.token",
            "password_bcrypt": bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode(),
        },
    ]
    (folder / "credentials.yml").write_text(yaml.safe_dump(credentials, sort_keys=False), encoding="utf-8")
    settings = yaml.safe_load(exporter_yml.read_text(encoding="utf-8"))
    shared = {name: settings[name] for name in ("foundations", "probe")}
    config = folder / "remediator.yml"
    section = remediator_section(cluster.options.timing.lock_ttl)
    config.write_text(yaml.safe_dump({**shared, "remediator": section}, sort_keys=False), encoding="utf-8")
    request = {
        "apiVersion": "stager-medic.dev/v1alpha1",
        "kind": "Remediation",
        "metadata": {"generateName": f"{cluster.site().foundation.name}.restart-diego-api.by-hand-"},
        "spec": {"foundation": cluster.site().foundation.name, "playbook": "restart-diego-api"},
    }
    (folder / "remediation.yml").write_text(yaml.safe_dump(request, sort_keys=False), encoding="utf-8")
    return Access(config, notify, view, operate, "demo", password)


def remediator_section(lock_ttl: float) -> dict[str, Any]:
    """Give the remediator's part of its configuration, its waits as short as the foundation's `lock_ttl` is (seconds).

    A real one would keep the defaults: ten minutes of cooldown, two runs per hour, half a minute of verification. The
    cooldown here is long enough for a second incident to be noticed, told and mended within it.
    """
    return {
        "web": {"listen": "127.0.0.1:9718"},
        "credentials_file": "credentials.yml",
        "poll": "500ms",
        "backoff": "5s",
        "playbooks": {
            "restart-diego-api": {
                "mode": "auto",
                "cooldown": f"{max(25, round(27 * lock_ttl))}s",
                "limits": [{"runs": 10, "per": "1h"}],
                "steps": {"verify": {"dwell": "3s"}},
            }
        },
    }
