"""One run, from the claim to its end: the playbook's steps in order, each look one's own, each deed announced first.

The rules are those of the protocol (docs/reliability.md names each beside the test that breaks without it). Whatever is
not known counts as no. Every wait has an end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from remediator import ledger as ledgers
from remediator.run.choosing import confirm, record, save_evidence
from remediator.run.deleting import Deletion
from remediator.run.recovering import await_active, await_replacements, verify
from remediator.run.underway import AskFirst, End, Ending, Stopping, Underway, end
from remediator.story import status_of
from remediator.telling import copy_status, tell_end
from remediator.trail import remediation_reference
from remediator.words import Phase, Reason, Step

if TYPE_CHECKING:
    from remediator.admission import Instant
    from remediator.claim import Claim
    from remediator.config import PlaybookConfig
    from remediator.ledger import Ledger
    from remediator.lookout import Sight
    from remediator.playbook import Playbook
    from remediator.site import Site

ENTRIES = 20
"""How many processes may enter one run: whatever ends them all would end the next one too."""
RETRIES = 3
"""How many times in a row a run that would not have helped is tried again by itself, without the alert repeating."""


class Runner:
    """Carries out one claimed run. One thread."""

    def __init__(self, site: Site, claim: Claim, config: PlaybookConfig, playbook: Playbook) -> None:
        self._way = Underway(site, claim, config, playbook)
        self._deletion = Deletion(self._way)

    def carry_out(self) -> None:
        """Go on with the run from wherever it stands. Raises Superseded and KubeError; then nothing more was done."""
        way = self._way
        way.copy()
        try:
            try:
                self._go()
            except End as over:
                self._close(over.ending)
            except AskFirst as ask:
                self._await_approval(ask.sight)
        except Stopping:
            way.claim.write(lambda led, _: ledgers.release(led, way.claim.holder, way.claim.epoch))
            way.audit("released", "the process ends: the claim is given up for another to go on")

    def _go(self) -> None:
        way, deletion = self._way, self._deletion
        if way.run.entries > ENTRIES:
            end(Phase.FAILED, f"{ENTRIES} processes entered it one after the other, and none came to its end")
        if why := way.not_allowed():
            way.no_more(why)
        if way.run.recorded and (problem := deletion.fence()):
            way.no_more(problem)
        if not way.run.recorded:
            sight = confirm(way)
            save_evidence(way, sight)
            record(way, sight)
        deletion.delete_all()
        deletion.settle_accounts()
        if not way.run.deleted:
            self._end_untouched()
        self._recover()
        total, done = len(way.run.pods), len(way.run.deleted)
        end(Phase.SUCCEEDED, f"{done} of {total} pods restarted; BBS answers")

    def _end_untouched(self) -> NoReturn:
        if self._way.run.gone:
            self._recover()
            end(Phase.NOT_NEEDED, "somebody else restarted the pods; BBS answers")
        if self._way.run.no_more:
            end(Phase.CANCELLED, self._way.run.no_more)
        end(Phase.NOT_NEEDED, "it became healthy before anything was deleted")

    def _recover(self) -> None:
        await_replacements(self._way, self._deletion.taken())
        await_active(self._way)
        verify(self._way)

    def _close(self, ending: Ending) -> None:
        way = self._way
        if way.run.recorded and way.run.left and not self._deletion.rehearsed:
            way.begin(Step.FENCE)
            if (problem := self._deletion.fence()) and problem not in ending.message:
                ending = Ending(Phase.FAILED, f"{ending.message}; {problem}")
        acted = bool(way.run.intents)
        # Of a run that was declined too: it is the reason.
        verdict_after = str(way.sight.look.diagnosis.verdict) if way.sight is not None else ""

        def change(ledger: Ledger, now: Instant) -> Ledger:
            after = ledgers.close(
                ledger,
                ending.phase,
                ending.message,
                now.server,
                backoff=timedelta(seconds=way.site.section.backoff),
                verdict_after=verdict_after,
                breaker=ending.breaker,
                cooldown=acted,
            )
            fingerprint = way.run.trigger.fingerprint
            again = ending.retry and way.run.retry < RETRIES
            if again and fingerprint and ledger.resolved != fingerprint:
                until = now.server + timedelta(seconds=way.site.section.backoff + way.site.section.retry_for)
                wanted = ledgers.again(way.run, Reason.BACKOFF, until)
                after = after.changed(wanted=wanted)
            return after

        reading = way.claim.finish(change)
        tell_end(way.site, reading.ledger)

    def _await_approval(self, sight: Sight) -> None:
        """Back into the queue: a person has to decide on this verdict."""
        way, found = self._way, sight.look.diagnosis
        detail = f"{found.verdict}, restart ask: {found.evidence[0]}"
        way.claim.put(lambda run, now: ledgers.ended(run, "ask", detail, now.server))
        run = way.run

        def change(ledger: Ledger, now: Instant) -> Ledger:
            return ledgers.ask_first(
                ledger,
                why=detail,
                verdict=str(found.verdict),
                pods=tuple(map(str, found.pods_to_restart)),
                expires=now.server + timedelta(seconds=way.site.section.approval_expires),
            )

        reading = way.claim.write(change)
        if reading.ledger.pending is not None:
            copy_status(way.site, run.name, status_of(reading.ledger.pending))
        way.audit("awaiting_approval", detail)
        way.site.trail.event(remediation_reference(run.name, run.uid), "AwaitingApproval", detail)
