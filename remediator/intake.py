"""From a notification to a place in the queue, or a refusal on record: what an accepted answer stands for.

A notification is collapsed per foundation, and each foundation is decided on one consistent read and one swap. What
cannot be read or written is `Unavailable`: Alertmanager sends it again, and what was stored meanwhile is then found to
be a duplicate. Nothing is deleted here, and nothing is looked at: that is the executor's.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from foundation.kube.errors import KubeError
from remediator import ledger as ledgers
from remediator.admission import Refused, admit
from remediator.ledger import LedgerUnreadable, Pending, Superseded, Trigger, Wanted
from remediator.site import LayoutUnknown
from remediator.store import Busy
from remediator.story import iso, spec_of
from remediator.telling import tell_end
from remediator.together import Together
from remediator.trail import remediation_reference
from remediator.words import Outcome, Phase, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remediator.admission import Instant
    from remediator.config import PlaybookConfig
    from remediator.ledger import Ledger
    from remediator.payload import Alert, Notification
    from remediator.site import Site
    from remediator.store import LedgerStore
    from remediator.trail import Metrics

logger = logging.getLogger(__name__)

LABEL = "remediate"
"""The alert's label that names the playbook."""
MOST_LABELS, LONGEST_LABEL, MOST_BYTES = 64, 1024, 16 * 1024
OLDEST, NEWEST = timedelta(days=7), timedelta(minutes=5)
"""An alert that began longer ago needs a person; one that begins later comes from a wrong clock."""
RECORDED_AGAIN = timedelta(minutes=1)
"""A refusal that is on record is written again no sooner."""


class Unavailable(Exception):  # noqa: N818
    """The state of a foundation could not be read or written: nothing of the answer may say otherwise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one alert."""

    fingerprint: str
    outcome: Outcome
    reason: str = ""
    """A word of `Reason`, or empty."""
    text: str = ""
    remediation: str = ""

    def as_json(self) -> dict[str, str]:
        """As in the contract; `reason` is the word, and the sentence where there is one."""
        reason = f"{self.reason}: {self.text}" if self.text else self.reason
        return {
            "fingerprint": self.fingerprint,
            "outcome": str(self.outcome),
            "remediation": self.remediation,
            "reason": reason,
        }


@dataclass(slots=True)
class _Asked:
    """One notification's request to one foundation, and what became of it."""

    playbook: str
    config: PlaybookConfig
    alert: Alert
    trigger: Trigger
    answer: Answer | None = None
    entry: Pending | None = None


def _trigger(alert: Alert) -> Trigger:
    return Trigger(
        alertname=alert.labels.get("alertname", ""),
        fingerprint=alert.fingerprint,
        starts_at=iso(alert.starts_at.astimezone(UTC)),
        labels=dict(sorted(alert.labels.items())),
    )


