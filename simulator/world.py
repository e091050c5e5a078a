"""One foundation as a state machine: pods, the lock, labels, what is broken. It opens no socket, starts no thread.

`step` moves it on; `plan` says what every port should now do, for `simulator.cluster` to bring about. Pods live in the
API server's store, where anyone may delete them; the rest is kept here. Not thread-safe but for `lock`, which callers
hold around everything. Simplified against the real thing: one lock (`bbs`), no cells, and a readiness check that takes
effect at once when things get well.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.api.errors import ApiError
from simulator.api.objects import metadata, rfc3339
from simulator.api.resources import ENDPOINTS, NAMESPACES, PODS, SERVICES, STATEFULSETS
from simulator.api.store import Deletion
from simulator.layouts import CC_LOG, CLOCK_LOG
from simulator.logs import LogFile
from simulator.pod import Pod, container, manifest, owner_of, status
from simulator.servers.bbs import BBSMode
from simulator.servers.database import DatabaseMode
from simulator.servers.locket import LocketMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.api.objects import Json
    from simulator.api.store import Store
    from simulator.clock import Clock, Timing
    from simulator.layouts import LayoutSpec, RoleSpec

_AGED = 3600.0
"""Seconds for which the first pods have been running when the simulation begins."""
_STUCK_AGE = 1800.0
"""Seconds for which a pod that no node takes has been waiting when the incident begins."""
_NEVER = float("inf")


@dataclass(slots=True)
class Troubles:
    """What is wrong outside the pods: no restart cures it."""

    database: DatabaseMode = DatabaseMode.ANSWERS
    database_cut: bool = False
    """The database answers others, not the pods."""
    label_frozen: bool = False
    service_cut: bool = False
    blackhole: bool = False
    """A Service without endpoints swallows packets (Kubernetes up to 1.13) instead of refusing them."""
    api_down: bool = False
    certificate_expired: bool = False
    rejects_client: bool = False
    crash: bool = False
    split: bool = False
    migrating: bool = False
    database_error: bool = False
    not_bbs: bool = False
    unschedulable: bool = False
    hang_terminating: bool = False
    nobody_until: float = 0.0
    """Monotonic time before which nobody gets the lock."""

    @property
    def database_well(self) -> bool:
        """Tell whether BBS and Locket can use their database."""
        return self.database is DatabaseMode.ANSWERS and not self.database_cut


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What the Service's address does: forwards to the backends, in turn, or has none."""

    backends: tuple[tuple[str, bool], ...] = ()
    """Pod address, and whether a connection to it is refused."""
    blackhole: bool = False

    @property
    def refuses(self) -> bool:
        """Tell whether every connection is refused."""
        return not self.blackhole and all(refused for _, refused in self.backends)


@dataclass(frozen=True, slots=True)
class Plan:
    """What every port of the foundation does."""

    bbs: dict[str, BBSMode]
    locket: dict[str, LocketMode]
    owner: str
    """Who Locket says holds the lock."""
    database: DatabaseMode
    service: ServicePlan


