"""What is in force for a foundation, as data: pure functions of a ledger and the configuration, for JSON and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from foundation.durations import format_duration
from remediator.admission import Refused, admit, left
from remediator.story import iso
from remediator.words import Mode, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from foundation.kube.client import Json
    from remediator.ledger import Ledger, Pause
    from remediator.lookout import Sight
    from remediator.site import Site
    from remediator.store import Reading, Remediation

Tone = Literal["good", "wait", "bad", "unsure"]
"""How a thing looks on the page: each tone has its own colour and its own shape."""


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit and what is left of it; None where the ledger is not known."""

    runs: int
    per: str
    left: int | None


@dataclass(frozen=True, slots=True)
class PlaybookView:
    """What one playbook may do now."""

    name: str
    title: str
    mode: Mode
    strategy: str
    max_pods: int
    cooldown: str
    cooldown_ends: datetime | None
    """None: none is in force."""
    limits: tuple[LimitView, ...]
    refused: Refused | None
    """What admission would answer now; None: it would let it pass, or the ledger is not known."""


@dataclass(frozen=True, slots=True)
class VerdictView:
    """The newest look."""

    verdict: str
    restart: str
    at: float
    """Unix time."""
    since: float
    pods: tuple[str, ...]
    evidence: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """One foundation."""

    foundation: str
    namespace: str
    layout: str
    problem: str
    """Why the state could not be read just now; what is shown is then older."""
    as_of: datetime | None
    """The API server's time of the reading; None: none was ever made."""
    ledger: Ledger | None
    pause: Pause | None
    playbooks: tuple[PlaybookView, ...]
    verdict: VerdictView | None


def state_of(site: Site, reading: Reading | None, problem: str) -> State:
    """Everything that is in force, as of the reading."""
    ledger = reading.ledger if reading else None
    layout = site.lookout.layout
    return State(
        foundation=site.name,
        namespace=site.config.namespace,
        layout=layout.name if layout else "",
        problem=problem,
        as_of=reading.instant.server if reading else None,
        ledger=ledger,
        pause=reading.ledger.paused(reading.instant.server) if reading else None,
        playbooks=tuple(_playbook(site, name, reading) for name in site.section.playbooks),
        verdict=_verdict(site.lookout.newest),
    )


def _playbook(site: Site, name: str, reading: Reading | None) -> PlaybookView:
    config = site.section.playbooks[name]
    policy = config.policy
    ends = None
    if reading and reading.ledger.last_end:
        ends = reading.ledger.last_end + policy.cooldown
        ends = ends if reading.instant.server < ends else None
    return PlaybookView(
        name=name,
        title=site.section.books[name].title,
        mode=config.mode,
        strategy=str(config.strategy or "the layout's own"),
        max_pods=min(config.max_pods, site.config.max_pods),
        cooldown=_window(config.cooldown),
        cooldown_ends=ends,
        limits=tuple(
            LimitView(
                limit.runs,
                _window(limit.per.total_seconds()),
                left(reading.ledger, limit, reading.instant.server) if reading else None,
            )
            for limit in policy.limits
        ),
        refused=admit(reading.ledger, policy, reading.instant) if reading else None,
    )


