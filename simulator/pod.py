"""One simulated pod: what runs in it and how it is, and the JSON that the API server shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.api.objects import rfc3339

if TYPE_CHECKING:
    from simulator.api.objects import Json
    from simulator.layouts import LayoutSpec, RoleSpec
    from simulator.logs import LogFile

REVISION_LABEL = "controller-revision-hash"
_PORTS = {"bbs": 8889, "locket": 8891, "api": 9022}


@dataclass(slots=True)
class Pod:
    """The state of one pod. Times are monotonic seconds unless they say Unix."""

    role: str
    spec: RoleSpec
    ordinal: int
    uid: str
    ip: str
    revision: str
    running_at: float
    """When its containers run; infinite for a pod that no node takes."""
    started: float
    """Unix time of the containers' start."""
    ready_at: float
    ready: bool = False
    ill_since: float | None = None
    doomed_at: float | None = None
    """When it will be gone; None unless Terminating, infinite where it hangs there."""
    doomed_since: float = 0.0
    """When its deletion was seen."""
    label: str | None = None
    shown_label: str | None = None
    """The label as the API server was last told."""
    shown_ready: bool | None = None
    turned: float = 0.0
    """Unix time at which it last became ready, or ceased to be."""
    label_due: float = 0.0
    bbs_stuck: bool = False
    """BBS sits in its first Lock call for ever: alive, never active."""
    bbs_wedged: bool = False
    """BBS is stopped: its kernel accepts, nothing answers, TERM is ignored."""
    bbs_down: bool = False
    """BBS dies at each start."""
    bbs_born_expired: bool = False
    """The certificate had expired when this BBS started, so it did not."""
    locket_wedged: bool = False
    label_stuck: bool = False
    """The label is not refreshed any more."""
    crash_looping: bool = False
    restarts: int = 0
    ended: float | None = None
    """Unix time at which the container before this one ended."""
    logs: dict[str, LogFile] = field(default_factory=dict)
    previous: dict[str, LogFile] = field(default_factory=dict)
    files: dict[str, LogFile] = field(default_factory=dict)
    published: tuple[object, ...] = ()
    """What the API server was last told of it."""

    @property
    def name(self) -> str:
        """Give the pod's name."""
        return f"{self.spec.name}-{self.ordinal}"

    @property
    def terminating(self) -> bool:
        """Tell whether its deletion has been seen."""
        return self.doomed_at is not None

    @property
    def afflicted(self) -> bool:
        """Tell whether it carries something that its replacement will not have."""
        return self.bbs_stuck or self.bbs_wedged or self.locket_wedged or self.label_stuck

    def runs(self, now: float) -> bool:
        """Tell whether its containers run; those of a Terminating pod end with the TERM unless they ignore it."""
        return now >= self.running_at

    def facts(self, now: float) -> tuple[object, ...]:
        """Give everything that the API server shows, to see whether it has changed."""
        return (
            self.runs(now),
            self.running_at == float("inf"),
            self.ready,
            self.label,
            self.restarts,
            self.started,
            self.ended,
            self.crash_looping,
            self.bbs_down,
        )

    def cure(self) -> None:
        """Take away what only a restart would."""
        self.bbs_stuck = self.bbs_wedged = self.locket_wedged = self.label_stuck = False

    def close_logs(self) -> None:
        """End every stream that follows a log of this pod."""
        for log in (*self.logs.values(), *self.files.values()):
            log.close()


def manifest(
    layout: LayoutSpec,
    role: str,
    spec: RoleSpec,
    ordinal: int,
    *,
    owner: Json,
    revision: str,
    grace: int,
    created: float,
) -> Json:
    """Give the pod as its StatefulSet controller creates it; `created` is Unix time."""
    name = f"{spec.name}-{ordinal}"
    return {
        "metadata": {
            "name": name,
            "generateName": f"{spec.name}-",
            "creationTimestamp": rfc3339(created),
            "labels": {
                **layout.labels(spec, ordinal),
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(ordinal),
                REVISION_LABEL: revision,
            },
            "ownerReferences": [owner_of(owner)],
        },
        "spec": {
            "containers": [container(role, spec, name) for name in spec.containers],
            "nodeName": f"node-{1 + ordinal % 3}",
            "hostname": name,
            "subdomain": f"{spec.name}-set",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": grace,
        },
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]},
    }


def owner_of(stateful_set: Json) -> Json:
    """Give the reference by which a StatefulSet owns a pod."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": stateful_set["metadata"]["name"],
        "uid": stateful_set["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def container(role: str, spec: RoleSpec, name: str) -> Json:
    """Give one container of a pod's specification."""
    found: Json = {"name": name, "image": f"registry.example/cf/{name}:1.0"}
    if name == spec.containers[0] and role in _PORTS:
        found["ports"] = [{"containerPort": _PORTS[role], "protocol": "TCP"}]
    return found


def status(pod: Pod, now: float, *, serious: bool) -> Json:
    """Give `status`; `serious`: of a pod that is not ready, the main container shows it (else the Locket beside it)."""
    if pod.running_at == float("inf"):
        why = {"reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}
        return {
            "phase": "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "False", **why},
                {"type": "Ready", "status": "False"},
            ],
        }
    running = pod.runs(now)
    ready = "True" if pod.ready else "False"
    return {
        "phase": "Running" if running else "Pending",
        "podIP": pod.ip,
        "podIPs": [{"ip": pod.ip}],
        "hostIP": "127.0.0.1",
        "qosClass": "Burstable",
        "startTime": rfc3339(pod.started),
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(pod.started)},
            {"type": "Initialized", "status": "True", "lastTransitionTime": rfc3339(pod.started)},
            {"type": "ContainersReady", "status": ready, "lastTransitionTime": rfc3339(pod.turned)},
            {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(pod.turned)},
        ],
        "containerStatuses": [_container_status(pod, name, running, serious) for name in pod.spec.containers],
    }


def _container_status(pod: Pod, name: str, running: bool, serious: bool) -> Json:
    first = name == pod.spec.containers[0]
    culprit = first if serious or "locket-locket" not in pod.spec.containers else name == "locket-locket"
    found: Json = {
        "name": name,
        "image": f"registry.example/cf/{name}:1.0",
        "imageID": f"registry.example/cf/{name}@sha256:{'0' * 64}",
        "containerID": f"containerd://{pod.uid}-{name}-{pod.restarts if first else 0}",
        "restartCount": pod.restarts if first else 0,
        "ready": running and (pod.ready or not culprit),
        "started": running,
        "state": {"running": {"startedAt": rfc3339(pod.started)}},
        "lastState": {},
    }
    if not running:
        found["state"] = {"waiting": {"reason": "ContainerCreating"}}
    if first and pod.ended is not None:
        found["lastState"] = {
            "terminated": {
                "exitCode": 2,
                "reason": "Error",
                "startedAt": rfc3339(pod.ended - 1),
                "finishedAt": rfc3339(pod.ended),
            }
        }
    if first and pod.crash_looping:
        found["ready"] = found["started"] = False
        found["state"] = {
            "waiting": {"reason": "CrashLoopBackOff", "message": f"back-off restarting failed container {name}"}
        }
    return found
