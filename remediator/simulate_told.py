"""What `simulate` tells: the data, its JSON and its page for a person. Pure; how it is found out is not its affair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundation.durations import format_duration
from remediator.timeline import moment, wrapped
from remediator.words import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from foundation.kube.client import Json
    from remediator.admission import Refused


@dataclass(frozen=True, slots=True)
class AlertTold:
    """What would become of one alert."""

    alertname: str
    status: str
    since: str
    fingerprint: str
    foundation: str
    playbook: str
    outcome: str
    """A word of `Outcome`; `unavailable` where the webhook would answer 503; empty where the state decides."""
    reason: str
    why: str
    remediation: str


@dataclass(frozen=True, slots=True)
class LimitTold:
    """One limit, before and after such a run."""

    runs: int
    per: str
    left: int
    left_after: int


@dataclass(frozen=True, slots=True)
class PodTold:
    """A pod that would be deleted."""

    name: str
    uid: str
    role: str
    statefulset: str
    grace: float


@dataclass(frozen=True, slots=True)
class Prospect:
    """One foundation and playbook: what is in force, what is seen, and what would follow."""

    foundation: str
    namespace: str
    playbook: str
    layout: str
    problem: str
    """Why nothing can be said; empty where something can."""
    mode: str = ""
    strategy: str = ""
    as_of: str = ""
    """The API server's time of the reading."""
    state: tuple[str, ...] = ()
    """What the ledger holds, one sentence each."""
    refused: Refused | None = None
    limits: tuple[LimitTold, ...] = ()
    verdict: str = ""
    restart: str = ""
    evidence: tuple[str, ...] = ()
    if_lasting: str = ""
    pods: tuple[PodTold, ...] = ()
    """In the order in which they would be deleted."""
    fence: str = ""
    course: tuple[str, ...] = ()
    """What would follow, in its order."""


@dataclass(frozen=True, slots=True)
class Told:
    """The whole."""

    receiver: str
    truncated: int
    alerts: tuple[AlertTold, ...]
    prospects: tuple[Prospect, ...]
    with_state: bool

    @property
    def blind(self) -> bool:
        """Whether something that was asked could not be found out."""
        return any(told.problem for told in self.prospects) or any(one.outcome == "unavailable" for one in self.alerts)

    def as_json(self) -> Json:
        """For programs."""
        return {
            "receiver": self.receiver,
            "truncatedAlerts": self.truncated,
            "alerts": [
                {
                    "alertname": alert.alertname,
                    "status": alert.status,
                    "startsAt": alert.since,
                    "fingerprint": alert.fingerprint,
                    "foundation": alert.foundation or None,
                    "playbook": alert.playbook or None,
                    "outcome": alert.outcome or None,
                    "reason": alert.reason or None,
                    "why": alert.why,
                    "remediation": alert.remediation or None,
                }
                for alert in self.alerts
            ],
            "foundations": [_prospect_json(told) for told in self.prospects],
        }

    def as_text(self, width: int) -> str:
        """For a person, with a final line end."""
        many = "1 alert" if len(self.alerts) == 1 else f"{len(self.alerts)} alerts"
        by = f" for the receiver {self.receiver}" if self.receiver else ""
        lines = wrapped(f"A notification{by} with {many}", width)
        if self.truncated:
            text = f"Alertmanager left out {self.truncated} more: set max_alerts to 0 on the receiver"
            lines += wrapped(text, width, "  ")
        for number, alert in enumerate(self.alerts, 1):
            lines += ["", *_alert_text(number, alert, width)]
        for told in self.prospects:
            lines += ["", *_prospect_text(told, width)]
        read = "It only read and looked" if self.with_state else "Neither state nor foundation was looked at (--config)"
        return "\n".join([*lines, "", f"{read}: nothing was changed."]) + "\n"