def _window(seconds: float) -> str:
    """As an operator writes it: 24h, 90m, 10m."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return format_duration(seconds)


def _verdict(sight: Sight | None) -> VerdictView | None:
    if sight is None:
        return None
    look = sight.look
    return VerdictView(
        verdict=str(look.diagnosis.verdict),
        restart=str(look.diagnosis.restart),
        at=look.at,
        since=look.since,
        pods=tuple(map(str, look.diagnosis.pods_to_restart)),
        evidence=look.diagnosis.evidence,
        problems=tuple(f"{name}: {what}" for name, what in look.problems.items()),
    )


def standing(state: State) -> tuple[Tone, str, str]:
    """The headline: what would happen to a notification now, the hardest obstacle first."""
    ledger = state.ledger
    if ledger is None:
        return "unsure", "Not known", state.problem or "The ledger was not read yet."
    if ledger.breaker is not None:
        return "bad", "Breaker open", "Nothing runs until somebody acknowledges what went wrong."
    if ledger.run is not None:
        return "wait", "Restarting", f"{ledger.run.name} is under way."
    if state.pause is not None:
        return "wait", "Paused", "Nothing begins, and a run under way deletes nothing more."
    if ledger.pending is not None:
        if ledger.pending.phase is Phase.AWAITING_APPROVAL:
            return "wait", "A person decides", f"{ledger.pending.name} awaits approval."
        return "wait", "Queued", f"{ledger.pending.name} is next."
    refused = [playbook.refused for playbook in state.playbooks]
    if refused and all(refused):
        first = next(one for one in refused if one)
        return "unsure" if first.reason == "mode_off" else "wait", "Not now", _sentence(first.text)
    return "good", "Ready", "A notification would be taken."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def state_json(state: State) -> Json:
    """For GET /api/v1/status."""
    ledger = state.ledger
    _, title, sentence = standing(state)
    return {
        "foundation": state.foundation,
        "namespace": state.namespace,
        "layout": state.layout or None,
        "standing": title,
        "why": sentence,
        "asOf": _at(state.as_of),
        "problem": state.problem or None,
        "playbooks": [_playbook_json(playbook) for playbook in state.playbooks],
        "breaker": _part(ledger.breaker) if ledger else None,
        "pause": _part(state.pause),
        "backoff": _part(ledger.backoff) if ledger else None,
        "open": ledger.open.name if ledger and ledger.open else None,
        "holder": (ledger.holder or None) if ledger else None,
        "wanted": _part(ledger.wanted) if ledger else None,
        "refusals": [_part(refusal) for refusal in reversed(ledger.refusals)] if ledger else [],
        "verdict": _verdict_json(state.verdict),
    }


def _playbook_json(playbook: PlaybookView) -> Json:
    refused = playbook.refused
    return {
        "name": playbook.name,
        "mode": str(playbook.mode),
        "maxPods": playbook.max_pods,
        "cooldown": playbook.cooldown,
        "cooldownEnds": _at(playbook.cooldown_ends),
        "limits": [{"runs": limit.runs, "per": limit.per, "left": limit.left} for limit in playbook.limits],
        "refused": {"reason": str(refused.reason), "text": refused.text, "until": _at(refused.until)}
        if refused
        else None,
    }


def _verdict_json(verdict: VerdictView | None) -> Json | None:
    if verdict is None:
        return None
    return {
        "verdict": verdict.verdict,
        "restart": verdict.restart,
        "at": verdict.at,
        "since": verdict.since,
        "podsToRestart": list(verdict.pods),
        "evidence": list(verdict.evidence),
        "problems": list(verdict.problems),
    }


def _part(part: object) -> object:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(part, BaseModel) else None


def _at(when: datetime | None) -> str | None:
    return iso(when) if when else None


# --- Remediations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a timeline."""

    name: str
    started: str
    finished: str
    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a run."""

    name: str
    uid: str
    deleted: str


@dataclass(frozen=True, slots=True)
class Story:
    """A Remediation for the page. Its status is a copy that hands may have edited, so every field may be anything."""

    name: str
    version: str
    foundation: str
    playbook: str
    mode: str
    phase: str
    step: str
    created: str
    started: str
    finished: str
    expires: str
    message: str
    holder: str
    evidence: str
    verdict_before: str
    verdict_after: str
    alertname: str
    fingerprint: str
    starts_at: str
    labels: tuple[tuple[str, str], ...]
    approval: tuple[str, str, str]
    """State, by, at."""
    acknowledged: tuple[str, str, str]
    """Reason, by, at."""
    steps: tuple[StepView, ...]
    pods: tuple[PodView, ...]

    @property
    def tone(self) -> Tone:
        """How its phase looks."""
        return phase_tone(self.phase)

    @property
    def awaits(self) -> bool:
        """Whether a person may answer."""
        return self.phase == Phase.AWAITING_APPROVAL and not self.approval[0]

    @property
    def open(self) -> bool:
        """Whether something will still happen to it."""
        return self.phase in ("", Phase.PENDING, Phase.AWAITING_APPROVAL, Phase.RUNNING)


def phase_tone(phase: str) -> Tone:
    """How a phase looks."""
    if phase == Phase.SUCCEEDED:
        return "good"
    if phase == Phase.FAILED:
        return "bad"
    return "wait" if phase in (Phase.RUNNING, Phase.AWAITING_APPROVAL, Phase.PENDING) else "unsure"


def story_of(found: Remediation) -> Story:
    """Read a Remediation without trusting its shape."""
    spec, status = found.spec, found.status
    trigger, approval, acknowledged = _map(spec, "trigger"), found.approval, _map(spec, "acknowledged")
    labels = _map(trigger, "labels")
    return Story(
        name=found.name,
        version=found.version,
        foundation=found.foundation,
        playbook=found.playbook,
        mode=_text(spec, "mode"),
        phase=found.phase,
        step=_text(status, "step"),
        created=_text(found.metadata, "creationTimestamp"),
        started=_text(status, "started"),
        finished=_text(status, "finished"),
        expires=_text(status, "expires"),
        message=_text(status, "message"),
        holder=_text(status, "holder"),
        evidence=_text(status, "evidence"),
        verdict_before=_text(status, "verdictBefore"),
        verdict_after=_text(status, "verdictAfter"),
        alertname=_text(trigger, "alertname"),
        fingerprint=_text(trigger, "fingerprint"),
        starts_at=_text(trigger, "startsAt"),
        labels=tuple(sorted((name, value) for name, value in labels.items() if isinstance(value, str))),
        approval=(_text(approval, "state"), _text(approval, "by"), _text(approval, "at")),
        acknowledged=(_text(acknowledged, "reason"), _text(acknowledged, "by"), _text(acknowledged, "at")),
        steps=tuple(
            StepView(*(_text(step, key) for key in ("name", "started", "finished", "result", "detail")))
            for step in _items(status, "steps")
        ),
        pods=tuple(
            PodView(*(_text(pod, key) for key in ("name", "uid", "deletedAt"))) for pod in _items(status, "pods")
        ),
    )


def remediation_json(found: Remediation) -> Json:
    """For GET /api/v1/remediations: what stands in the cluster, without the API server's own book-keeping."""
    return {
        "name": found.name,
        "resourceVersion": found.version,
        "uid": found.uid,
        "created": _text(found.metadata, "creationTimestamp"),
        "spec": found.spec,
        "status": found.status,
    }


def _text(source: Json, key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _map(source: Json, key: str) -> Json:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _items(source: Json, key: str) -> Sequence[Json]:
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
