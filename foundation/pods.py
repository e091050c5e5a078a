"""What a pod's and a StatefulSet's JSON say, reduced to what the house needs, tolerant of what is missing.

Real API servers, old kubelets and half-created pods leave out fields that a schema calls required. A field that is not
there reads as "not known", never as a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from foundation.layout import Layout, NotReady
from foundation.observation import PodState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START_BUDGET = 300.0
"""Seconds that a pod may take to become ready before it counts as stuck."""
TERMINATING_SLACK = 60.0
CRASH_MEMORY = 300.0
"""Seconds for which a BBS or Locket container that ended is remembered as crashing."""
DEFAULT_GRACE = 30.0
MAX_NUMBER = 2.0**53
"""Beyond it a number in JSON is no count and no time."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Container:
    """One container's state."""

    name: str
    ready: bool
    restarts: int
    id: str
    started: float | None
    """Unix time, None unless running."""
    ended: float | None
    """Unix time at which the container, or the one before it, ended."""
    waiting: str
    """The reason, such as CrashLoopBackOff; empty when it does not wait."""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One pod as the API server describes it."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""
    node: str = ""
    phase: str = ""
    ready: bool = False
    created: float | None = None
    deleted: float | None = None
    """Unix time at which its deletion was asked for."""
    grace: float = DEFAULT_GRACE
    owner: str = ""
    containers: tuple[Container, ...] = ()
    ready_changed: float | None = None
    """Unix time at which the Ready condition last changed."""
    unreadable: str = ""
    """The first field that is there and cannot be read; what depends on it is not known."""

    @property
    def ready_containers(self) -> str:
        """As `kubectl get pods` shows it: `1/2`."""
        return f"{sum(container.ready for container in self.containers)}/{len(self.containers)}"

    @property
    def restarts(self) -> int:
        """Restarts over all containers."""
        return sum(container.restarts for container in self.containers)


@dataclass(frozen=True, slots=True)
class StatefulSetSeen:
    """One StatefulSet."""

    name: str
    uid: str
    replicas: int | None
    rolling: bool | None
    """Not every pod has the newest revision, or the controller has not seen the newest spec. None: its status is not
    given, so that nothing is known."""
    revision: str


def read_pod(value: Json) -> PodSeen | None:
    """A pod's JSON, or None where it has no name or UID."""
    meta, spec, status = _map(value.get("metadata")), _map(value.get("spec")), _map(value.get("status"))
    name, uid = _text(meta.get("name")), _text(meta.get("uid"))
    if not name or not uid:
        return None
    ready = next((item for item in _maps(status.get("conditions")) if item.get("type") == "Ready"), {})
    grace = _number(meta.get("deletionGracePeriodSeconds"), _number(spec.get("terminationGracePeriodSeconds"), None))
    grace = DEFAULT_GRACE if grace is None else grace
    # deletionTimestamp is when the grace ends, not when the deletion was asked for.
    ends = _time(meta.get("deletionTimestamp"))
    owners = [_text(item.get("name")) for item in _maps(meta.get("ownerReferences"))]
    return PodSeen(
        namespace=_text(meta.get("namespace")),
        name=name,
        uid=uid,
        resource_version=_text(meta.get("resourceVersion")),
        labels={key: text for key, text in _map(meta.get("labels")).items() if isinstance(text, str)},
        ip=_text(status.get("podIP")),
        node=_text(spec.get("nodeName")),
        phase=_text(status.get("phase")),
        ready=ready.get("status") == "True",
        created=_time(meta.get("creationTimestamp")),
        deleted=None if ends is None else ends - grace,
        grace=grace,
        owner=owners[0] if owners else "",
        containers=_containers(spec, status),
        ready_changed=_time(ready.get("lastTransitionTime")),
        unreadable=_unreadable(meta, status, ready),
    )


def _unreadable(meta: Json, status: Json, ready: Json) -> str:
    """The first field whose loss would change what the pod seems to be, and that has a shape of its own."""
    times = {"metadata.deletionTimestamp": meta.get("deletionTimestamp")}
    times["metadata.creationTimestamp"] = meta.get("creationTimestamp")
    lists = {f"status.{key}": status.get(key) for key in ("conditions", "containerStatuses")}
    for field_, value in times.items():
        if value is not None and _time(value) is None:
            return field_
    for field_, value in lists.items():
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            return field_
    for item in _maps(status.get("containerStatuses")):
        if item.get("restartCount") is not None and _number(item["restartCount"], None) is None:
            return "restartCount of a container"
    if ready and ready.get("status") not in ("True", "False", "Unknown"):
        return "status of the condition Ready"
    return ""


def read_statefulset(value: Json) -> StatefulSetSeen | None:
    """A StatefulSet's JSON, or None where it has no name."""
    meta, spec, status = _map(value.get("metadata")), _map(value.get("spec")), _map(value.get("status"))
    name = _text(meta.get("name"))
    if not name:
        return None
    replicas = _number(spec.get("replicas"), None)
    current, update = _text(status.get("currentRevision")), _text(status.get("updateRevision"))
    generation, observed = _number(meta.get("generation"), None), _number(status.get("observedGeneration"), None)
    behind = generation is not None and observed is not None and observed < generation
    known = observed is not None or (current and update)
    return StatefulSetSeen(
        name=name,
        uid=_text(meta.get("uid")),
        replicas=None if replicas is None else int(replicas),
        rolling=(behind or bool(current and update and current != update)) if known else None,
        revision=update,
    )


