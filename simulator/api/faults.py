"""What can be wrong with the API server itself, switched at run time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Rule:
    """What happens to the requests that match."""

    verb: str = "*"
    """get, list, watch, create, update, patch, delete, deletecollection, exec, log."""
    resource: str = "*"
    namespace: str = "*"
    name: str = "*"
    status: int = 0
    """HTTP status to answer with instead of working; 0: none. 410 for a watch is sent inside the stream."""
    delay: float = 0.0
    """Seconds to hold the request before it is worked on: a request that arrives late."""
    lost: bool = False
    """The request is carried out and its answer is lost: the connection is reset."""
    retry_after: int = 1
    """Seconds, sent with 429 and 503."""
    times: int | None = None
    """How many requests it catches; None: all."""

    def matches(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Tell whether this rule is about that request."""
        pairs = ((self.verb, verb), (self.resource, resource), (self.namespace, namespace), (self.name, name))
        return self.times != 0 and all(wanted in ("*", given) for wanted, given in pairs)


@dataclass(slots=True)
class Faults:
    """The switches. Thread-safe through `change` and `take`."""

    mode: ServerMode = ServerMode.OK
    delay: float = 0.0
    """Seconds that every answer is late."""
    clock_skew: float = 0.0
    """Seconds by which the `Date` header is ahead."""
    rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def change(self, wanted: Json) -> None:
        """Take switches from JSON; raises ApiError 400 for an unknown one, and then changes nothing."""
        unknown = set(wanted) - {"mode", "delay", "clock_skew", "rules", "compact", "drop_streams"}
        if unknown:
            raise ApiError(400, f"unknown fault: {', '.join(sorted(unknown))}")
        try:
            mode = ServerMode(wanted.get("mode", self.mode))
            rules = [Rule(**rule) for rule in wanted["rules"]] if "rules" in wanted else None
            delay, skew = float(wanted.get("delay", self.delay)), float(wanted.get("clock_skew", self.clock_skew))
        except (TypeError, ValueError) as error:
            raise ApiError(400, f"faults not understood: {error}") from error
        with self._lock:
            self.mode, self.delay, self.clock_skew = mode, delay, skew
            if rules is not None:
                self.rules = rules

    def take(self, verb: str, resource: str, namespace: str, name: str) -> Rule | None:
        """Give the first rule about a request and count it as used once."""
        with self._lock:
            for rule in self.rules:
                if rule.matches(verb, resource, namespace, name):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return None

    def allows(self, verb: str, resource: str, namespace: str) -> bool:
        """Tell what an access review says: no, where a rule answers 403."""
        with self._lock:
            return not any(rule.status == 403 and rule.matches(verb, resource, namespace, "") for rule in self.rules)


def error_of(rule: Rule, resource: Resource, verb: str, namespace: str, name: str) -> ApiError:
    """Give the answer of a rule with a status."""
    if rule.status == 403:
        return forbidden(resource, verb, namespace)
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
