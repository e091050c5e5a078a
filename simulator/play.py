"""The whole story, played from end to end before a person's eyes, or unattended with a summary in JSON.

Exporter and remediator run as processes of their own, as they would in a cluster, and everything said here was read
from their pages: nothing is taken from the simulator's own knowledge. What carries the alert from one to the other is
`simulator.alerting`; what a person does is done as a person would and said so. Every change of the verdict is told,
wanted or not, at the time at which it was first seen (looks are 0.2 s apart).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from simulator.alerting import Alerting, Delivered
from simulator.daemons import Access, Exporter, Remediator, StartError, new_secrets, write_remediator

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator.cluster import Cluster

__all__ = ["Exporter", "PlayError", "Played", "StoppedError", "Story", "play"]

STEP_LIMIT = 120.0
"""Seconds after which a step has failed."""
HOLD, REPEAT = 2.0, 1.0
"""Seconds: the alert's `for`, and how soon it is told again. Real ones are minutes and hours."""
SLOW_STEP = 2.0
"""Seconds after which a step under way is told of before its end."""
WIDTH = 120
"""Characters of a step's outcome that are printed."""
PLAYBOOK = "restart-diego-api"
BY_HAND = "by-hand"


class PlayError(Exception):
    """A step of the play did not come to pass; one line. `seen` is the summary of what came before it."""

    seen: Mapping[str, object] = MappingProxyType({})


class StoppedError(Exception):
    """Whoever watches wants no more."""


@dataclass
class Story:
    """What was seen, and when, in seconds since both daemons were up."""

    say: Callable[[str], None]
    stop: threading.Event
    began: float = field(default_factory=time.monotonic)
    events: list[dict[str, object]] = field(default_factory=list)
    verdict: tuple[str, str] = ("", "")
    """The verdict told last, and whether a restart would help."""
    answer: tuple[str, int, str, str] | None = None
    """The kind of the webhook's answer that was told last."""
    steps: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Steps under way that were not told of yet, by Remediation, name and start, and the Unix time they were seen."""
    told: set[tuple[str, str, str]] = field(default_factory=set)
    """Steps that have ended and were told of."""

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self.say(f"\n{text}")

    def tell(self, what: str, text: str, **values: object) -> None:
        """Print one line and keep it for the summary."""
        at = time.monotonic() - self.began
        self.events.append({"at": round(at, 1), "what": what, **values})
        self.say(f"{at:+7.1f} s  {text}")

    def tell_verdict(self, seen: dict[str, Any]) -> None:
        """Tell of a verdict that is not the last one told."""
        found = (str(seen["verdict"]), str(seen["restart"]))
        if found != self.verdict and found[0]:
            self.verdict = found
            reason = seen["evidence"][0] if seen["evidence"] else ""
            self.tell("verdict", f"{found[0]}, restart {found[1]}: {reason}", verdict=found[0], restart=found[1])

    def tell_answer(self, delivered: Delivered) -> None:
        """Tell what the webhook answered, unless it said the same the last time."""
        if delivered.kind == self.answer:
            return
        self.answer = delivered.kind
        outcome = " ".join(filter(None, (delivered.outcome, delivered.remediation)))
        text = ": ".join(filter(None, (outcome, delivered.reason))) or "no answer"
        self.tell(
            "notification",
            f"Alertmanager -> remediator, {delivered.sent}: {delivered.status} {text}",
            sent=delivered.sent,
            status=delivered.status,
            outcome=delivered.outcome,
            reason=delivered.reason,
            remediation=delivered.remediation,
        )

    def tell_steps(self, found: dict[str, Any], now: float) -> None:
        """Tell of each step that has ended, and of one under way that takes its time. `now`: Unix time."""
        name, status = str(found["name"]), found["status"]
        for step in status.get("steps", ()):
            key = (name, str(step["name"]), str(step["started"]))
            if "finished" in step and key not in self.told:
                self.told.add(key)
                words = ": ".join(filter(None, (step["result"], step["detail"])))
                self.tell("step", f"  {step['name']:<9} {shortened(words)}", remediation=name, **_step(step))
            elif "finished" not in step and now - self.steps.setdefault(key, now) > SLOW_STEP:
                self.steps[key] = float("inf")
                self.say(f"             {step['name']:<9} {status.get('message', '')} …")


@dataclass
class Played:
    """What stays up after the play, until `stop`."""

    exporter: Exporter
    remediator: Remediator
    access: Access
    summary: dict[str, object]
    stack: ExitStack

    def stop(self) -> None:
        """End the daemons and what notifies them."""
        self.stack.close()


@dataclass
class _Stage:
    """All that a chapter of the play needs."""

    cluster: Cluster
    exporter: Exporter
    remediator: Remediator
    alerting: Alerting
    story: Story

    def turn(self) -> dict[str, Any]:
        """Look once at everything, tell what is new; gives the foundation as the exporter shows it."""
        if found := self.exporter.foundation():
            self.story.tell_verdict(found)
        for delivered in self.alerting.delivered():
            self.story.tell_answer(delivered)
            self.heard.append(delivered)
        return found

    heard: list[Delivered] = field(default_factory=list)
    """Every answer so far."""

    def wait(self, condition: Callable[[], Any], what: str) -> Any:  # noqa: ANN401  whatever the condition gives
        """Give what the condition gives once that is something; raises PlayError, StoppedError."""
        deadline = time.monotonic() + STEP_LIMIT
        while not (value := condition()):
            if time.monotonic() > deadline:
                last = f"; the verdict is {self.story.verdict[0]}" if self.story.verdict[0] else ""
                raise PlayError(f"waited {STEP_LIMIT:.0f} s for {what}{last}")
            if self.story.stop.wait(0.2):
                raise StoppedError
        return value

    def until(self, verdict: str, restart: str = "") -> dict[str, Any]:
        """Wait for a verdict."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.clear()
            seen.update(self.turn())
            return seen.get("verdict") == verdict and restart in ("", seen.get("restart"))

        self.wait(reached, f"the verdict {verdict}")
        return seen

    def answer(self, sent: str, since: int | None = None) -> Delivered:
        """Wait for the next answer to such a notification, or for the first after the `since` that were heard."""
        known = len(self.heard) if since is None else since

        def found() -> Delivered | None:
            self.turn()
            return next((one for one in self.heard[known:] if one.sent == sent and one.status == 200), None)

        answer: Delivered = self.wait(found, f"an answer to a notification that is {sent}")
        return answer

    def ended(self, name: str) -> dict[str, Any]:
        """Wait for a Remediation's end, telling its steps as they happen."""

        def final() -> dict[str, Any] | None:
            self.turn()
            found = self.remediator.remediation(name)
            if not found:
                return None
            self.story.tell_steps(found, time.time())
            return found if found["status"].get("finished") else None

        found: dict[str, Any] = self.wait(final, f"the end of {name}")
        status = found["status"]
        self.story.tell(
            "ended", f"{name}: {status['phase']}: {status['message']}", remediation=name, phase=status["phase"]
        )
        return found


