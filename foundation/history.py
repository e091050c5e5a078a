"""How long things have been so: the part of a verdict that one look cannot give.

One History belongs to one foundation in one process and is fed every look. A process that has just started knows
nothing of before, so it waits one full `settle` before it calls anything settled. Times are monotonic unless named
otherwise; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundation.diagnosis import Diagnosis, Restart, Verdict
from foundation.durations import format_duration

if TYPE_CHECKING:
    from foundation.probes.result import Certificate


LONGEST_GAP = 30.0
"""Seconds between two looks after which a process has not been watching, where three intervals are less."""


@dataclass(frozen=True, slots=True)
class Settling:
    """Whether things have settled, and what still moves."""

    settled: bool
    quiet: bool
    text: str


class History:
    """What must be remembered from look to look. Not shared between threads: its foundation's looks come one by one."""

    def __init__(self, *, settle: float, interval: float, begun: float) -> None:
        self._settle = settle
        self._interval = interval
        self._begun = begun
        self._looked: float | None = None
        self._served: float | None = None
        self._serving_since: float | None = None
        self._database_down: float | None = None
        self._candidate: tuple[object, ...] | None = None
        self._candidate_since = begun
        self._verdict: tuple[Verdict, Restart] | None = None
        self._verdict_since = 0.0
        self.certificate: Certificate | None = None
        """The newest server certificate ever seen."""

    def looks(self, now: float) -> None:
        """Note that a look begins, be it blind. After a gap (a frozen process) nothing of before counts as watched."""
        if self._looked is not None and now - self._looked > max(LONGEST_GAP, 3 * self._interval):
            self._begun, self._served, self._serving_since, self._candidate = now, None, None, None
        self._looked = now

    def served(self, now: float, *, serving: bool) -> None:
        """Note whether any BBS served in this look."""
        if not serving:
            self._serving_since = None
            return
        self._served = now
        if self._serving_since is None:
            self._serving_since = now

    def database(self, now: float, *, answers: bool) -> None:
        """Note what a probe of the database found."""
        if not answers:
            self._database_down = now

    def saw_certificate(self, certificate: Certificate | None) -> None:
        """Remember the newest server certificate: once BBS is down, none can be seen."""
        if certificate and (self.certificate is None or certificate.not_after >= self.certificate.not_after):
            self.certificate = certificate

    def settling(self, now: float, start_age: float | None, locket_start_age: float | None) -> Settling:
        """`start_age`: seconds since the newest start of a BBS or Locket container; the other without BBS alone."""
        serving = self._serving_since is not None
        changed = self._serving_since if serving else self._served
        what_changed = "a BBS was first seen to serve" if serving else "the last time that a BBS served"
        ages = {
            what_changed: None if changed is None else now - changed,
            "the database last failed to answer": None if self._database_down is None else now - self._database_down,
        }
        if self._served is None:
            ages["this process began to watch"] = now - self._begun
        common = {what: age for what, age in ages.items() if age is not None}
        all_ages = {**common, **({"the newest container start": start_age} if start_age is not None else {})}
        quiet_ages = [*common.values(), *([locket_start_age] if locket_start_age is not None else [])]
        what, age = min(all_ages.items(), key=lambda item: item[1])
        text = f"{format_duration(age)} since {what}, settle is {format_duration(self._settle)}"
        return Settling(age >= self._settle, min(quiet_ages) >= self._settle, text)

    def confirm(self, diagnosis: Diagnosis, pods: tuple[object, ...], now: float) -> Diagnosis:
        """A verdict that could lead to a deletion, or to a page about two active BBS, must be seen twice.

        `pods` identifies the pods that a restart would take (their UIDs), so that a replaced pod starts anew.
        """
        acts = diagnosis.restart in (Restart.YES, Restart.ASK)
        if not acts and diagnosis.verdict is not Verdict.SPLIT:
            self._candidate = None
            return diagnosis
        key = (diagnosis.verdict, diagnosis.restart, *pods)
        if key != self._candidate:
            self._candidate, self._candidate_since = key, now
        if now - self._candidate_since >= self._interval:
            return diagnosis
        verdict = diagnosis.verdict if acts else Verdict.ELECTING
        note = f"Seen once: a second look, {format_duration(self._interval)} later, must agree."
        return replace(
            diagnosis,
            verdict=verdict,
            restart=Restart.WAIT,
            pods=(),
            pods_to_restart=(),
            evidence=(diagnosis.evidence[0], note, *diagnosis.evidence[1:]),
        )

    def since(self, diagnosis: Diagnosis, wall: float) -> float:
        """Unix time since when the verdict and its restart have been the same."""
        key = (diagnosis.verdict, diagnosis.restart)
        if key != self._verdict:
            self._verdict, self._verdict_since = key, wall
        return self._verdict_since
