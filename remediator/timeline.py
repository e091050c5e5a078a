"""A Remediation as a story that a person can put into an incident report: what happened when, as text or as Markdown.

Pure functions of what the API gives. The status is a copy that hands may have edited, so any field may be missing or be
anything; what is printed is printable text only. Times are UTC and whole seconds, as Kubernetes keeps them.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foundation.durations import format_duration
from remediator.redact import clean
from remediator.store import Remediation
from remediator.web.text import unix
from remediator.web.view import story_of
from remediator.words import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from remediator.web.view import StepView, Story

WIDTH = 100
_LONGEST_LABEL = 100
_DONE: Mapping[str, str] = {
    "confirm": "looked until two looks agreed",
    "evidence": "saved evidence",
    "record": "recorded which pods may be deleted",
    "delete": "deleted pods",
    "replace": "waited for the replacements",
    "active": "waited for exactly one active BBS",
    "verify": "watched whether it stays well",
    "fence": "fenced deletions off that might come late",
}
"""What each step did."""
_EXPECTED = ("confirmed", "saved", "recorded", "deleted", "replaced", "active", "verified")
"""Results that say no more than that the step did it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    at: float
    """Unix time."""
    what: str
    detail: str = ""
    took: float | None = None
    """Seconds; None where that says nothing."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole Remediation."""

    story: Story
    strategy: str
    approved_by: str
    entries: tuple[Entry, ...]
    """In the order of time."""
    spans: tuple[tuple[str, float], ...]
    """What an incident report asks: how long from what to what, in seconds."""

    @property
    def title(self) -> str:
        """Name and phase."""
        return f"{self.story.name}: {self.story.phase or 'not looked at yet'}"

    @property
    def facts(self) -> Sequence[tuple[str, str]]:
        """The rest of what is known, by name."""
        return tuple(_facts(self))


def remediation_of(found: Mapping[str, object]) -> Remediation:
    """What the API gives for one, as the program's own type."""
    metadata = {
        "name": found.get("name"),
        "uid": found.get("uid"),
        "resourceVersion": found.get("resourceVersion"),
        "creationTimestamp": found.get("created"),
    }
    return Remediation({"metadata": metadata, "spec": found.get("spec"), "status": found.get("status")})


def timeline_of(found: Mapping[str, object]) -> Timeline:
    """Read what `GET /api/v1/remediations/NAME` gives. Never raises for any JSON object."""
    remediation = remediation_of(found)
    story, status = story_of(remediation), remediation.status
    strategy, by = status.get("strategy"), status.get("approvedBy")
    return Timeline(
        story=story,
        strategy=strategy if isinstance(strategy, str) else "",
        approved_by=by if isinstance(by, str) else "",
        entries=tuple(_entries(story)),
        spans=tuple(_spans(story)),
    )


def _entries(story: Story) -> list[Entry]:
    found: list[tuple[float, float, Entry]] = []

    def add(when: str, rank: float, what: str, detail: str = "", took: float | None = None) -> None:
        at = unix(when)
        if at is not None:
            found.append((at, rank, Entry(at, what, detail, took)))

    if story.starts_at:
        add(story.starts_at, 0, f"the alert {story.alertname} began")
    add(story.created, 1, "accepted" if story.fingerprint else "the Remediation was made")
    state, by, at = story.approval
    if state:
        add(at, 2, f"{state} by {by or 'somebody'}")
    deleting = 3.0
    for number, step in enumerate(story.steps):
        rank = 3 + number / 100
        deleting = rank if step.name == "delete" else deleting
        add(step.started, rank, _DONE.get(step.name, step.name), _outcome(step), _between(step))
    for pod in story.pods:
        add(pod.deleted, deleting + 0.005, f"deleted the pod {pod.name}", f"UID {pod.uid}")
    add(story.finished, 8, story.phase, story.message)
    reason, by, at = story.acknowledged
    add(at, 9, f"acknowledged by {by or 'somebody'}", reason)
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def _outcome(step: StepView) -> str:
    if not step.finished:
        return "under way"
    result = "" if step.result in _EXPECTED and step.detail else step.result
    return ": ".join(word for word in (result, step.detail) if word)


