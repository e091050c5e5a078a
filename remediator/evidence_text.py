"""Prints evidence for a person, as `stager-remediator show NAME --evidence` does.

The document comes from a ConfigMap that people may have written by hand: any shape is printed as far as it goes, and
nothing in it reaches the terminal but printable text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remediator.excerpt import mapping, mappings
from remediator.redact import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remediator.excerpt import Json

_STATES = ("waiting", "terminated", "running")


def as_text(document: Mapping[str, object]) -> str:
    """The whole, with a final line end: verdict, pods, probes, events, logs. Never raises for any JSON object."""
    return "\n".join(clean(line) for line in _lines(document)) + "\n"


def _lines(document: Mapping[str, object]) -> Iterator[str]:
    about = mapping(document.get("remediation"))
    yield f"Evidence of {_word(about.get('name'))}, taken {_word(document.get('captured'))}"
    yield _word(document.get("about"))
    if left := _words(document.get("leftOut")):
        yield f"Left out, as it was too long: {', '.join(left)}"
    yield from _verdict(mapping(document.get("verdict")))
    yield from _probes(mapping(document.get("look")))
    yield from _section("Pods", [line for pod in mappings(document.get("pods")) for line in _pod(pod)])
    yield from _section("Events", [line for pod in mappings(document.get("events")) for line in _events(pod)])
    for log in mappings(document.get("logs")):
        yield from _log(log)


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _verdict(verdict: Json) -> Iterator[str]:
    names = [_word(pod.get("name")) for pod in mappings(verdict.get("pods"))]
    head = f"Verdict: {_word(verdict.get('verdict'))}, restart {_word(verdict.get('restart'))}"
    title = f"{head} ({', '.join(names)})" if names else head
    yield from _section(title, _words(verdict.get("evidence")) or ["no reasons are recorded"])


def _probes(look: Json) -> Iterator[str]:
    found = [_probe(probe) for probe in mappings(look.get("service"))]
    for pod in mappings(look.get("pods")):
        found += [_probe(probe, what) for what in ("probe", "locket") if (probe := mapping(pod.get(what)))]
    if database := mapping(look.get("database")):
        found.append(_probe(database, "database"))
    yield from _section(f"Probes of {_word(look.get('at'))}", found)
    problems = [f"{key}: {_word(value)}" for key, value in mapping(look.get("problems")).items()]
    yield from _section("Could not be looked at", problems)


def _probe(probe: Json, what: str = "") -> str:
    target = f"{_word(probe.get('target'))} {_word(probe.get('address'))}{f' ({what})' if what == 'locket' else ''}"
    total = sum(value for value in mapping(probe.get("seconds")).values() if isinstance(value, int | float))
    if probe.get("ok") is True:
        return f"{target}: ok to depth {_word(probe.get('depth'))} in {total * 1000:.1f} ms{_detail(probe)}"
    where = f"{_word(probe.get('cause'))} at {_word(probe.get('failedAt'))}"
    return f"{target}: {where} after {total * 1000:.1f} ms{_detail(probe)}"


def _detail(probe: Json) -> str:
    return f": {_word(probe.get('detail'))}" if probe.get("detail") else ""


def _pod(pod: Json) -> Iterator[str]:
    mark = ", to be restarted" if pod.get("toBeRestarted") is True else ""
    node = f" on {_word(pod.get('nodeName'))}" if pod.get("nodeName") else ""
    phase = f": {_word(pod.get('phase'))}" if pod.get("phase") else ""
    yield f"{_word(pod.get('name'))} ({_word(pod.get('role'))}{mark}){phase}{node}, UID {_word(pod.get('uid'))}"
    if pod.get("said"):
        yield f"  {_word(pod.get('said'))}"
    false = [item for item in mappings(pod.get("conditions")) if item.get("status") != "True"]
    for item in false:
        words = [_word(item.get(key)) for key in ("reason", "message") if item.get(key)]
        since = f" since {_word(item.get('lastTransitionTime'))}" if item.get("lastTransitionTime") else ""
        yield f"  not {_word(item.get('type'))}{since}{': ' if words else ''}{', '.join(words)}"
    for container in (*mappings(pod.get("initContainers")), *mappings(pod.get("containers"))):
        yield f"  {_word(container.get('name'))}: {_state(container.get('state'))}, {_restarts(container)}"
        yield f"    image {_word(container.get('image'))}"
        if last := mapping(container.get("lastState")):
            yield f"    before: {_state(last)}"


def _restarts(container: Json) -> str:
    ready = "ready" if container.get("ready") is True else "not ready"
    return f"{ready}, {_word(container.get('restartCount'))} restarts"


def _state(value: object) -> str:
    state = mapping(value)
    kind = next((kind for kind in _STATES if kind in state), None)
    if kind is None:
        return "state not given"
    said = mapping(state[kind])
    return f"{kind}" + "".join(f", {key} {_word(item)}" for key, item in said.items())


def _events(pod: Json) -> Iterator[str]:
    if pod.get("said"):
        yield f"{_word(pod.get('pod'))}: {_word(pod.get('said'))}"
    for event in mappings(pod.get("events")):
        when = next((event[key] for key in ("lastTimestamp", "eventTime", "firstTimestamp") if event.get(key)), None)
        count = event.get("count")
        times = f" (x{count})" if isinstance(count, int) and count > 1 else ""
        what = f"{_word(event.get('type'))} {_word(event.get('reason'))}{times}: {_word(event.get('message'))}"
        yield f"{_word(when)} {_word(pod.get('pod'))} {what}"


def _log(log: Json) -> Iterator[str]:
    lines = _words(log.get("lines"))
    which = "previous log" if log.get("previous") is True else "log"
    title = f"{which} of {_word(log.get('pod'))}, container {_word(log.get('container'))}"
    yield ""
    if not lines:
        yield f"--- {title}: {_word(log.get('said') or 'empty')} ---"
        return
    yield f"--- {title}: {len(lines)} lines ---"
    if log.get("said"):
        yield f"({_word(log.get('said'))})"
    if dropped := log.get("olderLinesLeftOut"):
        yield f"({_word(dropped)} older lines were left out)"
    yield from lines


def _word(value: object) -> str:
    return "not known" if value is None else str(value)


def _words(value: object) -> list[str]:
    return [_word(item) for item in value] if isinstance(value, list) else []
