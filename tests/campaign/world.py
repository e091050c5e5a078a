"""The processes of a trial: the simulated cluster, replicas of the remediator, and hands that can do harm to both."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.campaign.checker import Told

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "campaign-on-loopback"
PLAYBOOK = "restart-diego-api"
DEADLINE = 30.0


class TimedOutError(AssertionError):
    """Something that must happen did not."""


def eventually(look: Callable[[], Any], what: str, deadline: float = DEADLINE, pause: float = 0.03) -> Any:
    """The first true value of `look`."""
    ends = time.monotonic() + deadline
    while not (found := look()):
        if time.monotonic() > ends:
            raise TimedOutError(f"{what}: not within {deadline:g} s")
        time.sleep(pause)
    return found


def request(url: str, method: str = "GET", body: object = None, headers: Json | None = None) -> tuple[int, Any]:
    """One HTTP request; the answer's status and JSON. Raises OSError."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
    try:
        data = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), data, given)
        answer = connection.getresponse()
        raw = answer.read()
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, raw.decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


class Process:
    """A child in a process group of its own, its standard error collected."""

    def __init__(self, arguments: list[str], environ: Json | None = None) -> None:
        self.child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.out: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._read, args=(self.child.stderr, self.lines.append), daemon=True),
            threading.Thread(target=self._read, args=(self.child.stdout, self.out.put), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(pipe: Any, take: Callable[[str], object]) -> None:
        for line in pipe:
            take(line.rstrip("\n"))

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def signal(self, number: int) -> None:
        """To the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def end(self) -> None:
        """Kill whatever is left, and reap it."""
        self.signal(signal.SIGKILL)
        self.child.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe is not None:
                pipe.close()


class Cluster:
    """The simulated cluster as a process of its own."""

    def __init__(self, folder: Path, *, layout: str, speed: float, grace: float) -> None:
        self.journal_file = folder / "journal.jsonl"
        arguments = [
            "-c",
            "from simulator.cli import main; main()",
            "--json",
            "--no-traffic",
            "--layout",
            layout,
            "--speed",
            str(speed),
        ]
        arguments += ["--grace", str(grace), "--state-dir", str(folder), "--journal", str(self.journal_file)]
        self.process = Process(arguments)
        said = eventually(self._first_line, "the simulated cluster starts")
        self.control, self.exporter_yml = said["control"], Path(said["exporter_yml"])
        self.namespace = said["foundations"]["demo"]["namespace"]

    def _first_line(self) -> Json | None:
        if not self.process.alive:
            raise TimedOutError("the simulated cluster ended: " + " | ".join(self.process.lines[-5:]))
        with contextlib.suppress(queue.Empty):
            found: Json = json.loads(self.process.out.get_nowait())
            return found
        return None

    def tell(self, path: str, body: object = None, method: str = "POST") -> Json:
        """One request to the control endpoint."""
        status, answer = request(f"{self.control}/{path}", method, {} if body is None else body)
        if status != 200:
            raise AssertionError(f"{path}: {status} {answer}")
        found: Json = answer
        return found

    def faults(self, **wanted: object) -> None:
        """Change the API server's faults."""
        self.tell("faults", wanted)

    def incident(self, name: str) -> None:
        """Start one."""
        self.tell(f"foundations/demo/incidents/{name}")

    def heal(self, name: str) -> None:
        """End one."""
        self.tell(f"foundations/demo/incidents/{name}", method="DELETE")

    def api(self, method: str, path: str, body: object = None, content: str = "application/json") -> tuple[int, Any]:
        """As somebody with kubectl, on the address that never fails."""
        base = self.control.removesuffix("/simulator")
        return request(base + path, method, body, {"User-Agent": "somebody", "Content-Type": content})

    def pods(self) -> dict[str, str]:
        """BBS and Locket pods with their UIDs."""
        _, listing = self.api("GET", f"/api/v1/namespaces/{self.namespace}/pods")
        found = {}
        for pod in listing["items"]:
            name = pod["metadata"]["name"]
            if name.startswith(("diego", "bbs", "locket", "scheduler")):
                found[name] = pod["metadata"]["uid"]
        return found

    def ledger(self) -> tuple[str, Json]:
        """The ledger's name and what stands in it."""
        _, listing = self.api("GET", f"/api/v1/namespaces/{self.namespace}/configmaps")
        for item in listing["items"]:
            if item["metadata"]["name"].startswith("stager-medic-") and "ledger" in item.get("data", {}):
                return item["metadata"]["name"], json.loads(item["data"]["ledger"])
        return "", {}

    def remediations(self) -> list[Json]:
        """All of them."""
        path = f"/apis/stager-medic.dev/v1alpha1/namespaces/{self.namespace}/remediations"
        _, listing = self.api("GET", path)
        items: list[Json] = listing["items"]
        return items

    def under_way(self) -> list[str]:
        """The Remediations that neither ended nor wait for a person, by their own status, which follows the ledger."""
        phases = {item["metadata"]["name"]: item.get("status", {}).get("phase") for item in self.remediations()}
        return [name for name, phase in phases.items() if phase in (None, "", "Pending", "Running")]

    def journal(self) -> list[Json]:
        """Everything that was asked, in the order of its effect."""
        return [json.loads(line) for line in self.journal_file.read_text(encoding="utf-8").splitlines()]

    def changes(self, after: int = 0) -> list[Json]:
        """The newest requests that change something."""
        _, answer = request(f"{self.control}/requests?after={after}")
        found: list[Json] = answer["requests"]
        return found


class Replica:
    """One remediator."""

    def __init__(self, config: Path, *, skew: float = 0.0, without: str = "") -> None:
        self._arguments = ["-m", "tests.campaign.replica", str(config), "--skew", str(skew)]
        if without:
            self._arguments += ["--without", without]
        self.process = Process(self._arguments)
        self._port = 0

    def port(self) -> int:
        """Where it listens, once it does; 0 before."""
        if not self._port:
            for line in self.process.lines:
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    if isinstance(said, dict) and "port" in said:
                        self._port = int(said["port"])
        return self._port

    def restart(self) -> None:
        """A new process in its place."""
        self.process.end()
        self.process, self._port = Process(self._arguments), 0

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """One request to it. Raises OSError where it does not answer."""
        if not self.port():
            raise OSError("it does not listen yet")
        url = f"http://127.0.0.1:{self.port()}{path}"
        return request(url, "POST", body, {"Authorization": f"Bearer {TOKEN}"})


def alert(status: str = "firing", fingerprint: str = "f1") -> Json:
    """A notification as Alertmanager sends it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    labels = {"alertname": "DiegoRestartWouldHelp", "foundation": "demo", "remediate": PLAYBOOK}
    one = {"status": status, "labels": labels, "startsAt": now, "fingerprint": fingerprint, "annotations": {}}
    return {"version": "4", "groupKey": "g", "status": status, "alerts": [one], "truncatedAlerts": 0}


class Alertmanager:
    """Sends notifications to replicas until told to stop, and keeps every answer."""

    def __init__(self, replicas: list[Replica], *, every: float, doubled: bool) -> None:
        self._replicas = replicas
        self._every, self._doubled = every, doubled
        self.told: list[Told] = []
        self.status = "firing"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._turn = 0
        self._senders: list[threading.Thread] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when every answer is in."""
        self._stop.set()
        for thread in (self._thread, *self._senders):
            thread.join(20)

    def send(self, replica: Replica) -> None:
        """One notification to one replica, its answer kept."""
        with contextlib.suppress(OSError):
            status, answer = replica.post("/api/v1/alertmanager", alert(self.status))
            self.told.append(Told(time.time(), status, answer.get("alerts", []) if isinstance(answer, dict) else []))

    def _run(self) -> None:
        while not self._stop.is_set():
            senders = []
            for _ in range(2 if self._doubled else 1):
                replica = self._replicas[self._turn % len(self._replicas)]
                self._turn += 1
                senders.append(threading.Thread(target=self.send, args=(replica,), daemon=True))
            for sender in senders:
                sender.start()
            self._senders = [one for one in (*self._senders, *senders) if one.is_alive()]
            self._stop.wait(self._every)


def write_config(cluster: Cluster, folder: Path, **remediator: Any) -> Path:
    """The replicas' configuration beside the simulator's files."""
    document = yaml.safe_load(cluster.exporter_yml.read_text())
    document.pop("exporter", None)
    document.pop("logs", None)
    foundation = document["foundations"][0]
    foundation["database"]["interval"] = "500ms"
    document["probe"] = {"interval": "500ms", "timeout": "500ms"}
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    scopes = ["webhook", "view", "operate"]
    credentials = [{"name": "campaign", "scopes": scopes, "token_sha256": hashed}]
    (folder / "credentials.yml").write_text(yaml.safe_dump(credentials))
    playbook: Json = {
        "mode": "auto",
        "cooldown": "20s",
        "limits": [{"runs": 2, "per": "60s"}],
        "steps": {
            "confirm": {"deadline": "15s"},
            "delete": {"deadline": "10s"},
            "replace": {"start_budget": "15s"},
            "active": {"deadline": "15s"},
            "verify": {"dwell": "500ms", "deadline": "15s"},
        },
    }
    playbook |= remediator.pop("playbook", {})
    document["remediator"] = {
        "web": {"listen": "127.0.0.1:0"},
        "credentials_file": str(folder / "credentials.yml"),
        "claim": "4s",
        "poll": "200ms",
        "backoff": "2s",
        "approval_expires": "10s",
        "retry_for": "60s",
        "playbooks": {PLAYBOOK: playbook},
        **remediator,
    }
    path = folder / "remediator.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
