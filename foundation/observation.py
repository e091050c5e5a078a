"""The words in which a foundation is described to `diagnose`, and their JSON form.

An Observation is what was seen, already put into words: no timestamps to compare, no sockets, nothing that needs a
clock. So a case from production can be stored, replayed and argued about. The words are those of the recorded vectors;
a word that is missing means "not known", which never speaks for a restart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class ObservationError(ValueError):
    """A recorded observation that cannot be read: one line that says where and what is allowed."""


class Role(StrEnum):
    """What runs in a pod. With a colocated Locket the pods are `bbs`."""

    BBS = "bbs"
    LOCKET = "locket"


class PodState(StrEnum):
    """A pod's life, in the words of the verdict's rules."""

    READY = "ready"
    """Running, and nothing that the layout calls a fault."""
    MOVING = "moving"
    """Starting within its budget, or Terminating within its grace."""
    STUCK = "stuck"
    """Starting or Terminating for longer than that."""
    CRASH = "crash"
    """CrashLoopBackOff, or a BBS or Locket container that ended less than five minutes ago."""
    UNKNOWN = "unknown"


class PodProbe(StrEnum):
    """What a BBS pod said at its own address, port 8889."""

    SERVES = "serves"
    REFUSED = "refused"
    HANGS = "hangs"
    """Accepted, then silent."""
    NO_ANSWER = "no_answer"
    """No SYN-ACK. Hangs where a control port of the pod answers, else the pod is unreached."""
    MIGRATING = "migrating_503"
    SERVER_CERTIFICATE = "server_certificate"
    CLIENT_REJECTED = "client_rejected"
    DATABASE_ERROR = "database_error"
    NOT_BBS = "not_bbs"
    """Something answered that BBS would not say."""
    NOT_PROBED = "not_probed"


class ServiceProbe(StrEnum):
    """The Service as Cloud Controller uses it; `ok` means that every fresh connection of the look succeeded."""

    OK = "ok"
    FAIL = "fail"
    CERTIFICATE = "cert"
    CLIENT = "client"
    MIGRATING = "migrating"
    UNKNOWN = "unknown"


class Database(StrEnum):
    """The SQL database of BBS and Locket as it answers us."""

    UP = "up"
    DOWN = "down"
    """Configured, and no answer, or accepts and stays silent."""
    UNKNOWN = "unknown"
    """Configured, and not looked at yet."""
    NOT_CONFIGURED = "not_configured"
    NONE = "none"
    """`database: {kind: none}`: left out on purpose."""


class Witness(StrEnum):
    """A look from inside a pod."""

    OK = "ok"
    FAIL = "fail"
    WAIVED = "waived"
    """Not configured, on purpose."""
    UNKNOWN = "unknown"


class InnerDatabase(StrEnum):
    """The database as it answers inside a BBS pod."""

    UP = "up"
    DOWN = "down"
    WAIVED = "waived"
    UNKNOWN = "unknown"


class ApiPods(StrEnum):
    """Cloud Controller's own pods."""

    READY = "ready"
    NONE = "none"
    UNKNOWN = "unknown"