def pod_state(pod: PodSeen, layout: Layout, role: str, now: float) -> tuple[PodState, str]:
    """The pod's state in the words of the rules, and the value behind it.

    `now` is the API server's clock (Unix time), as the times compared with it are the API server's.
    """
    if pod.unreadable:
        return PodState.UNKNOWN, f"{pod.unreadable} cannot be read"
    if pod.deleted is not None:
        age = max(0.0, now - pod.deleted)
        state = PodState.MOVING if age <= pod.grace + TERMINATING_SLACK else PodState.STUCK
        return state, f"Terminating for {age:.0f} s, grace {pod.grace:.0f} s"
    watched = _watched(pod, layout, role)
    for container in watched:
        if container.waiting == "CrashLoopBackOff":
            return PodState.CRASH, f"{container.name} in CrashLoopBackOff, {container.restarts} restarts"
        # An end before which nothing was restarted is told of a container that has just ended, or of another pod's.
        ended_here = container.restarts or container.started is None
        if container.ended is not None and now - container.ended < CRASH_MEMORY and ended_here:
            return PodState.CRASH, f"{container.name} ended {max(0.0, now - container.ended):.0f} s ago"
    if pod.phase not in ("Running", "Pending"):
        return PodState.UNKNOWN, f"phase {pod.phase or 'not given'}"
    started = [container.started for container in pod.containers if container.started is not None]
    begun = max([*started, *([pod.created] if pod.created is not None else [])], default=None)
    text = f"{pod.phase}, {pod.ready_containers} ready, {pod.restarts} restarts"
    if begun is None:
        return PodState.UNKNOWN, f"{text}, start time not given"
    if pod.phase == "Running" and pod.ready:
        if silent := [item.name for item in watched if item.started is None]:
            return PodState.UNKNOWN, f"{text}, start time of {silent[0]} not given"
        return PodState.READY, text
    return _not_ready(pod, layout, begun, now, text)


def _not_ready(pod: PodSeen, layout: Layout, begun: float, now: float, text: str) -> tuple[PodState, str]:
    age = max(0.0, now - begun)
    if age <= START_BUDGET:
        # A passive pod of CFEE 1.x is never ready; its start is over once its containers run.
        running = bool(pod.containers) and all(container.started is not None for container in pod.containers)
        if layout.not_ready_means is NotReady.PASSIVE and running:
            return PodState.READY, text
        return PodState.MOVING, f"{text}, started {age:.0f} s ago"
    if pod.phase == "Pending":
        return PodState.STUCK, f"{text}, for {age:.0f} s"
    state = PodState.CRASH if layout.not_ready_means is NotReady.CRASH else PodState.READY
    since = "" if pod.ready_changed is None else f" for {max(0.0, now - pod.ready_changed):.0f} s"
    return state, f"{text}, not ready{since}, started {age:.0f} s ago"


def newest_start(pods: Sequence[tuple[PodSeen, str]], layout: Layout, *, bbs_too: bool) -> float | None:
    """Unix time of the newest start of a BBS or Locket container; without `bbs_too`, not counting BBS alone."""
    starts: list[float | None] = []
    for pod, role in pods:
        if role not in ("bbs", "locket"):
            continue
        alone = dict(layout.roles.items())[role].bbs_only
        starts.append(pod.created)
        starts += [item.started for item in _watched(pod, layout, role) if bbs_too or item.name not in alone]
    return max((start for start in starts if start is not None), default=None)


def _watched(pod: PodSeen, layout: Layout, role: str) -> tuple[Container, ...]:
    """The containers that BBS or Locket run in; all of them where the layout's names do not fit."""
    names = dict(layout.roles.items())[role].containers
    return tuple(item for item in pod.containers if item.name in names) or pod.containers


def _containers(spec: Json, status: Json) -> tuple[Container, ...]:
    statuses = {_text(item.get("name")): item for item in _maps(status.get("containerStatuses"))}
    names = [_text(item.get("name")) for item in _maps(spec.get("containers"))] or list(statuses)
    return tuple(_container(name, statuses.get(name, {})) for name in names if name)


def _container(name: str, status: Json) -> Container:
    state, last = _map(status.get("state")), _map(status.get("lastState"))
    ended = _time(_map(state.get("terminated")).get("finishedAt")) or _time(
        _map(last.get("terminated")).get("finishedAt")
    )
    return Container(
        name=name,
        ready=status.get("ready") is True,
        restarts=int(_number(status.get("restartCount"), 0) or 0),
        id=_text(status.get("containerID")),
        started=_time(_map(state.get("running")).get("startedAt")),
        ended=ended,
        waiting=_text(_map(state.get("waiting")).get("reason")),
    )


def _map(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _maps(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""


def _number(value: object, default: float | None) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return float(value) if -MAX_NUMBER <= value <= MAX_NUMBER else default  # NaN is not between anything


def _time(value: object) -> float | None:
    """Unix time of an RFC 3339 text, None where there is none; a time without its zone is none."""
    try:
        told = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return told.timestamp() if told.tzinfo is not None else None