def _between(step: StepView) -> float | None:
    start, end = unix(step.started), unix(step.finished)
    return None if start is None or end is None else end - start


def _spans(story: Story) -> Iterator[tuple[str, float]]:
    alert, accepted, end = unix(story.starts_at), unix(story.created), unix(story.finished)
    deletions = [at for pod in story.pods if (at := unix(pod.deleted)) is not None]
    first = min(deletions, default=None)
    for name, start, stop in (
        ("from the alert to accepted", alert, accepted),
        ("from accepted to the first deletion", accepted, first),
        ("from the first deletion to the end", first, end),
        ("from the alert to the end" if alert is not None else "from accepted to the end", alert or accepted, end),
    ):
        if start is not None and stop is not None and stop >= start:
            yield name, stop - start


def _facts(line: Timeline) -> Iterator[tuple[str, str]]:
    story = line.story
    yield "foundation", story.foundation
    mode = f", mode {story.mode}" if story.mode else ""
    strategy = f", strategy {line.strategy}" if line.strategy else ""
    yield "playbook", f"{story.playbook}{mode}{strategy}"
    if story.alertname:
        fingerprint = f" (fingerprint {story.fingerprint})" if story.fingerprint else ""
        yield "asked by", f"{story.alertname}{fingerprint}"
    if story.labels:
        shown = (f"{name}={value}" for name, value in story.labels if name != "alertname")
        # Whoever notifies chooses them: one long label must not push the story off the screen. --json has all of it.
        yield "labels", ", ".join(f"{text[:_LONGEST_LABEL]}…" if len(text) > _LONGEST_LABEL else text for text in shown)
    if story.approval[0] or line.approved_by:
        yield "answered", f"{story.approval[0] or 'approved'} by {story.approval[1] or line.approved_by or 'somebody'}"
    if story.verdict_before or story.verdict_after:
        after = story.verdict_after or ("not known yet" if story.open else "not looked at")
        yield "verdict", f"{story.verdict_before or 'not known'} before, {after} after"
    if story.open and story.step:
        yield "step", story.step
    if story.holder:
        yield "held by", story.holder
    if story.awaits:
        yield "expires", f"{moment(story.expires) or 'not known when'}"
    if story.evidence:
        yield "evidence", f"ConfigMap {story.evidence}"


