"""A remediator, or an exporter, that may do exactly what it is told it may, and everything that it says of the rest.

They run in this process, against a simulated foundation with a hung Locket: reason enough for a restart.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client import generate_latest

from exporter.config import load_config as load_exporter
from exporter.service import Exporter
from foundation.kube.errors import KubeError
from remediator import operations
from remediator.config import load_config
from remediator.evidence import read_evidence
from remediator.intake import Unavailable
from remediator.payload import Notification
from remediator.service import Remediator
from remediator.words import PLAYBOOK, Phase
from simulator.api.resources import CONFIGMAPS
from tests.support.rbac import as_faults
from tests.support.remediator_files import alert, write_config
from tests.support.simulated import simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.cluster import Cluster
    from tests.support.rbac import Right

Json = dict[str, Any]
STEPS: Json = {
    "confirm": {"deadline": "4s"},
    "delete": {"deadline": "4s"},
    "replace": {"start_budget": "10s"},
    "active": {"deadline": "10s"},
    "verify": {"dwell": "200ms", "deadline": "10s"},
}
"""Seconds where the real ones are minutes: a simulated foundation lives forty times as fast."""


@dataclass
class Told(logging.Handler):
    """What was said anywhere."""

    answer: str = ""
    """The webhook's."""
    phase: str = ""
    message: str = ""
    unready: str = ""
    page: str = ""
    """What the exporter's page is made of."""
    evidence: str = ""
    """The document that was saved, as JSON."""
    deleted: int = 0
    logged: list[str] = field(default_factory=list)
    asked: set[tuple[str, str]] = field(default_factory=set)
    """What the API server was asked, in RBAC's words."""

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(f"{record.levelname}: {record.getMessage()}")

    def __hash__(self) -> int:
        return id(self)


@contextmanager
def _listening(told: Told) -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.addHandler(told)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(told)
        root.setLevel(level)


def asked(cluster: Cluster, identity: str) -> set[tuple[str, str]]:
    """What the API server was asked by somebody, in RBAC's words."""
    return {
        (one.verb, f"{one.resource}/{one.subresource}" if one.subresource else one.resource)
        for one in cluster.api.journal.entries(everything=True)
        if one.identity == identity and one.verb
    }


def remediate(
    folder: Path,
    given: Sequence[Right],
    *,
    mode: str = "auto",
    first: Sequence[Json] = (),
    keep: int = 100,
    before: Callable[[Cluster], None] | None = None,
    during: Callable[[Remediator, Told], None] | None = None,
    seconds: float = 25.0,
    until: str = "",
) -> Told:
    """One alert from its arrival to the end of what it started, or until it says that it cannot go on.

    `first` are rules of the API server that come before those of the rights; `until`: or until that is logged.
    """
    told = Told()
    with simulated() as cluster, _listening(told):
        config = load_config(write_config(cluster, folder, identity="me", mode=mode, steps=STEPS))
        section = config.remediator.model_copy(update={"poll": 0.1, "claim": 4.0, "backoff": 1.0, "keep": keep})
        cluster.api.faults.change({"rules": [*first, *as_faults("me", given)]})
        if before is not None:
            before(cluster)
        remediator = Remediator(config.model_copy(update={"remediator": section}))
        remediator.start()
        try:
            time.sleep(1.0)  # what holds long enough counts as settled; the incident then begins on a known foundation
            cluster.start_incident("locket_hung")
            _until(lambda: (sight := remediator.sites["demo"].lookout.newest) is not None
                   and sight.look.diagnosis.restart == "yes", 6)  # fmt: skip
            told.answer = _notify(remediator)
            if during is not None:
                during(remediator, told)

            def over() -> bool:
                logged = until and any(until in line for line in told.logged)
                return bool(_ended(remediator, told) or "403" in remediator.unready() or logged)

            _until(over, seconds)
            told.unready = remediator.unready()
            told.evidence = _evidence(cluster)
        finally:
            remediator.stop()
        told.asked = asked(cluster, "me")
        told.deleted = sum(
            entry.verb == "delete" and entry.resource == "pods" and entry.status == 200 and not entry.dry_run
            for entry in cluster.api.journal.entries()
        )
    return told


def _evidence(cluster: Cluster) -> str:
    """What was saved before anything was deleted; empty where nothing was."""
    things, _ = cluster.store.listing(CONFIGMAPS)
    for thing in things:
        if not thing["metadata"]["name"].startswith("stager-medic-"):
            return json.dumps(read_evidence(thing))
    return ""


def approve(remediator: Remediator, told: Told) -> None:
    """As a person who says yes, as soon as they are asked."""
    site = remediator.sites["demo"]

    def waiting() -> bool:
        return any(one.phase == Phase.AWAITING_APPROVAL for one in site.remediations.list())

    _until(waiting, 15)
    (found,) = site.remediations.list()
    try:
        operations.approve(site, found.name, "ann", found.version)
    except KubeError as error:
        told.answer = f"503 {error}"


def _notify(remediator: Remediator) -> str:
    body = {"version": "4", "status": "firing", "alerts": [alert(foundation="demo", remediate=PLAYBOOK)]}
    try:
        (answer,) = remediator.intake.notify(Notification.model_validate(body))
    except Unavailable as error:
        return f"503 {error}"
    return f"{answer.outcome} {answer.reason} {answer.remediation}"


def _ended(remediator: Remediator, told: Told) -> bool:
    reading = remediator.executors["demo"].latest
    if reading is None or reading.ledger.last is None:
        return False
    told.phase, told.message = str(reading.ledger.last.phase), reading.ledger.last.message
    return True


def export(
    folder: Path,
    given: Sequence[Right],
    logs: Json,
    wanted: Callable[[str], object],
    seconds: float = 20.0,
) -> tuple[Told, str]:
    """An exporter at work until its metrics are as wanted, or for the time limit; gives the metrics, too."""
    told, text = Told(), ""
    with simulated("kubecf" if logs["source"] == "pod" else "cfee-2", traffic=True) as cluster, _listening(told):
        file = cluster.write(folder)
        (folder / "kubeconfig").write_text(yaml.safe_dump(cluster.kubeconfig("me")))
        document = yaml.safe_load(file.read_text())
        document |= {"logs": [logs], "probe": {"interval": "200ms", "timeout": "1s"}}
        file.write_text(yaml.safe_dump(document))
        cluster.api.faults.change({"rules": as_faults("me", given)})
        exporter = Exporter(file, load_exporter(file))

        def seen() -> bool:
            nonlocal text
            text = generate_latest(exporter.registry).decode()
            return bool(wanted("\n".join([text, str(exporter.view()), *told.logged])))

        try:
            _until(seen, seconds)
            told.page = str(exporter.view())
        finally:
            exporter.stop()
        told.asked = asked(cluster, "me")
    return told, text


def _until(look: Callable[[], object], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not look() and time.monotonic() < ends:
        time.sleep(0.02)
