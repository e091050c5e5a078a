"""A foundation and its API server inside the test, and remediators that work on it: no sockets, no threads, no waiting.

The objects live in the simulator's own store, so resourceVersions, preconditions and subresources are as a real API
server keeps them. Time is one clock that moves only where somebody would have waited, and a pod's deletion and
replacement come with it. What the probes would say is a rule over the pods: an old one is locked out, a new one well.
Every request goes through `Rule`s, which refuse it, lose its answer, or let something else happen first.
"""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from foundation.cluster import ListedCluster
from foundation.config import FoundationConfig
from foundation.diagnosis import diagnose
from foundation.kube.client import KubeClient
from foundation.kube.errors import Target, Unreachable, from_status
from foundation.layout import Layout, Recognised, layouts
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
from foundation.observer import Look, PodLook
from foundation.pods import pod_state
from remediator import ledger as ledgers
from remediator.config import RemediatorSection
from remediator.executor import Executor
from remediator.intake import Intake
from remediator.lookout import Lookout, Sight
from remediator.payload import Alert, Notification
from remediator.site import Site
from remediator.store import LedgerStore, Remediation, Remediations
from remediator.trail import Metrics, Trail
from remediator.words import PLAYBOOK
from simulator.api import custom, requests
from simulator.api.errors import ApiError
from simulator.api.objects import metadata, parse_time, rfc3339
from simulator.api.resources import CONFIGMAPS, NAMESPACES, PODS, RESOURCES, STATEFULSETS
from simulator.api.store import Deletion, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foundation.kube.client import Json, Query
    from foundation.pods import PodSeen, StatefulSetSeen
    from remediator.intake import Answer
    from remediator.ledger import Ledger, Run

START = 1_800_000_000.0
CLAIM = 30.0


class Killed(BaseException):
    """The process ends here: nothing of it may catch this."""


def kill() -> None:
    """For a rule's `before` or `after`."""
    raise Killed


class Clock:
    """Boot time; the wall clock is the same from an epoch on. `advance` lets the world go on."""

    def __init__(self) -> None:
        self.boot = 1000.0
        self.each: list[Callable[[], bool | None]] = []
        """Called as time goes by; True: something is about to change, so go on in small steps."""

    def __call__(self) -> float:
        return self.boot

    def wall(self) -> float:
        return START + self.boot - 1000.0

    def advance(self, seconds: float) -> None:
        until = self.boot + seconds
        busy = True
        while self.boot < until:
            self.boot = min(until, self.boot + 0.5) if busy else until
            busy = False
            for turn in self.each:
                busy = bool(turn()) or busy


class Waiting(threading.Event):
    """An event whose `wait` moves the clock instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._clock.advance(timeout or 0.0)
        return self.is_set()


class Inline(Pool):
    """A pool that does it at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class Rule:
    """What befalls the requests that it matches: after `skip` of them, `times` of them (-1: for ever)."""

    verb: str = ""
    resource: str = ""
    """`pods`, `remediations/status`; empty: any."""
    name: str = ""
    who: str = ""
    times: int = 1
    skip: int = 0
    every: int = 1
    """Only each so manieth of them."""
    before: Callable[[], None] | None = None
    status: int = 0
    """Refuse with this HTTP status."""
    retry_after: float | None = None
    down: bool = False
    """Not applied, and no answer."""
    lost: bool = False
    """Applied, and no answer."""
    after: Callable[[], None] | None = None
    hits: int = 0
    met: int = 0

    def takes(self, asked: Asked) -> bool:
        same = all(
            not wanted or wanted == found
            for wanted, found in (
                (self.verb, asked.verb),
                (self.resource, asked.kind),
                (self.name, asked.name),
                (self.who, asked.who),
            )
        )
        if not same or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.met += 1
        if self.met % self.every:
            return False
        self.times -= 1
        self.hits += 1
        return True


@dataclass(frozen=True)
class Asked:
    """One request, as the journal keeps it."""

    at: float
    who: str
    verb: str
    kind: str
    name: str
    body: Any
    status: int = 0
    """0: no answer."""

    @property
    def dry_run(self) -> bool:
        return isinstance(self.body, dict) and self.body.get("dryRun") == ["All"]