class Intake:
    """Takes notifications for all foundations of this process. Thread-safe."""

    def __init__(self, sites: Mapping[str, Site], metrics: Metrics) -> None:
        self._sites = sites
        self._metrics = metrics
        self._together: dict[str, Together[_Asked]] = {name: Together() for name in sites}

    def notify(self, notification: Notification) -> Sequence[Answer]:
        """Decide each alert; the answers come in the alerts' order. Raises Unavailable."""
        if notification.truncated_alerts:
            self._metrics.truncated.inc(notification.truncated_alerts)
            logger.warning(
                "Alertmanager left out %d alerts: set max_alerts to 0 on the receiver", notification.truncated_alerts
            )
        answers: dict[int, Answer] = {}
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, alert in enumerate(notification.alerts):
            known = self._sort_out(alert)
            if isinstance(known, Answer):
                answers[index] = known
            else:
                groups[known].append(index)
        problem: Exception | None = None
        for (foundation, playbook), indexes in groups.items():
            alerts = [notification.alerts[index] for index in indexes]
            try:
                found = self._decide(self._sites[foundation], playbook, alerts)
            except (KubeError, LedgerUnreadable, Busy, LayoutUnknown, Superseded) as error:
                self._metrics.state_errors.inc()
                logger.warning("%s", error, extra={"foundation": foundation})
                problem = error
            else:
                answers.update(zip(indexes, found, strict=True))
        if problem is not None:
            raise Unavailable(str(problem)) from problem
        ordered = [answers[index] for index in range(len(notification.alerts))]
        for answer in ordered:
            self._metrics.alerts.labels(str(answer.outcome), answer.reason).inc()
        return ordered

    def _sort_out(self, alert: Alert) -> Answer | tuple[str, str]:
        """What needs no look at the state, or the foundation and playbook that are asked for."""
        fingerprint = alert.fingerprint[:100]

        def no(outcome: Outcome, reason: Reason, text: str = "") -> Answer:
            return Answer(fingerprint, outcome, str(reason), text)

        playbook, foundation = alert.labels.get(LABEL), alert.labels.get("foundation", "")
        if playbook is None:
            return no(Outcome.IGNORED, Reason.NO_REMEDY)
        if problem := self._fault(alert):
            return no(Outcome.REFUSED, Reason.BAD_ALERT, problem)
        site = self._sites.get(foundation)
        if site is None:
            return no(Outcome.REFUSED, Reason.UNKNOWN_FOUNDATION, f"there is no foundation {foundation[:100]!r} here")
        if site.playbook(playbook) is None:
            return no(Outcome.REFUSED, Reason.UNKNOWN_PLAYBOOK, f"there is no playbook {playbook[:100]!r} here")
        return foundation, playbook

    @staticmethod
    def _fault(alert: Alert) -> str:
        if len(alert.labels) > MOST_LABELS:
            return f"{len(alert.labels)} labels, more than {MOST_LABELS}"
        for name, value in alert.labels.items():
            if len(name) > LONGEST_LABEL or len(value) > LONGEST_LABEL:
                return f"the label {name[:50]!r} is longer than {LONGEST_LABEL} characters"
        size = sum(len(text.encode(errors="replace")) for pair in alert.labels.items() for text in pair)
        if size > MOST_BYTES:
            return f"its labels are {size} bytes, more than the {MOST_BYTES} that are kept of one"
        if not alert.fingerprint or len(alert.fingerprint) > 100 or not alert.fingerprint.isprintable():
            return "no usable fingerprint"
        return ""

    # --- one foundation -------------------------------------------------------------------------------------------

    def _decide(self, site: Site, playbook: str, alerts: Sequence[Alert]) -> list[Answer]:
        """One firing alert speaks for all; only where none fires do the resolved ones count."""
        firing = [alert for alert in alerts if alert.status == "firing"]
        together = self._together[site.name]
        if not firing:
            with together.lock:
                return [self._resolve(site, alert) for alert in alerts]
        configured = site.playbook(playbook)
        if configured is None:
            raise LayoutUnknown(f"the playbook {playbook} is not configured")
        first = min(firing, key=lambda alert: (alert.starts_at, alert.fingerprint))
        asked = _Asked(playbook, configured[0], first, _trigger(first))
        together.do(asked, lambda waiting: self._ask(site, waiting))
        if asked.answer is None:
            raise Busy("the request was not decided")
        return [self._like(asked.answer, alert, first) for alert in alerts]

    @staticmethod
    def _like(answer: Answer, alert: Alert, first: Alert) -> Answer:
        if alert is first:
            return answer
        if alert.status == "resolved":
            return Answer(alert.fingerprint, Outcome.IGNORED, str(Reason.RESOLVED), "others of it still fire")
        if answer.outcome is Outcome.REFUSED:
            return Answer(alert.fingerprint, answer.outcome, answer.reason, answer.text)
        return Answer(alert.fingerprint, Outcome.DUPLICATE, str(Reason.RUNNING), "", answer.remediation)

    def _ask(self, site: Site, asked: Sequence[_Asked]) -> None:
        """Decide what was asked meanwhile, in order and in one swap: a burst costs no more than one notification."""
        store = site.ledger

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            for one in asked:
                ledger = self._one(site, one, ledger, instant)
            return ledger

        store.swap(change)
        for one in asked:
            if one.entry is not None:
                self._make(site, store, one.entry)
            elif one.answer is not None and one.answer.outcome is Outcome.REFUSED:
                answer = one.answer
                site.trail.audit("refused", answer.text, reason=answer.reason, fingerprint=answer.fingerprint)

    def _one(self, site: Site, one: _Asked, ledger: Ledger, instant: Instant) -> Ledger:
        """One request on the ledger as those before it leave it."""
        alert, trigger = one.alert, one.trigger
        one.entry = None
        if ledger.open is not None:
            same = ledger.open.name
            one.answer = Answer(alert.fingerprint, Outcome.DUPLICATE, str(Reason.RUNNING), "", same)
            return ledger.changed(resolved="") if ledger.resolved == alert.fingerprint else ledger
        refused = admit(ledger, one.config.policy, instant) or _out_of_time(alert, instant)
        if refused is not None:
            one.answer = Answer(alert.fingerprint, Outcome.REFUSED, str(refused.reason), refused.text)
            return self._put_on_record(site, ledger, refused, (one.playbook, trigger), instant)
        after, one.entry = ledgers.enqueue(
            ledger, site.name, one.playbook, one.config.mode, trigger=trigger, now=instant.server
        )
        one.answer = Answer(alert.fingerprint, Outcome.CREATED, "", "", one.entry.name)
        return after

    def _make(self, site: Site, store: LedgerStore, entry: Pending) -> None:
        """The object for people. It is stored in the ledger already; where this fails, an executor makes it."""
        trail = site.trail
        trail.audit("accepted", f"queued for {entry.trigger.alertname}", remediation=entry.name)
        try:
            made = site.remediations.create(entry.name, spec_of(entry), store.name)
        except KubeError as error:
            logger.warning("the Remediation %s could not be made yet: %s", entry.name, error)
        else:
            trail.event(remediation_reference(entry.name, made.uid), "Accepted", f"for {entry.trigger.alertname}")
        site.wake.set()

    @staticmethod
    def _put_on_record(
        site: Site, ledger: Ledger, refused: Refused, asked: tuple[str, Trigger], instant: Instant
    ) -> Ledger:
        """The refusal, and what to try again by itself; a fresh record of the same is left as it is."""
        playbook, trigger = asked
        now = instant.server
        wanted = None
        if refused.retry:
            until = max(now, refused.until or now) + timedelta(seconds=site.section.retry_for)
            wanted = Wanted(
                foundation=site.name, playbook=playbook, trigger=trigger, reason=refused.reason, until=until
            )
        key = (refused.reason, trigger.fingerprint)
        for old in ledger.refusals:
            recent = (old.reason, old.fingerprint) == key and now - old.at < RECORDED_AGAIN
            if recent and (wanted is None or ledger.wanted is not None):
                return ledger
        return ledgers.refuse(
            ledger, refused.reason, refused.text, fingerprint=trigger.fingerprint, now=now, wanted=wanted
        )

    def _resolve(self, site: Site, alert: Alert) -> Answer:
        """A resolved alert closes what waits for it, and never touches a run."""
        backoff = timedelta(seconds=site.section.backoff)
        closed: list[str] = []

        def change(ledger: Ledger, instant: Instant) -> Ledger:
            closed.clear()
            after = ledger
            if ledger.wanted is not None and ledger.wanted.trigger.fingerprint == alert.fingerprint:
                after = after.changed(wanted=None)
            if ledger.run is not None and ledger.run.trigger.fingerprint == alert.fingerprint:
                after = after.changed(resolved=alert.fingerprint)
            pending = ledger.pending
            if pending is not None and pending.trigger.fingerprint == alert.fingerprint:
                closed.append(pending.name)
                after = ledgers.close(after, Phase.CANCELLED, "the alert has resolved", instant.server, backoff=backoff)
            return after

        store = site.ledger
        reading = store.read()
        if change(reading.ledger, reading.instant) != reading.ledger:
            reading = store.swap(change)
            if closed:
                tell_end(site, reading.ledger)
        return Answer(alert.fingerprint, Outcome.IGNORED, str(Reason.RESOLVED), "", closed[0] if closed else "")


def _out_of_time(alert: Alert, instant: Instant) -> Refused | None:
    """Whether the alert's own time cannot be right, by the API server's clock."""
    if instant.server - OLDEST < alert.starts_at < instant.server + NEWEST:
        return None
    return Refused(Reason.BAD_ALERT, f"it says that it began at {alert.starts_at:%Y-%m-%d %H:%M:%S} UTC")
