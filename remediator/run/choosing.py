"""Before anything is deleted: two looks that agree, the evidence, and the record of what may be deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from foundation.diagnosis import Restart, Verdict
from foundation.kube.errors import KubeError
from remediator.ledger import Recorded, SetRecord
from remediator.run.underway import AskFirst, end
from remediator.seeing import uids_to_restart
from remediator.words import Phase, Step

if TYPE_CHECKING:
    from remediator.lookout import Sight
    from remediator.run.underway import Underway

HOLDS_FOR = timedelta(hours=1)
"""A verdict that comes back this soon after a success: the restart does not hold."""


def confirm(way: Underway) -> Sight:
    """Two looks of our own that agree, one probe interval apart."""
    began = way.begin(Step.CONFIRM)
    until = began + way.steps.confirm.deadline
    before: tuple[object, ...] = ()
    while True:
        if why := way.forbidden(until):
            end(Phase.CANCELLED, why)
        sight = way.look()
        found = sight.look.diagnosis
        key = (found.verdict, found.restart, tuple(uids_to_restart(sight)), bool(sight.blind))
        if found.verdict is Verdict.HEALTHY:
            end(Phase.NOT_NEEDED, f"healthy: {found.evidence[0]}")
        agreed = key == before
        before = key
        late = way.site.boot() >= until
        if sight.blind:
            if late:
                end(Phase.WOULD_NOT_HELP, f"nothing could be seen: {sight.blind}", retry=True)
        elif found.restart is Restart.WAIT:
            if late:
                end(Phase.WOULD_NOT_HELP, f"still {found.verdict}: {found.evidence[0]}", retry=True)
        elif agreed:
            return _agreed(way, sight, began)
        elif late:
            end(Phase.WOULD_NOT_HELP, f"no two looks agreed, the last: {found.verdict}", retry=True)
        way.wait(way.site.lookout.interval)


def _agreed(way: Underway, sight: Sight, began: float) -> Sight:
    found = sight.look.diagnosis
    if found.restart is Restart.NO:
        end(Phase.WOULD_NOT_HELP, f"{found.verdict}: {found.evidence[0]}")
    if found.restart is Restart.ASK and way.run.approved_by is None:
        raise AskFirst(sight)
    reading = way.claim.reading
    last = reading.ledger.last_success
    if last and last.verdict == found.verdict and reading.instant.server - last.at < HOLDS_FOR:
        why = f"restart does not hold: {found.verdict} again within an hour of a success"
        end(Phase.WOULD_NOT_HELP, why, breaker=why)
    if not found.pods_to_restart:
        end(Phase.WOULD_NOT_HELP, "the verdict names no pod")
    way.claim.put(lambda run, _: run.model_copy(update={"verdict_before": str(found.verdict)}))
    witness = sight.look.observation.seen.get("probe_from_api_pod", "not asked from an api pod")
    way.done("confirmed", f"{found.verdict}, restart {found.restart}: {found.evidence[0]} ({witness})", began)
    return sight


def save_evidence(way: Underway, sight: Sight) -> None:
    """Keep what this look saw, and the logs, before anything is deleted."""
    began = way.begin(Step.EVIDENCE)
    if way.site.evidence is None:
        way.done("skipped", "evidence is switched off", began)
        return
    until = began + way.steps.evidence.deadline
    while True:
        try:
            name = way.site.evidence.save(way.run, sight, way.tend)
            break
        except KubeError as error:
            if not error.retry or way.site.boot() > until:
                end(Phase.FAILED, f"the evidence could not be saved, so nothing was deleted: {error}")
        way.wait(1.0)
    way.claim.put(lambda run, _: run.model_copy(update={"evidence": name}))
    way.done("saved", f"ConfigMap {name}", began)


def record(way: Underway, sight: Sight) -> None:
    """Write down which pods may be deleted, once."""
    began = way.begin(Step.RECORD)
    wanted = sight.look.diagnosis.pods_to_restart
    chosen = [pod for name in wanted for pod in sight.look.pods if pod.seen.name == name]
    sets = {found.name: found for found in sight.look.statefulsets or ()}
    owners = {pod.seen.owner for pod in chosen}
    if len(chosen) != len(wanted) or not all(owner in sets for owner in owners):
        end(Phase.WOULD_NOT_HELP, "not every pod of the verdict belongs to a StatefulSet that could be read")
    pods = tuple(
        Recorded(
            name=pod.seen.name,
            uid=pod.seen.uid,
            role=pod.role,
            statefulset=pod.seen.owner,
            grace=pod.seen.grace,
        )
        for pod in chosen
    )
    recorded = tuple(
        SetRecord(name=owner, uid=sets[owner].uid, revision=sets[owner].revision) for owner in sorted(owners)
    )
    way.claim.put(lambda run, _: run.model_copy(update={"pods": pods, "statefulsets": recorded, "recorded": True}))
    way.done("recorded", ", ".join(pod.name for pod in pods), began)
