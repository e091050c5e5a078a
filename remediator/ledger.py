"""The ledger: the one object per target that is lock, queue, memory of the limits, breaker and pause switch.

It is a value. Every function here takes one and gives another, or says why not; none reads a clock or the network. What
makes it safe is that each change is written as one compare-and-swap (`remediator.store`). The queue entry and the run
stand in it whole, so that the Remediation object, which people may edit or delete, is a copy that can be made again.

Times are the API server's (UTC), but for one thing: whether a claim has expired is judged by watching `beat` change on
one's own clock, as no two clocks need to agree for that.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from remediator.words import Mode, Phase, Reason, Step, Strategy

REFUSALS_KEPT = 20
STARTS_KEPT = timedelta(days=31)
"""Limits look back no further."""
STEPS_KEPT = 40

Time = Annotated[datetime, PlainSerializer(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"), when_used="json")]


class LedgerUnreadable(Exception):  # noqa: N818  it says what happened
    """What is stored is not a ledger: nothing may be done. One line."""


class Superseded(Exception):  # noqa: N818
    """The claim belongs to somebody else now: this process must do nothing more."""


class _Part(BaseModel):
    """Unknown keys are kept: a newer replica may have written them."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


class Trigger(_Part):
    """The alert, or the person, that asked."""

    alertname: str = ""
    fingerprint: str = ""
    starts_at: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


class Recorded(_Part):
    """A pod that a run may delete."""

    name: str
    uid: str
    role: str
    statefulset: str = ""
    grace: float = 30.0
    """Its termination grace in seconds."""


class Deleted(_Part):
    """A pod that a run deleted."""

    name: str
    uid: str
    at: Time


class SetRecord(_Part):
    """A StatefulSet as it was when the pods were recorded."""

    name: str
    uid: str
    revision: str = ""


class StepRecord(_Part):
    """One step's part of the story."""

    name: Step
    started: Time
    finished: Time | None = None
    result: str = ""
    detail: str = ""


class Request(_Part):
    """What was asked for; the same in the queue and in the run."""

    name: str
    """The Remediation's: `<foundation>.<playbook>.<n>`."""
    uid: str | None = None
    """The Remediation's, once it has been seen."""
    foundation: str
    playbook: str
    mode: Mode
    """As asked for; the executor's own configuration may be stricter."""
    trigger: Trigger = Trigger()
    at: Time
    retry: int = 0
    """How many times in a row it was tried again by itself."""


class Pending(Request):
    """The queue's one entry."""

    phase: Phase = Phase.PENDING
    expires: Time | None = None
    """Until when an approval is awaited."""
    why: str = ""
    """Why a person is needed."""
    verdict: str = ""
    pods: tuple[str, ...] = ()
    """What would be deleted, as seen when approval was asked for."""
    resumed: tuple[StepRecord, ...] = ()


class Run(Request):
    """The run under way."""

    started: Time
    strategy: Strategy = Strategy.ALL
    approved_by: str | None = None
    step: Step = Step.CONFIRM
    steps: tuple[StepRecord, ...] = ()
    verdict_before: str = ""
    evidence: str = ""
    """Name of the ConfigMap."""
    recorded: bool = False
    statefulsets: tuple[SetRecord, ...] = ()
    pods: tuple[Recorded, ...] = ()
    intents: tuple[str, ...] = ()
    """UIDs whose deletion was announced."""
    deleted: tuple[Deleted, ...] = ()
    gone: tuple[str, ...] = ()
    """UIDs of recorded pods that vanished without us."""
    no_more: str = ""
    """Why nothing further may be deleted; the rest of the run goes on."""
    entries: int = 1
    """How many processes have entered it, one after the other."""

    @property
    def left(self) -> tuple[Recorded, ...]:
        """Recorded pods that neither we nor anybody else has deleted."""
        out = {item.uid for item in self.deleted} | set(self.gone)
        return tuple(pod for pod in self.pods if pod.uid not in out)


class Closed(_Part):
    """The newest ended request, kept so that its Remediation can be repaired."""

    request: Pending | Run
    phase: Phase
    message: str
    finished: Time
    verdict_after: str = ""


class Wanted(_Part):
    """A refused request that is tried again by itself."""

    foundation: str
    playbook: str
    trigger: Trigger
    reason: Reason
    until: Time
    """The alert's repeats move it on; later it is forgotten."""
    retry: int = 1
    """Which try in a row it would be; the alert's repeats begin anew."""


class Breaker(_Part):
    """Nothing runs until a person acknowledges."""

    since: Time
    why: str
    remediation: str = ""


class Pause(_Part):
    """A person's stop."""

    by: str
    why: str
    since: Time
    until: Time | None = None