@dataclass(slots=True)
class Foundation:
    """One foundation in a namespace of its own."""

    name: str
    namespace: str
    layout: LayoutSpec
    store: Store
    clock: Clock
    timing: Timing
    address: Callable[[], str]
    """Gives a fresh pod address."""
    service_address: str
    database_address: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    troubles: Troubles = field(default_factory=Troubles)
    pods: dict[str, Pod] = field(default_factory=dict)
    holder: str = ""
    """UID of the pod that holds the lock; empty: nobody."""
    _renewed: float = 0.0
    _free_since: float = 0.0
    _recreate: dict[str, float] = field(default_factory=dict)
    _fresh: bool = True
    _endpoints: Json | None = None
    _revisions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def create(self) -> None:
        """Put namespace, Service and StatefulSets into the store, and make the first pods, ready and an hour old."""
        with self.lock:
            self.store.create(NAMESPACES, "", {"metadata": {"name": self.namespace}, "status": {"phase": "Active"}})
            for role, spec in self.layout.roles:
                self.store.create(STATEFULSETS, self.namespace, self._stateful_set(role, spec))
            port = {"name": "cell-bbs-api", "port": 8889, "targetPort": 8889, "protocol": "TCP"}
            self.store.create(
                SERVICES,
                self.namespace,
                {
                    "metadata": {"name": self.layout.service, "creationTimestamp": self._aged()},
                    "spec": {
                        "clusterIP": "None" if self.layout.kubecf else self.service_address,
                        "type": "ClusterIP",
                        "selector": {
                            **self.layout.selector(self.layout.bbs),
                            **({self.layout.active_key: self.layout.active_value} if self.layout.active_key else {}),
                        },
                        "ports": [port],
                    },
                },
            )
            self.store.create(
                ENDPOINTS,
                self.namespace,
                {"metadata": {"name": self.layout.service, "creationTimestamp": self._aged()}, "subsets": []},
            )
            # Three steps without waiting: pods, lock, labels. What follows is an old and settled foundation.
            for _ in range(3):
                self.step()
            self._fresh = False

    # -- one step -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Bring everything up to now: StatefulSets, kubelets, the lock, labels, readiness, endpoints."""
        with self.lock:
            now = self.clock.monotonic()
            for pod in list(self.pods.values()):
                self._live(pod, now)
            for role, spec in self.layout.roles:
                self._control(role, spec, now)
            for pod in self.of("bbs"):
                self._supervise(pod, now)
            self._elect(now)
            for pod in self.pods.values():
                self._check_readiness(pod, now)
                self._write_label(pod, now)
                self._publish(pod, now)
            self._publish_endpoints()

    def plan(self) -> Plan:
        """Say what every port does now."""
        with self.lock:
            now = self.clock.monotonic()
            bbs = {pod.ip: self.bbs_mode(pod, now) for pod in self.of("bbs") if pod.runs(now)}
            locket = {pod.ip: self._locket_mode(pod, now) for pod in self._lockets() if pod.runs(now)}
            owner = next((pod.name for pod in self.pods.values() if pod.uid == self.holder), "")
            return Plan(bbs, locket, owner, self.troubles.database, self.service_plan())

    def of(self, role: str) -> list[Pod]:
        """Give the pods of a role in order."""
        return sorted((pod for pod in self.pods.values() if pod.role == role), key=lambda pod: pod.ordinal)

    @property
    def active(self) -> Pod | None:
        """Give the pod whose BBS holds the lock."""
        return next((pod for pod in self.pods.values() if pod.uid == self.holder), None)

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _control(self, role: str, spec: RoleSpec, now: float) -> None:
        """Do what the StatefulSet controller does, one pod at a time where it is OrderedReady."""
        try:
            found = self.store.get(STATEFULSETS, self.namespace, spec.name)
        except ApiError:
            return
        wanted, revision = int(found["spec"].get("replicas", 1)), self._revision(role, found)
        mine = self.of(role)
        present = {pod.ordinal for pod in mine}
        settled = True
        for ordinal in range(wanted):
            name = f"{spec.name}-{ordinal}"
            if ordinal not in present and now >= self._recreate.get(name, 0.0):
                self._make(role, spec, ordinal, found, revision=revision, now=now)
            if spec.ordered and not self._fresh and not (name in self.pods and self.pods[name].ready):
                settled = False
                break
        self._adopt(found, mine)
        if settled:
            self._shrink(spec, [pod for pod in mine if pod.ordinal >= wanted])
            self._roll(found, [pod for pod in mine if pod.ordinal < wanted], wanted, revision)
        self._publish_set(found, mine, revision)

    def _shrink(self, spec: RoleSpec, surplus: list[Pod]) -> None:
        """Delete the pods beyond `spec.replicas`: from the last, and one after the other where it is OrderedReady."""
        for pod in reversed(surplus):
            if not pod.terminating:
                self.delete(pod)
            if spec.ordered:
                return

    def _roll(self, found: Json, mine: list[Pod], wanted: int, revision: str) -> None:
        """Replace the last pod of an older revision, once those after it are new and ready (RollingUpdate)."""
        strategy = found["spec"].get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        if len(mine) < wanted or strategy.get("type") == "OnDelete":
            return
        for pod in reversed(mine[partition:]):
            if pod.revision != revision and not pod.terminating:
                self.delete(pod)
            if pod.revision != revision or pod.terminating or not pod.ready:
                return

    def _adopt(self, found: Json, mine: list[Pod]) -> None:
        """Own the pods that a StatefulSet of the same name has left behind."""
        owner = owner_of(found)

        def own(thing: Json) -> Json:
            thing["metadata"]["ownerReferences"] = [owner]
            return thing

        for pod in mine:
            if not metadata(self.store.get(PODS, self.namespace, pod.name)).get("ownerReferences"):
                self.store.update(PODS, self.namespace, pod.name, own)

    def _revision(self, role: str, found: Json) -> str:
        version = metadata(found)["resourceVersion"]
        if self._revisions.get(role, ("", ""))[0] != version:
            self._revisions[role] = (version, _revision(found["spec"]["template"]))
        return self._revisions[role][1]

    def _make(self, role: str, spec: RoleSpec, ordinal: int, owner: Json, *, revision: str, now: float) -> None:
        stuck = role == "bbs" and self.troubles.unschedulable
        age = _AGED if self._fresh else _STUCK_AGE if stuck else 0.0
        created = self.clock.time() - age
        grace = int(self.timing.grace)
        stored = self.store.create(
            PODS,
            self.namespace,
            manifest(self.layout, role, spec, ordinal, owner=owner, revision=revision, grace=grace, created=created),
        )
        running = _NEVER if stuck else now if self._fresh else now + self.timing.start
        pod = Pod(
            role=role,
            spec=spec,
            ordinal=ordinal,
            uid=metadata(stored)["uid"],
            ip=self.address(),
            revision=revision,
            running_at=running,
            started=created if self._fresh else self.clock.time() + self.timing.start,
            ready_at=now if self._fresh else running + self.timing.ready,
            label_due=now if self._fresh else running + self.timing.label,
            bbs_born_expired=role == "bbs" and self.troubles.certificate_expired,
        )
        pod.logs = {name: self._log() for name in spec.containers}
        for line in ("+ exec run.sh", f"Configuring {spec.name}", f"Starting {spec.name} via monit"):
            pod.logs[spec.containers[0]].append(line)
        if role == "api":
            pod.files[CC_LOG] = self._log()
        if role == "clock":
            pod.files[CLOCK_LOG] = self._log()
        self.pods[pod.name] = pod

    def _live(self, pod: Pod, now: float) -> None:
        """Do what the kubelet does: see a deletion, end the pod, and tell the API server when it is gone."""
        try:
            stored = self.store.get(PODS, self.namespace, pod.name)
        except ApiError:
            stored = None
        if stored is None or metadata(stored)["uid"] != pod.uid:
            self._gone(pod, now)
            return
        if metadata(stored).get("deletionTimestamp"):
            # A second deletion may shorten the grace, never lengthen it.
            grace = float(metadata(stored).get("deletionGracePeriodSeconds", 0))
            wedged = pod.bbs_wedged or pod.locket_wedged or pod.bbs_stuck
            if pod.doomed_at is None:
                pod.doomed_since, pod.ready = now, False
            pod.doomed_at = pod.doomed_since + (grace if wedged else min(self.timing.terminate, grace))
        self._notice_label(pod, stored)
        if pod.doomed_at is not None and now >= pod.doomed_at and not self.troubles.hang_terminating:
            self.store.remove(PODS, self.namespace, pod.name, pod.uid)
            self._gone(pod, now)

    def _notice_label(self, pod: Pod, stored: Json) -> None:
        """Take the active label as somebody else has set it; whatever refreshes it overwrites that in its time."""
        key = self.layout.active_key
        shown = metadata(stored).get("labels", {}).get(key) if key else None
        if key and pod.published and shown != pod.shown_label:
            pod.label = pod.shown_label = shown
            pod.published = ()

    def _gone(self, pod: Pod, now: float) -> None:
        pod.close_logs()
        del self.pods[pod.name]
        self._recreate[pod.name] = now + self.timing.schedule

    def evict(self, pod: Pod) -> None:
        """Remove a pod at once, as a lost node does."""
        self.store.remove(PODS, self.namespace, pod.name, pod.uid)
        self._gone(pod, self.clock.monotonic())

    def start_pod(self, pod: Pod, now: float) -> None:
        """Give a waiting pod its node."""
        pod.running_at, pod.started = now + self.timing.start, self.clock.time() + self.timing.start
        pod.ready_at = pod.label_due = pod.running_at + self.timing.ready

    def delete(self, pod: Pod) -> None:
        """Delete a pod as a client would; nothing happens where it is gone already."""
        try:
            self.store.delete(PODS, self.namespace, pod.name, Deletion(uid=pod.uid))
        except ApiError:
            return

    # -- processes ----------------------------------------------------------------------------------------------------

    def _supervise(self, pod: Pod, now: float) -> None:
        """Restart BBS, which dies at once where its database, its certificate or its program is broken."""
        if not pod.runs(now) or pod.bbs_wedged:
            return
        crashing = self.troubles.crash
        if crashing and not pod.crash_looping:
            pod.restarts += 5
            pod.ended = self.clock.time()
        if pod.crash_looping and not crashing:
            self.restart_bbs(pod)
        pod.crash_looping = crashing
        # A BBS that could not start comes up once its cause is gone; one that runs does not notice a dead database
        # until it loses the lock.
        starting = now < pod.ready_at or pod.bbs_down
        dead_database = self.troubles.database is DatabaseMode.CLOSED or self.troubles.database_cut
        expired = pod.bbs_born_expired and self.troubles.certificate_expired
        pod.bbs_down = crashing or expired or (starting and dead_database)

    def restart_bbs(self, pod: Pod) -> None:
        """Note that the BBS process began anew; only KubeCF's kubelet sees it, elsewhere monit restarts it within."""
        if self.layout.kubecf or pod.crash_looping:
            self.restart_container(pod, pod.spec.containers[0])

    def restart_container(self, pod: Pod, name: str) -> None:
        """Restart a container: its log begins anew, the old one becomes the previous."""
        with self.lock:
            pod.previous[name] = pod.logs[name]
            pod.logs[name].close()
            pod.logs[name] = self._log()
            if name == pod.spec.containers[0]:
                pod.restarts += 1
                pod.ended = pod.started = self.clock.time()

    def _elect(self, now: float) -> None:
        holder = self.active
        if self.holder and (holder is None or self._released(holder)):
            self._free(now)
        elif holder is not None and self._can_lock(holder, now):
            self._renewed = now
        elif holder is not None:
            # A dead database is noticed by the next renewal; a silent Locket only when the lock's time is up.
            patience = self.timing.lock_ttl
            if self.troubles.database is DatabaseMode.CLOSED or not self._bbs_runs(holder, now):
                patience = self.timing.lock_retry
            if now - self._renewed >= patience:
                self._lose(holder, now)
        if self.holder or now < self.troubles.nobody_until:
            return
        if now < self._free_since + self.timing.lock_retry and not self._fresh:
            return
        for pod in self.of("bbs"):
            if self._can_lock(pod, now):
                self.holder, self._renewed = pod.uid, now
                pod.logs[pod.spec.containers[0]].append(_lager("bbs.locket-lock.acquired-lock", self.clock.time()))
                return

    def _lose(self, holder: Pod, now: float) -> None:
        holder.logs[holder.spec.containers[0]].append(_lager("bbs.locket-lock.lost-lock", self.clock.time()))
        if not holder.bbs_wedged:
            self.restart_bbs(holder)
            if self.troubles.database is DatabaseMode.CLOSED or self.troubles.database_cut:
                holder.bbs_down = True
        self._free(now)

    def _free(self, now: float) -> None:
        self.holder, self._free_since = "", now

    def _released(self, holder: Pod) -> bool:
        """A BBS that gets TERM gives the lock back, unless it is stopped."""
        return holder.terminating and not holder.bbs_wedged

    def _can_lock(self, pod: Pod, now: float) -> bool:
        return (
            self._bbs_runs(pod, now)
            and not pod.terminating
            and not (pod.bbs_stuck or pod.bbs_wedged)
            and self.troubles.database_well
            and any(self._locket_mode(locket, now) is LocketMode.ANSWERS for locket in self._lockets_of(pod))
        )

    def _bbs_runs(self, pod: Pod, now: float) -> bool:
        return pod.runs(now) and not pod.bbs_down and (not pod.terminating or pod.bbs_wedged)

    def _lockets(self) -> list[Pod]:
        return self.of("bbs" if self.layout.locket_in_bbs else "locket")

    def _lockets_of(self, pod: Pod) -> list[Pod]:
        return [pod] if self.layout.locket_in_bbs else self._lockets()

    def _locket_mode(self, pod: Pod, now: float) -> LocketMode:
        if not pod.runs(now) or (pod.terminating and not pod.locket_wedged):
            return LocketMode.CLOSED
        if pod.locket_wedged:
            return LocketMode.HANGS
        return LocketMode.ANSWERS if self.troubles.database_well else LocketMode.READ_HANGS

    def bbs_mode(self, pod: Pod, now: float) -> BBSMode:
        """Say what a pod's BBS does on its port."""
        if not self._bbs_runs(pod, now):
            return BBSMode.CLOSED
        if pod.bbs_wedged:
            return BBSMode.HANGS
        if not (pod.uid == self.holder or (self.troubles.split and self._can_lock(pod, now))):
            return BBSMode.CLOSED
        trouble = self.troubles
        for broken, mode in (
            (trouble.not_bbs, BBSMode.NOT_BBS),
            (trouble.certificate_expired, BBSMode.CERTIFICATE_EXPIRED),
            (trouble.rejects_client, BBSMode.REJECTS_CLIENT),
            (trouble.migrating, BBSMode.MIGRATING),
            (trouble.database_error, BBSMode.DATABASE_ERROR),
        ):
            if broken:
                return mode
        return BBSMode.SERVES

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _write_label(self, pod: Pod, now: float) -> None:
        layout = self.layout
        if not layout.active_key or pod.role != "bbs" or self.troubles.label_frozen or pod.label_stuck:
            return
        if layout.stale_labels and (pod.bbs_down or pod.crash_looping):
            return
        # The probe of a wedged BBS hangs, and the label with it; the operator of KubeCF asks from outside, by TCP.
        if now < pod.label_due or not pod.runs(now) or pod.terminating or (pod.bbs_wedged and not layout.kubecf):
            return
        pod.label_due = now + self.timing.label
        mode = self.bbs_mode(pod, now)
        if layout.kubecf:
            active = mode is not BBSMode.CLOSED and pod.ready
        else:
            active = mode in (BBSMode.SERVES, BBSMode.DATABASE_ERROR, BBSMode.REJECTS_CLIENT)
        pod.label = layout.active_value if active else layout.passive_value or None

    def _check_readiness(self, pod: Pod, now: float) -> None:
        if pod.terminating or now < pod.ready_at:
            pod.ready = False
        elif self._well(pod, now):
            pod.ready, pod.ill_since = True, None
        else:
            pod.ill_since = now if pod.ill_since is None else pod.ill_since
            if now - pod.ill_since >= self.timing.not_ready or not pod.ready or pod.crash_looping:
                pod.ready = False

    def _well(self, pod: Pod, now: float) -> bool:
        if pod.role == "api":
            return not self.troubles.api_down
        if pod.role == "locket":
            return self._locket_mode(pod, now) is not LocketMode.CLOSED
        if pod.role != "bbs":
            return True
        if not self.layout.active_key:
            return self.bbs_mode(pod, now) in (BBSMode.SERVES, BBSMode.DATABASE_ERROR, BBSMode.REJECTS_CLIENT)
        if self.layout.kubecf and self.layout.locket_in_bbs:
            # `cfdot locks` asks the Locket beside it, and that its database.
            return not pod.bbs_down and self._locket_mode(pod, now) is LocketMode.ANSWERS
        return not pod.bbs_down

    def _publish(self, pod: Pod, now: float) -> None:
        key = self.layout.active_key if pod.role == "bbs" else ""
        serious = pod.bbs_down or pod.crash_looping
        facts = pod.facts(now)
        if facts == pod.published:
            return
        if pod.ready is not pod.shown_ready:
            pod.shown_ready = pod.ready
            pod.turned = pod.started if self._fresh else self.clock.time()
        shown = status(pod, now, serious=serious)

        def change(thing: Json) -> Json:
            if metadata(thing)["uid"] != pod.uid:
                raise ApiError(409, "another pod of that name")
            thing["status"] = shown
            if key and pod.label is None:
                thing["metadata"]["labels"].pop(key, None)
            elif key:
                thing["metadata"].setdefault("labels", {})[key] = pod.label
            return thing

        try:
            self.store.update(PODS, self.namespace, pod.name, change)
        except ApiError:
            return
        pod.published, pod.shown_label = facts, pod.label if key else None

    def _publish_set(self, found: Json, mine: list[Pod], revision: str) -> None:
        name = metadata(found)["name"]
        updated = sum(1 for pod in mine if pod.revision == revision)
        current = revision if updated == len(mine) else mine[0].revision
        shown = {
            "observedGeneration": metadata(found).get("generation", 1),
            "replicas": len(mine),
            "readyReplicas": sum(1 for pod in mine if pod.ready),
            "availableReplicas": sum(1 for pod in mine if pod.ready),
            "currentReplicas": len(mine) if current == revision else len(mine) - updated,
            "updatedReplicas": updated,
            "currentRevision": f"{name}-{current}",
            "updateRevision": f"{name}-{revision}",
        }
        if shown != found.get("status"):
            self.store.update(
                STATEFULSETS, self.namespace, name, lambda thing: {**thing, "status": shown}, subresource="status"
            )

    def _publish_endpoints(self) -> None:
        subset: Json = {}
        for pod in self.of("bbs"):
            if not pod.published or pod.running_at == _NEVER or not self._selected(pod):
                continue
            target = {"kind": "Pod", "namespace": self.namespace, "name": pod.name, "uid": pod.uid}
            where = "addresses" if pod.ready else "notReadyAddresses"
            subset.setdefault(where, []).append({"ip": pod.ip, "targetRef": target})
        if subset:
            subset["ports"] = [{"name": "cell-bbs-api", "port": 8889, "protocol": "TCP"}]
        if subset == self._endpoints:
            return
        subsets = [subset] if subset else []
        self.store.update(ENDPOINTS, self.namespace, self.layout.service, lambda thing: {**thing, "subsets": subsets})
        self._endpoints = subset

    def _selected(self, pod: Pod) -> bool:
        return not self.layout.active_key or pod.label == self.layout.active_value

    def service_plan(self) -> ServicePlan:
        """Say what the Service's address does now."""
        now = self.clock.monotonic()
        chosen: tuple[tuple[str, bool], ...] = ()
        if not self.troubles.service_cut:
            chosen = tuple(
                (pod.ip, self.bbs_mode(pod, now) is BBSMode.CLOSED)
                for pod in self.of("bbs")
                if pod.ready and self._selected(pod)
            )
        return ServicePlan(chosen, blackhole=not chosen and self.troubles.blackhole)

    def push_failure(self) -> tuple[str, float] | None:
        """Say how a push ends now: None for well, else CC's words for it and after how many seconds."""
        host = self.layout.bbs_host(self.namespace)
        now, plan = self.clock.monotonic(), self.service_plan()
        at_once, late = 0.05, self.timing.cc_timeout
        if plan.blackhole:
            return "execution expired", late
        if not plan.backends and self.layout.kubecf and not self.troubles.service_cut:
            return f"getaddrinfo: Name or service not known ({host}:8889)", at_once
        if plan.refuses:
            return f'Connection refused - connect(2) for "{host}" port 8889 ({host}:8889)', at_once
        modes = [self.bbs_mode(pod, now) for pod in self.of("bbs") if (pod.ip, False) in plan.backends]
        answers: dict[BBSMode, tuple[str, float]] = {
            BBSMode.HANGS: ("execution expired", late),
            BBSMode.MIGRATING: ("failed with status: 503, body: ", at_once),
            BBSMode.CERTIFICATE_EXPIRED: (
                "SSL_connect returned=1 errno=0 state=SSLv3 read server certificate B: certificate verify failed",
                at_once,
            ),
            BBSMode.NOT_BBS: (
                "SSL_connect returned=1 errno=0 state=SSLv2/v3 read server hello A: unknown protocol",
                at_once,
            ),
        }
        return next((answers[mode] for mode in modes if mode in answers), None)

    def _stateful_set(self, role: str, spec: RoleSpec) -> Json:
        labels = self.layout.selector(spec)
        return {
            "metadata": {"name": spec.name, "labels": labels, "creationTimestamp": self._aged()},
            "spec": {
                "replicas": spec.replicas,
                "serviceName": f"{spec.name}-set",
                "podManagementPolicy": "OrderedReady" if spec.ordered else "Parallel",
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [container(role, spec, name) for name in spec.containers],
                        "terminationGracePeriodSeconds": int(self.timing.grace),
                    },
                },
                "updateStrategy": {"type": "RollingUpdate"},
            },
        }

    def _aged(self) -> str:
        return rfc3339(self.clock.time() - _AGED)

    def _log(self) -> LogFile:
        return LogFile(lambda: int(self.clock.time() * 1e9))


def _revision(template: Json) -> str:
    """Name a template: the hash stands for the ControllerRevision."""
    text = json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _lager(message: str, at: float) -> str:
    record = {"timestamp": f"{at:.9f}", "source": "bbs", "message": message, "log_level": 1, "data": {"session": "7"}}
    return json.dumps(record, separators=(",", ":"))
