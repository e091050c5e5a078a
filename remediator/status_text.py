"""What `stager-remediator status` prints of each foundation: what would happen now first, then why and what is left.

Pure: it is given what the API gives, and prints any shape of it as far as it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.durations import format_duration
from remediator.redact import clean
from remediator.timeline import moment, wrapped
from remediator.web.text import unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_REFUSALS_SHOWN = 5


def is_wrong(state: Mapping[str, object]) -> bool:
    """Whether a person has to do something: the breaker is open, or the state could not be read."""
    return bool(state.get("breaker") or state.get("problem"))


def as_text(states: Sequence[Mapping[str, object]], now: float, width: int) -> str:
    """All foundations, with a final line end. `now` is Unix time."""
    lines: list[str] = []
    for state in states:
        lines += [*([""] if lines else []), *_foundation(state, now, width)]
    return "\n".join(lines or ["no foundation is configured there"]) + "\n"


def _foundation(state: Mapping[str, object], now: float, width: int) -> Iterator[str]:
    layout = f", layout {state['layout']}" if state.get("layout") else ""
    yield clean(
        f"{_text(state, 'foundation')} (namespace {_text(state, 'namespace')}{layout}): {_text(state, 'standing')}"
    )
    if why := _text(state, "why"):
        yield from wrapped(why, width, "  ")
    for name, text in _facts(state, now):
        yield from wrapped(text, width, f"  {name:<11}")
    refusals = _maps(state, "refusals")
    for number, refusal in enumerate(refusals[:_REFUSALS_SHOWN]):
        count = refusal.get("count")
        times = f" ({count} times)" if isinstance(count, int) and count > 1 else ""
        text = f"{_when(refusal.get('at'), now)}: {_text(refusal, 'reason')}{times}: {_text(refusal, 'text')}"
        yield from wrapped(text, width, f"  {'refused' if number == 0 else '':<11}")
    if len(refusals) > _REFUSALS_SHOWN:
        yield f"  {'':<11}and {len(refusals) - _REFUSALS_SHOWN} older ones (--json has them)"


def _facts(state: Mapping[str, object], now: float) -> Iterator[tuple[str, str]]:
    if problem := _text(state, "problem"):
        as_of = f"; what follows is of {_when(state['asOf'], now)}" if state.get("asOf") else ""
        yield "problem", f"the state could not be read: {problem}{as_of}"
    yield "seen", _seen(state, now)
    breaker = _map(state, "breaker")
    if breaker:
        name = _text(breaker, "remediation") or _text(state, "foundation")
        yield "breaker", f"open since {_when(breaker.get('since'), now)}: {_text(breaker, 'why')}"
        yield "", "when it is understood:"
        yield "", f"stager-remediator acknowledge {name} --reason ..."
    if pause := _map(state, "pause"):
        until = f"until {_when(pause['until'], now)}" if pause.get("until") else "until somebody resumes it"
        since = _when(pause.get("since"), now)
        yield "paused", f"by {_text(pause, 'by')} since {since}, {until}: {_text(pause, 'why')}"
    if name := _text(state, "open"):
        holder = f", held by {_text(state, 'holder')}" if state.get("holder") else ""
        yield "open", f"{name}{holder}"
    if wanted := _map(state, "wanted"):
        until = _when(wanted.get("until"), now)
        yield "wanted", f"a refused alert is tried again by itself until {until} ({_text(wanted, 'reason')})"
    for playbook in _maps(state, "playbooks"):
        yield from _playbook(playbook, now)


def _seen(state: Mapping[str, object], now: float) -> str:
    verdict = _map(state, "verdict")
    if not verdict:
        return "no look was made yet"
    names = verdict.get("podsToRestart")
    pods = f" ({', '.join(map(str, names))})" if isinstance(names, list) and names else ""
    reasons = verdict.get("evidence")
    why = f": {reasons[0]}" if isinstance(reasons, list) and reasons else ""
    since = _when(verdict.get("since"), now)
    return f"{_text(verdict, 'verdict')}, restart {_text(verdict, 'restart')}{pods}, since {since}{why}"


def _playbook(playbook: Mapping[str, object], now: float) -> Iterator[tuple[str, str]]:
    most, cooldown = playbook.get("maxPods"), _text(playbook, "cooldown")
    yield "playbook", f"{_text(playbook, 'name')}: mode {_text(playbook, 'mode')}, at most {most} pods"
    limits = [f"{_count(limit.get('left'))} of {limit.get('runs')} per {limit.get('per')}" for limit in
              _maps(playbook, "limits")]  # fmt: skip
    ends = f" (in force until {_when(playbook['cooldownEnds'], now)})" if playbook.get("cooldownEnds") else ""
    yield "", f"runs left: {', '.join(limits) or 'no limit'}; cooldown {cooldown}{ends}"
    if refused := _map(playbook, "refused"):
        # A pause says until when by itself.
        told = refused.get("until") if refused.get("reason") != "paused" else None
        until = f" (until {_when(told, now)})" if told else ""
        yield "", f"now refused: {_text(refused, 'reason')}: {_text(refused, 'text')}{until}"


def _when(value: object, now: float) -> str:
    """A time in UTC, and how far it is from now."""
    at = unix(value) if isinstance(value, str | int | float) else None
    if at is None:
        return "a time that is not known"
    if abs(at - now) < 1:
        return f"{moment(at)} (now)"
    return f"{moment(at)} ({'in ' if at > now else ''}{format_duration(abs(at - now))}{'' if at > now else ' ago'})"


def _count(left: object) -> str:
    return str(left) if isinstance(left, int) else "?"


def _text(source: Mapping[str, object], key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _map(source: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _maps(source: Mapping[str, object], key: str) -> Sequence[Mapping[str, object]]:
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