def play(cluster: Cluster, config: Path, say: Callable[[str], None], stop: threading.Event) -> Played:
    """Play the story on the first foundation; `config` is the exporter's. The daemons are left running.

    Raises PlayError; StoppedError soon after `stop` is set.
    """
    access = write_remediator(cluster, config, new_secrets())
    _listen_anywhere(config, "exporter")
    _listen_anywhere(access.config, "remediator")
    with ExitStack() as stack:
        try:
            exporter = Exporter(config)
            stack.callback(exporter.stop)
            remediator = Remediator(access)
            stack.callback(remediator.stop)
        except StartError as error:
            raise PlayError(str(error)) from None
        alerting = Alerting(
            lambda: exporter.get("/metrics"),
            f"{remediator.url}/api/v1/alertmanager",
            access.notify,
            cluster.site().foundation.name,
            hold=HOLD,
            repeat=REPEAT,
        )
        alerting.start()
        stack.callback(alerting.stop)
        say(f"exporter    {exporter.url}   remediator  {remediator.url}")
        say(f"kubernetes  {cluster.url}   namespace {cluster.site().foundation.namespace}   files {config.parent}")
        stage = _Stage(cluster, exporter, remediator, alerting, Story(say, stop))
        summary: dict[str, object] = {"recovered": False, "incident": "locket_hung"}
        try:
            _perform(stage, summary)
        except PlayError as error:
            error.seen = summary
            raise
        finally:
            summary["events"] = stage.story.events
        return Played(exporter, remediator, access, summary, stack.pop_all())


def _perform(stage: _Stage, summary: dict[str, object]) -> None:
    summary["remediation"] = _first_incident(stage)
    summary["recovered"] = True
    summary["refused"] = _second_incident(stage)
    summary["declined"] = _database_down(stage)


