"""The incident, played from end to end before a person's eyes, or unattended with a summary in JSON.

The exporter runs as a process of its own, as it would in a cluster, and everything said here was read from its pages:
nothing is taken from the simulator's own knowledge. Deleting the pods is what the vendor's runbook has a person do.
Every change of the verdict is told, wanted or not, at the time at which it was first seen (looks are 0.2 s apart).
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.cluster import Cluster

HERE = "http://127.0.0.1"
STEP_LIMIT = 120.0
"""Seconds after which a step has failed."""


class PlayError(Exception):
    """A step of the play did not come to pass; one line."""


class StoppedError(Exception):
    """Whoever watches wants no more."""


@dataclass
class Story:
    """What was seen, and when, in seconds since the exporter was up."""

    say: Callable[[str], None]
    stop: threading.Event
    began: float = field(default_factory=time.monotonic)
    events: list[dict[str, object]] = field(default_factory=list)
    verdict: tuple[str, str] = ("", "")
    """The verdict told last, and whether a restart would help."""

    def tell(self, what: str, text: str, **values: object) -> None:
        """Print one line and keep it for the summary."""
        at = time.monotonic() - self.began
        self.events.append({"at": round(at, 1), "what": what, **values})
        self.say(f"{at:+7.1f} s  {text}")


class Exporter:
    """A `stager-exporter serve` process and its pages."""

    def __init__(self, config: Path) -> None:
        command = [str(Path(sys.executable).with_name("stager-exporter")), "serve", "--config", str(config)]
        # In a session of its own: Ctrl-C in the terminal is for the demo, which then ends the exporter.
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self._ports: queue.Queue[int | None] = queue.Queue()
        self.last_words = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            port = self._ports.get(timeout=STEP_LIMIT)
        except queue.Empty:
            port = None
        if port is None:
            self.stop()
            raise PlayError(f"the exporter did not start: {self.last_words}")
        self.url = f"{HERE}:{port}"

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self.last_words = line.strip()
            if '"listening on' in line:
                self._ports.put(int(json.loads(line)["port"]))
        self._ports.put(None)

    def get(self, path: str) -> str:
        """One page's text; empty while there is none."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return ""

    def foundation(self) -> dict[str, Any]:
        """The first foundation as the page shows it."""
        text = self.get("/view.json")
        found = json.loads(text)["foundations"] if text else []
        return dict(found[0]) if found else {}

    def refused_pushes(self) -> float:
        """Requests that failed with 503 StagerUnavailable, over all pods."""
        lines = self.get("/metrics").splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("cf_cc_stager_unavailable_total{")
        )

    def stop(self) -> None:
        """End it as Kubernetes would."""
        self._process.terminate()
        self._process.wait(timeout=10)
        self._reader.join(timeout=5)
        if self._process.stderr is not None:
            self._process.stderr.close()


def play(
    cluster: Cluster, config: Path, say: Callable[[str], None], stop: threading.Event
) -> tuple[Exporter, dict[str, object]]:
    """Play the seed's incident on the first foundation. The exporter is left running.

    Raises PlayError; StoppedError soon after `stop` is set.
    """
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings["exporter"]["web"]["listen"] = "127.0.0.1:0"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    exporter = Exporter(config)
    try:
        return exporter, _play(cluster, exporter, say, stop)
    except BaseException:
        exporter.stop()
        raise


def _play(cluster: Cluster, exporter: Exporter, say: Callable[[str], None], stop: threading.Event) -> dict[str, object]:
    site = cluster.site().foundation
    say(f"exporter  {exporter.url}  (page, /metrics)    kubernetes  {cluster.url}  namespace {site.namespace}")
    story = Story(say, stop)
    _until(exporter, story, "healthy")
    before = exporter.refused_pushes()
    cluster.start_incident("locket_hung")
    story.tell("incident", "every Locket is made to hang: it accepts connections and answers nothing")
    _until(exporter, story, "electing")
    found = _until(exporter, story, "locket_hung", restart="yes")
    for sentence in found["evidence"][1:]:
        say(f"             - {sentence}")
    refused = _wait(story, lambda: exporter.refused_pushes() - before, "a push that fails with 503 StagerUnavailable")
    story.tell("pushes_refused", f"{refused:.0f} pushes failed with 503 Stager is unavailable", count=int(refused))
    pods = list(found["pods_to_restart"])
    for pod in pods:
        _delete(f"{cluster.url}/api/v1/namespaces/{site.namespace}/pods/{pod}")
    grace = site.timing.grace
    story.tell(
        "deleted",
        f"deleted {' '.join(pods)}, as the runbook says; a hung Locket ignores TERM, so this takes the whole "
        f"termination grace of {grace:.0f} s",
        pods=pods,
        grace=grace,
    )
    _until(exporter, story, "healthy")
    return {"recovered": True, "incident": "locket_hung", "events": story.events}


def _until(exporter: Exporter, story: Story, verdict: str, restart: str = "") -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def reached() -> bool:
        if found := exporter.foundation():
            seen.clear()
            seen.update(found)
            _tell_change(story, seen)
        return seen.get("verdict") == verdict and restart in ("", seen.get("restart"))

    _wait(story, reached, f"the verdict {verdict}")
    return seen


def _tell_change(story: Story, seen: dict[str, Any]) -> None:
    found = (str(seen["verdict"]), str(seen["restart"]))
    if found != story.verdict and found[0]:
        story.verdict = found
        reason = seen["evidence"][0] if seen["evidence"] else ""
        story.tell("verdict", f"{found[0]}, restart {found[1]}: {reason}", verdict=found[0], restart=found[1])


def _wait(story: Story, condition: Callable[[], float], what: str) -> float:
    deadline = time.monotonic() + STEP_LIMIT
    while not (value := condition()):
        if time.monotonic() > deadline:
            last = f"; the verdict is {story.verdict[0]}" if story.verdict[0] else ""
            raise PlayError(f"waited {STEP_LIMIT:.0f} s for {what}{last}")
        if story.stop.wait(0.2):
            raise StoppedError
    return value


def _delete(url: str) -> None:
    request = urllib.request.Request(url, method="DELETE")
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
