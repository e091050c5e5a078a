"""What the demo tells: one line for each thing that is new, and the same as data for the summary.

It decides what is new, not what is true: that was read from the pages of exporter, remediator, Prometheus and
Alertmanager by `simulator.play`. Looks are 0.2 s apart, so what comes and goes between two of them is not told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from simulator.monitoring import Alert, Heard

SLOW_STEP = 2.0
"""Seconds after which a step under way is told of before its end."""
WIDTH = 120
"""Characters of a line's text that are printed."""
EVIDENCE = " " * 13
ALWAYS_FIRES = "Watchdog"
"""The alert that says only that alerts are delivered: it is waited for at the start, and not told of."""
FIRING, RESOLVED = "firing", "resolved"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the remediator made of a notification, as its own counters and its state have it."""

    sent: str
    """firing or resolved; empty where the status alone is known."""
    status: int
    """Of HTTP."""
    outcome: str = ""
    reason: str = ""
    remediation: str = ""

    @property
    def kind(self) -> tuple[str, int, str, str]:
        """What two answers have in common that say the same, whatever times stand in their texts."""
        return self.sent, self.status, self.outcome, self.reason.partition(":")[0]


@dataclass
class Story:
    """What was seen, and when, in seconds since everything was up."""

    say: Callable[[str], None]
    stop: threading.Event
    source: str = "Prometheus"
    """Who says which alerts fire."""
    sender: str = "Alertmanager"
    """Who notifies."""
    began: float = field(default_factory=time.monotonic)
    events: list[dict[str, object]] = field(default_factory=list)
    verdict: tuple[str, str] = ("", "")
    """The verdict told last, and whether a restart would help."""
    answer: tuple[str, int, str, str] | None = None
    """The kind of the webhook's answer that was told last."""
    firing: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)
    """The alerts that fire, by their labels."""
    steps: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Steps under way that were not told of yet, by Remediation, name and start, and the Unix time they were seen."""
    told: set[tuple[str, str, str]] = field(default_factory=set)
    """Steps that have ended and were told of."""

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self.say(f"\n{text}")

    def tell(self, what: str, text: str, **values: object) -> None:
        """Print one line and keep it for the summary."""
        self.keep(what, **values)
        self.line(text)

    def keep(self, what: str, **values: object) -> None:
        """Keep something for the summary."""
        self.events.append({"at": round(time.monotonic() - self.began, 1), "what": what, **values})

    def line(self, text: str) -> None:
        """Print one line with its time."""
        self.say(f"{time.monotonic() - self.began:+7.1f} s  {shortened(text)}")

    def sentence(self, text: str) -> None:
        """Print a sentence of the evidence, on as many lines as it takes."""
        for line in wrap(text, WIDTH, initial_indent=f"{EVIDENCE}- ", subsequent_indent=f"{EVIDENCE}  "):
            self.say(line)

    def tell_verdict(self, seen: Mapping[str, Any]) -> None:
        """Tell of a verdict that is not the last one told."""
        found = (str(seen["verdict"]), str(seen["restart"]))
        if found != self.verdict and found[0]:
            self.verdict = found
            reason = seen["evidence"][0] if seen["evidence"] else ""
            self.tell("verdict", f"{found[0]}, restart {found[1]}: {reason}", verdict=found[0], restart=found[1])

    def tell_alerts(self, alerts: Iterable[Alert]) -> None:
        """Tell of each alert that has begun to fire, or has ended. `alerts`: all that are pending or fire."""
        now = {
            tuple(sorted(alert.labels.items())): alert.name
            for alert in alerts
            if alert.state == FIRING and alert.name != ALWAYS_FIRES
        }
        for state, names in (
            (FIRING, {key: name for key, name in now.items() if key not in self.firing}),
            (RESOLVED, {key: name for key, name in self.firing.items() if key not in now}),
        ):
            together: dict[str, list[str]] = {}
            for key, name in names.items():
                labels = dict(key)
                kind = " ".join(labels[label] for label in ("severity", "window", "finding") if label in labels)
                together.setdefault(name, []).append(kind.removeprefix("none"))
                self.keep("alert", alert=name, state=state, labels=labels)
            words = "fires" if state == FIRING else "has resolved"
            for name, kinds in together.items():
                more = f" ({', '.join(sorted(kinds))})" if any(kinds) else ""
                self.line(f"{self.source}: {name}{more} {words}")
        self.firing = now

    def tell_answer(self, answer: Answer) -> None:
        """Tell what the webhook answered, unless it said the same the last time."""
        if answer.kind == self.answer:
            return
        self.answer = answer.kind
        outcome = " ".join(filter(None, (answer.outcome, answer.remediation)))
        text = ": ".join(filter(None, (outcome, answer.reason)))
        sent = f", {answer.sent}" if answer.sent else ""
        self.tell(
            "notification",
            f"{self.sender} -> remediator{sent}: {answer.status} {text}".rstrip(),
            sent=answer.sent,
            status=answer.status,
            outcome=answer.outcome,
            reason=answer.reason,
            remediation=answer.remediation,
        )

    def tell_page(self, page: Heard) -> None:
        """Tell what a person was paged with."""
        self.tell("page", f"{self.sender} -> on call, {page.status}: {page.text}", sent=page.status, title=page.text)

    def tell_steps(self, found: Mapping[str, Any], now: float) -> None:
        """Tell of each step that has ended, and of one under way that takes its time. `now`: Unix time."""
        name, status = str(found["name"]), found["status"]
        for step in status.get("steps", ()):
            key = (name, str(step["name"]), str(step["started"]))
            if "finished" in step and key not in self.told:
                self.told.add(key)
                words = ": ".join(filter(None, (step["result"], step["detail"])))
                self.tell("step", f"  {step['name']:<9} {words}", remediation=name, **step_told(step))
            elif "finished" not in step and now - self.steps.setdefault(key, now) > SLOW_STEP:
                self.steps[key] = float("inf")
                self.say(f"             {step['name']:<9} {status.get('message', '')} …")

    def alerts(self) -> list[dict[str, object]]:
        """Give each time that an alert fired: when, and when it had resolved (None: it still fires)."""
        found: list[dict[str, object]] = []
        for event in self.events:
            if event["what"] != "alert":
                continue
            if event["state"] == FIRING:
                found.append(
                    {"alert": event["alert"], "labels": event["labels"], "fired": event["at"], "resolved": None}
                )
            else:
                same = (one for one in reversed(found) if one["labels"] == event["labels"])
                next(same)["resolved"] = event["at"]
        return found


def step_told(step: Mapping[str, Any]) -> dict[str, object]:
    """Give what the summary says of a step."""
    return {
        "step": step["name"],
        "started": step["started"],
        "finished": step.get("finished"),
        "result": step.get("result", ""),
        "detail": step.get("detail", ""),
    }


def shortened(text: str) -> str:
    """Give what fits on a line; the whole is in the Remediation, and in the summary."""
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1].rstrip()}…"


def answers_between(before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]) -> Sequence[Answer]:
    """Give an answer for each of the remediator's counters that has risen: by outcome and reason, or "" and status.

    What happened between two looks has lost its order; ends are then told last.
    """
    risen = [key for key, count in after.items() if count > before.get(key, 0)]
    found = [
        Answer("", int(reason)) if not outcome else Answer(_sent(outcome, reason), 200, outcome, reason)
        for outcome, reason in risen
    ]
    return sorted(found, key=lambda answer: answer.sent == RESOLVED)


def _sent(outcome: str, reason: str) -> str:
    return RESOLVED if (outcome, reason) == ("ignored", "resolved") else FIRING