class MemoryClient(KubeClient):
    """A KubeClient whose requests go straight into a Store, under the Ward's rules."""

    def __init__(self, ward: Ward, who: str) -> None:
        self._ward, self._who = ward, who
        self._mine = threading.local()
        self._seen_time = None
        self.dates = True
        """Whether answers carry a Date."""

    def close(self) -> None:
        """Nothing is open."""

    def _json(
        self,
        method: str,
        target: Target,
        path: str,
        *,
        query: Query | None = None,
        body: object | None = None,
        content_type: str = "application/json",
    ) -> Json:
        ward = self._ward
        self._mine.date = None
        words = {key: [str(value)] for key, value in (query or {}).items()}
        request = requests.read(method, path, words, "", ward.served)
        asked = Asked(ward.clock(), self._who, request.verb, request.kind, request.name, copy.deepcopy(body))
        ward.clock.advance(0.01)
        rules = [rule for rule in ward.rules if rule.takes(asked)]
        for rule in rules:
            if rule.before:
                rule.before()
        refused = next((rule for rule in rules if rule.status), None)
        if ward.is_down() or any(rule.down for rule in rules):
            ward.journal.append(asked)
            raise Unreachable("connection refused", target=target, retry=True)
        try:
            if refused:
                raise ApiError(refused.status, "so the test wants it")  # noqa: TRY301  as the server itself would
            if request.verb in ("get", "list"):
                status, found = 200, self._read(request)
            else:
                status, found = requests.write(ward.store, request, body, content_type)
        except ApiError as error:
            ward.journal.append(replace(asked, status=error.code))
            self._note()
            retry_after = refused.retry_after if refused else None
            raise from_status(target, error.code, error.status(), retry_after) from None
        ward.journal.append(replace(asked, status=status))
        for rule in rules:
            if rule.after:
                rule.after()
        if any(rule.lost for rule in rules) or ward.is_down():
            raise Unreachable("the answer was lost", target=target, retry=True)
        self._note()
        return copy.deepcopy(found)

    def _read(self, request: requests.Request) -> Json:
        store = self._ward.store
        if request.verb == "get":
            return store.get(request.stored, request.namespace, request.name)
        return requests.listing(store, request, self._ward.clock.wall(), 0)

    def _note(self) -> None:
        if self.dates:
            told = float(int(self._ward.clock.wall()))
            self._mine.date = told
            self._seen_time = (told, self._ward.clock())