class Locket(StrEnum):
    """Where Locket lives and, where it has pods of its own, whether any of them accepts on 8891."""

    IN_THE_BBS_PODS = "in_the_bbs_pods"
    SEPARATE_ACCEPTING = "separate_accepting"
    SEPARATE_DOWN = "separate_down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of BBS, or of a Locket of its own."""

    state: PodState = PodState.UNKNOWN
    probe: PodProbe = PodProbe.NOT_PROBED
    labelled_active: bool | None = None
    locket_hangs: bool | None = None
    """8891 accepts, then no TLS answer within the deadline, or no answer to a read of the lock."""
    control_port_answers: bool | None = None
    """None: the signal of the same name stands for every pod."""
    role: Role = Role.BBS
    name: str = ""
    seen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The values behind the words, for the evidence: by the word's key, a clause for a person."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of the foundation as a whole. None and `unknown` mean: not known."""

    observation_fresh: bool | None = None
    service_probe: ServiceProbe = ServiceProbe.UNKNOWN
    database: Database = Database.UNKNOWN
    api_pods: ApiPods = ApiPods.UNKNOWN
    probe_from_api_pod: Witness = Witness.UNKNOWN
    settled: bool | None = None
    quiet: bool | None = None
    """As settled, without counting the restarts of BBS itself; None: as `settled`."""
    rollout: bool | None = None
    layout_has_label: bool | None = None
    control_port_answers: bool | None = None
    locket: Locket = Locket.UNKNOWN
    database_from_bbs_pod: InnerDatabase = InnerDatabase.UNKNOWN
    last_certificate_expired: bool | None = None
    depth: str = ""
    """How deep the probes go: at `tcp`, a BBS that hangs cannot be told from one that serves."""
    max_pods: int = 5


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one foundation, in words."""

    pods: tuple[Pod, ...] = ()
    signals: Signals = field(default_factory=Signals)
    seen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The values behind the signals, by the signal's key."""

    def to_json(self) -> str:
        """The form that `from_json` reads."""
        pods = [_plain(pod) for pod in self.pods]
        document = {"pods": pods, "signals": _plain(self.signals), "seen": dict(self.seen)}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Observation:
        """Read a recorded observation.

        Raises ObservationError for text that is not JSON, a word that is not known or a key that does not exist or
        stands twice. The keys `scenario` and `expect` of the recorded vectors are passed over.
        """
        try:
            document = json.loads(text, object_pairs_hook=_once)
        except ObservationError:
            raise
        except (ValueError, RecursionError) as problem:
            raise ObservationError(f"not JSON: {problem}") from None
        if not isinstance(document, dict):
            raise ObservationError("expected an object with `pods` and `signals`")
        known = {"pods", "signals", "seen", "scenario", "expect"}
        if unknown := sorted(set(document) - known):
            raise ObservationError(f"{unknown[0]}: no such key (there are pods, signals, seen)")
        pods = document.get("pods", [])
        if not isinstance(pods, list):
            raise ObservationError("pods: expected a list")
        return cls(
            pods=tuple(_read(Pod, pod, f"pods.{index}") for index, pod in enumerate(pods)),
            signals=_read(Signals, document.get("signals", {}), "signals"),
            seen=_texts(document.get("seen", {}), "seen"),
        )


_T = TypeVar("_T", Pod, Signals)

_WORDS: Mapping[str, type[StrEnum]] = MappingProxyType(
    {
        "state": PodState,
        "probe": PodProbe,
        "role": Role,
        "service_probe": ServiceProbe,
        "database": Database,
        "api_pods": ApiPods,
        "probe_from_api_pod": Witness,
        "locket": Locket,
        "database_from_bbs_pod": InnerDatabase,
    }
)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object's keys; which of two equal ones was meant, nobody knows."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ObservationError(f"the key {twice!r} stands twice in one object")
    return found


def _plain(part: Pod | Signals) -> dict[str, object]:
    values = {item.name: getattr(part, item.name) for item in fields(part)}
    return {key: dict(value) if key == "seen" else value for key, value in values.items() if value is not None}


def _texts(value: object, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ObservationError(f"{where}: expected an object of texts")
    return MappingProxyType(dict(value))


def _read(kind: type[_T], value: object, where: str) -> _T:
    if not isinstance(value, dict):
        raise ObservationError(f"{where}: expected an object")
    allowed = {item.name for item in fields(kind)}
    if unknown := sorted(set(value) - allowed):
        raise ObservationError(f"{where}.{unknown[0]}: no such key (there are {', '.join(sorted(allowed))})")
    words: dict[str, Any] = {key: _word(key, word, f"{where}.{key}") for key, word in value.items() if word is not None}
    return kind(**words)


def _word(key: str, word: object, where: str) -> object:
    if key == "seen":
        return _texts(word, where)
    if key in ("name", "depth"):
        return _expect(word, str, where, "a text")
    if key == "max_pods":
        return _expect(word, int, where, "a whole number")
    words = _WORDS.get(key)
    if words is None:
        return _expect(word, bool, where, "true or false")
    try:
        return words(str(word))
    except ValueError:
        raise ObservationError(f"{where}: {word!r} is none of {', '.join(words)}") from None


def _expect(word: object, kind: type, where: str, name: str) -> object:
    if not isinstance(word, kind) or (kind is int and isinstance(word, bool)):
        raise ObservationError(f"{where}: expected {name}, not {word!r}")
    return word
