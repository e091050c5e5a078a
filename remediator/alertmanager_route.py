"""Which receivers of an alertmanager.yml an alert reaches, and whether one of them is the remediator's webhook as it
must be.

It follows Alertmanager's own rules: depth first, the first route that matches unless it says `continue`; `matchers`,
`match` and `match_re`, anchored; children inherit the receiver. Not looked at: inhibitions, silences, time intervals
(they are told where a route has them), and labels that Prometheus adds beyond those given. Alertmanager's own `amtool
check-config` is the judge of the file itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Labels: TypeAlias = "Mapping[str, str]"
PATH = "/api/v1/alertmanager"
MATCHER = 'remediate=~".+"'
"""What the route to the webhook matches, in the form that stands in advice."""
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*|"[^"]*")\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^",{}]*?)\s*(?:,|$)')
_DEEPEST = 50


class RouteProblem(ValueError):  # noqa: N818  it says what is wrong
    """A file that cannot be followed: one line."""


@dataclass(frozen=True, slots=True)
class Way:
    """A route that an alert takes to its end."""

    receiver: str
    intervals: tuple[str, ...]
    """Time intervals that mute it, or outside of which it is silent."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong or doubtful with the way to the webhook, and what to do."""

    fatal: bool
    what: str
    advice: str


def read(text: str) -> Mapping[str, object]:
    """The file. Raises RouteProblem."""
    try:
        found: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise RouteProblem(f"is not YAML: {' '.join(str(problem).split())[:200]}") from None
    if not isinstance(found, dict) or not isinstance(found.get("route"), dict):
        raise RouteProblem("has no route: is it an alertmanager.yml?")
    return found


def ways(config: Mapping[str, object], labels: Labels) -> Sequence[Way]:
    """Where an alert with these labels goes. Raises RouteProblem."""
    root = _map(config, "route")
    return tuple(_follow(root, labels, _text(root, "receiver"), 0))


def _follow(route: Mapping[str, object], labels: Labels, receiver: str, depth: int) -> Iterator[Way]:
    if depth > _DEEPEST:
        raise RouteProblem("its routes are nested too deeply")
    receiver = _text(route, "receiver") or receiver
    taken = False
    for child in _maps(route, "routes"):
        if not matches(child, labels):
            continue
        taken = True
        yield from _follow(child, labels, receiver, depth + 1)
        if child.get("continue") is not True:
            return
    if not taken:
        intervals = [*_texts(route, "mute_time_intervals"), *_texts(route, "active_time_intervals")]
        yield Way(receiver, tuple(intervals))


def matches(route: Mapping[str, object], labels: Labels) -> bool:
    """Whether a route takes an alert with these labels. Raises RouteProblem for a matcher that cannot be read."""
    plain = all(labels.get(str(name), "") == str(value) for name, value in _map(route, "match").items())
    if not plain:
        return False
    for name, value in _map(route, "match_re").items():
        if not _full(str(value), labels.get(str(name), "")):
            return False
    given = route.get("matchers")
    for text in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
        for name, sign, value in _parsed(str(text)):
            found = labels.get(name, "")
            hit = _full(value, found) if "~" in sign else found == value
            if hit is sign.startswith("!"):
                return False
    return True


def _parsed(text: str) -> Iterator[tuple[str, str, str]]:
    rest = text.strip()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1].strip()
    while rest:
        found = _MATCHER.match(rest)
        if found is None:
            raise RouteProblem(f"the matcher {text[:100]!r} is not understood here")
        name, sign, value = found[1].strip('"'), found[2], found[3]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda sign: {"n": "\n"}.get(sign[1], sign[1]), value[1:-1]) if "\\" in value \
                else value[1:-1]  # fmt: skip
        yield name, sign, value
        rest = rest[found.end() :].strip()


def _full(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(f"(?:{pattern})", value) is not None
    except re.error as problem:
        raise RouteProblem(f"the pattern {pattern[:100]!r} is not understood here: {problem}") from None


def faults(config: Mapping[str, object], labels: Labels, shown: str) -> Sequence[Fault]:
    """What stands between an alert with these labels and the webhook; `shown` names the alert for people.

    Empty: it gets there as it must. Raises RouteProblem.
    """
    taken = ways(config, labels)
    hooks = [(way, hook) for way in taken for hook in _hooks(config, way.receiver)]
    if not hooks:
        names = " and ".join(dict.fromkeys(way.receiver or "a receiver without a name" for way in taken))
        others = [name for name in _receivers(config) if _hooks(config, name)]
        if others:
            advice = f"put a route to {others[0]} with matchers: ['{MATCHER}'] before the others"
        else:
            advice = f"add a receiver with a webhook to http://HOST:9718{PATH} and a route with matchers: ['{MATCHER}']"
        return (Fault(True, f"{shown} goes to {names} and not to the remediator", advice),)
    return tuple(fault for way, hook in hooks for fault in (*_of_way(way), *_of_hook(way.receiver, hook, config)))


def _hooks(config: Mapping[str, object], receiver: str) -> Sequence[Mapping[str, object]]:
    for found in _maps(config, "receivers"):
        if _text(found, "name") == receiver:
            return [hook for hook in _maps(found, "webhook_configs") if _leads_here(hook)]
    return []


def _leads_here(hook: Mapping[str, object]) -> bool:
    try:
        return urlsplit(_text(hook, "url")).path.rstrip("/").endswith(PATH)
    except ValueError:
        return False


def _receivers(config: Mapping[str, object]) -> Sequence[str]:
    return [_text(found, "name") for found in _maps(config, "receivers")]


def _of_way(way: Way) -> Iterator[Fault]:
    if way.intervals:
        names = ", ".join(way.intervals)
        yield Fault(False, f"the route to {way.receiver} is silent at times ({names})", "take the intervals out of it")


def _of_hook(receiver: str, hook: Mapping[str, object], config: Mapping[str, object]) -> Iterator[Fault]:
    where = f"receiver {receiver}"
    if hook.get("max_alerts") not in (None, 0):
        what = f"{where}: max_alerts is {hook['max_alerts']}, so alerts beyond it are lost"
        yield Fault(True, what, "set max_alerts: 0")
    if hook.get("send_resolved") is False:
        what = f"{where}: send_resolved is false, so a request that waits outlives its alert"
        yield Fault(True, what, "set send_resolved: true")
    http = _map(hook, "http_config") or _map(_map(config, "global"), "http_config")
    authorization, basic, tls = (_map(http, key) for key in ("authorization", "basic_auth", "tls_config"))
    by_file = (
        authorization.get("credentials_file") or basic.get("password_file") or tls.get("cert_file")
        or http.get("bearer_token_file")
    )  # fmt: skip
    in_place = authorization.get("credentials") or basic.get("password") or http.get("bearer_token")
    if not by_file and in_place:
        what = f"{where}: its credentials stand in the file itself"
        yield Fault(False, what, "use http_config.authorization.credentials_file")
    elif not by_file:
        what = f"{where}: it shows no credentials, and would be answered 401"
        yield Fault(True, what, "set http_config.authorization.credentials_file to a file with the webhook's token")


def _text(source: Mapping[str, object], key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _texts(source: Mapping[str, object], key: str) -> Sequence[str]:
    value = source.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def _map(source: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _maps(source: Mapping[str, object], key: str) -> Sequence[Mapping[str, object]]:
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