class Ward:
    """One foundation in one namespace, and everything that happens to it."""

    def __init__(self, layout: str = "cfee-2", *, bbs: int = 2, grace: int = 10, starts: float = 5.0) -> None:
        self.clock = Clock()
        self.layout: Layout = layouts()[layout]
        self.grace, self.starts = grace, starts
        self.dies_after: float | None = 1.0
        """Seconds from a pod's deletion to its end; None: only when its grace is over."""
        self.heals = True
        """Whether a new pod is well."""
        self.replaces = True
        """Whether the StatefulSets' controller works."""
        self.well: set[str] = set()
        self.probes: dict[str, PodProbe] = {}
        """By pod name: what its probe says instead."""
        self.signals: dict[str, Any] = {"database": Database.UP}
        self.blind = ""
        self.witness: tuple[Witness, str] = (Witness.WAIVED, "")
        self.look_seconds = 0.2
        self.at_look: dict[int, Callable[[], None]] = {}
        self.looks = 0
        self.rules: list[Rule] = []
        self.journal: list[Asked] = []
        self.down = False
        self.store = Store(self.clock.wall, seed=1)
        self.store.create(NAMESPACES, "", {"metadata": {"name": "cf"}})
        self.remediations = custom.resource_of(custom.install(self.store, custom.REMEDIATION_DEFINITION))
        self.served = [*RESOURCES, self.remediations]
        self.counts = {"bbs": bbs, "api": 1, **({"locket": 1} if self.layout.roles.locket else {})}
        for role, count in self.counts.items():
            name = self.set_name(role)
            template = {"metadata": {"name": name}, "spec": {"replicas": count, "selector": {}, "template": {}}}
            self.store.create(STATEFULSETS, "cf", template)
            self.revise(name, "one")
            for ordinal in range(count):
                self._birth(role, ordinal, age=3600.0, well=role == "api")
        self.clock.each.append(self.tick)

    # --- the cluster ----------------------------------------------------------------------------------------------

    def set_name(self, role: str) -> str:
        return dict(self.layout.roles.items())[role].statefulset

    def revise(self, name: str, revision: str) -> None:
        """Give a StatefulSet a revision: what a rollout begins with."""
        status = {"currentRevision": revision, "updateRevision": revision, "observedGeneration": 10**6}

        def change(found: dict[str, Any]) -> dict[str, Any]:
            return {**found, "status": status}

        self.store.update(STATEFULSETS, "cf", name, change, subresource="status")

    def scale(self, name: str, replicas: int) -> None:
        def change(found: dict[str, Any]) -> dict[str, Any]:
            return {**found, "spec": {**found["spec"], "replicas": replicas}}

        self.store.update(STATEFULSETS, "cf", name, change)

    def _birth(self, role: str, ordinal: int, *, age: float = 0.0, well: bool = False) -> None:
        found = dict(self.layout.roles.items())[role]
        name = f"{found.statefulset}-{ordinal}"
        born = self.clock.wall() - age
        statuses = [
            {"name": container, "ready": True, "restartCount": 0, "state": {"running": {"startedAt": rfc3339(born)}}}
            for container in found.containers
        ]
        pod = {
            "metadata": {
                "name": name,
                "namespace": "cf",
                "labels": dict(found.any_of[0]),
                "creationTimestamp": rfc3339(born),
                "ownerReferences": [
                    {"kind": "StatefulSet", "name": found.statefulset, "uid": "set", "apiVersion": "v1"}
                ],
            },
            "spec": {
                "terminationGracePeriodSeconds": self.grace,
                "containers": [{"name": container, "image": "i"} for container in found.containers],
            },
            "status": {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": "True" if age else "False"}],
                "containerStatuses": statuses,
            },
        }
        made = self.store.create(PODS, "cf", pod)
        if well:
            self.well.add(made["metadata"]["uid"])

    def tick(self) -> bool:
        """What kubelets, the controller and the label's writer do as time goes by. Whether there is more to do."""
        now, before = self.clock.wall(), self.pods()
        busy = any("deletionTimestamp" in metadata(pod) or not _ready(pod) for pod in before)
        for pod in before:
            about = metadata(pod)
            if "deletionTimestamp" in about:
                grace = float(about["deletionGracePeriodSeconds"])
                asked = parse_time(about["deletionTimestamp"]) - grace
                if now >= asked + (grace if self.dies_after is None else self.dies_after):
                    self.store.remove(PODS, "cf", about["name"], about["uid"])
            elif not _ready(pod) and now >= parse_time(about["creationTimestamp"]) + self.starts:
                self._edit(about["name"], lambda found: found["status"]["conditions"][0].update(status="True"))
        if self.replaces:
            alive = {metadata(pod)["name"] for pod in (self.pods() if busy else before)}
            for role in self.counts:
                try:
                    wanted = self.store.get(STATEFULSETS, "cf", self.set_name(role))["spec"]["replicas"]
                except ApiError:
                    continue
                for ordinal in range(wanted):
                    if f"{self.set_name(role)}-{ordinal}" not in alive:
                        self._birth(role, ordinal, well=self.heals)
                        busy = True
        self._mark()
        return busy

    def _mark(self) -> None:
        label = self.layout.active_label
        if label is None:
            return
        serving = self.serving()
        for pod in self.pods():
            name, marked = metadata(pod)["name"], label.marks(metadata(pod)["labels"])
            if marked != (name == serving) and name.startswith(self.set_name("bbs")):
                self._label(name, label.key, label.value if name == serving else "false")

    def _label(self, name: str, key: str, value: str) -> None:
        self._edit(name, lambda found: found["metadata"]["labels"].update({key: value}))

    def _edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        def edit(found: dict[str, Any]) -> dict[str, Any]:
            change(found)
            return found

        self.store.update(PODS, "cf", name, edit)

    def is_down(self) -> bool:
        return self.down

    def remove_ledger(self) -> None:
        """Somebody deletes the ledger."""
        self.store.delete(CONFIGMAPS, "cf", self.ledger_name, Deletion())

    def remove_statefulset(self, name: str) -> None:
        """Somebody deletes a StatefulSet and leaves its pods."""
        self.store.delete(STATEFULSETS, "cf", name, Deletion(orphan=True))

    def runbook(self) -> None:
        """Somebody deletes every BBS pod by hand."""
        for name in self.uids():
            self.delete(name)

    def touch(self, name: str) -> None:
        """Change something of a pod, so that its resourceVersion moves on."""
        version = self.store.version
        self._edit(name, lambda found: found["metadata"].setdefault("annotations", {}).update(touched=str(version)))

    def delete(self, name: str) -> None:
        """Somebody deletes a pod."""
        self.store.delete(PODS, "cf", name, Deletion())

    def pods(self, role: str = "") -> list[dict[str, Any]]:
        found, _ = self.store.listing(PODS, "cf")
        return [pod for pod in found if not role or metadata(pod)["name"].startswith(f"{self.set_name(role)}-")]

    def uids(self, role: str = "bbs") -> dict[str, str]:
        return {metadata(pod)["name"]: metadata(pod)["uid"] for pod in self.pods(role)}

    def annotations(self, name: str) -> dict[str, str]:
        return metadata(self.store.get(PODS, "cf", name)).get("annotations") or {}

    def serving(self) -> str:
        """The BBS that holds the lock; empty: none."""
        lockets = self.pods("locket") if self.layout.roles.locket else []
        if lockets and not any(self._alive(pod) for pod in lockets):
            return ""
        return next((metadata(pod)["name"] for pod in self.pods("bbs") if self._alive(pod)), "")

    def _alive(self, pod: dict[str, Any]) -> bool:
        about = metadata(pod)
        return _ready(pod) and about["uid"] in self.well and "deletionTimestamp" not in about

    def cure(self) -> None:
        """Everything is well again by itself."""
        self.well.update(metadata(pod)["uid"] for pod in self.pods())
        self._mark()

    def sicken(self) -> None:
        """Everything is locked out again, and has been for long."""
        self.well.clear()
        self._mark()

    # --- the state of the remediators -----------------------------------------------------------------------------

    @property
    def ledger_name(self) -> str:
        return f"stager-medic-{self.set_name('bbs')}"

    @property
    def ledger(self) -> Ledger:
        found = self.store.get(CONFIGMAPS, "cf", self.ledger_name)
        return ledgers.parse(found["data"]["ledger"])

    @property
    def run(self) -> Run:
        found = self.ledger.run
        assert found is not None, f"no run is open; last: {self.ledger.last}"
        return found

    @property
    def end(self) -> tuple[str, str]:
        """Phase and message of the newest ended request."""
        last = self.ledger.last
        assert last is not None, "nothing has ended"
        assert self.ledger.run is None, "a run is open"
        return str(last.phase), last.message

    def put_ledger(self, **fields: Any) -> None:
        """Somebody else writes the ledger."""
        client = MemoryClient(self, "somebody")
        store = LedgerStore(client, "cf", self.set_name("bbs"), wall=self.clock.wall, sleep=lambda _: None)
        store.swap(lambda ledger, _: ledger.changed(**fields))

    def objects(self) -> dict[str, Remediation]:
        found, _ = self.store.listing(self.remediations, "cf")
        return {metadata(item)["name"]: Remediation(item) for item in found}

    def remediation(self, n: int = 1) -> Remediation:
        return self.objects()[f"prod.{PLAYBOOK}.{n}"]

    def remove_remediation(self, name: str) -> None:
        """Somebody deletes a Remediation."""
        self.store.delete(self.remediations, "cf", name, Deletion())

    def edit_remediation(self, name: str, subresource: str = "", **parts: Any) -> None:
        """Somebody edits a Remediation."""

        def change(found: dict[str, Any]) -> dict[str, Any]:
            for part, values in parts.items():
                found[part] = {**found.get(part, {}), **values}
            return found

        self.store.update(self.remediations, "cf", name, change, subresource=subresource)

    def make_remediation(self, name: str, **spec: Any) -> None:
        """Somebody makes a Remediation by hand."""
        wanted = {"foundation": "prod", "playbook": PLAYBOOK, **spec}
        self.store.create(self.remediations, "cf", {"metadata": {"name": name}, "spec": wanted})

    # --- what was done --------------------------------------------------------------------------------------------

    def deletions(self, *, status: int | None = 200, dry_run: bool = False) -> list[str]:
        """Names of the pods for which a DELETE came, in order, by default those that took effect."""
        return [
            asked.name
            for asked in self.journal
            if (asked.verb, asked.kind) == ("delete", "pods")
            and asked.dry_run == dry_run
            and (status is None or asked.status == status)
        ]

    def asked(self, verb: str, kind: str, who: str = "") -> list[Asked]:
        return [item for item in self.journal if (item.verb, item.kind) == (verb, kind) and who in ("", item.who)]

    def on(self, verb: str, resource: str, **given: Any) -> Rule:
        """Add a rule."""
        rule = Rule(verb, resource, **given)
        self.rules.append(rule)
        return rule

    def on_step(self, step: str, happens: Callable[[], None]) -> Rule:
        """Once a step was entered on the ledger, let something happen before the answer comes."""
        done: list[str] = []

        def look() -> None:
            run = self.ledger.run
            if not done and run is not None and run.step == step:
                done.append(step)
                happens()

        return self.on("update", "configmaps", times=-1, after=look)


