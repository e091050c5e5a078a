"""The remediator's web application on a cluster in a dictionary: no sockets, no threads, a clock that stands.

`FakeKube` keeps what Kubernetes promises and the web side relies on: resourceVersions, 404, 409, merge patches, and the
server's clock. With `broken` set every request fails, as with an API server that does not answer.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import bcrypt
from prometheus_client import CollectorRegistry

from foundation.config import FoundationConfig
from foundation.kube.errors import KubeError, Target, Unreachable, from_status
from foundation.kube.paths import configmap_path, group_path
from foundation.layout import override
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
from remediator import ledger as ledgers
from remediator.config import PlaybookConfig, RemediatorSection
from remediator.credentials import Credentials
from remediator.executor import Executor
from remediator.intake import Intake
from remediator.ledger import Ledger, Run, StepRecord, Trigger
from remediator.lookout import Lookout, Sight
from remediator.site import Site
from remediator.snapshot import register
from remediator.store import Remediations
from remediator.story import iso, spec_of, status_of
from remediator.trail import Metrics, Trail
from remediator.web.app import create_app
from remediator.words import GROUP, PLAYBOOK, PLURAL, VERSION, Mode, Phase, Step
from tests.support.looks import look, pod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient

    from foundation.kube.client import Json, KubeClient
    from foundation.layout import Layout

NOW = 1_790_000_000.0
SERVER = datetime.fromtimestamp(NOW, UTC)
TOKENS = {scope: f"token-that-may-only-{scope}" for scope in ("webhook", "view", "operate")} | {
    "all": "token-that-may-do-everything",
    "nothing": "token-that-nobody-has-given",
}
PASSWORD = "open sesame"
_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


class FakeKube:
    """As much of KubeClient as the ledger, the Remediations and the web side call."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.objects: dict[str, Json] = {}
        self.broken: KubeError | None = None
        self.asked: list[str] = []
        self._version = 100
        self._lock = threading.Lock()

    def answer_date(self) -> float | None:
        return self.now

    def get(self, path: str, query: object = None) -> Json:
        return self._do("get", path, lambda: self._found("get", path))

    def list_all(self, path: str, query: object = None) -> tuple[list[Json], str]:
        def do() -> Json:
            found = [item for key, item in self.objects.items() if key.startswith(path + "/")]
            return {"items": found}

        return cast("list[Json]", self._do("list", path, do)["items"]), "1"

    def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
        def do() -> Json:
            name = str(cast("Json", body["metadata"])["name"])
            key = f"{path}/{name}"
            if key in self.objects:
                raise from_status(Target.of("create", key), 409, {"reason": "AlreadyExists", "message": "it exists"})
            made = {"uid": f"uid-{name}", "creationTimestamp": iso(datetime.fromtimestamp(self.now, UTC))}
            return self._store(key, {**body, "metadata": {**cast("Json", body["metadata"]), **made}})

        return self._do("create", path, do)

    def replace(self, path: str, body: Json) -> Json:
        def do() -> Json:
            self._same("update", path, body)
            return self._store(path, {**self._found("update", path), **body})

        return self._do("update", path, do)

    def patch(self, path: str, body: object, kind: str = "merge") -> Json:
        def do() -> Json:
            assert isinstance(body, dict)
            key = path.removesuffix("/status")
            self._same("patch", key, body)
            return self._store(key, cast("Json", _merged(self._found("patch", key), body)))

        return self._do("patch", path, do)

    def _do(self, verb: str, path: str, do: Callable[[], Json]) -> Json:
        with self._lock:
            self.asked.append(f"{verb} {path}")
            if self.broken is not None:
                raise self.broken
            return do()

    def _found(self, verb: str, path: str) -> Json:
        if path not in self.objects:
            raise from_status(Target.of(verb, path), 404, {"reason": "NotFound", "message": "it is not there"})
        return self.objects[path]

    def _same(self, verb: str, path: str, body: Json) -> None:
        wanted = cast("Json", body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != cast("Json", self._found(verb, path)["metadata"])["resourceVersion"]:
            raise from_status(Target.of(verb, path), 409, {"reason": "Conflict", "message": "it has changed"})

    def _store(self, key: str, item: Json) -> Json:
        self._version += 1
        metadata = {**cast("Json", item["metadata"]), "resourceVersion": str(self._version)}
        self.objects[key] = {**item, "metadata": metadata}
        return self.objects[key]


def _merged(old: object, new: object) -> object:
    if not isinstance(new, dict):
        return new
    base = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = _merged(base.get(key), value)
    return base


def unreachable(message: str = "connection refused") -> Unreachable:
    return Unreachable(message, target=Target("get", "configmaps", "cf", "stager-medic-diego-api"))


class AtOnce(Pool):
    """Runs what is submitted before it returns."""

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        done: Future[object] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class FixedLookout:
    """A lookout that sees what it is told."""

    def __init__(self, layout: Layout | None, newest: Sight | None) -> None:
        self.layout = layout
        self.newest = newest


def locked_out() -> Sight:
    """Every BBS passive."""
    found = Observation(
        pods=tuple(
            Pod(PodState.READY, PodProbe.REFUSED, labelled_active=False, name=f"diego-api-{n}", role=Role.BBS)
            for n in range(2)
        ),
        signals=Signals(
            observation_fresh=True, settled=True, quiet=True, rollout=False, service_probe=ServiceProbe.FAIL,
            layout_has_label=True, api_pods=ApiPods.READY, database=Database.UP, locket=Locket.IN_THE_BBS_PODS,
            probe_from_api_pod=Witness.FAIL, database_from_bbs_pod=InnerDatabase.UP, control_port_answers=False,
            last_certificate_expired=False, depth="ping",
        ),
    )  # fmt: skip
    return Sight(look(pod("diego-api-0", None), at=NOW - 4, observation=found), began=0.0)


@dataclass
class House:
    """Everything of one test."""

    app: Flask
    kubes: Mapping[str, FakeKube]
    sites: Mapping[str, Site]
    executors: Mapping[str, Executor]
    registry: CollectorRegistry
    metrics: Metrics
    ready: list[str] = field(default_factory=lambda: [""])
    clock: list[float] = field(default_factory=lambda: [NOW])

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def ledger(self, change: Callable[[Ledger], Ledger], foundation: str = "prod") -> Ledger:
        """Change the ledger, and let the executor have read it."""
        store = self.sites[foundation].ledger
        store.swap(lambda ledger, _: change(ledger))
        self.executors[foundation].note(store.read())
        return store.read().ledger

    def remediation(self, name: str, spec: Json, status: Json, foundation: str = "prod") -> Json:
        """Put a Remediation there."""
        kube = self.kubes[foundation]
        path = group_path(GROUP, VERSION, self.sites[foundation].config.namespace, PLURAL)
        kube.create(path, {"metadata": {"name": name, "labels": {f"{GROUP}/target": "x"}}, "spec": spec})
        return kube.patch(f"{path}/{name}/status", {"status": status})

    def object(self, name: str, foundation: str = "prod") -> Json:
        """A Remediation as it stands."""
        return self.kubes[foundation].objects[
            group_path(GROUP, VERSION, self.sites[foundation].config.namespace, PLURAL, name)
        ]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def awaiting(self, foundation: str = "prod") -> str:
        """A request that awaits approval; gives its name."""
        self.ledger(
            lambda ledger: ledgers.enqueue(
                ledger, foundation, PLAYBOOK, Mode.APPROVAL, trigger=trigger(), now=SERVER - timedelta(minutes=5)
            )[0],
            foundation,
        )

        def wait(ledger: Ledger) -> Ledger:
            assert ledger.pending is not None
            return ledger.changed(
                pending=ledger.pending.model_copy(
                    update={
                        "phase": Phase.AWAITING_APPROVAL,
                        "expires": SERVER + timedelta(minutes=55),
                        "why": "a person decides, until later",
                        "verdict": "locked_out",
                        "pods": ("diego-api-0", "diego-api-1"),
                    }
                )
            )

        entry = self.ledger(wait, foundation).pending
        assert entry is not None
        self.remediation(entry.name, spec_of(entry), status_of(entry), foundation)
        return entry.name

    def version(self, name: str, foundation: str = "prod") -> str:
        return str(cast("Json", self.object(name, foundation)["metadata"])["resourceVersion"])


def trigger(**labels: str) -> Trigger:
    given = {"alertname": "DiegoRestartWouldHelp", "foundation": "prod", "remediate": PLAYBOOK, **labels}
    return Trigger(
        alertname=given["alertname"],
        fingerprint="8f3c1a2b4d5e6f70",
        starts_at=iso(SERVER - timedelta(minutes=6)),
        labels=given,
    )


def record(step: Step, start: float, took: float, result: str = "ok", detail: str = "") -> StepRecord:
    began = SERVER - timedelta(seconds=start)
    return StepRecord(name=step, started=began, finished=began + timedelta(seconds=took), result=result, detail=detail)


def failed_run(name: str = f"prod.{PLAYBOOK}.6") -> Run:
    """A run with a story to tell."""
    pods = tuple(
        ledgers.Recorded(name=f"diego-api-{n}", uid=f"0a1b2c3d-{n}", role="bbs", statefulset="diego-api")
        for n in (0, 1)
    )
    began = SERVER - timedelta(minutes=40)
    return Run(
        name=name,
        foundation="prod",
        playbook=PLAYBOOK,
        mode=Mode.AUTO,
        trigger=trigger(severity="none", prometheus="monitoring/k8s"),
        at=began,
        started=began,
        verdict_before="locked_out",
        evidence=f"{name}.evidence",
        recorded=True,
        pods=pods,
        deleted=(ledgers.Deleted(name="diego-api-0", uid="0a1b2c3d-0", at=began + timedelta(seconds=14)),),
        steps=(
            record(Step.CONFIRM, 2400, 11, "locked_out", "both BBS pods are passive; nothing answers on 8889"),
            record(Step.EVIDENCE, 2389, 2, "saved", "2 pods, 6 logs, 14 kB"),
            record(Step.RECORD, 2387, 1, "2 pods"),
            record(Step.DELETE, 2386, 3, "1 of 2", "diego-api-0 deleted"),
            record(Step.REPLACE, 2383, 660, "failed", "diego-api-0 is stuck in Terminating: its grace period is 600 s"),
        ),
    )  # fmt: skip


def house(
    folder: Path,
    names: tuple[str, ...] = ("prod",),
    *,
    mode: Mode = Mode.AUTO,
    credentials: str = "",
    one_namespace: bool = False,
) -> House:
    """The whole application for these foundations, each with a cluster of its own unless they share a namespace."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    section = RemediatorSection(playbooks={PLAYBOOK: PlaybookConfig(mode=mode)})
    clock, ready = [NOW], [""]
    shared = FakeKube()
    kubes = {name: shared if one_namespace else FakeKube() for name in names}
    sites = {name: _site(name, kubes[name], section, metrics, clock) for name in names}
    executors = {name: Executor(site) for name, site in sites.items()}
    for name, executor in executors.items():
        executor.note(sites[name].ledger.read())
    register(registry, metrics, executors, [PLAYBOOK], version="0.1.0", revision="abc")
    path = folder / "credentials.yml"
    path.write_text(credentials or usual_credentials())
    app = create_app(
        sites,
        Intake(sites, metrics),
        Credentials(path),
        registry,
        executors,
        ready=lambda: ready[0],
        wall=lambda: clock[0],
        version="0.1.0",
    )
    return House(app, kubes, sites, executors, registry, metrics, ready, clock)


def _site(name: str, kube: FakeKube, section: RemediatorSection, metrics: Metrics, clock: list[float]) -> Site:
    client = cast("KubeClient", kube)
    return Site(
        config=FoundationConfig(name=name, namespace="cf"),
        section=section,
        client=client,
        lookout=cast("Lookout", FixedLookout(override("cfee-2", {}), locked_out())),
        remediations=Remediations(client, "cf"),
        trail=Trail(client, "cf", name, metrics, wall=lambda: clock[0], pool=AtOnce()),
        evidence=None,
        holder="test-1",
        boot=lambda: clock[0],
        wall=lambda: clock[0],
        stopping=threading.Event(),
        wake=threading.Event(),
    )


def usual_credentials() -> str:
    """One token for each scope, one for all, and people with passwords."""
    lines = [
        f"- {{name: {scope}er, scopes: [{scope}], token_sha256: {hashlib.sha256(TOKENS[scope].encode()).hexdigest()}}}"
        for scope in ("webhook", "view", "operate")
    ]
    everything = hashlib.sha256(TOKENS["all"].encode()).hexdigest()
    lines.append(f"- {{name: root, scopes: [webhook, view, operate], token_sha256: {everything}}}")
    lines.append(f'- {{name: alice, scopes: [view, operate], password_bcrypt: "{_HASH}"}}')
    lines.append(f'- {{name: victor, scopes: [view], password_bcrypt: "{_HASH}"}}')
    return "\n".join(lines)


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[scope]}"}


def evidence_configmap(house: House, name: str, document: Mapping[str, object], owner: str) -> None:
    """A ConfigMap of evidence, owned by the object with this UID."""
    import base64
    import gzip
    import json

    raw = gzip.compress(json.dumps(document).encode(), mtime=0)
    body: Json = {
        "metadata": {"name": name, "ownerReferences": [{"kind": "Remediation", "uid": owner}]},
        "binaryData": {"evidence.json.gz": base64.b64encode(raw).decode()},
    }
    path = configmap_path("cf", name)
    house.kubes["prod"].create(path.rpartition("/")[0], body)
