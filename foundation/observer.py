"""One look at one foundation: the pods, the probes, the words, the verdict.

An Observer is the same for the exporter, the remediator and `diagnose`; they differ in where the pods come from
(`Cluster`: a watch, or a fresh list) and in how long they have been watching (`History`). It does not decide when to
look, and it deletes nothing.
"""

from __future__ import annotations

from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from foundation import interpret
from foundation.cluster import FRESH
from foundation.diagnosis import Diagnosis, diagnose
from foundation.durations import format_duration
from foundation.layout import Layout, LayoutError, Recognised, locket_statefulsets, recognise
from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Observation,
    Pod,
    PodProbe,
    PodState,
    Role,
    Signals,
    Witness,
)
from foundation.pods import PodSeen, StatefulSetSeen, newest_start, pod_state
from foundation.probes.result import ProbeResult, Stage, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.history import History, Settling

__all__ = [
    "FRESH",
    "LIGHT_PROBE_INTERVAL",
    "Cluster",
    "Look",
    "Observer",
    "PodLook",
    "Tools",
    "service_target_of",
]

LIGHT_PROBE_INTERVAL = 15.0
"""Seconds between probes that end without a request: each writes a line into the log of BBS or Locket."""


class Cluster(Protocol):
    """Where pods come from."""

    def pods(self) -> Sequence[PodSeen]:
        """The namespace's pods."""
        ...

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        """The namespace's StatefulSets; None where they cannot be read."""
        ...

    def age(self) -> float | None:
        """Seconds since the API server last confirmed `pods`; None: never."""
        ...

    def server_time(self) -> float:
        """The API server's clock, Unix time; the local one where it has not been heard."""
        ...

    def problem(self) -> str:
        """Why the pods are not current, or an empty text."""
        ...

    def statefulsets_problem(self) -> str:
        """Why `statefulsets` is None, or an empty text."""
        ...


class Tools(Protocol):
    """The probes, bound to a foundation's credentials and deadline."""

    def bbs(self, target: Target) -> ProbeResult:
        """BBS at a Service or a pod, to the configured depth."""
        ...

    def locket(self, target: Target) -> ProbeResult:
        """A Locket: tcp and the TLS hello."""
        ...

    def database(self) -> ProbeResult | None:
        """The SQL server's first answer; None where it must not be asked now."""
        ...

    def from_api_pod(
        self, pods: Sequence[PodSeen], layout: Layout, host: str, port: int, *, anew: bool = False
    ) -> tuple[Witness, str]:
        """Whether BBS can be reached from inside an api pod; `anew`: what was found before no longer counts."""
        ...

    def from_bbs_pod(self, pods: Sequence[PodSeen], layout: Layout) -> tuple[InnerDatabase, str]:
        """Whether the database can be reached from inside a BBS pod."""
        ...


@dataclass(frozen=True, slots=True)
class PodLook:
    """A pod, its role and what its probes said."""

    seen: PodSeen
    role: str
    state: PodState
    state_text: str
    active: bool | None
    """Whether it carries the active label; None where the layout has none."""
    probe: ProbeResult | None = None
    locket: ProbeResult | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that one look found."""

    at: float
    """Unix time."""
    layout: Recognised | None
    observation: Observation
    diagnosis: Diagnosis
    since: float
    """Unix time since when the verdict has been the same."""
    pods: tuple[PodLook, ...] = ()
    pods_age: float | None = None
    """Seconds since the API server last confirmed the pods."""
    statefulsets: tuple[StatefulSetSeen, ...] | None = None
    service: tuple[ProbeResult, ...] = ()
    database: ProbeResult | None = None
    problems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By collector (pods, layout, statefulsets): why it failed."""

    def probes(self) -> tuple[ProbeResult, ...]:
        """Every probe of BBS in this look: the Service's, then the pods'."""
        return (*self.service, *(pod.probe for pod in self.pods if pod.probe is not None))