def _first_incident(stage: _Stage) -> dict[str, object]:
    """Break it as in the vendor's runbook, and have the remediator mend it."""
    story, cluster = stage.story, stage.cluster
    stage.until("healthy")
    story.heading("Every Locket gets stuck.")
    before = stage.exporter.refused_pushes()
    cluster.start_incident("locket_hung")
    story.tell("incident", "from now on every Locket accepts connections and answers nothing")
    stage.until("electing")
    found = stage.until("locket_hung", restart="yes")
    for sentence in found["evidence"][1:]:
        story.say(f"             - {sentence}")
    refused = stage.wait(
        lambda: stage.exporter.refused_pushes() - before, "a push that fails with 503 StagerUnavailable"
    )
    story.tell("pushes_refused", f"{refused:.0f} pushes failed with 503 Stager is unavailable", count=int(refused))
    answer = stage.answer("firing")
    if answer.outcome != "created":
        raise PlayError(f"the remediator did not take the notification: {answer.outcome} {answer.reason}")
    ended = stage.ended(answer.remediation)
    if ended["status"]["phase"] != "Succeeded":
        raise PlayError(f"{ended['name']} ended {ended['status']['phase']}: {ended['status']['message']}")
    stage.until("healthy")
    return _told(ended)


def _second_incident(stage: _Stage) -> dict[str, object]:
    """Break it again at once: twice within minutes is for a person."""
    story = stage.story
    story.heading("The same again, within the cooldown.")
    stage.cluster.start_incident("locket_hung")
    story.tell("incident", "every Locket hangs again")
    answer = stage.answer("firing")
    if answer.outcome != "refused":
        raise PlayError(f"the second notification was not refused: {answer.outcome} {answer.reason}")
    heard = len(stage.heard)
    stage.cluster.heal_incident("locket_hung")
    story.tell("mended", "a person has mended the Lockets, without the remediator; the simulator plays that person")
    stage.until("healthy")
    stage.answer("resolved", since=heard)
    return {"outcome": answer.outcome, "reason": answer.reason}


def _database_down(stage: _Stage) -> dict[str, object]:
    """Take the database away, and ask for a restart all the same."""
    story, foundation = stage.story, stage.cluster.site().foundation
    story.heading("The database goes down. A restart would now do harm.")
    stage.cluster.start_incident("database_down")
    story.tell("incident", "the SQL database refuses connections")
    stage.until("database_down")
    if refused := stage.remediator.refusal():
        story.tell("cooldown", f"no alert asks for a restart. A person will, and waits: {refused['text']}")
        stage.wait(lambda: stage.turn() and stage.remediator.refusal() is None, "the end of the cooldown")
    name = f"{foundation.name}.{PLAYBOOK}.{BY_HAND}"
    path = f"/apis/stager-medic.dev/v1alpha1/namespaces/{foundation.namespace}/remediations"
    body = {
        "apiVersion": "stager-medic.dev/v1alpha1",
        "kind": "Remediation",
        "metadata": {"name": name},
        "spec": {"foundation": foundation.name, "playbook": PLAYBOOK},
    }
    _create(f"{stage.cluster.url}{path}", body)
    story.tell(
        "asked", f"a person insists: the Remediation {name} is made, as `kubectl create` would", remediation=name
    )
    ended = stage.ended(name)
    if ended["status"]["phase"] != "WouldNotHelp":
        raise PlayError(f"{name} ended {ended['status']['phase']}: {ended['status']['message']}")
    stage.cluster.heal_incident("database_down")
    story.tell("mended", "the database is back; nothing was deleted in vain")
    stage.until("healthy")
    return _told(ended)


def _told(found: dict[str, Any]) -> dict[str, object]:
    """Give what the summary says of a Remediation that has ended."""
    status = found["status"]
    return {
        "name": found["name"],
        "phase": status["phase"],
        "message": status["message"],
        "verdict": status.get("verdictBefore") or str(status["message"]).partition(":")[0],
        "pods": [pod["name"] for pod in status.get("pods", ()) if "deletedAt" in pod],
        "evidence": status.get("evidence", ""),
        "steps": [_step(step) for step in status.get("steps", ())],
    }


def shortened(text: str) -> str:
    """Give what fits on a line; the whole is in the Remediation, and in the summary."""
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1].rstrip()}…"


def _step(step: dict[str, Any]) -> dict[str, object]:
    return {
        "step": step["name"],
        "started": step["started"],
        "finished": step.get("finished"),
        "result": step.get("result", ""),
        "detail": step.get("detail", ""),
    }


def _create(url: str, body: Mapping[str, object]) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise PlayError(f"{url}: {error.code} {error.read().decode(errors='replace')[:200]}") from None


def _listen_anywhere(config: Path, section: str) -> None:
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings[section]["web"]["listen"] = "127.0.0.1:0"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
