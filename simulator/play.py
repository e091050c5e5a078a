"""The whole story, played from end to end before a person's eyes, or unattended with a summary in JSON.

Exporter, remediator, Prometheus and Alertmanager run as processes of their own, as they would in a cluster, and
everything said here was read from their pages: nothing is taken from the simulator's own knowledge. What carries the
alert is `simulator.carrier`'s; what a person does is done as a person would and said so. Every change of the verdict
and of what fires is told, wanted or not, at the time at which it was first seen (looks are 0.2 s apart).
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from simulator.alerting import ALERTNAME
from simulator.carrier import StoppedError, carry
from simulator.daemons import Access, Exporter, Remediator, StartError, new_secrets, write_remediator
from simulator.debian import TOOLS
from simulator.monitoring import MonitoringError
from simulator.story import FIRING, RESOLVED, Answer, Story, answers_between, step_told

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator.carrier import Carrier
    from simulator.cluster import Cluster

__all__ = ["Exporter", "PlayError", "Played", "StoppedError", "play"]

STEP_LIMIT = 120.0
"""Seconds after which a step has failed."""
PLAYBOOK = "restart-diego-api"
BY_HAND = "by-hand"


class PlayError(Exception):
    """A step of the play did not come to pass; one line. `seen` is the summary of what came before it."""

    seen: Mapping[str, object] = MappingProxyType({})


@dataclass
class Played:
    """What stays up after the play, until `stop`."""

    exporter: Exporter
    remediator: Remediator
    access: Access
    carrier: Carrier
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
    carrier: Carrier
    story: Story
    heard: list[Answer] = field(default_factory=list)
    """Every answer of the webhook so far."""
    answered: dict[tuple[str, str], int] = field(default_factory=dict)
    """The remediator's counters as they were last."""
    paged: int = 0
    """How many pages were told of."""

    def turn(self) -> dict[str, Any]:
        """Look once at everything, tell what is new; gives the foundation as the exporter shows it.

        Raises PlayError where something has ended that should run.
        """
        if found := self.exporter.foundation():
            self.story.tell_verdict(found)
        with contextlib.suppress(MonitoringError):  # a look that got no answer is repeated
            self.story.tell_alerts(self.carrier.alerts())
        self._answers()
        for page in self.carrier.pages()[self.paged :]:
            self.paged += 1
            self.story.tell_page(page)
        if ended := self.exporter.ended() or self.remediator.ended() or self.carrier.ended():
            raise PlayError(ended)
        return found

    def _answers(self) -> None:
        """Tell what the remediator has answered since the last look."""
        now = self.remediator.answers()
        if not now:
            return
        for found in answers_between(self.answered, now):
            answer = found
            if answer.outcome == "created":
                answer = replace(answer, remediation=self.remediator.newest())
            elif answer.outcome == "refused" and (text := self.remediator.refused(answer.reason)):
                answer = replace(answer, reason=f"{answer.reason}: {text}")
            self.story.tell_answer(answer)
            self.heard.append(answer)
        self.answered = now

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

    def fires(self, name: str) -> None:
        """Wait until an alert fires."""
        self.wait(lambda: self.turn() and name in self.story.firing.values(), f"the alert {name}")

    def quiet(self, name: str) -> None:
        """Wait until an alert fires no more."""
        self.wait(lambda: self.turn() and name not in self.story.firing.values(), f"the end of the alert {name}")

    def answer(self, sent: str, since: int) -> Answer:
        """Wait for the first answer to such a notification after the `since` that were heard."""

        def found() -> Answer | None:
            self.turn()
            return next((one for one in self.heard[since:] if one.sent == sent and one.status == 200), None)

        answer: Answer = self.wait(found, f"an answer to a notification that is {sent}")
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


