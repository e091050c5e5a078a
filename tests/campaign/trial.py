"""One trial: an incident, replicas, harm done at moments drawn from a seed, and what the checker says afterwards.

The moments are counted in requests that the replicas make to change something, so that harm comes at the boundaries of
their steps and not at times of the clock. After the harm everything is mended, and the run must come to an end.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.campaign.checker import Case, check, deleted
from tests.campaign.world import PLAYBOOK, Alertmanager, Cluster, Replica, TimedOutError, eventually, write_config

if TYPE_CHECKING:
    from collections.abc import Callable

CLAIM = 4.0
COOLDOWN = 20.0
LIMITS = ((2, 60.0),)
LAYOUTS = ("cfee-2", "cfee-2", "scf-2.11", "kubecf")
INCIDENTS = ("locket_hung", "locket_hung", "locket_hung", "zombie", "database_down")
QUIET_SECONDS = 7.0
"""From the incident until its verdict may say yes."""
END_SECONDS = 75.0


@dataclass(frozen=True, slots=True)
class Harm:
    """One thing that goes wrong."""

    name: str
    after: int
    """After so many changing requests of the replicas."""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    layout: str
    incident: str
    replicas: int
    skew: tuple[float, ...]
    strategy: str
    doubled: bool
    harms: tuple[Harm, ...]
    without: str = ""

    def __str__(self) -> str:
        harms = ", ".join(f"{harm.name}@{harm.after}" for harm in self.harms) or "none"
        return (
            f"seed {self.seed}: {self.incident} on {self.layout}, {self.strategy}, {self.replicas} replicas"
            f"{' (skew ' + ', '.join(f'{skew:g}' for skew in self.skew) + ')' if any(self.skew) else ''}: {harms}"
        )


HARMS = (
    "kill", "kill", "kill", "kill-all", "freeze", "freeze", "terminate", "api-down", "api-frozen", "api-slow",
    "conflicts", "errors", "throttled", "gone", "lost-ledger", "lost-delete", "late-delete", "lost-create",
    "somebody-deletes", "scale", "edit", "delete-remediation", "pause", "resolve", "delete-ledger",
)  # fmt: skip


def plan(seed: int) -> Plan:
    """What happens under a seed."""
    draw = random.Random(seed)
    replicas = draw.choice((1, 2, 2, 3))
    skew = [0.0] * replicas
    if draw.random() < 0.15:
        skew[draw.randrange(replicas)] = draw.choice((3600.0, -3600.0))
    harms = tuple(
        Harm(draw.choice(HARMS), draw.randint(1, 34), draw.random()) for _ in range(draw.choice((1, 1, 2, 3)))
    )
    return Plan(
        seed=seed,
        layout=draw.choice(LAYOUTS),
        incident=draw.choice(INCIDENTS),
        replicas=replicas,
        skew=tuple(skew),
        strategy=draw.choice(("all", "all", "one-by-one")),
        doubled=draw.random() < 0.5,
        harms=tuple(sorted(harms, key=lambda harm: harm.after)),
    )


@dataclass(slots=True)
class Result:
    """How a trial went."""

    plan: Plan
    violations: list[str]
    phases: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0
    folder: Path | None = None


class Trial:
    """Runs one plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self._folder = plan, folder
        self.cluster = Cluster(folder, layout=plan.layout, speed=40, grace=2)
        playbook: dict[str, Any] = {"strategy": plan.strategy}
        self.config = write_config(self.cluster, folder, playbook=playbook)
        self.replicas = [
            Replica(self.config, skew=plan.skew[number], without=plan.without) for number in range(plan.replicas)
        ]
        self.alerts = Alertmanager(self.replicas, every=1.0, doubled=plan.doubled)
        self.by_hand: set[str] = set()
        self.lost_ledger = False
        self._seen = 0
        self._count = 0
        self._mending: list[threading.Timer] = []

    def close(self) -> None:
        """End every process."""
        for timer in self._mending:
            timer.cancel()
        for replica in self.replicas:
            replica.process.end()
        self.cluster.process.end()

    def run(self) -> Result:
        """Play it and check it."""
        began = time.monotonic()
        for replica in self.replicas:
            eventually(replica.port, "a replica listens")
        eventually(lambda: len(self.cluster.pods()) >= 2, "the pods run")
        first = self.cluster.pods()
        time.sleep(2)
        self.cluster.incident(self.plan.incident)
        time.sleep(QUIET_SECONDS)
        self.alerts.start()
        violations = self._harm_and_wait()
        name, _ = self.cluster.ledger()
        case = Case(
            journal=self.cluster.journal(),
            told=self.alerts.told,
            ledger=name or "stager-medic-",
            claim=CLAIM,
            cooldown=COOLDOWN,
            limits=LIMITS,
            first_uids=first,
            by_hand=frozenset(self.by_hand),
            lost_ledger=self.lost_ledger,
        )
        violations += check(case)
        phases = [str(item.get("status", {}).get("phase")) for item in self.cluster.remediations()]
        return Result(
            self.plan, violations, phases, deleted(case), len(case.journal), time.monotonic() - began, self._folder
        )

    def _harm_and_wait(self) -> list[str]:
        waiting = list(self.plan.harms)
        until = time.monotonic() + END_SECONDS
        patience = time.monotonic() + 30
        while waiting and time.monotonic() < until and not self._over():
            self._note_requests()
            if waiting[0].after <= self._count or (time.monotonic() > patience and self._count == 0):
                self._do(waiting.pop(0))
            else:
                time.sleep(0.01)
        time.sleep(1.5)
        self._mend()
        try:
            eventually(self._over, "the run ends", max(30.0, until - time.monotonic()), pause=0.2)
            self.alerts.stop()  # what it may just have begun must end as well
            eventually(self._over, "the run after it ends", max(30.0, until - time.monotonic()), pause=0.2)
        except TimedOutError as error:
            name, ledger = self.cluster.ledger()
            run = ledger.get("run") or ledger.get("pending") or {}
            return [f"6: {error}; {name}: {run.get('name', 'nothing')} in {run.get('step', run.get('phase'))}"]
        finally:
            self.alerts.stop()
        return []

    def _note_requests(self) -> None:
        with contextlib.suppress(OSError):
            for entry in self.cluster.changes(self._seen):
                self._seen = max(self._seen, entry["number"])
                if entry["user_agent"].startswith("stager-remediator/") and entry["resource"] != "events":
                    self._count += 1

    def _over(self) -> bool:
        """Whether a run has ended, and nothing is under way or about to be."""
        _, ledger = self.cluster.ledger()
        ended = bool(ledger.get("last") or ledger.get("breaker") or ledger.get("refusals"))
        if not ended or ledger.get("run") or (ledger.get("pending") or {}).get("phase") == "Pending":
            return False
        return not self.cluster.under_way()

    # --- harm -----------------------------------------------------------------------------------------------------

    def _do(self, harm: Harm) -> None:
        deed: Callable[[float], None] = getattr(self, "_" + harm.name.replace("-", "_"))
        deed(harm.value)

    def _later(self, seconds: float, deed: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, deed)
        timer.daemon = True
        timer.start()
        self._mending.append(timer)

    def _holder(self, value: float) -> Replica:
        """The replica that holds the run, as its log tells; else any."""
        _, ledger = self.cluster.ledger()
        holder = ledger.get("holder")
        for replica in self.replicas:
            if holder and any(f'"holder": "{holder}"' in line for line in replica.process.lines):
                return replica
        return self.replicas[int(value * len(self.replicas))]

    def _mend(self) -> None:
        self.cluster.faults(mode="ok", delay=0.0, clock_skew=0.0, rules=[])
        for replica in self.replicas:
            replica.process.signal(signal.SIGCONT)
            if not replica.process.alive:
                replica.restart()
        self._resume()

    def _kill(self, value: float) -> None:
        victim = self._holder(value)
        victim.process.signal(signal.SIGKILL)
        self._later(0.2 + 2 * value, victim.restart)

    def _kill_all(self, value: float) -> None:
        for replica in self.replicas:
            replica.process.signal(signal.SIGKILL)
            self._later(0.2 + 2 * value, replica.restart)

    def _terminate(self, value: float) -> None:
        victim = self._holder(value)
        victim.process.signal(signal.SIGTERM)
        self._later(6, lambda: None if victim.process.alive else victim.restart())

    def _freeze(self, value: float) -> None:
        victim = self._holder(value)
        victim.process.signal(signal.SIGSTOP)
        self._later(CLAIM * (0.5 + 2 * value), lambda: victim.process.signal(signal.SIGCONT))

    def _api_down(self, value: float) -> None:
        self.cluster.faults(mode="down")
        self._later(0.5 + 8 * value, lambda: self.cluster.faults(mode="ok"))

    def _api_frozen(self, value: float) -> None:
        self.cluster.faults(mode="frozen")
        self._later(0.5 + 8 * value, lambda: self.cluster.faults(mode="ok"))

    def _api_slow(self, value: float) -> None:
        self.cluster.faults(delay=0.1 + value)
        self._later(5, lambda: self.cluster.faults(delay=0.0))

    def _rules(self, seconds: float, *rules: dict[str, object]) -> None:
        self.cluster.faults(rules=list(rules), seed=self.plan.seed)
        self._later(seconds, lambda: self.cluster.faults(rules=[]))

    def _conflicts(self, value: float) -> None:
        self._rules(1 + 4 * value, {"verb": "update", "status": 409, "chance": 0.6})

    def _errors(self, value: float) -> None:
        self._rules(1 + 5 * value, {"status": 500, "chance": 0.4})

    def _throttled(self, value: float) -> None:
        self._rules(1 + 4 * value, {"status": 429, "chance": 0.5})

    def _gone(self, value: float) -> None:
        self._rules(1 + 4 * value, {"verb": "watch", "status": 410}, {"verb": "list", "status": 410, "chance": 0.2})

    def _lost_ledger(self, value: float) -> None:
        self._rules(10, {"verb": "update", "resource": "configmaps", "lost": True, "times": 1 + int(3 * value)})

    def _lost_delete(self, value: float) -> None:
        self._rules(20, {"verb": "delete", "resource": "pods", "lost": True, "times": 1 + int(2 * value)})

    def _late_delete(self, value: float) -> None:
        rule = {"verb": "delete", "resource": "pods", "hang_up": True, "delay": 1 + 9 * value, "times": 1}
        self.cluster.faults(rules=[rule])

    def _lost_create(self, value: float) -> None:
        self._rules(10, {"verb": "create", "resource": "remediations", "lost": True, "times": 1 + int(2 * value)})

    def _path(self, resource: str, name: str) -> str:
        return f"/api/v1/namespaces/{self.cluster.namespace}/{resource}/{name}"

    def _somebody_deletes(self, value: float) -> None:
        names = sorted(self.cluster.pods())
        self.cluster.api("DELETE", self._path("pods", names[int(value * len(names))]))

    def _scale(self, value: float) -> None:
        _, listing = self.cluster.api("GET", f"/apis/apps/v1/namespaces/{self.cluster.namespace}/statefulsets")
        for item in listing["items"]:
            if "diego" in item["metadata"]["name"]:
                path = f"/apis/apps/v1/namespaces/{self.cluster.namespace}/statefulsets/{item['metadata']['name']}"
                body = {"spec": {"replicas": 1 if value < 0.5 else 3}}
                self.cluster.api("PATCH", path, body, "application/merge-patch+json")
                return

    def _remediation(self) -> str:
        items = self.cluster.remediations()
        return str(items[-1]["metadata"]["name"]) if items else ""

    def _custom(self, name: str) -> str:
        return f"/apis/stager-medic.dev/v1alpha1/namespaces/{self.cluster.namespace}/remediations/{name}"

    def _edit(self, value: float) -> None:
        if name := self._remediation():
            spec = {"mode": "off" if value < 0.5 else "auto", "approval": {"state": "rejected", "by": "eve"}}
            self.cluster.api("PATCH", self._custom(name), {"spec": spec}, "application/merge-patch+json")

    def _delete_remediation(self, _value: float) -> None:
        if name := self._remediation():
            self.by_hand.add(name)
            self.cluster.api("DELETE", self._custom(name))

    def _delete_ledger(self, _value: float) -> None:
        name, _ = self.cluster.ledger()
        if name:
            self.lost_ledger = True
            self.cluster.api("DELETE", self._path("configmaps", name))

    def _operate(self, path: str, body: dict[str, str]) -> None:
        for replica in self.replicas:
            with contextlib.suppress(OSError):
                status, _ = replica.post(path, body)
                if status < 300:
                    return

    def _pause(self, value: float) -> None:
        self._operate("/api/v1/pause", {"reason": "a trial"})
        self._later(1 + 5 * value, self._resume)

    def _resume(self) -> None:
        self._operate("/api/v1/resume", {})

    def _resolve(self, _value: float) -> None:
        self.alerts.status = "resolved"


def run(chosen: Plan, keep: Path | None = None) -> Result:
    """One trial in a folder of its own, which is kept where something was violated."""
    folder = Path(tempfile.mkdtemp(prefix=f"trial-{chosen.seed}-", dir=keep))
    trial = Trial(chosen, folder)
    try:
        result = trial.run()
        logs = [line for replica in trial.replicas for line in replica.process.lines]
        (folder / "replicas.log").write_text("\n".join(logs), encoding="utf-8")
        faults = [line for line in logs if "Traceback" in line or '"exc' in line]
        result.violations += [f"0: a replica stumbled: {line[:300]}" for line in faults[:3]]
        return result
    finally:
        trial.close()


__all__ = ["PLAYBOOK", "Harm", "Plan", "Result", "Trial", "plan", "run"]
