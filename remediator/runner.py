"""One run, from the claim to its end: the playbook's steps in order, each look one's own, each deed announced first.

The rules are those of the protocol (docs/reliability.md names each beside the test that breaks without it). In short:
look → announce in the ledger → DELETE with the uid and resourceVersion of that very look, while it is younger than half
the claim; never read the pod again in between. Whatever is not known counts as no. Every wait has an end.

A run ends by `_End`, which closes it; by `Superseded`, when the claim is somebody else's; or by `Stopping`, which gives
the claim up for another process to go on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from foundation.diagnosis import Restart, Verdict
from foundation.durations import format_duration
from foundation.kube.errors import Conflict, KubeError, NotFound, ServerError, TooManyRequests, Unreachable
from foundation.kube.paths import pod_path
from foundation.observation import PodState, Witness
from foundation.pods import pod_state
from remediator import ledger as ledgers
from remediator.ledger import Deleted, Recorded, SetRecord, with_run
from remediator.seeing import foreign_owner, not_one_active, uids_to_restart
from remediator.story import status_of
from remediator.telling import copy_status, tell_end
from remediator.trail import remediation_reference, statefulset_reference
from remediator.words import FENCE, Mode, Phase, Reason, Step, stricter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundation.pods import PodSeen
    from remediator.admission import Instant
    from remediator.claim import Claim
    from remediator.config import PlaybookConfig
    from remediator.ledger import Ledger, Run
    from remediator.lookout import Sight
    from remediator.playbook import Playbook
    from remediator.site import Site

logger = logging.getLogger(__name__)

HOLDS_FOR = timedelta(hours=1)
"""A verdict that comes back this soon after a success: the restart does not hold."""
ENTRIES = 20
"""How many processes may enter one run: whatever ends them all would end the next one too."""
RETRIES = 3
"""How many times in a row a run that would not have helped is tried again by itself, without the alert repeating."""
PAUSE = 0.5
"""Seconds between two looks while waiting for something that should come at any moment."""
FENCE_PATIENCE = 120.0
"""Seconds for which a pod that cannot be patched is tried. An API server has dropped a request by then: it ends one
after 60 s, so that only a process that sleeps just before sending could still be late."""


class Stopping(Exception):  # noqa: N818
    """This process was asked to end."""


@dataclass(frozen=True, slots=True)
class _Ending:
    phase: Phase
    message: str
    breaker: str = ""
    retry: bool = False
    """Whether what stands in the way ends by itself."""


class _End(Exception):  # noqa: N818
    def __init__(self, ending: _Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


class _AskFirst(Exception):  # noqa: N818
    def __init__(self, sight: Sight) -> None:
        super().__init__("a person decides")
        self.sight = sight


def _end(phase: Phase, message: str, *, breaker: str = "", retry: bool = False) -> NoReturn:
    raise _End(_Ending(phase, message, breaker, retry))


class Runner:
    """Carries out one claimed run. One thread."""

    def __init__(self, site: Site, claim: Claim, config: PlaybookConfig, playbook: Playbook) -> None:
        self._site = site
        self._claim = claim
        self._steps = playbook.steps
        self._mode = stricter(claim.run.mode, config.mode)
        self._verdict_after = ""
        self._sight: Sight | None = None
        self._obstacle = ""
        """Why the newest deletion that was tried did not happen."""
        self._unsure = set(claim.run.intents)
        """UIDs whose DELETE may have been applied without our knowing: also those that an earlier holder announced."""

    @property
    def run(self) -> Run:
        """As last written."""
        return self._claim.run

    @property
    def _rehearsed(self) -> bool:
        """Whether nothing was ever sent that would have to be fenced off."""
        return self._mode is Mode.DRY_RUN and not self.run.intents

    # --- the whole ------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Go on with the run from wherever it stands. Raises Superseded and KubeError; then nothing more was done."""
        self._copy()
        try:
            try:
                self._go()
            except _End as end:
                self._close(end.ending)
            except _AskFirst as ask:
                self._await_approval(ask.sight)
        except Stopping:
            self._claim.write(lambda led, _: ledgers.release(led, self._claim.holder, self._claim.epoch))
            self._audit("released", "the process ends: the claim is given up for another to go on")

    def _go(self) -> None:
        if self.run.entries > ENTRIES:
            _end(Phase.FAILED, f"{ENTRIES} processes entered it one after the other, and none came to its end")
        if why := self._not_allowed():
            self._no_more(why)
        if self.run.recorded and (problem := self._fence()):
            self._no_more(problem)
        if not self.run.recorded:
            sight = self._confirm()
            self._save_evidence(sight)
            self._record(sight)
        self._delete_all()
        self._settle_accounts()
        if not self.run.deleted:
            self._end_untouched()
        self._await_replacements(self._taken())
        self._await_active()
        self._verify()
        total, done = len(self.run.pods), len(self.run.deleted)
        _end(Phase.SUCCEEDED, f"{done} of {total} pods restarted; BBS answers")

    def _end_untouched(self) -> NoReturn:
        if self.run.gone:
            self._await_replacements(self._taken())
            self._await_active()
            self._verify()
            _end(Phase.NOT_NEEDED, "somebody else restarted the pods; BBS answers")
        if self.run.no_more:
            _end(Phase.CANCELLED, self.run.no_more)
        _end(Phase.NOT_NEEDED, "it became healthy before anything was deleted")

    # --- looking --------------------------------------------------------------------------------------------------

    def _look(self) -> Sight:
        self._tend()
        self._sight = sight = self._site.lookout.fresh()
        self._tend()
        return sight

    def _tend(self) -> None:
        """Keep the claim, and notice what forbids going on."""
        if self._site.stopping.is_set():
            raise Stopping
        self._claim.keep()

    def _wait(self, seconds: float) -> None:
        self._site.stopping.wait(seconds)
        self._tend()

    def _forbidden(self, until: float) -> str:
        """Why nothing further may be deleted, by the newest ledger and the Remediation itself; empty: nothing.

        A Remediation that cannot be read is tried again until the boot time `until`.
        """
        reading = self._claim.reading
        if pause := reading.ledger.paused(reading.instant.server):
            return f"paused by {pause.by}: {pause.why}"
        if why := self._not_allowed():
            return why
        while True:
            try:
                found = self._site.remediations.get(self.run.name)
            except NotFound:
                return "the Remediation was deleted by hand"
            except KubeError as error:
                if not error.retry or self._site.boot() >= until:
                    return f"the Remediation cannot be read: {error}"
                self._wait(PAUSE)
                continue
            if found.deleting or (self.run.uid and found.uid != self.run.uid):
                return "the Remediation was deleted by hand"
            return ""

    def _not_allowed(self) -> str:
        """What this process's own configuration forbids, however the run was begun."""
        if self._mode is Mode.OFF:
            return "the playbook's mode is off"
        if self._mode is Mode.APPROVAL and self.run.approved_by is None:
            return "the playbook's mode is approval, and nobody approved"
        return ""

    def _no_more(self, why: str) -> None:
        if not self.run.no_more:
            self._claim.put(lambda run, _: run.model_copy(update={"no_more": why}))
            self._audit("no_more", f"no further deletion: {why}")

    # --- steps ----------------------------------------------------------------------------------------------------

    def _begin(self, step: Step) -> float:
        """Enter a step; gives the boot time."""
        self._claim.put(lambda run, now: ledgers.began(run, step, now.server))
        self._copy()
        self._audit("step", f"{step} begins", step=str(step))
        return self._site.boot()

    def _done(self, result: str, detail: str, began: float) -> None:
        step = self.run.step
        self._claim.put(lambda run, now: ledgers.ended(run, result, detail, now.server))
        self._copy()
        seconds = self._site.boot() - began
        self._site.trail.metrics.steps.labels(str(step)).observe(seconds)
        self._audit("step", f"{step}: {detail or result}", step=str(step), result=result, seconds=round(seconds, 3))

    def _confirm(self) -> Sight:
        """Two looks of our own that agree, one probe interval apart."""
        began = self._begin(Step.CONFIRM)
        until = began + self._steps.confirm.deadline
        before: tuple[object, ...] = ()
        while True:
            if why := self._forbidden(until):
                _end(Phase.CANCELLED, why)
            sight = self._look()
            found = sight.look.diagnosis
            key = (found.verdict, found.restart, tuple(uids_to_restart(sight)), bool(sight.blind))
            if found.verdict is Verdict.HEALTHY:
                _end(Phase.NOT_NEEDED, f"healthy: {found.evidence[0]}")
            agreed = key == before
            before = key
            late = self._site.boot() >= until
            if sight.blind:
                if late:
                    _end(Phase.WOULD_NOT_HELP, f"nothing could be seen: {sight.blind}", retry=True)
            elif found.restart is Restart.WAIT:
                if late:
                    _end(Phase.WOULD_NOT_HELP, f"still {found.verdict}: {found.evidence[0]}", retry=True)
            elif agreed:
                return self._agreed(sight, began)
            elif late:
                _end(Phase.WOULD_NOT_HELP, f"no two looks agreed, the last: {found.verdict}", retry=True)
            self._wait(self._site.lookout.interval)

    def _agreed(self, sight: Sight, began: float) -> Sight:
        found = sight.look.diagnosis
        if found.restart is Restart.NO:
            _end(Phase.WOULD_NOT_HELP, f"{found.verdict}: {found.evidence[0]}")
        if found.restart is Restart.ASK and self.run.approved_by is None:
            raise _AskFirst(sight)
        reading = self._claim.reading
        last = reading.ledger.last_success
        if last and last.verdict == found.verdict and reading.instant.server - last.at < HOLDS_FOR:
            why = f"restart does not hold: {found.verdict} again within an hour of a success"
            _end(Phase.WOULD_NOT_HELP, why, breaker=why)
        if not found.pods_to_restart:
            _end(Phase.WOULD_NOT_HELP, "the verdict names no pod")
        self._claim.put(lambda run, _: run.model_copy(update={"verdict_before": str(found.verdict)}))
        witness = sight.look.observation.seen.get("probe_from_api_pod", "not asked from an api pod")
        self._done("confirmed", f"{found.verdict}, restart {found.restart}: {found.evidence[0]} ({witness})", began)
        return sight

    def _save_evidence(self, sight: Sight) -> None:
        began = self._begin(Step.EVIDENCE)
        if self._site.evidence is None:
            self._done("skipped", "evidence is switched off", began)
            return
        until = began + self._steps.evidence.deadline
        while True:
            try:
                name = self._site.evidence.save(self.run, sight, self._tend)
                break
            except KubeError as error:
                if not error.retry or self._site.boot() > until:
                    _end(Phase.FAILED, f"the evidence could not be saved, so nothing was deleted: {error}")
            self._wait(1.0)
        self._claim.put(lambda run, _: run.model_copy(update={"evidence": name}))
        self._done("saved", f"ConfigMap {name}", began)

    def _record(self, sight: Sight) -> None:
        """Write down which pods may be deleted, once."""
        began = self._begin(Step.RECORD)
        wanted = sight.look.diagnosis.pods_to_restart
        chosen = [pod for name in wanted for pod in sight.look.pods if pod.seen.name == name]
        sets = {found.name: found for found in sight.look.statefulsets or ()}
        owners = {pod.seen.owner for pod in chosen}
        if len(chosen) != len(wanted) or not all(owner in sets for owner in owners):
            _end(Phase.WOULD_NOT_HELP, "not every pod of the verdict belongs to a StatefulSet that could be read")
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
        self._claim.put(
            lambda run, _: run.model_copy(update={"pods": pods, "statefulsets": recorded, "recorded": True})
        )
        self._done("recorded", ", ".join(pod.name for pod in pods), began)

    # --- deleting -------------------------------------------------------------------------------------------------

    def _delete_all(self) -> None:
        began = since = self._begin(Step.DELETE)
        while self.run.left and not self.run.no_more:
            until = since + self._patience()
            if why := self._forbidden(until):
                self._no_more(why)
                break
            count, late = len(self.run.deleted), self._site.boot() >= until
            verdict = self._round(late=late)
            if verdict == "healthy":
                break
            if len(self.run.deleted) > count:
                since = self._site.boot()
            elif verdict == "wait":
                self._wait(self._site.lookout.interval)
            elif late:
                self._give_up(self._obstacle or "no look was young enough to delete on")
        names = ", ".join(item.name for item in self.run.deleted) or "nothing"
        self._done("deleted", f"{names} of {len(self.run.pods)}", began)

    def _patience(self) -> float:
        """Seconds to wait for a verdict of yes: where pods are on their way, until they are back and have settled."""
        patience = self._site.config.settle + self._steps.delete.deadline
        taken = {uid for _, uid in self._taken()}
        graces = [pod.grace for pod in self.run.pods if pod.uid in taken]
        return patience + (max(graces) + self._steps.replace.start_budget if graces else 0.0)

    def _taken(self) -> list[tuple[str, str]]:
        """The recorded pods that somebody has deleted, we or another."""
        gone = set(self.run.gone)
        names = [(item.name, item.uid) for item in self.run.deleted]
        return names + [(pod.name, pod.uid) for pod in self.run.pods if pod.uid in gone]

    def _settle_accounts(self) -> None:
        """Where a deletion was announced and nobody knows whether it was made: fence it off, then see."""
        since = self._site.boot()
        while any(pod.uid in self.run.intents for pod in self.run.left):
            problem = self._fence()
            sight = self._look()
            if not sight.blind:
                self._note_gone(sight)
                if problem:
                    self._give_up(problem)
                return
            if self._site.boot() - since > self._steps.delete.deadline:
                self._give_up(f"nothing could be seen: {sight.blind}")
            self._wait(self._site.lookout.interval)

    def _round(self, *, late: bool) -> str:
        """One look and what follows from it: `healthy`, `wait`, or `again`."""
        sight = self._look()
        if sight.blind:
            if late:
                self._give_up(f"nothing could be seen: {sight.blind}")
            return "wait"
        self._stop_on_rollout()
        self._note_gone(sight)
        found = sight.look.diagnosis
        if found.verdict is Verdict.HEALTHY:
            return "healthy"
        yes = found.restart is Restart.YES or (found.restart is Restart.ASK and self.run.approved_by is not None)
        if yes:
            by_uid = {pod.uid: pod for pod in sight.pods()}
            names = set(found.pods_to_restart)
            targets = [pod for pod in self.run.left if pod.name in names and pod.uid in by_uid]
            if targets:
                return self._take(targets, by_uid, sight)
        if late:
            self._give_up(f"{found.verdict}, restart {found.restart}: {found.evidence[0]}")
        return "wait"

    def _take(self, targets: Sequence[Recorded], seen: dict[str, PodSeen], sight: Sight) -> str:
        if self._mode is Mode.DRY_RUN:
            self._rehearse(targets, seen)
            return "again"
        if self.run.strategy == "one-by-one":
            targets = targets[:1]
        for pod in targets:
            if not self._delete(pod, seen[pod.uid], sight):
                return "again"
        if self.run.strategy == "one-by-one":
            self._await_replacements([(pod.name, pod.uid) for pod in targets], within_step=True)
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
            self._audit("delete", f"{pod.name}: {error}", pod=pod.name, uid=pod.uid)
            self._wait(min(error.retry_after or PAUSE, 5.0))
            return False
        except KubeError as error:
            self._give_up(str(error))
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
        trail, run = self._site.trail, self.run
        trail.metrics.deleted.labels(self._site.name, pod.role).inc()
        self._audit("deleted", f"deleted {pod.name}", pod=pod.name, uid=pod.uid)
        for found in run.statefulsets:
            if found.name == pod.statefulset:
                about = statefulset_reference(found.name, found.uid)
                trail.event(about, "RemediationDeletedPod", f"{run.name} deleted {pod.name} ({run.verdict_before})")
        trail.event(remediation_reference(run.name, run.uid), "DeletedPod", f"deleted {pod.name}")
        self._copy()

    def _note_gone(self, sight: Sight) -> None:
        """Recorded pods that are gone: by our own request whose answer was lost, or by somebody else."""
        alive = {pod.uid for pod in sight.pods() if pod.deleted is None}
        for pod in self.run.left:
            if pod.uid in alive:
                continue
            if pod.uid in self._unsure:
                self._note_deleted(pod)
                continue
            gone = (*self.run.gone, pod.uid)
            self._claim.put(lambda run, _, gone=gone: run.model_copy(update={"gone": gone}))  # type: ignore[misc]
            self._audit("gone", f"{pod.name} was deleted by somebody else", pod=pod.name, uid=pod.uid)

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
                    self._wait(PAUSE)
                    return
                _end(Phase.FAILED, self._obstacle)
            names.append(pod.name)
        _end(Phase.SUCCEEDED, f"dry run: would have deleted {', '.join(names)}; nothing was deleted")

    def _stop_on_rollout(self) -> None:
        found = self._site.lookout.statefulsets()
        if found is None:
            return  # not readable now: the verdict itself says no without it
        now = {item.name: item for item in found}
        for recorded in self.run.statefulsets:
            current = now.get(recorded.name)
            if current is None or current.uid != recorded.uid or current.revision != recorded.revision:
                message = f"rollout: StatefulSet {recorded.name} is not the one that was seen at the start"
                _end(Phase.CANCELLED, message)

    def _give_up(self, why: str) -> NoReturn:
        """Past a limit: where nothing was announced, it would not help; else it failed."""
        if not self.run.intents:
            _end(Phase.WOULD_NOT_HELP, why, retry=True)
        _end(Phase.FAILED, f"{self.run.step}: {why}")

    # --- waiting and verifying ------------------------------------------------------------------------------------

    def _await_replacements(self, pods: Sequence[tuple[str, str]], *, within_step: bool = False) -> None:
        began = self._site.boot() if within_step else self._begin(Step.REPLACE)
        grace = {pod.uid: pod.grace for pod in self.run.pods}
        budget = {uid: grace.get(uid, 30.0) + self._steps.replace.start_budget for _, uid in pods}
        while True:
            self._tend()
            waiting = self._not_replaced(pods)
            if not waiting:
                break
            for (name, uid), text in waiting.items():
                if self._site.boot() - began > budget[uid]:
                    _end(Phase.FAILED, f"{Step.REPLACE}: {name} {text}")
            self._wait(PAUSE)
        if not within_step:
            self._done("replaced", ", ".join(name for name, _ in pods), began)

    def _not_replaced(self, pods: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The pods without a ready replacement, and what stands in the way."""
        listed, layout = self._site.lookout.listed(), self._site.lookout.layout
        if listed is None or layout is None:
            return dict.fromkeys(pods, "cannot be seen: the pods could not be read")
        self._stop_on_rollout()
        by_name = {pod.name: pod for pod in listed}
        replicas = {found.name: found.replicas for found in self._site.lookout.statefulsets() or ()}
        owners = {pod.uid: pod.statefulset for pod in self.run.pods}
        now = self._claim.reading.instant.server.timestamp()
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

    def _await_active(self) -> None:
        began = self._begin(Step.ACTIVE)
        until = began + self._steps.active.deadline
        while True:
            sight = self._look()
            text = not_one_active(sight)
            if not text:
                break
            if self._site.boot() >= until:
                _end(Phase.FAILED, f"{Step.ACTIVE}: {text}")
            self._wait(PAUSE)
        self._done("active", sight.look.diagnosis.evidence[0], began)

    def _verify(self) -> None:
        """Healthy in every look for the dwell time, from an api pod too."""
        began = self._begin(Step.VERIFY)
        until, since = began + self._steps.verify.deadline, None
        while True:
            sight = self._look()
            text = self._ill(sight)
            now = self._site.boot()
            if text:
                since = None
                if now >= until:
                    _end(Phase.FAILED, f"{Step.VERIFY}: {text}")
            else:
                since = sight.began if since is None else since
                if now - since >= self._steps.verify.dwell:
                    break
            self._wait(min(PAUSE * 2, max(0.05, self._steps.verify.dwell)))
        self._verdict_after = str(sight.look.diagnosis.verdict)
        self._done("verified", f"answers for {format_duration(self._steps.verify.dwell)}", began)

    def _ill(self, sight: Sight) -> str:
        if sight.blind:
            return f"nothing could be seen: {sight.blind}"
        found = sight.look.diagnosis
        if found.verdict is not Verdict.HEALTHY:
            return f"{found.verdict}: {found.evidence[0]}"
        if text := not_one_active(sight) or foreign_owner(sight):
            return text
        witness, words = self._site.lookout.from_api_pod(sight)
        return "" if witness in (Witness.OK, Witness.WAIVED) else f"not from an api pod: {words}"

    # --- the end --------------------------------------------------------------------------------------------------

    def _fence(self) -> str:
        """Make every DELETE that is still under way bounce: each recorded pod not yet deleted gets a new version.

        Gives what stands in the way where that could not be done for a pod whose deletion was announced.
        """
        if self._rehearsed:
            return ""
        for pod in self.run.left:
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
                    announced = pod.uid in self.run.intents
                    if not announced and not error.retry:
                        break  # not permitted, and no DELETE of it was ever announced
                    if self._site.boot() >= until:
                        if announced:
                            return f"a deletion of {pod.name} may still be under way, and was not fenced off: {error}"
                        break
                self._wait(PAUSE)
        return ""

    def _close(self, ending: _Ending) -> None:
        if self.run.recorded and self.run.left and not self._rehearsed:
            self._begin(Step.FENCE)
            if (problem := self._fence()) and problem not in ending.message:
                ending = _Ending(Phase.FAILED, f"{ending.message}; {problem}")
        acted = bool(self.run.intents)
        if not self._verdict_after and self._sight is not None:
            # Of a run that was declined too: it is the reason.
            self._verdict_after = str(self._sight.look.diagnosis.verdict)

        def change(ledger: Ledger, now: Instant) -> Ledger:
            after = ledgers.close(
                ledger,
                ending.phase,
                ending.message,
                now.server,
                backoff=timedelta(seconds=self._site.section.backoff),
                verdict_after=self._verdict_after,
                breaker=ending.breaker,
                cooldown=acted,
            )
            fingerprint = self.run.trigger.fingerprint
            again = ending.retry and self.run.retry < RETRIES
            if again and fingerprint and ledger.resolved != fingerprint:
                until = now.server + timedelta(seconds=self._site.section.backoff + self._site.section.retry_for)
                wanted = ledgers.again(self.run, Reason.BACKOFF, until)
                after = after.changed(wanted=wanted)
            return after

        reading = self._claim.finish(change)
        tell_end(self._site, reading.ledger)

    def _await_approval(self, sight: Sight) -> None:
        """Back into the queue: a person has to decide on this verdict."""
        found = sight.look.diagnosis
        detail = f"{found.verdict}, restart ask: {found.evidence[0]}"
        self._claim.put(lambda run, now: ledgers.ended(run, "ask", detail, now.server))
        run = self.run

        def change(ledger: Ledger, now: Instant) -> Ledger:
            return ledgers.ask_first(
                ledger,
                why=detail,
                verdict=str(found.verdict),
                pods=tuple(map(str, found.pods_to_restart)),
                expires=now.server + timedelta(seconds=self._site.section.approval_expires),
            )

        reading = self._claim.write(change)
        if reading.ledger.pending is not None:
            copy_status(self._site, run.name, status_of(reading.ledger.pending))
        self._audit("awaiting_approval", detail)
        self._site.trail.event(remediation_reference(run.name, run.uid), "AwaitingApproval", detail)

    def _copy(self) -> None:
        copy_status(self._site, self.run.name, status_of(self.run, self._claim.holder))

    def _audit(self, decision: str, message: str, **details: object) -> None:
        self._site.trail.audit(decision, message, remediation=self.run.name, epoch=self._claim.epoch, **details)