def play(
    cluster: Cluster, config: Path, say: Callable[[str], None], stop: threading.Event, tools: Path = TOOLS
) -> Played:
    """Play the story on the first foundation; `config` is the exporter's. All that it started is left running.

    `tools`: where Prometheus and Alertmanager are unpacked if the PATH lacks them. Raises PlayError; StoppedError soon
    after `stop` is set. Then nothing of it runs any more.
    """
    access = write_remediator(cluster, config, new_secrets())
    _listen_anywhere(config, "exporter")
    _listen_anywhere(access.config, "remediator")
    site = cluster.site().foundation
    with ExitStack() as stack:
        try:
            exporter = Exporter(config)
            stack.callback(exporter.stop)
            if stop.is_set():
                raise StoppedError
            remediator = Remediator(access)
            stack.callback(remediator.stop)
            carrier = carry(
                stack,
                (exporter, remediator, access),
                site.name,
                config.parent / "monitoring",
                lock_ttl=cluster.options.timing.lock_ttl,
                tools=tools,
                say=say,
                stop=stop,
            )
        except (StartError, MonitoringError) as error:
            raise PlayError(str(error)) from None
        for line in (
            *carrier.lines(),
            f"exporter      {exporter.url}",
            f"remediator    {remediator.url}   user {access.user}, password {access.password}",
            f"kubernetes    {cluster.url}   namespace {site.namespace}",
            f"files         {config.parent}",
        ):
            say(line)
        stage = _Stage(cluster, exporter, remediator, carrier, Story(say, stop, carrier.source, carrier.sender))
        stage.wait(lambda: carrier.ready() or carrier.ended(), "the first evaluation of the rules")
        stage.story.began = time.monotonic()
        summary: dict[str, object] = {
            "recovered": False, "incident": "locket_hung", "monitoring": carrier.summary(),
        }  # fmt: skip
        try:
            _perform(stage, summary)
        except PlayError as error:
            error.seen = summary
            raise
        finally:
            summary["alerts"] = stage.story.alerts()
            summary["events"] = stage.story.events
        return Played(exporter, remediator, access, carrier, summary, stack.pop_all())


def _perform(stage: _Stage, summary: dict[str, object]) -> None:
    summary["remediation"] = _first_incident(stage)
    summary["recovered"] = True
    summary["refused"] = _second_incident(stage)
    summary["declined"] = _database_down(stage)


def _first_incident(stage: _Stage) -> dict[str, object]:
    """Break it as in the vendor's runbook, and have the remediator mend it."""
    story, cluster, exporter = stage.story, stage.cluster, stage.exporter
    stage.until("healthy")
    story.heading("Every Locket gets stuck.")
    heard, before = len(stage.heard), exporter.refused_pushes()
    cluster.start_incident("locket_hung")
    story.tell("incident", "from now on every Locket accepts connections and answers nothing")
    stage.until("electing")
    found = stage.until("locket_hung", restart="yes")
    for sentence in found["evidence"][1:]:
        story.sentence(sentence)
    refused = stage.wait(lambda: exporter.refused_pushes() - before, "a push that fails with 503 StagerUnavailable")
    story.tell("pushes_refused", f"{refused:.0f} pushes failed with 503 Stager is unavailable", count=int(refused))
    stage.fires(ALERTNAME)
    answer = stage.answer(FIRING, since=heard)
    if answer.outcome != "created":
        raise PlayError(f"the remediator did not take the notification: {answer.outcome} {answer.reason}")
    ended = stage.ended(answer.remediation)
    if ended["status"]["phase"] != "Succeeded":
        raise PlayError(f"{ended['name']} ended {ended['status']['phase']}: {ended['status']['message']}")
    stage.until("healthy")
    refused = exporter.refused_pushes() - before
    story.tell("pushes_refused", f"{refused:.0f} pushes had failed by then", count=int(refused))
    stage.quiet(ALERTNAME)
    stage.answer(RESOLVED, since=heard)
    return _told(ended)


def _second_incident(stage: _Stage) -> dict[str, object]:
    """Break it again at once: twice within minutes is for a person."""
    story = stage.story
    story.heading("The same again, within the cooldown.")
    heard = len(stage.heard)
    stage.cluster.start_incident("locket_hung")
    story.tell("incident", "every Locket hangs again")
    answer = stage.answer(FIRING, since=heard)
    if answer.outcome != "refused":
        raise PlayError(f"the second notification was not refused: {answer.outcome} {answer.reason}")
    stage.cluster.heal_incident("locket_hung")
    story.tell("mended", "a person has mended the Lockets, without the remediator; the simulator plays that person")
    stage.until("healthy")
    stage.answer(RESOLVED, since=heard)
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
        "steps": [step_told(step) for step in status.get("steps", ())],
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