def span(seconds: float) -> str:
    """As an operator writes it in the configuration: 24h, 90m, 10m."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return format_duration(seconds)


def moment(when: str | float | None) -> str:
    """Date and time in UTC; empty where it is none."""
    at = unix(when)
    return "" if at is None else _clock(at, "%Y-%m-%d %H:%M:%S UTC")


def _clock(at: float, form: str) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return "?"


# --- for a terminal ---------------------------------------------------------------------------------------------------


def wrapped(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """One paragraph of printable text; `first` stands before its first line, `rest` before the others."""
    indent = " " * len(first) if rest is None else rest
    lines = textwrap.wrap(
        clean(text), max(width, len(indent) + 24), initial_indent=first, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return lines or [first.rstrip()]


def as_text(line: Timeline, width: int = WIDTH) -> str:
    """For a person at a terminal, with a final line end."""
    story = line.story
    lines = [clean(line.title)]
    if story.message:
        lines += wrapped(story.message, width, "  ")
    lines.append("")
    for name, value in line.facts:
        lines += wrapped(value, width, f"  {name:<11}")
    if line.spans:
        lines += ["", "Durations"]
        lines += [f"  {format_duration(seconds):>7}  {name}" for name, seconds in line.spans]
    if line.entries:
        lines += ["", *_entries_text(line.entries, width)]
    if story.pods:
        names = max(len(pod.name) for pod in story.pods)
        lines += ["", "Pods"]
        for pod in story.pods:
            deleted = f"deleted {moment(pod.deleted)}" if pod.deleted else "not deleted"
            uid = f"UID {pod.uid}  " if pod.uid else ""
            lines.append(clean(f"  {pod.name:<{names}}  {uid}{deleted if pod.uid else ''}").rstrip())
    if story.awaits:
        lines += ["", f"It awaits an answer: stager-remediator approve {clean(story.name)}   (or reject)"]
    return "\n".join(lines) + "\n"


def _entries_text(entries: Sequence[Entry], width: int) -> Iterator[str]:
    begun, day = entries[0].at, _clock(entries[0].at, "%Y-%m-%d")
    yield f"Timeline of {day}, UTC"
    for entry in entries:
        if (today := _clock(entry.at, "%Y-%m-%d")) != day:
            day = today
            yield f"  {day}"
        since = f"+{format_duration(entry.at - begun)}"
        took = f" ({format_duration(entry.took)})" if entry.took is not None else ""
        detail = f": {entry.detail}" if entry.detail else ""
        yield from wrapped(f"{entry.what}{took}{detail}", width, f"  {_clock(entry.at, '%H:%M:%S')}  {since:<8} ")


# --- for a report -----------------------------------------------------------------------------------------------------


def as_markdown(line: Timeline) -> str:
    """For pasting into an incident report (GitHub's Markdown), with a final line end."""
    story = line.story
    lines = [f"### {_md(line.title)}", ""]
    if story.message:
        lines += [_md(story.message), ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {_md(value)} |" for name, value in line.facts]
    lines += [f"| {name} | {format_duration(seconds)} |" for name, seconds in line.spans]
    if line.entries:
        lines += ["", "#### Timeline (UTC)", "", "| time | took | what |", "|---|---|---|"]
        for entry in line.entries:
            took = format_duration(entry.took) if entry.took is not None else ""
            detail = f": {entry.detail}" if entry.detail else ""
            lines.append(f"| {_clock(entry.at, '%Y-%m-%d %H:%M:%S')} | {took} | {_md(entry.what + detail)} |")
    if story.pods:
        lines += ["", "#### Pods", "", "| pod | UID | deleted |", "|---|---|---|"]
        for pod in story.pods:
            lines.append(f"| {_md(pod.name)} | {_md(pod.uid)} | {moment(pod.deleted) or 'no'} |")
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    """Text that stays text: neither a table's bars nor marks and tags of its own."""
    return "".join(f"\\{sign}" if sign in "\\`*[]<>|" else sign for sign in " ".join(clean(text).split()))


# --- many -------------------------------------------------------------------------------------------------------------


def table(found: Sequence[Mapping[str, object]], now: float, width: int = WIDTH) -> str:
    """`list`: one line for each, the message cut to what the line holds. With a final line end."""
    rows = [_row(timeline_of(item), now) for item in found]
    if not rows:
        return "no Remediations\n"
    head = ("NAME", "PHASE", "AGE", "TOOK", "MESSAGE")
    sizes = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
    lines = []
    for row in (head, *rows):
        start = "  ".join(f"{word:<{size}}" for word, size in zip(row, sizes, strict=False))
        room = max(20, width - len(start) - 2)
        message = row[4] if len(row[4]) <= room else row[4][: room - 1] + "…"
        lines.append(f"{start}  {message}".rstrip())
    return "\n".join(lines) + "\n"


def _row(line: Timeline, now: float) -> tuple[str, str, str, str, str]:
    story = line.story
    created, end = unix(story.created), unix(story.finished)
    age = "" if created is None else format_duration(now - created)
    took = "" if created is None or end is None else format_duration(end - created)
    running = story.phase == Phase.RUNNING and story.step
    phase = f"{story.phase} ({story.step})" if running else story.phase or "new"
    message = " ".join(story.message.split())
    return clean(story.name), clean(phase), age, took, clean(message)
