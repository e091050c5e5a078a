"""What one foundation's thread does: take what is queued, go on with what another left, repair copies.

Any number of replicas run this at once; the ledger decides which of them acts. It polls, as a watch that fell silent
would be one more thing that can be wrong; `wake` makes it look at once.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from foundation.kube.errors import Conflict, Forbidden, KubeError, NotFound
from remediator import ledger as ledgers
from remediator.admission import Refused, admit
from remediator.claim import Claim
from remediator.config import PlaybookConfig
from remediator.ledger import LedgerUnreadable, Pending, Superseded, Trigger, Wanted
from remediator.playbook import PLAYBOOKS
from remediator.run.runner import RETRIES, Runner
from remediator.site import LayoutUnknown
from remediator.store import Busy
from remediator.story import final_status, iso, spec_of, status_of
from remediator.telling import copy_status, tell_end
from remediator.trail import remediation_reference
from remediator.words import Mode, Phase, Reason, Strategy, stricter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from foundation.kube.client import Json
    from remediator.admission import Instant
    from remediator.ledger import Ledger
    from remediator.site import Site
    from remediator.store import LedgerStore, Reading, Remediation

logger = logging.getLogger(__name__)


OTHERS = 3
"""How many times longer a run of another name for the same target is left alone."""


class _NotNow(Exception):  # noqa: N818
    """This process cannot judge it now; another can, or this one later."""


class _No(Exception):  # noqa: N818
    """A change that must not be made."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused


