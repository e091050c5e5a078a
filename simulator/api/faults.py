"""What can be wrong with the API server itself, switched at run time.

Two kinds: switches for all of it (`mode`, `delay`, `clock_skew`), and rules about single requests. The first rule that
catches a request decides what happens to it; the fields of `Rule` can be combined. Not simulated: half an answer, and
answers out of order on one connection.
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from simulator.api.errors import ApiError, forbidden

if TYPE_CHECKING:
    from simulator.api.objects import Json
    from simulator.api.resources import Resource


class ServerMode(StrEnum):
    """How the API server treats its clients."""

    OK = "ok"
    DOWN = "down"
    """Connections are refused and the open ones reset."""
    FROZEN = "frozen"
    """Connections are accepted; nothing is ever answered, streams fall silent."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rule looks at in a request."""

    verb: str
    resource: str
    """`pods`, or `pods/exec` with a subresource."""
    namespace: str
    name: str
    path: str = ""
    """With its query, as it came."""
    identity: str = ""
    """The bearer token: who asks."""


@dataclass(slots=True)
class Rule:
    """What happens to the requests that match. Every field has a default that changes nothing."""

    verb: str = "*"
    """get, list, watch, create (also exec), update, patch, delete, deletecollection."""
    resource: str = "*"
    namespace: str = "*"
    name: str = "*"
    path: str = ""
    """A regular expression, searched in the path with its query."""
    identity: str = "*"
    """The bearer token of the client: a fault for one replica alone."""
    skip: int = 0
    """How many matching requests pass before it catches one."""
    chance: float = 1.0
    """The share of the matching requests that it catches, drawn from the seeded generator."""
    times: int | None = None
    """How many requests it catches; None: all."""
    status: int = 0
    """HTTP status to answer with instead of working; 0: none. 410 for a watch is sent inside the stream."""
    delay: float = 0.0
    """Seconds to hold the request before it is worked on: it then takes effect late, even if its client has gone."""
    hold: bool = False
    """As `delay`, until the rules are changed again (`"rules": []` releases)."""
    hang_up: bool = False
    """The connection is reset as soon as the request has been read; it takes effect all the same, after any delay."""
    lost: bool = False
    """The request takes effect, then the connection is reset without an answer."""
    retry_after: int = 1
    """Seconds, sent with 429 and 503."""
    caught: int = field(default=0, init=False)
    held: int = field(default=0, init=False)
    """How many requests it holds just now."""
    released: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    def matches(self, asked: Asked) -> bool:
        """Tell whether this rule is about that request."""
        pairs = (
            (self.verb, asked.verb),
            (self.resource, asked.resource),
            (self.namespace, asked.namespace),
            (self.name, asked.name),
            (self.identity, asked.identity),
        )
        return (
            self.times != 0
            and all(wanted in ("*", given) for wanted, given in pairs)
            and (not self.path or re.search(self.path, asked.path) is not None)
        )

    def as_json(self) -> Json:
        """Give it for the control endpoint."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "released"}


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("verb", "resource", "namespace", "name", "path", "identity"), (str,)),
    **dict.fromkeys(("skip", "status", "retry_after"), (int,)),
    **dict.fromkeys(("chance", "delay"), (int, float)),
    **dict.fromkeys(("hold", "hang_up", "lost"), (bool,)),
    "times": (int, type(None)),
}


@dataclass(slots=True)
class Faults:
    """The switches. Thread-safe through its methods."""

    mode: ServerMode = ServerMode.OK
    delay: float = 0.0
    """Seconds that every answer is late."""
    clock_skew: float = 0.0
    """Seconds by which the `Date` header is ahead."""
    rules: list[Rule] = field(default_factory=list)
    random: random.Random = field(default_factory=random.Random, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def change(self, wanted: Json) -> None:
        """Take switches from JSON; raises ApiError 400 for an unknown one, and then changes nothing.

        `rules` replaces all rules and releases what the old ones hold; `seed` makes `chance` repeatable.
        """
        unknown = set(wanted) - {"mode", "delay", "clock_skew", "rules", "seed", "compact", "drop_streams"}
        if unknown:
            raise ApiError(400, f"unknown fault: {', '.join(sorted(unknown))}")
        try:
            mode = ServerMode(wanted.get("mode", self.mode))
            rules = [_rule(rule) for rule in wanted["rules"]] if "rules" in wanted else None
            delay, skew = float(wanted.get("delay", self.delay)), float(wanted.get("clock_skew", self.clock_skew))
        except (TypeError, ValueError) as error:
            raise ApiError(400, f"faults not understood: {error}") from error
        with self._lock:
            self.mode, self.delay, self.clock_skew = mode, delay, skew
            if "seed" in wanted:
                self.random.seed(wanted["seed"])
            if rules is not None:
                old, self.rules = self.rules, rules
                for rule in old:
                    rule.released.set()

    def take(self, asked: Asked) -> Rule | None:
        """Give the first rule that catches a request, and count it."""
        with self._lock:
            for rule in self.rules:
                if not rule.matches(asked):
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.chance < 1 and self.random.random() >= rule.chance:
                    continue
                if rule.times is not None:
                    rule.times -= 1
                rule.caught += 1
                return rule
        return None

    def hold(self, rule: Rule, stopping: threading.Event) -> None:
        """Keep a request for as long as its rule says; returns early when the server stops."""
        with self._lock:
            rule.held += 1
        try:
            stopping.wait(rule.delay)
            while rule.hold and not rule.released.wait(0.1) and not stopping.is_set():
                pass
        finally:
            with self._lock:
                rule.held -= 1

    def allows(self, asked: Asked) -> bool:
        """Tell what an access review says: no, where the first rule about it answers 403.

        So a Role can be played: a rule that does nothing for each right, and after them one that refuses the rest.
        """
        with self._lock:
            first = next((rule for rule in self.rules if rule.matches(asked)), None)
        return first is None or first.status != 403

    def as_json(self) -> Json:
        """Give everything for the control endpoint."""
        with self._lock:
            return {
                "mode": self.mode,
                "delay": self.delay,
                "clock_skew": self.clock_skew,
                "rules": [rule.as_json() for rule in self.rules],
            }


def _rule(wanted: Json) -> Rule:
    for name, value in wanted.items():
        if name not in _TYPES:
            raise ValueError(f"unknown field of a rule: {name}")
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            raise ValueError(f"{name}: {value!r} is of the wrong type")
    try:
        re.compile(str(wanted.get("path", "")))
    except re.error as error:
        raise ValueError(f"path: {error}") from error
    return Rule(**wanted)


def error_of(
    rule: Rule, resource: Resource, verb: str, namespace: str, name: str, *, subresource: str = ""
) -> ApiError:
    """Give the answer of a rule with a status."""
    if rule.status == 403:
        return forbidden(resource, verb, namespace, name, subresource)
    if rule.status == 409:
        return ApiError(
            409, f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified'
        )
    if rule.status == 410:
        return ApiError(410, "too old resource version: 1 (1000)")
    texts = {
        429: "the server has received too many requests and has asked us to try again later",
        500: "etcdserver: request timed out",
    }
    retry = rule.retry_after if rule.status in (429, 503) else 0
    return ApiError(rule.status, texts.get(rule.status, "a fault was asked for"), retry=retry)