class Refusal(_Part):
    """A request that was not taken."""

    at: Time
    reason: Reason
    text: str
    fingerprint: str = ""
    count: int = 1


class Success(_Part):
    """The newest success, to notice one that does not hold."""

    at: Time
    verdict: str


class Backoff(_Part):
    """A short wait after a run that did nothing."""

    until: Time
    why: str


class Ledger(_Part):
    """Everything that is remembered of one target."""

    version: int = 1
    epoch: int = 0
    beat: int = 0
    """Raised by each renewal of the claim."""
    holder: str = ""
    next_n: int = Field(default=1, alias="nextN")
    starts: tuple[Time, ...] = ()
    """When runs wrote their first intent to delete."""
    last_end: Time | None = None
    last_success: Success | None = None
    backoff: Backoff | None = None
    breaker: Breaker | None = None
    pause: Pause | None = None
    pending: Pending | None = None
    run: Run | None = None
    last: Closed | None = None
    wanted: Wanted | None = None
    resolved: str = ""
    """Fingerprint of the alert that resolved while its run was under way: the run goes on, and is not tried again."""
    refusals: tuple[Refusal, ...] = ()

    def changed(self, **fields: object) -> Self:
        """The same with some fields replaced."""
        return self.model_copy(update=fields)

    @property
    def open(self) -> Pending | Run | None:
        """The request that stands in the way of another."""
        return self.run or self.pending

    def paused(self, now: datetime) -> Pause | None:
        """The pause in force."""
        pause = self.pause
        return pause if pause and (pause.until is None or now < pause.until) else None


def dump(ledger: Ledger) -> str:
    """As JSON, for the ConfigMap."""
    return ledger.model_dump_json(by_alias=True, exclude_none=True)


def parse(text: str) -> Ledger:
    """Raises LedgerUnreadable."""
    try:
        ledger = Ledger.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise LedgerUnreadable(f"the ledger is not understood: {where}: {first['msg']}") from None
    if ledger.version != 1:
        raise LedgerUnreadable(f"the ledger has version {ledger.version}; this program knows version 1")
    return ledger


def held(ledger: Ledger, holder: str, epoch: int) -> Run:
    """The run, if this claim is still in force. Raises Superseded."""
    if ledger.run is None or ledger.holder != holder or ledger.epoch != epoch:
        raise Superseded(f"the claim of epoch {epoch} is over (now epoch {ledger.epoch}, {ledger.holder or 'free'})")
    return ledger.run


def enqueue(
    ledger: Ledger, foundation: str, playbook: str, mode: Mode, *, trigger: Trigger, now: datetime, retry: int = 0
) -> tuple[Ledger, Pending]:
    """Take a request into the queue under a name of its own. The caller has admitted it and seen that none is open."""
    if ledger.open is not None:
        raise ValueError(f"{ledger.open.name} is open")
    entry = Pending(
        name=f"{foundation}.{playbook}.{ledger.next_n}",
        foundation=foundation,
        playbook=playbook,
        mode=mode,
        trigger=trigger,
        at=now,
        retry=retry,
    )
    return ledger.changed(next_n=ledger.next_n + 1, pending=entry, wanted=None, resolved=""), entry


def claim(ledger: Ledger, holder: str, strategy: Strategy, approved_by: str | None, now: datetime) -> Ledger:
    """Turn the queue's entry into a run of this holder."""
    entry = ledger.pending
    if entry is None or ledger.run is not None:
        raise Superseded("the request is gone from the queue")
    run = Run(
        **{name: getattr(entry, name) for name in Request.model_fields},
        started=now,
        strategy=strategy,
        approved_by=approved_by,
        steps=entry.resumed,
    )
    return ledger.changed(epoch=ledger.epoch + 1, beat=ledger.beat + 1, holder=holder, pending=None, run=run)


def take_over(ledger: Ledger, holder: str) -> Ledger:
    """Enter a run whose holder is gone: every entry raises the epoch."""
    if ledger.run is None:
        raise Superseded("the run is over")
    run = ledger.run.model_copy(update={"entries": ledger.run.entries + 1})
    return ledger.changed(epoch=ledger.epoch + 1, beat=ledger.beat + 1, holder=holder, run=run)


def release(ledger: Ledger, holder: str, epoch: int) -> Ledger:
    """Give the claim up, for another to take over at once."""
    held(ledger, holder, epoch)
    return ledger.changed(holder="", beat=ledger.beat + 1)


def with_run(ledger: Ledger, run: Run) -> Ledger:
    """The run changed, and with it the claim renewed."""
    return ledger.changed(run=run, beat=ledger.beat + 1)