class Executor:
    """Works for one foundation until `site.stopping` is set."""

    def __init__(self, site: Site, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`sleep` is for the short pauses between two tries of a write, which SIGTERM must not turn into none."""
        self._site = site
        self._sleep = sleep
        self._beat: tuple[str, int, int, str] | None = None
        self._beat_seen = 0.0
        self._problem = ""
        self._unpruned = ""
        self._newest: Reading | None = None
        self._claim_held: Claim | None = None

    def work(self) -> None:
        """The thread's whole life."""
        while not self._site.stopping.is_set():
            self._site.wake.clear()
            self.turn()
            self._site.wake.wait(self._site.section.poll)

    def turn(self) -> None:
        """One turn. What goes wrong is logged and counted; the next turn comes all the same."""
        try:
            self._turn()
        except (LayoutUnknown, _NotNow) as error:
            self._tell(str(error))
        except (KubeError, LedgerUnreadable, Busy) as error:
            self._site.trail.metrics.state_errors.inc()
            self._tell(str(error))
        except Superseded as error:
            self._tell("")
            self._site.trail.audit("superseded", str(error))
        except Exception:  # a fault of ours must not end the work of every later run
            logger.exception("the executor failed", extra={"foundation": self._site.name})
        else:
            self._tell("")

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            logger.warning("%s", problem, extra={"foundation": self._site.name})
        elif self._problem and not problem:
            logger.info("the state can be read and written again", extra={"foundation": self._site.name})
        self._problem = problem

    @property
    def latest(self) -> Reading | None:
        """The newest ledger that was read or written, for showing; during a run of ours, as the run writes it."""
        claim = self._claim_held
        return claim.reading if claim is not None else self._newest

    def note(self, reading: Reading | None) -> None:
        """Take this for the newest ledger."""
        self._newest = reading

    @property
    def site(self) -> Site:
        """What it works for."""
        return self._site

    @property
    def problem(self) -> str:
        """Why the state cannot be read or written now; empty where it can."""
        return self._problem

    def _turn(self) -> None:
        # The objects first: a ledger read after them knows of every one that a replica has made.
        store = self._site.ledger
        objects = {found.name: found for found in self._site.remediations.list()}
        began = self._site.boot()
        reading = store.read()
        self.note(reading)
        self._repair(objects, reading.ledger, reading.instant)
        run, pending = reading.ledger.run, reading.ledger.pending
        if run is not None:
            if self._abandoned(reading.ledger, began) and run.playbook in PLAYBOOKS:
                self._take_over(store)
        elif pending is not None:
            if pending.foundation == self._site.name:
                self._consider(store, reading, pending)
            elif reading.instant.server >= self._last_call(pending):
                self._close(store, pending, Phase.EXPIRED, f"no remediator of {pending.foundation} took it")
        else:
            self._beat = None
            self._invite(store, reading, objects)

    # --- claiming -------------------------------------------------------------------------------------------------

    def _abandoned(self, ledger: Ledger, began: float) -> bool:
        """Whether the claim was given up, or nobody renewed it for its whole time while we watched.

        `began` is the boot time before the ledger was read. A run of another name for the same target, which may be
        configured nowhere any more, is left to its own for three times as long.
        """
        mine = ledger.run is not None and ledger.run.foundation == self._site.name
        if mine and not ledger.holder:
            return True
        beat = (ledger.run.name if ledger.run else "", ledger.epoch, ledger.beat, ledger.holder)
        if beat != self._beat:
            self._beat, self._beat_seen = beat, self._site.boot()
            return False
        return began - self._beat_seen > self._site.section.claim * (1 if mine else OTHERS)

    def _take_over(self, store: LedgerStore) -> None:
        seen = self._beat
        mine: list[int] = []

        def change(ledger: Ledger, _: Instant) -> Ledger:
            run = ledger.run
            if (ledger.holder, [ledger.epoch]) == (self._site.holder, mine):
                return ledger  # it was written, and the answer was lost
            beat = (run.name if run else "", ledger.epoch, ledger.beat, ledger.holder)
            if ledger.holder and beat != seen:
                raise Superseded("somebody else went on with the run")
            taken = ledgers.take_over(ledger, self._site.holder)
            mine[:] = [taken.epoch]
            return taken

        began = self._site.boot()
        reading = store.swap(change)
        run = reading.ledger.run
        if run is not None:
            self._site.trail.audit("taken_over", "going on with a run left by another", remediation=run.name)
            self._carry_out(store, reading, began)

    def _carry_out(self, store: LedgerStore, reading: Reading, began: float) -> None:
        claim = Claim(
            store,
            reading,
            began=began,
            duration=self._site.section.claim,
            boot=self._site.boot,
            sleep=self._sleep,
        )
        name = claim.run.playbook
        # One that is configured no more deletes nothing more; what it began is seen to its end.
        config, playbook = self._site.playbook(name) or (PlaybookConfig(mode=Mode.OFF), PLAYBOOKS[name])
        self._claim_held = claim
        try:
            Runner(self._site, claim, config, playbook).carry_out()
        finally:
            self._newest, self._claim_held = claim.reading, None
        self._site.wake.set()  # what waited behind it

    # --- the queue ------------------------------------------------------------------------------------------------

    def _consider(self, store: LedgerStore, reading: Reading, pending: Pending) -> None:
        """The queue's one entry: close it, wait for a person, or claim it."""
        found = self._object_of(store, pending)
        if found is None:
            self._close(store, pending, Phase.CANCELLED, "the Remediation was deleted by hand")
            return
        configured = self._site.playbook(pending.playbook)
        if configured is None:
            self._close(store, pending, Phase.CANCELLED, f"the playbook {pending.playbook} is not configured")
            return
        config, _ = configured
        state = str(found.approval.get("state", ""))
        # An answer from before the question was put is none, but for a no.
        approved = state == "approved" and pending.phase is Phase.AWAITING_APPROVAL
        by = str(found.approval.get("by") or "somebody")
        if found.phase == Phase.EXPIRED:
            self._close(store, pending, Phase.EXPIRED, "nobody approved in time")
        elif state == "rejected":
            self._close(store, pending, Phase.CANCELLED, f"rejected by {by}")
        elif refused := admit(reading.ledger, config.policy, reading.instant):
            if refused.reason is Reason.CLOCK:
                pending = self._known(store, pending, found)
            self._refuse(store, pending, refused)
        elif not approved and self._needs_approval(pending, config):
            self._await(store, pending, found, reading)
        else:
            self._claim(store, pending, config, found.uid, by if approved else None)

    def _last_call(self, pending: Pending) -> datetime:
        """Until when an entry under another name for this target is left to its own."""
        return (pending.expires or pending.at) + timedelta(seconds=self._site.section.approval_expires)

    def _object_of(self, store: LedgerStore, pending: Pending) -> Remediation | None:
        """The entry's Remediation, made now where whoever queued it could not; None where it was deleted."""
        try:
            found = self._site.remediations.get(pending.name)
        except NotFound:
            if pending.uid is not None:
                return None
            found = self._site.remediations.create(pending.name, spec_of(pending), store.name)
        if found.deleting or (pending.uid is not None and found.uid != pending.uid):
            return None
        return found

    @staticmethod
    def _known(store: LedgerStore, pending: Pending, found: Remediation) -> Pending:
        """The entry with its object's UID, so that the object's deletion is seen for what it is while the entry waits.

        Before that nobody can tell an object that was deleted from one that could not be made, and it is made (again):
        what was accepted must not get lost. That is until an executor's first turn, well under a second.
        """
        if pending.uid is not None:
            return pending
        entry = pending.model_copy(update={"uid": found.uid})
        store.swap(
            lambda ledger, _: ledger if ledger.pending == entry else _same(ledger, pending).changed(pending=entry)
        )
        return entry

    def _forget_approval(self, found: Remediation) -> None:
        if found.approval:
            self._site.remediations.write_spec(found.name, {"approval": None}, found.version)

    @staticmethod
    def _needs_approval(pending: Pending, config: PlaybookConfig) -> bool:
        return pending.phase is Phase.AWAITING_APPROVAL or stricter(pending.mode, config.mode) is Mode.APPROVAL

    def _await(self, store: LedgerStore, pending: Pending, found: Remediation, reading: Reading) -> None:
        now = reading.instant.server
        if pending.phase is not Phase.AWAITING_APPROVAL:
            expires = now + timedelta(seconds=self._site.section.approval_expires)
            sight = self._site.lookout.newest
            diagnosis = sight.look.diagnosis if sight else None
            entry = pending.model_copy(
                update={
                    "uid": found.uid,
                    "phase": Phase.AWAITING_APPROVAL,
                    "expires": expires,
                    "why": f"a person decides, until {expires:%Y-%m-%d %H:%M:%S} UTC",
                    "verdict": str(diagnosis.verdict) if diagnosis else "",
                    "pods": tuple(map(str, diagnosis.pods_to_restart)) if diagnosis else (),
                }
            )
            self._forget_approval(found)
            store.swap(
                lambda ledger, _: ledger if ledger.pending == entry else _same(ledger, pending).changed(pending=entry)
            )
            copy_status(self._site, pending.name, status_of(entry))
            self._site.trail.audit("awaiting_approval", entry.why, remediation=pending.name)
            self._site.trail.event(remediation_reference(pending.name, found.uid), "AwaitingApproval", entry.why)
        elif pending.expires is not None and now >= pending.expires:
            # The object first, under its version: an approval given in time makes this bounce, and stands.
            try:
                status = status_of(pending) | {"phase": str(Phase.EXPIRED), "message": "nobody approved in time"}
                self._site.remediations.write_status(pending.name, status, found.version)
            except Conflict:
                return
            self._close(store, pending, Phase.EXPIRED, "nobody approved in time")

    def _claim(self, store: LedgerStore, pending: Pending, config: PlaybookConfig, uid: str, by: str | None) -> None:
        layout = self._site.lookout.layout
        strategy = config.strategy or (Strategy(layout.strategy) if layout else Strategy.ONE_BY_ONE)

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            if ledger.run is not None and (ledger.run.name, ledger.holder) == (pending.name, self._site.holder):
                return ledger  # it was written, and the answer was lost
            _same(ledger, pending)
            if refused := admit(ledger, config.policy, instant):
                raise _No(refused)
            known = ledger.changed(pending=pending.model_copy(update={"uid": uid}))
            return ledgers.claim(known, self._site.holder, strategy, by, instant.server)

        began = self._site.boot()
        try:
            reading = store.swap(change)
        except _No as no:
            self._refuse(store, pending, no.refused)
            return
        self._site.trail.audit("claimed", "the run begins", remediation=pending.name, epoch=reading.ledger.epoch)
        self._carry_out(store, reading, began)

    def _refuse(self, store: LedgerStore, pending: Pending, refused: Refused) -> None:
        """Close the entry; what ends by itself is tried again then.

        A clock that differs is no fault of the request: it stays for a replica that can judge it.
        """
        if refused.reason is Reason.CLOCK:
            raise _NotNow(refused.text)

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            _same(ledger, pending)
            after = self._closed(ledger, Phase.CANCELLED, refused.text, instant)
            wanted = None
            if refused.retry and pending.trigger.fingerprint and pending.retry < RETRIES:
                ends = max(instant.server, refused.until or instant.server)
                wanted = ledgers.again(pending, refused.reason, ends + timedelta(seconds=self._site.section.retry_for))
            fingerprint = pending.trigger.fingerprint
            return ledgers.refuse(
                after, refused.reason, refused.text, fingerprint=fingerprint, now=instant.server, wanted=wanted
            )

        tell_end(self._site, store.swap(change).ledger)

    def _close(self, store: LedgerStore, pending: Pending, phase: Phase, message: str) -> None:
        reading = store.swap(
            lambda ledger, instant: self._closed(_same(ledger, pending), phase, message, instant),
        )
        tell_end(self._site, reading.ledger)

    def _closed(self, ledger: Ledger, phase: Phase, message: str, instant: Instant) -> Ledger:
        backoff = timedelta(seconds=self._site.section.backoff)
        return ledgers.close(ledger, phase, message, instant.server, backoff=backoff)

    # --- what is not queued ---------------------------------------------------------------------------------------

    def _invite(self, store: LedgerStore, reading: Reading, objects: dict[str, Remediation]) -> None:
        """Into the empty queue: what a person made by hand, else what was refused for a time that is over."""
        for found in objects.values():
            if self._is_by_hand(found, reading.ledger):
                self._adopt(store, found, reading.instant)
                return
        wanted = reading.ledger.wanted
        if wanted is not None and wanted.foundation == self._site.name:
            self._retry(store, wanted, reading)
        else:
            self._prune(objects)

    def _is_by_hand(self, found: Remediation, ledger: Ledger) -> bool:
        known = {request.name for request in (ledger.open, ledger.last and ledger.last.request) if request}
        mine = found.foundation == self._site.name and not found.deleting
        ours = _was_queued(found, ledger, self._site.ledger.name)
        return mine and not ours and found.phase in ("", Phase.PENDING) and found.name not in known

    def _adopt(self, store: LedgerStore, found: Remediation, seen: Instant) -> None:
        """A Remediation that no intake made gets the full admission, like any other."""
        configured = self._site.playbook(found.playbook)
        if configured is None:
            self._turn_away(found, f"there is no playbook {found.playbook[:100]!r} here", seen)
            return
        config, _ = configured
        self._forget_approval(found)
        try:
            asked = Mode(str(found.spec.get("mode", Mode.AUTO)))
        except ValueError:
            asked = Mode.APPROVAL

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            if ledger.open is not None:
                return ledger
            if refused := admit(ledger, config.policy, instant):
                raise _No(refused)
            after, entry = ledgers.enqueue(
                ledger, self._site.name, found.playbook, asked, trigger=Trigger(alertname="by hand"), now=instant.server
            )
            entry = entry.model_copy(update={"name": found.name, "uid": found.uid})
            return after.changed(pending=entry, next_n=max(ledger.next_n, found.number + 1))

        try:
            store.swap(change)
        except _No as no:
            refused = no.refused
            if refused.reason is Reason.CLOCK:
                raise _NotNow(refused.text) from None
            told = store.swap(
                lambda ledger, instant: ledgers.refuse(
                    ledger.changed(next_n=max(ledger.next_n, found.number + 1)),
                    refused.reason,
                    f"{found.name}: {refused.text}",
                    fingerprint="",
                    now=instant.server,
                )
            )
            self._turn_away(found, refused.text, told.instant)
            self._site.trail.audit("refused", refused.text, remediation=found.name, reason=str(refused.reason))
            return
        self._site.trail.audit("adopted", "a Remediation made by hand", remediation=found.name)
        self._site.trail.event(remediation_reference(found.name, found.uid), "Accepted", "made by hand")
        self._site.wake.set()

    def _turn_away(self, found: Remediation, message: str, now: Instant) -> None:
        """End what was made by hand and never queued; nobody else keeps its story."""
        if copy_status(self._site, found.name, _cancelled(message, now)):
            self._site.trail.event(remediation_reference(found.name, found.uid), str(Phase.CANCELLED), message)

    def _retry(self, store: LedgerStore, wanted: Wanted, reading: Reading) -> None:
        configured = self._site.playbook(wanted.playbook)
        if configured is None or reading.instant.server >= wanted.until:
            store.swap(lambda ledger, _: ledger.changed(wanted=None) if ledger.wanted == wanted else ledger)
            return
        config, _ = configured
        if admit(reading.ledger, config.policy, reading.instant) is not None:
            return

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            if ledger.open is not None or ledger.wanted != wanted or admit(ledger, config.policy, instant):
                return ledger
            return ledgers.enqueue(
                ledger,
                wanted.foundation,
                wanted.playbook,
                config.mode,
                trigger=wanted.trigger,
                now=instant.server,
                retry=wanted.retry,
            )[0]

        if store.swap(change).ledger.open is not None:
            self._site.trail.audit("retried", f"{wanted.reason} is over: queued again")
            self._site.wake.set()

    # --- copies ---------------------------------------------------------------------------------------------------

    def _repair(self, objects: dict[str, Remediation], ledger: Ledger, seen: Instant) -> None:
        """Bring copies in line with the ledger where a crash or a hand left them behind."""
        last = ledger.last
        found = objects.get(last.request.name) if last else None
        if last and found and found.phase != last.phase and found.uid == (last.request.uid or found.uid):
            copy_status(self._site, found.name, final_status(last), found.version)
        known = {request.name for request in (ledger.open, last and last.request) if request}
        for found in objects.values():
            if found.foundation != self._site.name or found.name in known:
                continue
            late = found.phase in ("", Phase.PENDING) and _was_queued(found, ledger, self._site.ledger.name)
            if late or found.phase in (Phase.RUNNING, Phase.AWAITING_APPROVAL):
                message = "the ledger does not know of this run: closed without knowing how it ended"
                copy_status(self._site, found.name, _cancelled(message, seen), found.version)
        entry = ledger.pending
        found = objects.get(entry.name) if entry else None
        if entry is None or found is None or found.phase == Phase.EXPIRED:
            return
        expires = iso(entry.expires) if entry.expires else None
        if (found.phase, found.status.get("expires")) != (str(entry.phase), expires):
            copy_status(self._site, entry.name, status_of(entry), found.version)

    def _prune(self, objects: dict[str, Remediation]) -> None:
        """Remove the oldest ended ones; no limit depends on them."""
        ended = [
            found
            for found in objects.values()
            if found.foundation == self._site.name and found.phase in {str(phase) for phase in Phase if phase.final}
        ]
        ended.sort(key=lambda found: (str(found.metadata.get("creationTimestamp", "")), found.number))
        for found in _beyond(ended, self._site.section.keep):
            try:
                self._site.remediations.delete(found)
            except (NotFound, Conflict):  # another replica was first
                continue
            except Forbidden as error:
                # Too many stay, which keeps no notification from being stored: no reason to count as unready.
                if str(error) != self._unpruned:
                    logger.warning("an ended Remediation stays: %s", error, extra={"foundation": self._site.name})
                self._unpruned = str(error)
                return


def _cancelled(message: str, now: Instant) -> Json:
    """The status of what ends without the ledger having a story of it."""
    phase, finished = str(Phase.CANCELLED), iso(now.server)
    return {"phase": phase, "message": message, "step": "", "holder": "", "finished": finished}


def _was_queued(found: Remediation, ledger: Ledger, target: str) -> bool:
    """Whether an intake made this object: its number was drawn, so that its request stood in the ledger once."""
    return found.target == target and 0 < found.number < ledger.next_n


def _beyond(ended: Sequence[Remediation], keep: int) -> Sequence[Remediation]:
    return ended[: max(0, len(ended) - keep)]


def _same(ledger: Ledger, pending: Pending) -> Ledger:
    """The ledger, if its queue still holds this entry, unchanged. Raises Superseded."""
    if ledger.pending != pending:
        raise Superseded(f"{pending.name} is no longer in the queue as it was")
    return ledger
