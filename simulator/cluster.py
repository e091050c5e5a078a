"""A cluster that runs: the API server, its foundations, their ports, and one thread that keeps all of it moving.

Everything is on 127.0.0.0/8. `start` returns when every port is open; `stop` closes all of them and ends every thread.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import yaml

from simulator.api.custom import REMEDIATION_DEFINITION, install
from simulator.api.errors import ApiError
from simulator.api.journal import Journal
from simulator.api.resources import PODS
from simulator.api.server import ApiServer
from simulator.api.store import Store
from simulator.clock import SystemClock, Timing
from simulator.commands import Shell
from simulator.front import ServiceFront
from simulator.incidents import INCIDENTS, NotApplicableError, afflict, incident_named
from simulator.layouts import layout_named
from simulator.net import Block
from simulator.servers.bbs import BBSServer
from simulator.servers.certificates import Authority
from simulator.servers.database import DatabaseServer
from simulator.servers.locket import LocketServer
from simulator.servers.loop import ServerLoop
from simulator.traffic import Traffic
from simulator.world import Foundation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator.api.objects import Json
    from simulator.clock import Clock
    from simulator.incidents import Incident
    from simulator.logs import LogFile
    from simulator.pod import Pod
    from simulator.servers.certificates import ClientFiles, ServerTLS
    from simulator.world import Plan

BBS_PORT, LOCKET_PORT, DATABASE_PORT = 8889, 8891, 5432
DEFAULT_SPEED = 10.0
_FEW = 4
"""Up to so many foundations get fine steps and a probe every second."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to simulate."""

    foundations: int = 1
    layout: str = "cfee-2"
    address: str = "127.0.0.1"
    """Where the API server listens."""
    port: int = 0
    timing: Timing = field(default_factory=lambda: Timing().scaled(DEFAULT_SPEED))
    traffic: bool = True
    """Whether users send requests, so that Cloud Controller writes logs."""
    remediations: bool = True
    """Whether the CustomResourceDefinition of Remediations is there from the start."""
    journal: Path | None = None
    """A file to append every request to, one JSON object per line."""
    seed: int | None = None


@dataclass(slots=True)
class Site:
    """One foundation with its ports, its users, and what is wrong with it."""

    foundation: Foundation
    block: Block
    tls: ServerTLS
    traffic: Traffic
    front: ServiceFront
    database: DatabaseServer
    bbs: dict[str, BBSServer] = field(default_factory=dict)
    locket: dict[str, LocketServer] = field(default_factory=dict)
    incidents: dict[str, float] = field(default_factory=dict)
    """Unix time at which each incident that is on was started."""
    plan: Plan | None = None