def _ready(pod: dict[str, Any]) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


class FakeLookout(Lookout):
    """Sees the Ward: pods are listed through the replica's own client, probes are the Ward's rule."""

    def __init__(self, ward: Ward, client: MemoryClient, config: FoundationConfig) -> None:
        self.ward, self.config = ward, config
        self.interval = 5.0
        self.unknown_layout = False
        self._listed = ListedCluster(client, "cf", monotonic=ward.clock, wall=ward.clock.wall)
        self._newest = None
        self._lost = self._served = -1e9

    @property
    def layout(self) -> Layout | None:
        return None if self.unknown_layout else self.ward.layout

    def fresh(self) -> Sight:
        ward = self.ward
        ward.looks += 1
        if happens := ward.at_look.pop(ward.looks, None):
            happens()
        began = ward.clock()
        self._listed.refresh()
        ward.clock.advance(ward.look_seconds)
        self._newest = Sight(self._see(), began)
        return self._newest

    def listed(self) -> Sequence[PodSeen] | None:
        self._listed.refresh()
        layout = self.layout
        if layout is None or self._listed.problem():
            return None
        return tuple(pod for pod in self._listed.pods() if layout.role_of(pod.labels))

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        return self._listed.statefulsets()

    def from_api_pod(self, sight: Sight) -> tuple[Witness, str]:
        return self.ward.witness

    def _see(self) -> Look:
        ward, layout, now = self.ward, self.ward.layout, self.ward.clock.wall()
        problem = ward.blind or self._listed.problem()
        pods: list[PodLook] = []
        words: list[Pod] = []
        for seen in self._listed.pods():
            role = layout.role_of(seen.labels)
            if role is None:
                continue
            state, text = pod_state(seen, layout, role, now)
            label = layout.active_label
            active = label.marks(seen.labels) if label and role == "bbs" else None
            pods.append(PodLook(seen, role, state, text, active))
            if role != "api":
                words.append(self._words(seen, role, state, active))
        observation = Observation(tuple(words), self._signals(pods, words, problem))
        return Look(
            at=now,
            layout=None if problem else Recognised(layout, "a test"),
            observation=observation,
            diagnosis=diagnose(observation),
            since=now,
            pods=() if problem else tuple(pods),
            statefulsets=tuple(self._listed.statefulsets() or ()),
            problems=MappingProxyType({"pods": problem} if problem else {}),
        )

    def _words(self, seen: PodSeen, role: str, state: PodState, active: bool | None) -> Pod:
        if role == "locket":
            return Pod(state=state, role=Role.LOCKET, name=seen.name, locket_hangs=False)
        said = PodProbe.SERVES if seen.name == self.ward.serving() and seen.uid in self.ward.well else PodProbe.REFUSED
        said = self.ward.probes.get(seen.name, said)
        return Pod(state=state, probe=said, labelled_active=active, locket_hangs=False, name=seen.name)

    def _signals(self, pods: Sequence[PodLook], words: Sequence[Pod], problem: str) -> Signals:
        ward = self.ward
        serves = any(pod.probe is PodProbe.SERVES for pod in words)
        now = ward.clock()
        if serves:
            self._served = now
        starts = [pod.seen.created or 0.0 for pod in pods if pod.role != "api"]
        calm = now - self._served if not serves else 1e9
        settled = min([ward.clock.wall() - max(starts, default=0.0), calm]) >= self.config.settle
        given: dict[str, Any] = {
            "observation_fresh": not problem,
            "service_probe": ServiceProbe.OK if serves else ServiceProbe.FAIL,
            "database": Database.UP,
            "api_pods": ApiPods.READY,
            "probe_from_api_pod": Witness.WAIVED,
            "settled": settled,
            "rollout": False,
            "layout_has_label": ward.layout.active_label is not None,
            "control_port_answers": True,
            "locket": Locket.SEPARATE_ACCEPTING if ward.layout.roles.locket else Locket.IN_THE_BBS_PODS,
            "database_from_bbs_pod": InnerDatabase.WAIVED,
            "last_certificate_expired": False,
            "depth": "ping",
        }
        return Signals(**{**given, **ward.signals})