def _prospect_json(told: Prospect) -> Json:
    refused = told.refused
    return {
        "foundation": told.foundation,
        "namespace": told.namespace,
        "playbook": told.playbook,
        "layout": told.layout or None,
        "problem": told.problem or None,
        "mode": told.mode or None,
        "strategy": told.strategy or None,
        "asOf": told.as_of or None,
        "state": list(told.state),
        "refused": None
        if refused is None
        else {
            "reason": str(refused.reason),
            "text": refused.text,
            "until": _iso(refused.until),
            "triedAgain": refused.retry,
        },
        "limits": [
            {"runs": one.runs, "per": one.per, "left": one.left, "leftAfter": one.left_after} for one in told.limits
        ],
        "verdict": told.verdict or None,
        "restart": told.restart or None,
        "evidence": list(told.evidence),
        "ifLasting": told.if_lasting or None,
        "podsToDelete": [
            {
                "name": pod.name,
                "uid": pod.uid,
                "role": pod.role,
                "statefulSet": pod.statefulset,
                "graceSeconds": pod.grace,
            }
            for pod in told.pods
        ],
        "fence": told.fence or None,
        "course": list(told.course),
    }  # fmt: skip


def _alert_text(number: int, alert: AlertTold, width: int) -> Iterator[str]:
    since = f" since {alert.since}" if alert.since else ""
    fingerprint = f", fingerprint {alert.fingerprint}" if alert.fingerprint else ""
    yield from wrapped(f"{alert.alertname or 'an alert without a name'}, {alert.status}{since}{fingerprint}", width,
                       f"{number}. ")  # fmt: skip
    reason = f" ({alert.reason})" if alert.reason else ""
    outcome = f"{alert.outcome}{reason}: " if alert.outcome else ""
    yield from wrapped(f"{outcome}{alert.why}", width, "   ")


def _prospect_text(told: Prospect, width: int) -> Iterator[str]:
    layout = f", layout {told.layout}" if told.layout else ""
    yield from wrapped(f"{told.foundation}, {told.playbook} (namespace {told.namespace}{layout})", width)
    before = ""
    for name, text in _facts(told):
        yield from wrapped(text, width, f"  {name if name != before else '':<13}")
        before = name
    if told.course:
        yield ""
        yield "  What would follow" if told.refused is None else "  What would follow if it were let in"
        for number, sentence in enumerate(told.course, 1):
            yield from wrapped(sentence, width, f"  {number}. ")


def _facts(told: Prospect) -> Iterator[tuple[str, str]]:
    if told.problem:
        yield "problem", told.problem
    if told.mode:
        yield "mode", f"{told.mode}, strategy {told.strategy}" if told.strategy else told.mode
    yield from (("state", sentence) for sentence in told.state)
    if told.as_of:
        yield "admission", _admission(told.refused)
    if told.limits:
        words = [f"{one.left} of {one.runs} per {one.per} ({one.left_after} after it)" for one in told.limits]
        yield "runs left", ", ".join(words)
    if told.verdict:
        yield "verdict", f"{told.verdict}, restart {told.restart}: {told.evidence[0]}"
        yield from (("seen", sentence) for sentence in told.evidence[1:])
    if told.if_lasting:
        yield "if it lasts", told.if_lasting
    for number, pod in enumerate(told.pods, 1):
        yield "pods", f"{number}. {pod.name} ({pod.role}, grace {format_duration(pod.grace)}, UID {pod.uid})"
    if told.fence:
        yield "fence", told.fence


def _admission(refused: Refused | None) -> str:
    if refused is None:
        return "it may start now"
    until = f"; this ends at {moment(refused.until.timestamp())}" if refused.until else ""
    again = ", and it is then tried again by itself while the alert stands" if refused.retry else ""
    if refused.reason in (Reason.BREAKER, Reason.MODE_OFF):
        until = "; this ends when a person changes it"
    return f"refused ({refused.reason}): {refused.text}{until}{again}"


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")
