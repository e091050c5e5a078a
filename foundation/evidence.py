"""The sentences behind a verdict: each names what was looked at and the value seen, so that it can be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Locket,
    Observation,
    Pod,
    PodProbe,
    PodState,
    Role,
    ServiceProbe,
    Signals,
    Witness,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PROBE: Mapping[PodProbe, str] = {
    PodProbe.SERVES: "serves",
    PodProbe.REFUSED: "refuses connections on 8889, as a BBS without the lock does",
    PodProbe.HANGS: "accepts on 8889 and stays silent",
    PodProbe.NO_ANSWER: "gives no answer on 8889",
    PodProbe.MIGRATING: "answers 503 on 8889",
    PodProbe.SERVER_CERTIFICATE: "shows a certificate that fails",
    PodProbe.CLIENT_REJECTED: "rejects our client certificate",
    PodProbe.DATABASE_ERROR: "answers with an error of its database",
    PodProbe.NOT_BBS: "answers on 8889 as BBS would not",
    PodProbe.NOT_PROBED: "was not probed",
}
_STATE: Mapping[PodState, str] = {
    PodState.READY: "runs",
    PodState.MOVING: "is starting or terminating",
    PodState.STUCK: "is stuck",
    PodState.CRASH: "is crashing",
    PodState.UNKNOWN: "is in an unknown state",
}
_SERVICE: Mapping[ServiceProbe, str] = {
    ServiceProbe.OK: "The Service answers on every fresh connection",
    ServiceProbe.FAIL: "The Service does not answer",
    ServiceProbe.CERTIFICATE: "The Service shows a certificate that fails",
    ServiceProbe.CLIENT: "The Service rejects our client certificate",
    ServiceProbe.MIGRATING: "The Service answers 503",
    ServiceProbe.UNKNOWN: "The Service was not probed",
}
_DATABASE: Mapping[Database, str] = {
    Database.UP: "The database answers",
    Database.DOWN: "The database does not answer",
    Database.UNKNOWN: "The database was not looked at yet",
    Database.NOT_CONFIGURED: "The database is not configured, so nothing is known of it",
    Database.NONE: "The database is left out on purpose (kind: none)",
}
_API: Mapping[ApiPods, str] = {
    ApiPods.READY: "An api pod is ready",
    ApiPods.NONE: "No api pod is ready",
    ApiPods.UNKNOWN: "The api pods are not known",
}
_WITNESS: Mapping[Witness, str] = {
    Witness.OK: "From an api pod, BBS can be reached",
    Witness.FAIL: "From an api pod, BBS cannot be reached",
    Witness.WAIVED: "",
    Witness.UNKNOWN: "The look from an api pod gave no answer",
}
_INNER: Mapping[InnerDatabase, str] = {
    InnerDatabase.UP: "Inside a BBS pod, the database answers",
    InnerDatabase.DOWN: "Inside a BBS pod, the database does not answer",
    InnerDatabase.WAIVED: "",
    InnerDatabase.UNKNOWN: "The look from inside a BBS pod gave no answer",
}
_LOCKET: Mapping[Locket, str] = {
    Locket.IN_THE_BBS_PODS: "",
    Locket.SEPARATE_ACCEPTING: "A Locket accepts on 8891",
    Locket.SEPARATE_DOWN: "No Locket accepts on 8891",
    Locket.UNKNOWN: "Locket's port 8891 is not known",
}


def printable(text: str) -> str:
    """A sentence fit for a terminal and for one line: the words of pods and certificates are chosen by others."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def pod_name(pods: Sequence[Pod], index: int) -> str:
    """The pod's name, or its place where the record gives none."""
    return pods[index].name or f"pod {index}"


def sentences(observation: Observation) -> tuple[str, ...]:
    """What was seen, one sentence each: the pods, then the foundation as a whole."""
    signals, seen = observation.signals, observation.seen
    lines = [_pod(observation.pods, index) for index in range(len(observation.pods))]
    if signals.observation_fresh is not True and (why := seen.get("observation_fresh")):
        lines.insert(0, f"The pods are not current: {why}.")
    words = (
        ("service_probe", _SERVICE[signals.service_probe]),
        ("locket", _LOCKET[signals.locket]),
        ("database", _DATABASE[signals.database]),
        ("database_from_bbs_pod", _INNER[signals.database_from_bbs_pod]),
        ("api_pods", _API[signals.api_pods]),
        ("probe_from_api_pod", _WITNESS[signals.probe_from_api_pod]),
    )
    lines += [_with(text, seen.get(key)) for key, text in words if text]
    if signals.probe_from_api_pod is Witness.WAIVED and (said := seen.get("probe_from_api_pod")):
        lines.append(f"From an api pod, something accepts connections, which a BBS that does not serve may do: {said}.")
    serving = any(pod.probe is PodProbe.SERVES for pod in observation.pods)
    lines += _time(signals, seen, serving=serving)
    if signals.depth == "tcp":
        lines.append("Probes go no deeper than tcp: a BBS that hangs cannot be told from one that serves.")
    return tuple(map(printable, lines))


def _pod(pods: Sequence[Pod], index: int) -> str:
    pod = pods[index]
    clauses = [_clause(_STATE[pod.state], pod.seen.get("state"))]
    if pod.role is Role.BBS:
        clauses.append(_clause(_PROBE[pod.probe], pod.seen.get("probe")))
    if pod.locket_hangs:
        clauses.append(_clause("its Locket accepts on 8891 and does not answer", pod.seen.get("locket_hangs")))
    elif held := pod.seen.get("locket"):
        clauses.append(f"its Locket says that {held}")
    if pod.labelled_active:
        clauses.append(_clause("carries the active label", pod.seen.get("labelled_active")))
    return f"{pod_name(pods, index)}: {'; '.join(clauses)}."


def _clause(text: str, value: str | None) -> str:
    return f"{text} ({value})" if value else text


def _with(text: str, value: str | None) -> str:
    return f"{text}: {value}." if value else f"{text}."


def _time(signals: Signals, seen: Mapping[str, str], *, serving: bool) -> Iterator[str]:
    if signals.rollout:
        yield _with("A rollout is under way", seen.get("rollout"))
    elif signals.rollout is None and not serving:
        yield _with("Whether a rollout is under way is not known", seen.get("rollout"))
    if serving:
        pass  # how long ago that began decides nothing
    elif signals.settled is False:
        yield _with("Things have not settled", seen.get("settled"))
    elif signals.settled and (value := seen.get("settled")):
        yield _with("Things have settled", value)
    if signals.last_certificate_expired or "last_certificate_expired" in seen:
        text = "has expired" if signals.last_certificate_expired else "is valid"
        yield _with(f"The last server certificate seen {text}", seen.get("last_certificate_expired"))
