"""Whether a run may start now: one decision over the ledger and the policy, on the API server's clock.

It is asked twice, at intake and again at the claim, as much can happen between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundation.durations import format_duration
from remediator.words import Mode, Reason

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from remediator.ledger import Ledger

MAX_SKEW = 30.0
"""Seconds that the API server's clock and ours may differ: beyond it, one of them is wrong."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many runs within a sliding window."""

    runs: int
    per: timedelta

    def __str__(self) -> str:
        return f"{self.runs} per {format_duration(self.per.total_seconds())}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the executor's own configuration allows for one playbook."""

    mode: Mode
    cooldown: timedelta
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A no, with its reason for the record."""

    reason: Reason
    text: str
    until: datetime | None = None
    """When it ends by itself; None: a person has to act, or it is not known."""
    retry: bool = False
    """Whether to try again by itself when it ends."""


@dataclass(frozen=True, slots=True)
class Instant:
    """The time that a decision is made at."""

    server: datetime
    """The `Date` of the very answer that the decision is made on."""
    skew: float
    """Seconds that our clock is ahead of it."""


def admit(ledger: Ledger, policy: Policy, instant: Instant) -> Refused | None:
    """None: it may start. Whether another request is open is not asked here."""
    now = instant.server
    if abs(instant.skew) > MAX_SKEW:
        way = "ahead of" if instant.skew > 0 else "behind"
        text = f"our clock is {abs(instant.skew):.0f} s {way} the API server's: limits cannot be judged"
        return Refused(Reason.CLOCK, text, retry=True)
    if policy.mode is Mode.OFF:
        return Refused(Reason.MODE_OFF, "the playbook's mode is off")
    if pause := ledger.paused(now):
        until = f" until {pause.until:%Y-%m-%d %H:%M:%S} UTC" if pause.until else ""
        return Refused(Reason.PAUSED, f"paused by {pause.by}{until}: {pause.why}", pause.until)
    if breaker := ledger.breaker:
        return Refused(Reason.BREAKER, f"not before somebody acknowledges: {breaker.why}")
    return _spacing(ledger, policy, now)


def _spacing(ledger: Ledger, policy: Policy, now: datetime) -> Refused | None:
    """Back-off, cooldown and limits: the refusals that time alone ends."""
    if ledger.backoff and now < ledger.backoff.until:
        left = _left(ledger.backoff.until, now)
        return Refused(Reason.BACKOFF, f"{left} after {ledger.backoff.why}", ledger.backoff.until, retry=True)
    if ledger.last_end and now < (end := ledger.last_end + policy.cooldown):
        spent = format_duration((now - ledger.last_end).total_seconds())
        whole = format_duration(policy.cooldown.total_seconds())
        text = f"the last run ended {spent} ago, the cooldown is {whole}: {_left(end, now)}"
        return Refused(Reason.COOLDOWN, text, end, retry=True)
    for limit in policy.limits:
        recent = sorted(start for start in ledger.starts if start > now - limit.per)
        if len(recent) >= limit.runs:
            end = recent[-limit.runs] + limit.per
            text = f"the limit of {limit} is used up: {_left(end, now)}"
            return Refused(Reason.LIMIT, text, end, retry=True)
    return None


def left(ledger: Ledger, limit: Limit, now: datetime) -> int:
    """How many runs a limit still allows."""
    return max(0, limit.runs - sum(1 for start in ledger.starts if start > now - limit.per))


def _left(until: datetime, now: datetime) -> str:
    return f"{format_duration((until - now).total_seconds())} left"