@dataclass
class FakeEvidence:
    """Saves nothing; raises what is in `problems` first."""

    problems: list[Exception] = field(default_factory=list)
    saved: int = 0

    def save(self, run: Run, sight: Sight, keep: Callable[[], None]) -> str:
        keep()
        if self.problems:
            raise self.problems.pop(0)
        self.saved += 1
        return f"{run.name}.evidence"


@dataclass
class Replica:
    """One process of the remediator, for one foundation."""

    ward: Ward
    site: Site
    executor: Executor
    intake: Intake
    metrics: Metrics
    client: MemoryClient
    lookout: FakeLookout
    evidence: FakeEvidence
    registry: CollectorRegistry

    @property
    def stopping(self) -> threading.Event:
        return self.site.stopping

    def notify(self, status: str = "firing", fingerprint: str = "f1", **labels: str) -> Answer:
        return self.intake.notify(notification(self.ward, (status, fingerprint, labels)))[0]

    def turn(self, times: int = 1, apart: float = 2.0) -> None:
        """Executor turns, with the pause of its polling after each."""
        for _ in range(times):
            self.executor.turn()
            self.ward.clock.advance(apart)

    def dies(self) -> None:
        """A turn in which the process is killed."""
        try:
            self.executor.turn()
        except Killed:
            return
        raise AssertionError("nothing killed it")

    def until_closed(self, most: int = 400) -> tuple[str, str]:
        """Turn until nothing is open; gives the end."""
        for _ in range(most):
            self.turn()
            if self.ward.ledger.open is None:
                return self.ward.end
        raise AssertionError(f"still open after {most} turns: {self.ward.ledger.open}")

    def play(self, **labels: str) -> tuple[str, str]:
        """A notification, and the whole of what follows."""
        answer = self.notify(**labels)
        assert answer.outcome == "created", answer
        return self.until_closed()

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def replica(
    ward: Ward,
    who: str = "one",
    *,
    name: str = "prod",
    skew: float = 0.0,
    evidence: bool = True,
    playbook: Mapping[str, Any] | None = None,
    foundation: Mapping[str, Any] | None = None,
    **section: Any,
) -> Replica:
    """A remediator that works on the ward; several may."""
    client = MemoryClient(ward, who)
    config = FoundationConfig(name=name, namespace="cf", layout=ward.layout, **(foundation or {}))
    settings = {
        "claim": f"{CLAIM:g}s",
        "playbooks": {
            PLAYBOOK: {"mode": "auto", "cooldown": "10m", "steps": {"verify": {"dwell": "2s"}}, **(playbook or {})}
        },
        **section,
    }
    lookout = FakeLookout(ward, client, config)
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def wall() -> float:
        return ward.clock.wall() + skew

    fake = FakeEvidence()
    site = Site(
        config=config,
        section=RemediatorSection.model_validate(settings),
        client=client,
        lookout=lookout,
        remediations=Remediations(client, "cf"),
        trail=Trail(client, "cf", name, metrics, wall=wall, pool=Inline()),
        evidence=fake if evidence else None,
        holder=who,
        boot=ward.clock,
        wall=wall,
        stopping=Waiting(ward.clock),
        wake=Waiting(ward.clock),
    )
    return Replica(
        ward,
        site,
        Executor(site, sleep=ward.clock.advance),
        Intake({name: site}, metrics),
        metrics,
        client,
        lookout,
        fake,
        registry,
    )


def notification(ward: Ward, *alerts: tuple[str, str, Mapping[str, str]], truncated: int = 0) -> Notification:
    """What Alertmanager would send: (status, fingerprint, more labels) of each alert."""
    made = []
    for status, fingerprint, labels in alerts:
        every = {"alertname": "DiegoRestartWouldHelp", "foundation": "prod", "remediate": PLAYBOOK, **labels}
        every = {key: value for key, value in every.items() if value}
        starts = rfc3339(ward.clock.wall() - 60)
        made.append(
            Alert.model_validate({"status": status, "labels": every, "startsAt": starts, "fingerprint": fingerprint})
        )
    return Notification(version="4", alerts=tuple(made), truncatedAlerts=truncated)