def ask_first(ledger: Ledger, *, why: str, verdict: str, pods: tuple[str, ...], expires: datetime) -> Ledger:
    """Put the run back into the queue until a person has decided on its verdict. The caller holds it."""
    run = ledger.run
    if run is None:
        raise Superseded("the run is over")
    asked = {name: getattr(run, name) for name in Request.model_fields}
    entry = Pending(
        **asked,
        phase=Phase.AWAITING_APPROVAL,
        expires=expires,
        why=why,
        verdict=verdict,
        pods=pods,
        resumed=run.steps,
    )
    return ledger.changed(pending=entry, run=None, holder="", beat=ledger.beat + 1)


def again(request: Request, reason: Reason, until: datetime) -> Wanted:
    """The same request, to be tried once more by itself."""
    return Wanted(
        foundation=request.foundation,
        playbook=request.playbook,
        trigger=request.trigger,
        reason=reason,
        until=until,
        retry=request.retry + 1,
    )


def announce(ledger: Ledger, uid: str, now: datetime) -> Ledger:
    """Write the intent to delete one recorded pod; the first one makes the run count against the limits.

    Raises Superseded where the pod is not one that may still be deleted, a pause included.
    """
    run = ledger.run
    if run is None or uid not in {pod.uid for pod in run.left}:
        raise Superseded("the pod is not one that this run may delete")
    if run.no_more or ledger.paused(now):
        raise Superseded("nothing further may be deleted")
    starts = ledger.starts
    if not run.intents:
        starts = (*(start for start in starts if now - start < STARTS_KEPT), now)
    intents = run.intents if uid in run.intents else (*run.intents, uid)
    return with_run(ledger, run.model_copy(update={"intents": intents})).changed(starts=starts)


def began(run: Run, step: Step, now: datetime) -> Run:
    """Enter a step; entering it again after a take-over starts a record of its own."""
    record = StepRecord(name=step, started=now)
    return run.model_copy(update={"step": step, "steps": (*run.steps, record)[-STEPS_KEPT:]})


def ended(run: Run, result: str, detail: str, now: datetime) -> Run:
    """The end of the step under way."""
    if not run.steps or run.steps[-1].finished is not None:
        return run
    record = run.steps[-1].model_copy(update={"finished": now, "result": result, "detail": detail[:500]})
    return run.model_copy(update={"steps": (*run.steps[:-1], record)})


def close(
    ledger: Ledger,
    phase: Phase,
    message: str,
    now: datetime,
    *,
    backoff: timedelta,
    verdict_after: str = "",
    breaker: str = "",
    cooldown: bool = False,
) -> Ledger:
    """End the run, or the queue's entry. Failed opens the breaker; so does a `breaker` with its reason.

    `cooldown`: whether the end starts one, which it does where something was deleted; else `backoff` applies.
    """
    request = ledger.open
    if request is None:
        raise Superseded("there is nothing to close")
    if isinstance(request, Run):
        request = ended(request, phase.lower(), message, now)
    after = ledger.changed(
        pending=None,
        run=None,
        holder="",
        beat=ledger.beat + 1,
        last=Closed(request=request, phase=phase, message=message, finished=now, verdict_after=verdict_after),
    )
    if phase is Phase.FAILED or breaker:
        why = breaker or f"{request.name} failed: {message}"
        after = after.changed(breaker=ledger.breaker or Breaker(since=now, why=why, remediation=request.name))
    if cooldown:
        after = after.changed(last_end=now)
    elif phase in (Phase.NOT_NEEDED, Phase.WOULD_NOT_HELP, Phase.SUCCEEDED):
        after = after.changed(backoff=Backoff(until=now + backoff, why=f"{request.name}: {phase}, {message}"))
    if phase is Phase.SUCCEEDED and isinstance(request, Run) and request.deleted:
        after = after.changed(last_success=Success(at=now, verdict=request.verdict_before))
    return after


def refuse(
    ledger: Ledger, reason: Reason, text: str, *, fingerprint: str, now: datetime, wanted: Wanted | None = None
) -> Ledger:
    """Put a refusal on record; one like the newest of its kind raises its count instead."""
    old = next((r for r in ledger.refusals if (r.reason, r.fingerprint) == (reason, fingerprint)), None)
    rest = tuple(r for r in ledger.refusals if r is not old)
    entry = Refusal(at=now, reason=reason, text=text, fingerprint=fingerprint, count=old.count + 1 if old else 1)
    kept = (*rest, entry)[-REFUSALS_KEPT:]
    return ledger.changed(refusals=kept, **({"wanted": wanted} if wanted else {}))


def acknowledge(ledger: Ledger) -> Ledger:
    """Close the breaker, and forget the success that did not hold."""
    return ledger.changed(breaker=None, last_success=None)
