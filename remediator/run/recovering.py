"""After a deletion: replacements that are ready, one active BBS, and health for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.diagnosis import Verdict
from foundation.durations import format_duration
from foundation.observation import PodState, Witness
from foundation.pods import pod_state
from remediator.run.underway import PAUSE, end
from remediator.seeing import foreign_owner, not_one_active
from remediator.words import Phase, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remediator.lookout import Sight
    from remediator.run.underway import Underway


def await_replacements(way: Underway, pods: Sequence[tuple[str, str]], *, within_step: bool = False) -> None:
    """Until each of these names and UIDs is another pod that is ready; each within its grace and its start budget."""
    began = way.site.boot() if within_step else way.begin(Step.REPLACE)
    grace = {pod.uid: pod.grace for pod in way.run.pods}
    budget = {uid: grace.get(uid, 30.0) + way.steps.replace.start_budget for _, uid in pods}
    while True:
        way.tend()
        waiting = _not_replaced(way, pods)
        if not waiting:
            break
        for (name, uid), text in waiting.items():
            if way.site.boot() - began > budget[uid]:
                end(Phase.FAILED, f"{Step.REPLACE}: {name} {text}")
        way.wait(PAUSE)
    if not within_step:
        way.done("replaced", ", ".join(name for name, _ in pods), began)


def _not_replaced(way: Underway, pods: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The pods without a ready replacement, and what stands in the way."""
    listed, layout = way.site.lookout.listed(), way.site.lookout.layout
    if listed is None or layout is None:
        return dict.fromkeys(pods, "cannot be seen: the pods could not be read")
    way.stop_on_rollout()
    by_name = {pod.name: pod for pod in listed}
    replicas = {found.name: found.replicas for found in way.site.lookout.statefulsets() or ()}
    owners = {pod.uid: pod.statefulset for pod in way.run.pods}
    now = way.claim.reading.instant.server.timestamp()
    waiting = {}
    for name, uid in pods:
        found = by_name.get(name)
        if found is None:
            ordinal, wanted = name.rpartition("-")[2], replicas.get(owners.get(uid, ""))
            if wanted is None or not ordinal.isdigit() or int(ordinal) < wanted:
                waiting[name, uid] = "has no replacement"
        elif found.uid == uid:
            waiting[name, uid] = f"is still Terminating, its grace is {format_duration(found.grace)}"
        else:
            role = layout.role_of(found.labels) or "bbs"
            state, text = pod_state(found, layout, role, now)
            if state is not PodState.READY:
                waiting[name, uid] = f"was replaced, but is not ready: {text}"
    return waiting


def await_active(way: Underway) -> None:
    """Until exactly one BBS is active."""
    began = way.begin(Step.ACTIVE)
    until = began + way.steps.active.deadline
    while True:
        sight = way.look()
        text = not_one_active(sight)
        if not text:
            break
        if way.site.boot() >= until:
            end(Phase.FAILED, f"{Step.ACTIVE}: {text}")
        way.wait(PAUSE)
    way.done("active", sight.look.diagnosis.evidence[0], began)


def verify(way: Underway) -> None:
    """Healthy in every look for the dwell time, from an api pod too."""
    began = way.begin(Step.VERIFY)
    until, since = began + way.steps.verify.deadline, None
    while True:
        sight = way.look()
        text = _ill(way, sight)
        now = way.site.boot()
        if text:
            since = None
            if now >= until:
                end(Phase.FAILED, f"{Step.VERIFY}: {text}")
        else:
            since = sight.began if since is None else since
            if now - since >= way.steps.verify.dwell:
                break
        way.wait(min(PAUSE * 2, max(0.05, way.steps.verify.dwell)))
    way.done("verified", f"answers for {format_duration(way.steps.verify.dwell)}", began)


def _ill(way: Underway, sight: Sight) -> str:
    if sight.blind:
        return f"nothing could be seen: {sight.blind}"
    found = sight.look.diagnosis
    if found.verdict is not Verdict.HEALTHY:
        return f"{found.verdict}: {found.evidence[0]}"
    if text := not_one_active(sight) or foreign_owner(sight):
        return text
    witness, words = way.site.lookout.from_api_pod(sight)
    return "" if witness in (Witness.OK, Witness.WAIVED) else f"not from an api pod: {words}"
