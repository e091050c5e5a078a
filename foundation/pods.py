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
    rolling: bool
    """Not every pod has the newest revision, or the controller has not seen the newest spec."""
    revision: str


def read_pod(value: Json) -> PodSeen | None:
    """A pod's JSON, or None where it has no name or UID."""
    meta, spec, status = _map(value.get("metadata")), _map(value.get("spec")), _map(value.get("status"))
    name, uid = _text(meta.get("name")), _text(meta.get("uid"))
    if not name or not uid:
        return None
    conditions = {_text(item.get("type")): _text(item.get("status")) for item in _maps(status.get("conditions"))}
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
        ready=conditions.get("Ready") == "True",
        created=_time(meta.get("creationTimestamp")),
        deleted=None if ends is None else ends - grace,
        grace=grace,
        owner=owners[0] if owners else "",
        containers=_containers(spec, status),
    )


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
    return StatefulSetSeen(
        name=name,
        uid=_text(meta.get("uid")),
        replicas=None if replicas is None else int(replicas),
        rolling=behind or bool(current and update and current != update),
        revision=update,
    )


def pod_state(pod: PodSeen, layout: Layout, role: str, now: float) -> tuple[PodState, str]:
    """The pod's state in the words of the rules, and the value behind it.

    `now` is the API server's clock (Unix time), as the times compared with it are the API server's.
    """
    if pod.deleted is not None:
        age = now - pod.deleted
        state = PodState.MOVING if age <= pod.grace + TERMINATING_SLACK else PodState.STUCK
        return state, f"Terminating for {age:.0f} s, grace {pod.grace:.0f} s"
    watched = _watched(pod, layout, role)
    for container in watched:
        if container.waiting == "CrashLoopBackOff":
            return PodState.CRASH, f"{container.name} in CrashLoopBackOff, {container.restarts} restarts"
        if container.ended is not None and now - container.ended < CRASH_MEMORY and container.restarts:
            return PodState.CRASH, f"{container.name} ended {now - container.ended:.0f} s ago"
    if pod.phase not in ("Running", "Pending"):
        return PodState.UNKNOWN, f"phase {pod.phase or 'not given'}"
    started = [container.started for container in pod.containers if container.started is not None]
    begun = max([*started, *([pod.created] if pod.created is not None else [])], default=None)
    text = f"{pod.phase}, {pod.ready_containers} ready, {pod.restarts} restarts"
    if pod.phase == "Running" and pod.ready:
        return PodState.READY, text
    if begun is None:
        return PodState.UNKNOWN, f"{text}, start time not given"
    if now - begun <= START_BUDGET:
        # A passive pod of CFEE 1.x is never ready; its start is over once its containers run.
        running = bool(pod.containers) and all(container.started is not None for container in pod.containers)
        if layout.not_ready_means is NotReady.PASSIVE and running:
            return PodState.READY, text
        return PodState.MOVING, f"{text}, started {now - begun:.0f} s ago"
    if pod.phase == "Pending":
        return PodState.STUCK, f"{text}, for {now - begun:.0f} s"
    state = PodState.CRASH if layout.not_ready_means is NotReady.CRASH else PodState.READY
    return state, f"{text}, not ready for more than {START_BUDGET:.0f} s"


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
    return value if isinstance(value, str) else ""


def _number(value: object, default: float | None) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _time(value: object) -> float | None:
    """Unix time of an RFC 3339 text, None where there is none."""
    try:
        return datetime.fromisoformat(_text(value)).timestamp() if value else None
    except ValueError:
        return None
