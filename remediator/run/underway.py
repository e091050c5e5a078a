"""What every step of a run has in common: the claim that it holds, its looks, its trail, and how it ends.

A run ends by `End`, which closes it; by `Superseded`, when the claim is somebody else's; or by `Stopping`, which gives
the claim up for another process to go on. `AskFirst` puts it back into the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from foundation.kube.errors import KubeError, NotFound
from remediator import ledger as ledgers
from remediator.story import status_of
from remediator.telling import copy_status
from remediator.words import Mode, Phase, Step, stricter

if TYPE_CHECKING:
    from remediator.claim import Claim
    from remediator.config import PlaybookConfig
    from remediator.ledger import Run
    from remediator.lookout import Sight
    from remediator.playbook import Playbook
    from remediator.site import Site

PAUSE = 0.5
"""Seconds between two looks while waiting for something that should come at any moment."""


class Stopping(Exception):  # noqa: N818
    """This process was asked to end."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends."""

    phase: Phase
    message: str
    breaker: str = ""
    """Why the breaker opens whatever the phase; empty: a failure opens it, nothing else does."""
    retry: bool = False
    """Whether what stands in the way ends by itself."""


class End(Exception):  # noqa: N818
    """The run is over."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


class AskFirst(Exception):  # noqa: N818
    """A person has to decide on this verdict."""

    def __init__(self, sight: Sight) -> None:
        super().__init__("a person decides")
        self.sight = sight


def end(phase: Phase, message: str, *, breaker: str = "", retry: bool = False) -> NoReturn:
    """Raise End."""
    raise End(Ending(phase, message, breaker, retry))


class Underway:
    """One claimed run, as its steps see it. One thread."""

    def __init__(self, site: Site, claim: Claim, config: PlaybookConfig, playbook: Playbook) -> None:
        self.site = site
        self.claim = claim
        self.steps = playbook.steps
        self.mode = stricter(claim.run.mode, config.mode)
        self.sight: Sight | None = None
        """The newest look."""

    @property
    def run(self) -> Run:
        """As last written."""
        return self.claim.run

    def look(self) -> Sight:
        """A look of our own, from now."""
        self.tend()
        self.sight = sight = self.site.lookout.fresh()
        self.tend()
        return sight

    def tend(self) -> None:
        """Keep the claim, and notice what forbids going on."""
        if self.site.stopping.is_set():
            raise Stopping
        self.claim.keep()

    def wait(self, seconds: float) -> None:
        """Sleep, and then tend."""
        self.site.stopping.wait(seconds)
        self.tend()

    def forbidden(self, until: float) -> str:
        """Why nothing further may be deleted, by the newest ledger and the Remediation itself; empty: nothing.

        A Remediation that cannot be read is tried again until the boot time `until`.
        """
        reading = self.claim.reading
        if pause := reading.ledger.paused(reading.instant.server):
            return f"paused by {pause.by}: {pause.why}"
        if why := self.not_allowed():
            return why
        while True:
            try:
                found = self.site.remediations.get(self.run.name)
            except NotFound:
                return "the Remediation was deleted by hand"
            except KubeError as error:
                if not error.retry or self.site.boot() >= until:
                    return f"the Remediation cannot be read: {error}"
                self.wait(PAUSE)
                continue
            if found.deleting or (self.run.uid and found.uid != self.run.uid):
                return "the Remediation was deleted by hand"
            return ""

    def not_allowed(self) -> str:
        """What this process's own configuration forbids, however the run was begun."""
        if self.mode is Mode.OFF:
            return "the playbook's mode is off"
        if self.mode is Mode.APPROVAL and self.run.approved_by is None:
            return "the playbook's mode is approval, and nobody approved"
        return ""

    def no_more(self, why: str) -> None:
        """Write down that nothing further may be deleted."""
        if not self.run.no_more:
            self.claim.put(lambda run, _: run.model_copy(update={"no_more": why}))
            self.audit("no_more", f"no further deletion: {why}")

    def begin(self, step: Step) -> float:
        """Enter a step; gives the boot time."""
        self.claim.put(lambda run, now: ledgers.began(run, step, now.server))
        self.copy()
        self.audit("step", f"{step} begins", step=str(step))
        return self.site.boot()

    def done(self, result: str, detail: str, began: float) -> None:
        """Leave the step that was entered at the boot time `began`."""
        step = self.run.step
        self.claim.put(lambda run, now: ledgers.ended(run, result, detail, now.server))
        self.copy()
        seconds = self.site.boot() - began
        self.site.trail.metrics.steps.labels(str(step)).observe(seconds)
        self.audit("step", f"{step}: {detail or result}", step=str(step), result=result, seconds=round(seconds, 3))

    def stop_on_rollout(self) -> None:
        """End where a StatefulSet is not the one of the start: somebody else is changing these pods."""
        found = self.site.lookout.statefulsets()
        if found is None:
            return  # not readable now: the verdict itself says no without it
        now = {item.name: item for item in found}
        for recorded in self.run.statefulsets:
            current = now.get(recorded.name)
            if current is None or current.uid != recorded.uid or current.revision != recorded.revision:
                message = f"rollout: StatefulSet {recorded.name} is not the one that was seen at the start"
                end(Phase.CANCELLED, message)

    def give_up(self, why: str) -> NoReturn:
        """Past a limit: where nothing was announced, it would not help; else it failed."""
        if not self.run.intents:
            end(Phase.WOULD_NOT_HELP, why, retry=True)
        end(Phase.FAILED, f"{self.run.step}: {why}")

    def copy(self) -> None:
        """Bring the Remediation's status in line with the ledger."""
        copy_status(self.site, self.run.name, status_of(self.run, self.claim.holder))

    def audit(self, decision: str, message: str, **details: object) -> None:
        """One line of the audit trail."""
        self.site.trail.audit(decision, message, remediation=self.run.name, epoch=self.claim.epoch, **details)
