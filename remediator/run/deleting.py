"""The deletion: look → announce in the ledger → DELETE with that very look's uid and resourceVersion → record.

The look must be younger than half the claim, and the pod is never read again in between. What another holder announced
and nobody knows the end of is fenced off: the pod gets a new resourceVersion, and a late DELETE bounces.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from foundation.diagnosis import Restart, Verdict
from foundation.kube.errors import Conflict, KubeError, NotFound, ServerError, TooManyRequests, Unreachable
from foundation.kube.paths import pod_path
from remediator import ledger as ledgers
from remediator.ledger import Deleted, Recorded, with_run
from remediator.run.recovering import await_replacements
from remediator.run.underway import PAUSE, Stopping, end
from remediator.trail import remediation_reference, statefulset_reference
from remediator.words import FENCE, Mode, Phase, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundation.pods import PodSeen
    from remediator.admission import Instant
    from remediator.ledger import Ledger, Run
    from remediator.lookout import Sight
    from remediator.run.underway import Underway

logger = logging.getLogger(__name__)

FENCE_PATIENCE = 120.0
"""Seconds for which a pod that cannot be patched is tried. An API server has dropped a request by then: it ends one
after 60 s, so that only a process that sleeps just before sending could still be late."""


class Deletion:
    """The destructive step of one run."""

    def __init__(self, way: Underway) -> None:
        self._way = way
        self._site = way.site
        self._claim = way.claim
        self._obstacle = ""
        """Why the newest deletion that was tried did not happen."""
        self._unsure = set(way.run.intents)
        """UIDs whose DELETE may have been applied without our knowing: also those that an earlier holder announced."""

    @property
    def _run(self) -> Run:
        return self._way.run

    @property
    def rehearsed(self) -> bool:
        """Whether nothing was ever sent that would have to be fenced off."""
        return self._way.mode is Mode.DRY_RUN and not self._run.intents

    def delete_all(self) -> None:
        """Round after round, until nothing is left, nothing more may be deleted, or it became healthy."""
        began = since = self._way.begin(Step.DELETE)
        while self._run.left and not self._run.no_more:
            until = since + self._patience()
            if why := self._way.forbidden(until):
                self._way.no_more(why)
                break
            count, late = len(self._run.deleted), self._site.boot() >= until
            verdict = self._round(late=late)
            if verdict == "healthy":
                break
            if len(self._run.deleted) > count:
                since = self._site.boot()
            elif verdict == "wait":
                self._way.wait(self._site.lookout.interval)
            elif late:
                self._way.give_up(self._obstacle or "no look was young enough to delete on")
        names = ", ".join(item.name for item in self._run.deleted) or "nothing"
        self._way.done("deleted", f"{names} of {len(self._run.pods)}", began)

    def _patience(self) -> float:
        """Seconds to wait for a verdict of yes: where pods are on their way, until they are back and have settled."""
        patience = self._site.config.settle + self._way.steps.delete.deadline
        taken = {uid for _, uid in self.taken()}
        graces = [pod.grace for pod in self._run.pods if pod.uid in taken]
        return patience + (max(graces) + self._way.steps.replace.start_budget if graces else 0.0)

    def taken(self) -> list[tuple[str, str]]:
        """The recorded pods that somebody has deleted, we or another."""
        gone = set(self._run.gone)
        names = [(item.name, item.uid) for item in self._run.deleted]
        return names + [(pod.name, pod.uid) for pod in self._run.pods if pod.uid in gone]

    def settle_accounts(self) -> None:
        """Where a deletion was announced and nobody knows whether it was made: fence it off, then see."""
        since = self._site.boot()
        while any(pod.uid in self._run.intents for pod in self._run.left):
            problem = self.fence()
            sight = self._way.look()
            if not sight.blind:
                self._note_gone(sight)
                if problem:
                    self._way.give_up(problem)
                return
            if self._site.boot() - since > self._way.steps.delete.deadline:
                self._way.give_up(f"nothing could be seen: {sight.blind}")
            self._way.wait(self._site.lookout.interval)

    def _round(self, *, late: bool) -> str:
        """One look and what follows from it: `healthy`, `wait`, or `again`."""
        sight = self._way.look()
        if sight.blind:
            if late:
                self._way.give_up(f"nothing could be seen: {sight.blind}")
            return "wait"
        self._way.stop_on_rollout()
        self._note_gone(sight)
        found = sight.look.diagnosis
        if found.verdict is Verdict.HEALTHY:
            return "healthy"
        yes = found.restart is Restart.YES or (found.restart is Restart.ASK and self._run.approved_by is not None)
        if yes:
            by_uid = {pod.uid: pod for pod in sight.pods()}
            names = set(found.pods_to_restart)
            targets = [pod for pod in self._run.left if pod.name in names and pod.uid in by_uid]
            if targets:
                return self._take(targets, by_uid, sight)
        if late:
            self._way.give_up(f"{found.verdict}, restart {found.restart}: {found.evidence[0]}")
        return "wait"

    def _take(self, targets: Sequence[Recorded], seen: dict[str, PodSeen], sight: Sight) -> str:
        if self._way.mode is Mode.DRY_RUN:
            self._rehearse(targets, seen)
            return "again"
        if self._run.strategy == "one-by-one":
            targets = targets[:1]
        for pod in targets:
            if not self._delete(pod, seen[pod.uid], sight):
                return "again"
        if self._run.strategy == "one-by-one":
            await_replacements(self._way, [(pod.name, pod.uid) for pod in targets], within_step=True)
        return "again"

    def _delete(self, pod: Recorded, seen: PodSeen, sight: Sight) -> bool:
        """Announce and delete one pod on the strength of this look; False: look again first."""
        if seen.deleted is not None or not seen.resource_version or not self._fresh(sight):
            return False
        if self._site.stopping.is_set():
            raise Stopping
        reading = self._claim.write(lambda led, now: self._announce(led, now, pod.uid))
        if reading.ledger.run is None or pod.uid not in reading.ledger.run.intents:
            return False  # a pause came first
        if not self._fresh(sight):
            return False
        if self._site.stopping.is_set():
            raise Stopping
        try:
            self._site.client.delete(
                pod_path(seen.namespace, pod.name), uid=pod.uid, resource_version=seen.resource_version
            )
        except (NotFound, Conflict, Unreachable, ServerError, TooManyRequests) as error:
            # It changed or is gone, or nobody knows: the next look tells, and a late one bounces off the fence.
            self._obstacle = str(error)
            if isinstance(error, (Unreachable, ServerError)):
                self._unsure.add(pod.uid)
            self._way.audit("delete", f"{pod.name}: {error}", pod=pod.name, uid=pod.uid)
            self._way.wait(min(error.retry_after or PAUSE, 5.0))
            return False
        except KubeError as error:
            self._way.give_up(str(error))
        self._note_deleted(pod)
        return True

    def _announce(self, ledger: Ledger, now: Instant, uid: str) -> Ledger:
        if pause := ledger.paused(now.server):
            run = ledgers.held(ledger, self._claim.holder, self._claim.epoch)
            why = f"paused by {pause.by}: {pause.why}"
            return with_run(ledger, run.model_copy(update={"no_more": run.no_more or why}))
        return ledgers.announce(ledger, uid, now.server)

    def _fresh(self, sight: Sight) -> bool:
        """Whether this look, from before its first request, and the claim's renewal are younger than half the claim."""
        return max(self._site.boot() - sight.began, self._claim.age()) < self._claim.duration / 2

    def _note_deleted(self, pod: Recorded) -> None:
        self._claim.put(
            lambda run, now: run.model_copy(
                update={"deleted": (*run.deleted, Deleted(name=pod.name, uid=pod.uid, at=now.server))}
            )
        )
        trail, run = self._site.trail, self._run
        trail.metrics.deleted.labels(self._site.name, pod.role).inc()
        self._way.audit("deleted", f"deleted {pod.name}", pod=pod.name, uid=pod.uid)
        for found in run.statefulsets:
            if found.name == pod.statefulset:
                about = statefulset_reference(found.name, found.uid)
                trail.event(about, "RemediationDeletedPod", f"{run.name} deleted {pod.name} ({run.verdict_before})")
        trail.event(remediation_reference(run.name, run.uid), "DeletedPod", f"deleted {pod.name}")
        self._way.copy()

    def _note_gone(self, sight: Sight) -> None:
        """Recorded pods that are gone: by our own request whose answer was lost, or by somebody else."""
        alive = {pod.uid for pod in sight.pods() if pod.deleted is None}
        for pod in self._run.left:
            if pod.uid in alive:
                continue
            if pod.uid in self._unsure:
                self._note_deleted(pod)
            else:
                self._note_taken(pod)

    def _note_taken(self, pod: Recorded) -> None:
        self._claim.put(lambda run, _: run.model_copy(update={"gone": (*run.gone, pod.uid)}))
        self._way.audit("gone", f"{pod.name} was deleted by somebody else", pod=pod.name, uid=pod.uid)

    def _rehearse(self, targets: Sequence[Recorded], seen: dict[str, PodSeen]) -> None:
        """Ask the API server whether it would; returns where it has to be tried again on another look."""
        names = []
        for pod in targets:
            found = seen[pod.uid]
            try:
                self._site.client.delete(
                    pod_path(found.namespace, pod.name),
                    uid=pod.uid,
                    resource_version=found.resource_version,
                    dry_run=True,
                )
            except KubeError as error:
                self._obstacle = f"dry run: the deletion would have failed: {error}"
                if error.retry or isinstance(error, (Conflict, NotFound)):
                    self._way.wait(PAUSE)
                    return
                end(Phase.FAILED, self._obstacle)
            names.append(pod.name)
        end(Phase.SUCCEEDED, f"dry run: would have deleted {', '.join(names)}; nothing was deleted")

    def fence(self) -> str:
        """Make every DELETE that is still under way bounce: each recorded pod not yet deleted gets a new version.

        Gives what stands in the way where that could not be done for a pod whose deletion was announced.
        """
        if self.rehearsed:
            return ""
        for pod in self._run.left:
            body = {"metadata": {"annotations": {FENCE: str(self._claim.epoch)}, "uid": pod.uid}}
            until = self._site.boot() + FENCE_PATIENCE
            while True:
                try:
                    self._site.client.patch(pod_path(self._site.config.namespace, pod.name), body)
                    break
                except (NotFound, Conflict):
                    break  # gone, or replaced under its name: nothing of it can be deleted any more
                except KubeError as error:
                    logger.warning("fencing %s: %s", pod.name, error, extra={"foundation": self._site.name})
                    announced = pod.uid in self._run.intents
                    if not announced and not error.retry:
                        break  # not permitted, and no DELETE of it was ever announced
                    if self._site.boot() >= until:
                        if announced:
                            return f"a deletion of {pod.name} may still be under way, and was not fenced off: {error}"
                        break
                self._way.wait(PAUSE)
        return ""