class Observer:
    """Looks at one foundation. Call `look` from one thread at a time."""

    def __init__(
        self,
        config: FoundationConfig,
        probe: ProbeConfig,
        *,
        cluster: Cluster,
        tools: Tools,
        executor: Executor,
        history: History,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._probe = probe
        self._cluster = cluster
        self._tools = tools
        self._executor = executor
        self._monotonic = monotonic
        self._wall = wall
        self.history = history
        layout = config.layout
        self._auto = isinstance(layout, str)
        self._layout = None if isinstance(layout, str) else Recognised(layout, "the configuration")
        self._recognised_from: frozenset[tuple[str, str]] = frozenset()
        self._light: dict[str, tuple[float, ProbeResult]] = {}
        self._served = False
        self._database: tuple[Database, str] | None = None
        self._witnessed: frozenset[str] = frozenset()
        """The pods that accepted when the look from an api pod was last wanted."""

    @property
    def layout(self) -> Recognised | None:
        """The layout in force; with `auto`, None until the pods have told it."""
        return self._layout

    def look(self) -> Look:
        """Probe everything once and conclude. Never raises for what the foundation does; it tells it instead."""
        at = self._wall()
        self.history.looks(self._monotonic())
        pods = self._cluster.pods()
        problems = {}
        if problem := self._cluster.problem():
            problems["pods"] = problem
        if self._auto:
            self._recognise(pods, problems)
        if self._layout is None:
            return self._blind(at, problems)
        return self._see(at, self._layout, pods, problems)

    def _recognise(self, pods: Sequence[PodSeen], problems: dict[str, str]) -> None:
        """Read the layout off the pods, anew when there are others: an upgrade of the platform may change it.

        Where they fit none or two, as in the middle of one, what was recognised before stands.
        """
        known = frozenset((pod.name, pod.uid) for pod in pods)
        if not pods:
            if not problems and self._layout is None:
                where = self._config.namespace
                problems["layout"] = f"there are no pods in the namespace {where}, if there is such a namespace"
        elif self._layout is None or known != self._recognised_from:
            try:
                found = recognise([pod.labels for pod in pods])
                self._adopt(found)
                self._recognised_from = known
            except LayoutError as error:
                if self._layout is None:
                    problems["layout"] = str(error)

    def _adopt(self, found: Recognised) -> None:
        """Take a recognised layout, unless it may be one with pods for Locket that are all gone.

        Raises LayoutError where nothing else is known.
        """
        if found.layout.roles.locket is None:
            if self._layout is not None and self._layout.layout.roles.locket is not None:
                return
            empty = locket_statefulsets() & {item.name for item in self._cluster.statefulsets() or ()}
            if self._layout is None and empty:
                raise LayoutError(
                    f"the pods fit {found.layout.name}, in which Locket has none of its own, but there is a "
                    f"StatefulSet {', '.join(sorted(empty))}: set `layout`, or start its pods"
                )
        self._layout = found

    def _blind(self, at: float, problems: Mapping[str, str]) -> Look:
        why = "; ".join(problems.values()) or "no pods were seen yet"
        observation = Observation(signals=Signals(observation_fresh=False), seen={"observation_fresh": why})
        diagnosis = diagnose(observation)
        since = self.history.since(diagnosis, at)
        return Look(at, None, observation, diagnosis, since, problems=MappingProxyType(dict(problems)))

    def _see(self, at: float, recognised: Recognised, pods: Sequence[PodSeen], problems: dict[str, str]) -> Look:
        layout, now = recognised.layout, self._cluster.server_time()
        chosen = [(pod, role) for pod in pods if (role := layout.role_of(pod.labels))]
        chosen.sort(key=lambda item: (item[1], item[0].name))
        if not problems and not any(role == "bbs" for _, role in chosen):
            problems["layout"] = (
                f"none of the {len(pods)} pods in the namespace {self._config.namespace} is a BBS pod of the layout "
                f"{layout.name}, if there is such a namespace: check `namespace` and `layout`"
            )
        service, bbs, lockets = self._probe_all(layout, chosen)
        looked = tuple(
            PodLook(pod, role, *pod_state(pod, layout, role, now), self._active(layout, pod, role), *found)
            for pod, role in chosen
            for found in [(bbs.get(pod.name), lockets.get(pod.name))]
        )
        words = tuple(self._pod(layout, pod) for pod in looked if pod.role != "api")
        serving = any(pod.probe is PodProbe.SERVES for pod in words)
        self._remember((*service, *bbs.values()), serving=serving)
        suspicious = any(pod.probe in (PodProbe.HANGS, PodProbe.NO_ANSWER) for pod in words)
        suspicious |= sum(bool(pod.labelled_active) for pod in words) > 1
        database, database_text, database_probe = self._ask_database(needed=suspicious or not serving)
        statefulsets = self._cluster.statefulsets()
        rollout, rollout_text = self._rollout(layout, looked, statefulsets)
        if statefulsets is None and rollout_text:
            problems["statefulsets"] = rollout_text
        inner_job = self._executor.submit(self._inner, layout, looked, needed=not serving)
        witness = self._witness(layout, looked, needed=not serving or any(not result.ok for result in service))
        signals, seen = self._signals(
            layout,
            looked,
            service=service,
            rollout=(rollout, rollout_text),
            database=(database, database_text),
            witness=witness,
            inner=inner_job.result(),
        )
        observation = Observation(words, signals, MappingProxyType(seen))
        first = diagnose(observation)
        uids = tuple(sorted(pod.seen.uid for pod in looked if pod.seen.name in first.pods_to_restart))
        diagnosis = self.history.confirm(first, uids, self._monotonic())
        return Look(
            at=at,
            layout=recognised,
            observation=observation,
            diagnosis=diagnosis,
            since=self.history.since(diagnosis, at),
            pods=looked,
            pods_age=self._cluster.age(),
            statefulsets=None if statefulsets is None else tuple(statefulsets),
            service=service,
            database=database_probe,
            problems=MappingProxyType(dict(problems)),
        )

    def _probe_all(
        self, layout: Layout, chosen: Sequence[tuple[PodSeen, str]]
    ) -> tuple[tuple[ProbeResult, ...], dict[str, ProbeResult], dict[str, ProbeResult]]:
        """Every target at the same time, each within the one deadline of its probe."""
        service_target, name = service_target_of(self._config, layout), self._server_name(layout)
        colocated = layout.roles.locket is None
        bbs_jobs = [Target(pod.name, pod.ip, layout.bbs_port, name) for pod, role in chosen if role == "bbs" and pod.ip]
        locket_role = "bbs" if colocated else "locket"
        locket_jobs = [
            Target(pod.name, pod.ip, layout.locket_port, layout.locket_server_name)
            for pod, role in chosen
            if role == locket_role and pod.ip
        ]
        light = self._config.bbs.depth in (Stage.TCP, Stage.TLS)
        service = [
            self._executor.submit(self._paced, f"service {turn}", service_target, self._tools.bbs, light=light)
            for turn in range(1 if light else self._config.bbs.connections)
        ]
        bbs = {
            target.name: self._executor.submit(self._paced, target.name, target, self._tools.bbs, light=light)
            for target in bbs_jobs
        }
        lockets = {
            target.name: self._executor.submit(
                self._paced, f"locket {target.name}", target, self._tools.locket, light=True
            )
            for target in locket_jobs
        }
        wait([*service, *bbs.values(), *lockets.values()])
        return (
            tuple(job.result() for job in service),
            {pod: job.result() for pod, job in bbs.items()},
            {pod: job.result() for pod, job in lockets.items()},
        )

    def _paced(self, key: str, target: Target, probe: Callable[[Target], ProbeResult], *, light: bool) -> ProbeResult:
        """A light probe's last result stands for a while, as long as something serves and its target is the same."""
        last = self._light.get(key)
        if light and self._served and last and last[1].target == target and last[1].ok:
            age = self._monotonic() - last[0]
            if age < LIGHT_PROBE_INTERVAL:
                return last[1]
        result = probe(target)
        if light:
            self._light[key] = (self._monotonic(), result)
        return result

    def _remember(self, probes: Sequence[ProbeResult], *, serving: bool) -> None:
        self._served = serving
        self.history.served(self._monotonic(), serving=serving)
        for result in probes:
            self.history.saw_certificate(result.certificate)

    def _ask_database(self, *, needed: bool) -> tuple[Database, str, ProbeResult | None]:
        """The database is asked only while it matters, and rarely: a broken-off handshake can do harm there."""
        config = self._config.database
        if config is None:
            return Database.NOT_CONFIGURED, "", None
        if config.kind == "none":
            return Database.NONE, "", None
        if not needed:
            # What was heard is kept: asked again within the interval, nothing newer will be had.
            return Database.UNKNOWN, "it is not asked while a BBS serves", None
        result = self._tools.database()
        if result is not None:
            self._database = (Database.UP if result.ok else Database.DOWN, interpret.probe_text(result))
            self.history.database(self._monotonic(), answers=result.ok)
        word, text = self._database or (Database.UNKNOWN, "")
        return word, text, result

    def _signals(
        self,
        layout: Layout,
        looked: Sequence[PodLook],
        *,
        service: Sequence[ProbeResult],
        rollout: tuple[bool | None, str],
        database: tuple[Database, str],
        witness: tuple[Witness, str],
        inner: tuple[InnerDatabase, str],
    ) -> tuple[Signals, dict[str, str]]:
        age = self._cluster.age()
        fresh = age is not None and age <= FRESH and not self._cluster.problem()
        service_word = interpret.service_word(service)
        api_pods, api_text = interpret.api_word([pod.seen for pod in looked if pod.role == "api"])
        settling = self._settling(layout, looked)
        certificate = self.history.certificate
        colocated = layout.roles.locket is None
        lockets = [pod.locket for pod in looked if pod.locket is not None]
        seen = {
            "observation_fresh": self._cluster.problem(),
            "settled": settling.text,
            "database": database[1],
            "api_pods": api_text,
            "probe_from_api_pod": witness[1],
            "database_from_bbs_pod": inner[1],
            "service_probe": interpret.probe_text(next((r for r in service if not r.ok), service[0]))
            if service
            else "",
            "rollout": rollout[1],
        }
        if certificate:
            left = certificate.not_after - self._wall()
            when = f"{format_duration(left)} left" if left > 0 else f"ended {format_duration(-left)} ago"
            seen["last_certificate_expired"] = f"{certificate.subject}, {when}"
        signals = Signals(
            observation_fresh=fresh,
            service_probe=service_word,
            database=database[0],
            api_pods=api_pods if fresh else ApiPods.UNKNOWN,
            probe_from_api_pod=witness[0],
            settled=settling.settled,
            quiet=settling.quiet,
            rollout=rollout[0],
            layout_has_label=layout.active_label is not None,
            control_port_answers=False,
            locket=interpret.locket_word(
                lockets, colocated=colocated, pods=sum(pod.role == "locket" for pod in looked) if fresh else None
            ),
            database_from_bbs_pod=inner[0],
            # Never seen one, and nothing listens: then no BBS is left that a restart could end.
            last_certificate_expired=certificate is not None and certificate.not_after <= self._wall(),
            depth=self._config.bbs.depth,
            max_pods=self._config.max_pods,
        )
        return signals, {key: text for key, text in seen.items() if text}

    def _settling(self, layout: Layout, looked: Sequence[PodLook]) -> Settling:
        pairs = [(pod.seen, pod.role) for pod in looked]
        now = self._cluster.server_time()
        starts = [newest_start(pairs, layout, bbs_too=bbs_too) for bbs_too in (True, False)]
        ages = [None if start is None else max(0.0, now - start) for start in starts]
        return self.history.settling(self._monotonic(), *ages)

    def _witness(self, layout: Layout, looked: Sequence[PodLook], *, needed: bool) -> tuple[Witness, str]:
        if not self._config.exec or not needed:
            return Witness.WAIVED, ""
        ready = [pod.seen for pod in looked if pod.role == "api" and pod.seen.ready and pod.seen.deleted is None]
        if not ready:
            return Witness.UNKNOWN, "no api pod is ready"
        target = service_target_of(self._config, layout)
        accepting = frozenset(pod.seen.name for pod in looked if pod.probe is not None and pod.probe.accepted)
        changed, self._witnessed = accepting != self._witnessed, accepting
        word, text = self._tools.from_api_pod(ready, layout, self._server_name(layout), target.port, anew=changed)
        if word is Witness.OK and accepting:
            # It is a bare connection, and a pod that we see accept one may be what it reached.
            return Witness.WAIVED, text
        return word, text

    def _inner(self, layout: Layout, looked: Sequence[PodLook], *, needed: bool) -> tuple[InnerDatabase, str]:
        """The database as a BBS pod sees it: pods that are cut off from it look like a stuck Locket from outside."""
        if not self._config.exec or not needed:
            return InnerDatabase.WAIVED, ""
        running = [pod.seen for pod in looked if pod.role == "bbs" and pod.state in (PodState.READY, PodState.CRASH)]
        if running:
            return self._tools.from_bbs_pod(running, layout)
        if self._config.database is None or self._config.database.kind == "none":
            return InnerDatabase.WAIVED, ""
        return InnerDatabase.UNKNOWN, "no BBS pod runs"

    def _pod(self, layout: Layout, pod: PodLook) -> Pod:
        """One pod in words."""
        role = Role.LOCKET if pod.role == "locket" else Role.BBS
        seen = {"state": pod.state_text}
        if pod.probe is not None:
            seen["probe"] = interpret.probe_text(pod.probe)
        hangs = interpret.locket_hangs(pod.locket)
        if hangs and pod.locket is not None:
            seen["locket_hangs"] = interpret.probe_text(pod.locket)
        elif pod.locket is not None and pod.locket.ok and pod.locket.depth is Stage.READ:
            seen["locket"] = pod.locket.detail
        colocated = layout.roles.locket is None
        return Pod(
            state=pod.state,
            probe=interpret.pod_word(pod.probe) if role is Role.BBS else PodProbe.NOT_PROBED,
            labelled_active=pod.active,
            locket_hangs=hangs,
            control_port_answers=bool(colocated and pod.locket is not None and pod.locket.accepted),
            role=role,
            name=pod.seen.name,
            seen=MappingProxyType(seen),
        )

    def _active(self, layout: Layout, pod: PodSeen, role: str) -> bool | None:
        if layout.active_label is None or role != "bbs":
            return None
        return layout.active_label.marks(pod.labels)

    def _rollout(
        self, layout: Layout, looked: Sequence[PodLook], statefulsets: Sequence[StatefulSetSeen] | None
    ) -> tuple[bool | None, str]:
        """Whether a StatefulSet that owns a pod of BBS or Locket is being rolled out, and which; None: not known.

        Their names are read off the pods, as KubeCF's releases differ in them, and off the layout where no pod tells.
        """
        if statefulsets is None:
            return None, self._cluster.statefulsets_problem()
        named = {name for pod in looked if pod.role != "api" and (name := pod.seen.owner)}
        wanted = named or {role.statefulset for name, role in layout.roles.items() if name != "api"}
        found = {item.name: item.rolling for item in statefulsets}
        if rolling := sorted(name for name in wanted if found.get(name)):
            return True, ", ".join(rolling)
        if missing := sorted(wanted - found.keys()):
            return None, f"no StatefulSet {', '.join(missing)} was found"
        if silent := sorted(name for name in wanted if found[name] is None):
            return None, f"the status of {', '.join(silent)} is not given"
        return False, ""

    def _server_name(self, layout: Layout) -> str:
        return layout.service.host.replace("{namespace}", self._config.namespace)


def service_target_of(config: FoundationConfig, layout: Layout) -> Target:
    """The Service as Cloud Controller uses it."""
    name = layout.service.host.replace("{namespace}", config.namespace)
    address = (layout.service.address or name).replace("{namespace}", config.namespace)
    return Target("service", address, layout.service.port, name)