class Cluster:
    """The whole simulation, usable in a test as in the demo."""

    def __init__(self, options: Options | None = None, clock: Clock | None = None) -> None:
        self.options = options or Options()
        layout_named(self.options.layout)
        self.clock: Clock = clock or SystemClock()
        self.store = Store(self.clock.time, self.options.seed)
        self.authority = Authority.create()
        self.api = ApiServer(self.store, self.clock, self, self, Journal(self.options.journal))
        self.api.faults.random.seed(self.options.seed)
        self._random = random.Random(self.options.seed)
        self._loop = ServerLoop()
        self._sites: dict[str, Site] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="simulated-cluster", daemon=True)
        self._driving = threading.Lock()
        self._failure: Exception | None = None
        self._started = False

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open every port. Raises OSError where one cannot be bound; what was opened is closed again."""
        self._loop.start()
        self._started = True
        try:
            if self.options.remediations:
                install(self.store, REMEDIATION_DEFINITION)
            for number in range(1, self.options.foundations + 1):
                self._add(number)
            self._drive_once()
            self.api.start(self.options.address, self.options.port)
        except BaseException:
            self.stop()
            raise
        self._thread.start()

    def stop(self) -> None:
        """Close everything. Safe to repeat. Raises what the driving thread died of, if it did."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.api.stop()
        for site in self._sites.values():
            for pod in site.foundation.pods.values():
                pod.close_logs()
            site.front.stop()
            for bbs in site.bbs.values():
                bbs.stop()
            for locket in site.locket.values():
                locket.stop()
            site.database.stop()
            site.block.close()
        # What was accepted or closed a moment ago needs a few turns of the loop to be gone.
        if self._started:
            self._loop.run(_turns())
        self._loop.stop()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _add(self, number: int) -> None:
        several = self.options.foundations > 1
        name, namespace = (f"demo-{number}", f"cf-{number}") if several else ("demo", "cf")
        layout = layout_named(self.options.layout)
        block = Block()
        host = layout.bbs_host(namespace)
        names = [host, f"{layout.service}.{namespace}.svc.cluster.local", "locket.service.cf.internal", "127.0.0.1"]
        names += [f"{spec.name}.{namespace}.svc.cluster.local" for role, spec in layout.roles if role == "locket"]
        foundation = Foundation(
            name=name,
            namespace=namespace,
            layout=layout,
            store=self.store,
            clock=self.clock,
            timing=self.options.timing,
            address=block.pod,
            service_address=block.service,
            database_address=block.database,
        )
        users = random.Random(self._random.getrandbits(64))
        site = Site(
            foundation=foundation,
            block=block,
            tls=self.authority.server(list(dict.fromkeys(names))),
            traffic=Traffic(foundation, users, enabled=self.options.traffic),
            front=ServiceFront(block.service, BBS_PORT, loop=self._loop),
            database=DatabaseServer(block.database, DATABASE_PORT, "postgresql", loop=self._loop),
        )
        self._sites[name] = site
        site.front.start()
        site.database.start()
        site.foundation.create()

    def _drive(self) -> None:
        # Fifty foundations take a while each; nobody looks more often than this at one of many.
        pause = 0.02 if len(self._sites) <= _FEW else 0.1
        while not self._stopping.wait(pause):
            try:
                self._drive_once()
            except Exception as failure:  # noqa: BLE001 - kept for whoever stops the cluster: a thread's death is silent
                self._failure = failure
                return

    def _drive_once(self) -> None:
        with self._driving:
            for site in self._sites.values():
                site.foundation.step()
                site.traffic.step()
                self._apply(site, site.foundation.plan())

    def _apply(self, site: Site, plan: Plan) -> None:
        """Make the ports do what the plan says. The Service closes first and opens last."""
        if plan == site.plan:
            return
        if plan.service.refuses:
            site.front.apply(plan.service)
        for ip in [ip for ip in site.bbs if ip not in plan.bbs]:
            site.bbs.pop(ip).stop()
        for ip in [ip for ip in site.locket if ip not in plan.locket]:
            site.locket.pop(ip).stop()
        for ip, locket in plan.locket.items():
            if ip not in site.locket:
                site.locket[ip] = LocketServer(ip, LOCKET_PORT, site.tls, locket, owner=plan.owner, loop=self._loop)
                site.locket[ip].start()
            site.locket[ip].owner = plan.owner
            site.locket[ip].mode = locket
        for ip, bbs in plan.bbs.items():
            if ip not in site.bbs:
                site.bbs[ip] = BBSServer(ip, BBS_PORT, site.tls, bbs, loop=self._loop)
                site.bbs[ip].start()
            site.bbs[ip].mode = bbs
        site.database.mode = plan.database
        site.front.apply(plan.service)
        site.plan = plan

    # -- what a test or the demo asks ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the API server is."""
        return self.api.url

    @property
    def sites(self) -> dict[str, Site]:
        """Give the foundations by name."""
        return dict(self._sites)

    def site(self, name: str = "") -> Site:
        """Give a foundation, the first one without a name; raises ApiError 404."""
        if not name:
            return next(iter(self._sites.values()))
        if name not in self._sites:
            raise ApiError(404, f'foundation "{name}" not found; there are: {", ".join(self._sites)}')
        return self._sites[name]

    def start_incident(self, name: str, foundation: str = "") -> None:
        """Start an incident and have it show on the ports before returning. Raises NotApplicableError."""
        site = self.site(foundation)
        incident = incident_named(name)
        with site.foundation.lock:
            incident.start(site.foundation)
            site.incidents[name] = self.clock.time()
        self._drive_once()

    def heal_incident(self, name: str, foundation: str = "") -> None:
        """Heal an incident, whether or not it is on. Raises NotApplicableError."""
        site = self.site(foundation)
        incident = incident_named(name)
        with site.foundation.lock:
            incident.heal(site.foundation)
            site.incidents.pop(name, None)
        self._drive_once()

    def incidents(self, foundation: str = "") -> list[str]:
        """Give the incidents that are on; what a restart cured is not."""
        site = self.site(foundation)
        with site.foundation.lock:
            for name in list(site.incidents):
                if _over(incident_named(name), site.foundation):
                    del site.incidents[name]
            return list(site.incidents)

    def state(self) -> Json:
        """Give everything that the control endpoint shows."""
        return {
            "foundations": {name: self._shown(site) for name, site in self._sites.items()},
            "incidents": [
                {"name": incident.name, "verdict": incident.verdict, "about": incident.about} for incident in INCIDENTS
            ],
            "faults": self.api.faults.as_json(),
        }

    def _shown(self, site: Site) -> Json:
        foundation = site.foundation
        with foundation.lock:
            now, plan = self.clock.monotonic(), foundation.plan()
            active = foundation.active
            return {
                "namespace": foundation.namespace,
                "layout": foundation.layout.name,
                "incidents": self.incidents(foundation.name),
                "active": active.name if active else None,
                "service": {
                    "host": foundation.layout.bbs_host(foundation.namespace),
                    "address": foundation.service_address,
                    "backends": [ip for ip, _ in plan.service.backends],
                },
                "database": {"address": foundation.database_address, "mode": plan.database},
                "pods": [
                    {
                        "name": pod.name,
                        "role": pod.role,
                        "uid": pod.uid,
                        "ip": pod.ip,
                        "ready": pod.ready,
                        "terminating": pod.terminating,
                        "label": pod.label,
                        "restarts": pod.restarts,
                        "bbs": plan.bbs.get(pod.ip) if pod.role == "bbs" else None,
                        "locket": plan.locket.get(pod.ip),
                        "age": round(max(0.0, now - pod.running_at), 3) if pod.runs(now) else None,
                    }
                    for role in ("bbs", "locket", "api", "clock")
                    for pod in foundation.of(role)
                ],
                "pushes": dict(site.traffic.pushed),
                "failed_pushes": dict(site.traffic.counted),
            }

    def afflict(self, pod: str, troubles: Json, foundation: str = "") -> None:
        """Break or mend one pod, and have it show on the ports before returning.

        `troubles` says for `bbs`, `locket` and `label` what they shall be (see `simulator.incidents.afflict`). Raises
        NotApplicableError, ApiError 404.
        """
        site = self.site(foundation)
        with site.foundation.lock:
            if pod not in site.foundation.pods:
                raise ApiError(404, f'pods "{pod}" not found')
            afflict(site.foundation, site.foundation.pods[pod], troubles)
        self._drive_once()

    def kubeconfig(self, identity: str = "") -> Json:
        """Give a kubeconfig for the API server; with an identity, its requests carry that as bearer token.

        The journal and the fault rules tell clients apart by it.
        """
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "simulated", "cluster": {"server": self.url}}],
            "users": [{"name": "simulated", "user": {"token": identity} if identity else {}}],
            "contexts": [
                {
                    "name": "simulated",
                    "context": {
                        "cluster": "simulated",
                        "user": "simulated",
                        "namespace": self.site().foundation.namespace,
                    },
                }
            ],
            "current-context": "simulated",
        }

    def write(self, folder: Path) -> Path:
        """Write kubeconfig, client certificate and `exporter.yml` into a folder; gives the latter's path."""
        folder.mkdir(parents=True, exist_ok=True)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(self.kubeconfig(), sort_keys=False))
        files = self.authority.write_client(folder)
        config = folder / "exporter.yml"
        config.write_text(yaml.safe_dump(self.exporter_config(kubeconfig, files), sort_keys=False))
        return config

    def exporter_config(self, kubeconfig: Path, files: ClientFiles) -> Json:
        """Give an exporter's configuration that points at everything here."""
        timing, layout = self.options.timing, layout_named(self.options.layout)
        # As 120 s is to a real foundation: longer than a fail-over takes.
        settle = max(2, round(120 * timing.lock_ttl / Timing().lock_ttl))
        source: Json = {"source": "pod", "role": "api", "container": "logs"}
        if not layout.kubecf:
            source = {
                "source": "exec",
                "role": "api",
                "path": "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log",
            }
        # Many foundations probed every second would keep this machine busy with handshakes alone.
        many = len(self._sites) > _FEW
        return {
            "foundations": [
                {
                    "name": site.foundation.name,
                    "namespace": site.foundation.namespace,
                    "layout": {
                        "base": layout.name,
                        "service": {
                            "host": layout.bbs_host(site.foundation.namespace),
                            "address": site.foundation.service_address,
                        },
                    },
                    "kubeconfig": str(kubeconfig),
                    "bbs": {
                        "depth": "ping",
                        "ca_file": str(files.ca),
                        "cert_file": str(files.cert),
                        "key_file": str(files.key),
                    },
                    "settle": f"{settle}s",
                    "database": {
                        "kind": "postgresql",
                        "host": site.foundation.database_address,
                        "port": DATABASE_PORT,
                        # Frequent looks harm nobody here, and outages follow each other faster than real ones.
                        "interval": "2s",
                    },
                    "exec": True,
                }
                for site in self._sites.values()
            ],
            "probe": {"interval": "5s", "timeout": "3s"} if many else {"interval": "1s", "timeout": "1s"},
            "logs": [source],
            "exporter": {"web": {"listen": "127.0.0.1:9717"}},
        }

    # -- what the API server asks -------------------------------------------------------------------------------------

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> LogFile:
        """Give a container's log; raises ApiError 400 or 404."""
        foundation, found = self._pod(namespace, pod)
        name = _container(found, container)
        if previous:
            if name not in found.previous:
                raise ApiError(400, f'previous terminated container "{name}" in pod "{pod}" not found')
            return found.previous[name]
        if not found.runs(foundation.clock.monotonic()):
            raise ApiError(400, f'container "{name}" in pod "{pod}" is waiting to start: ContainerCreating')
        return found.logs[name]

    def shell(
        self, namespace: str, pod: str, container: str, emit: Callable[[int, bytes], None], ended: threading.Event
    ) -> Shell:
        """Give a container to run a command in; raises ApiError 400, 404 or 500."""
        foundation, found = self._pod(namespace, pod)
        log = found.logs[_container(found, container)]
        if not found.runs(foundation.clock.monotonic()):
            raise ApiError(500, f'unable to upgrade connection: container not found ("{container}")')

        def resolve(host: str) -> str | None:
            return self._resolve(foundation, found, host)

        killed: Callable[[], bool] = lambda: log.closed  # noqa: E731 - a name for the keyword below
        return Shell(pod, found.files, resolve, emit, ended, killed)

    def _resolve(self, foundation: Foundation, pod: Pod, host: str) -> str | None:
        """Resolve a name as a pod does: the Service's names, and addresses of this machine's loopback."""
        layout = foundation.layout
        short = layout.service
        names = {layout.bbs_host(foundation.namespace), short, f"{short}.{foundation.namespace}"}
        names |= {f"{name}.svc.cluster.local" for name in names if name.endswith(f".{foundation.namespace}")}
        with foundation.lock:
            if host in names:
                empty = not foundation.service_plan().backends
                return None if layout.kubecf and empty else foundation.service_address
            try:
                loopback = socket.inet_aton(host)[0] == 127
            except OSError:
                return None
            if not loopback:
                return None
            cut = foundation.troubles.database_cut and pod.role in ("bbs", "locket")
            return "" if cut and host == foundation.database_address else host

    def _pod(self, namespace: str, name: str) -> tuple[Foundation, Pod]:
        for site in self._sites.values():
            if site.foundation.namespace == namespace:
                with site.foundation.lock:
                    if name in site.foundation.pods:
                        return site.foundation, site.foundation.pods[name]
        self.store.get(PODS, namespace, name)
        raise ApiError(400, f'pod "{name}" is on no node')

    def control(self, method: str, parts: list[str], query: Mapping[str, str], body: object) -> Json:
        """Answer a request under /simulator; raises ApiError."""
        match method, parts:
            case "GET", []:
                return self.state()
            case "GET", ["requests"]:
                after = query.get("after", "0")
                if not after.isdecimal():
                    raise ApiError(400, f"after: a number is expected, got {after!r}")
                return {"requests": self.api.journal.as_json(everything="all" in query, after=int(after))}
            case "GET", ["kubeconfig"]:
                return self.kubeconfig(query.get("identity", ""))
            case "POST", ["faults"] if isinstance(body, dict):
                self.api.change_faults(body)
                return {"changed": True}
            case (("POST" | "DELETE"), ["foundations", name, "incidents", incident]):
                deed = self.start_incident if method == "POST" else self.heal_incident
                try:
                    deed(incident, self.site(name).foundation.name)
                except NotApplicableError as error:
                    raise ApiError(422, str(error)) from error
                return {"foundation": name, "incidents": self.incidents(name)}
            case "POST", ["foundations", name, "pods", pod] if isinstance(body, dict):
                try:
                    self.afflict(pod, body, self.site(name).foundation.name)
                except NotApplicableError as error:
                    raise ApiError(422, str(error)) from error
                return {"foundation": name, "pod": pod, "changed": True}
            case "POST", ["foundations", name, "pods", pod, "push"]:
                try:
                    self.site(name).traffic.push(pod)
                except KeyError as error:
                    raise ApiError(404, f'pod "{pod}" not found') from error
                return {"foundation": name, "pushed": pod}
        raise ApiError(404, f"nothing is at {method} /simulator/{'/'.join(parts)}")


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _container(pod: Pod, name: str) -> str:
    if not name and len(pod.spec.containers) == 1:
        return pod.spec.containers[0]
    if not name:
        raise ApiError(
            400,
            f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(pod.spec.containers)}]",
        )
    if name not in pod.spec.containers:
        raise ApiError(400, f"container {name} is not valid for pod {pod.name}")
    return name


def _over(incident: Incident, foundation: Foundation) -> bool:
    """Tell whether an incident has ended without being healed."""
    if incident.name == "electing":
        return foundation.clock.monotonic() >= foundation.troubles.nobody_until
    if incident.name == "rollout":
        return (
            all(pod.ready for pod in foundation.of("bbs")) and len({pod.revision for pod in foundation.of("bbs")}) == 1
        )
    return incident.cured_by_restart and not any(pod.afflicted for pod in foundation.pods.values())
