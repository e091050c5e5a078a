"""`stager-remediator simulate`: what a stored notification would bring about, and why. It acts on nothing.

The decision is made by the very code that the webhook runs (`remediator.intake`), over a client whose every request
that is not a GET stays in this process: later reads find what it would have stored, and the API server never hears of
it. What would follow is told from a look of one's own. A command that has only just begun to look cannot know how long
things have been so, and says so; between now and then anything may change, so this is a forecast and no promise.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry

from foundation.diagnosis import Restart, Verdict
from foundation.durations import format_duration
from foundation.kube.client import KubeClient, load_configuration
from foundation.kube.errors import ConfigurationProblem, KubeError
from foundation.looking import confirmed, lasting_text
from foundation.probes.resolving import Resolver
from remediator.admission import admit, left
from remediator.intake import LABEL, Intake, Unavailable
from remediator.ledger import LedgerUnreadable
from remediator.lookout import Lookout
from remediator.playbook import PLAYBOOKS
from remediator.run.choosing import HOLDS_FOR
from remediator.simulate_told import AlertTold, LimitTold, PodTold, Prospect, Told
from remediator.site import LayoutUnknown, Site
from remediator.store import Remediations
from remediator.timeline import moment, span
from remediator.trail import Metrics, Trail
from remediator.words import FENCE, Mode, Outcome, Phase, Reason, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from kubernetes.client import Configuration

    from foundation.diagnosis import Diagnosis
    from foundation.kube.client import Json, Query
    from foundation.kube.errors import Target
    from foundation.looking import Finding
    from foundation.observer import PodLook
    from remediator.config import PlaybookConfig, RemediatorConfig
    from remediator.intake import Answer
    from remediator.payload import Alert, Notification
    from remediator.playbook import Playbook
    from remediator.store import Reading


class StillClient(KubeClient):
    """A client that changes nothing: whatever is not a GET is kept here, and later reads of it find it."""

    def __init__(self, configuration: Configuration, *, user_agent: str) -> None:
        """Opens no connection yet."""
        super().__init__(configuration, user_agent=user_agent)
        self._kept: dict[str, Json] = {}

    def keep(self, path: str, found: Json) -> Json:
        """Have later reads of this path give this."""
        self._kept[path] = found
        return found

    def _json(
        self,
        method: str,
        target: Target,
        path: str,
        *,
        query: Query | None = None,
        body: object | None = None,
        content_type: str = "application/json",
    ) -> Json:
        if method == "GET":
            if path in self._kept:
                return self._kept[path]
            found = super()._json(method, target, path, query=query, content_type=content_type)
            # One consistent reading of a ledger for all that is told.
            return self.keep(path, found) if target.resource == "configmaps" and target.name else found
        written: Json = dict(cast("Json", body)) if isinstance(body, dict) else {}
        metadata = written.get("metadata")
        words = dict(cast("Json", metadata)) if isinstance(metadata, dict) else {}
        written["metadata"] = {**words, "uid": "simulated", "resourceVersion": "simulated"}
        if method == "PUT":
            return self.keep(path, written)
        if method == "POST" and words.get("name"):
            return self.keep(f"{path}/{words['name']}", written)
        return written


class _Nobody(Executor):
    """Takes Events and sends none."""

    def submit(self, *_: object, **__: object) -> Future[object]:  # type: ignore[override]
        future: Future[object] = Future()
        future.set_result(None)
        return future


class _Looker(Lookout):
    """A Lookout that is never started: it looks when asked."""

    def stop(self) -> None:
        """End the threads of the probes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def simulate(
    notification: Notification,
    config: RemediatorConfig | None,
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Told:
    """Decide on a notification as the webhook would. With a configuration it reads and looks too."""
    metrics = Metrics(CollectorRegistry())
    if config is None:
        answers: Sequence[Answer] = Intake({}, metrics).notify(notification)
        told = tuple(_without_state(alert, answer) for alert, answer in zip(notification.alerts, answers, strict=True))
        return Told(notification.receiver, notification.truncated_alerts, told, (), with_state=False)
    named = {alert.labels.get("foundation", "") for alert in notification.alerts if LABEL in alert.labels}
    sites: dict[str, Site] = {}
    problems: dict[str, str] = {}
    for foundation in config.foundations:
        if foundation.name in named:
            try:
                sites[foundation.name] = _site(config, foundation.name, metrics, wall=wall, monotonic=monotonic)
            except ConfigurationProblem as problem:
                problems[foundation.name] = str(problem)
    try:
        return _with_state(notification, sites, problems, metrics, sleep=sleep)
    finally:
        for site in sites.values():
            site.lookout.stop()
            site.client.close()


def _with_state(
    notification: Notification,
    sites: Mapping[str, Site],
    problems: Mapping[str, str],
    metrics: Metrics,
    *,
    sleep: Callable[[float], None],
) -> Told:
    findings = {name: _look(site, sleep) for name, site in sites.items()}
    prospects: dict[tuple[str, str], Prospect] = {}
    for alert in notification.alerts:
        name, playbook = alert.labels.get("foundation", ""), alert.labels.get(LABEL, "")
        site = sites.get(name)
        if site is not None and alert.status == "firing" and (known := site.playbook(playbook)) is not None:
            if (name, playbook) not in prospects:
                prospects[name, playbook] = _prospect(site, playbook, known, findings[name])
        elif name in problems and playbook:
            prospects[name, playbook] = Prospect(name, "not known", playbook, "", problems[name])
    told = _decided(notification, sites, problems, metrics)
    return Told(notification.receiver, notification.truncated_alerts, told, tuple(prospects.values()), with_state=True)


def _decided(
    notification: Notification, sites: Mapping[str, Site], problems: Mapping[str, str], metrics: Metrics
) -> tuple[AlertTold, ...]:
    try:
        answers: Sequence[Answer] = Intake(sites, metrics).notify(notification)
    except Unavailable as error:
        why = f"the webhook would answer 503, and Alertmanager come again: {error}"
        return tuple(_alert(alert, "unavailable", why=why) for alert in notification.alerts)
    return tuple(
        _alert(alert, "unavailable", why=f"the remediator would not start: {problems[alert.labels['foundation']]}")
        if alert.labels.get("foundation") in problems and LABEL in alert.labels
        else _answered(alert, answer)
        for alert, answer in zip(notification.alerts, answers, strict=True)
    )


def _without_state(alert: Alert, answer: Answer) -> AlertTold:
    """Without sites every well-formed alert is of an unknown foundation: what it asks for is all that can be told."""
    if answer.reason != Reason.UNKNOWN_FOUNDATION:
        return _answered(alert, answer)
    playbook, foundation = alert.labels[LABEL], alert.labels.get("foundation", "")
    if not foundation:
        return _alert(alert, "refused", str(Reason.UNKNOWN_FOUNDATION), "it carries no label `foundation`")
    if playbook not in PLAYBOOKS:
        why = f"there is no playbook {playbook[:100]!r}, only {', '.join(PLAYBOOKS)}"
        return _alert(alert, "refused", str(Reason.UNKNOWN_PLAYBOOK), why)
    if alert.status == "resolved":
        return _alert(alert, why=f"it takes back what waits for it on {foundation}; a run under way goes on")
    why = f"asks for {playbook} on {foundation}: whether it is taken depends on the state (give --config)"
    return _alert(alert, why=why)


def _answered(alert: Alert, answer: Answer) -> AlertTold:
    name, why = answer.remediation, answer.text
    if answer.outcome is Outcome.CREATED:
        why = f"{name} would be queued"
    elif answer.outcome is Outcome.DUPLICATE:
        why = f"{name} is open already, or is made of another alert of this notification"
    elif answer.reason == Reason.NO_REMEDY:
        why = f"it asks for nothing: it carries no label `{LABEL}`"
    elif answer.reason == Reason.RESOLVED and not why:
        why = f"{name} would be cancelled" if name else "nothing waits for it; a run under way goes on"
    return _alert(alert, str(answer.outcome), answer.reason, why, name)


def _alert(alert: Alert, outcome: str = "", reason: str = "", why: str = "", remediation: str = "") -> AlertTold:
    labels = alert.labels
    return AlertTold(
        alertname=labels.get("alertname", "")[:200],
        status=alert.status,
        since=_utc(alert.starts_at),
        fingerprint=alert.fingerprint[:100],
        foundation=labels.get("foundation", "")[:100],
        playbook=labels.get(LABEL, "")[:100],
        outcome=outcome,
        reason=reason,
        why=why,
        remediation=remediation,
    )


def _utc(when: datetime) -> str:
    try:
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:  # the first and last days that a date can name
        return when.isoformat()


def _site(
    config: RemediatorConfig,
    name: str,
    metrics: Metrics,
    *,
    wall: Callable[[], float],
    monotonic: Callable[[], float],
) -> Site:
    """As the daemon makes it (`remediator.service`), but for what acts."""
    import os
    import threading

    section = config.remediator
    foundation = next(one for one in config.foundations if one.name == name)
    most = min([foundation.max_pods, *(playbook.max_pods for playbook in section.playbooks.values())])
    foundation = foundation.model_copy(update={"max_pods": most})
    kubeconfig = None if foundation.kubeconfig is None else str(foundation.kubeconfig)
    client = StillClient(
        load_configuration(kubeconfig, foundation.context, os.environ), user_agent="stager-remediator/simulate"
    )
    return Site(
        config=foundation,
        section=section,
        client=client,
        lookout=_Looker(foundation, config.probe, client=client, resolver=Resolver(), boot=monotonic, wall=wall),
        remediations=Remediations(client, foundation.namespace),
        trail=Trail(client, foundation.namespace, name, metrics, wall=wall, pool=_Nobody()),
        evidence=None,
        holder="simulate",
        boot=monotonic,
        wall=wall,
        stopping=threading.Event(),
        wake=threading.Event(),
    )


def _look(site: Site, sleep: Callable[[float], None]) -> Finding:
    return confirmed(lambda: site.lookout.fresh().look, lambda: sleep(site.lookout.interval), site.config.namespace)


def _prospect(site: Site, name: str, known: tuple[PlaybookConfig, Playbook], finding: Finding) -> Prospect:
    config, playbook = known
    look, namespace = finding.look, site.config.namespace
    layout = f"{look.layout.layout.name} ({look.layout.by})" if look.layout else ""
    try:
        reading = site.ledger.read()
    except (KubeError, LedgerUnreadable, LayoutUnknown) as error:
        return Prospect(site.name, namespace, name, layout, str(error), mode=str(config.mode))
    now = reading.instant.server
    strategy = config.strategy or (Strategy(look.layout.layout.strategy) if look.layout else Strategy.ONE_BY_ONE)
    told = finding.if_lasting or look.diagnosis
    acts = told.restart in (Restart.YES, Restart.ASK) and not finding.blind
    chosen = _chosen(told, look.pods) if acts else ()
    refused = admit(reading.ledger, config.policy, reading.instant)
    forecast = _Forecast(site, config, playbook, reading, finding, told, chosen, strategy)
    return Prospect(
        foundation=site.name,
        namespace=namespace,
        playbook=name,
        layout=layout,
        problem=f"nothing could be seen: {finding.why_blind}" if finding.blind else "",
        mode=str(config.mode),
        strategy=str(strategy),
        as_of=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        state=tuple(_state(reading, site)),
        refused=refused,
        limits=tuple(
            LimitTold(
                limit.runs,
                span(limit.per.total_seconds()),
                left(reading.ledger, limit, now),
                max(0, left(reading.ledger, limit, now) - 1),
            )
            for limit in config.policy.limits
        ),
        verdict=str(look.diagnosis.verdict),
        restart=str(look.diagnosis.restart),
        evidence=look.diagnosis.evidence,
        if_lasting="" if finding.if_lasting is None else lasting_text(finding.if_lasting, site.config.settle),
        pods=chosen,
        fence=_fence(reading, chosen),
        course=tuple(forecast.sentences()),
    )


def _chosen(told: Diagnosis, pods: Sequence[PodLook]) -> tuple[PodTold, ...]:
    by_name = {pod.seen.name: pod for pod in pods}
    found = [by_name[name] for name in map(str, told.pods_to_restart) if name in by_name]
    return tuple(PodTold(pod.seen.name, pod.seen.uid, pod.role, pod.seen.owner, pod.seen.grace) for pod in found)


def _fence(reading: Reading, pods: Sequence[PodTold]) -> str:
    if not pods:
        return ""
    return (
        f"at its end the run gives each of these pods that it has not deleted the annotation "
        f"{FENCE}={reading.ledger.epoch + 1}, so that a deletion that is still under way bounces"
    )


def _state(reading: Reading, site: Site) -> Iterator[str]:
    ledger, now = reading.ledger, reading.instant.server
    yield f"read at {moment(now.timestamp())}, our clock is {abs(reading.instant.skew):.0f} s off the API server's"
    if not reading.version:
        yield "there is no ledger yet: nothing was ever asked for"
    if ledger.run is not None:
        yield f"{ledger.run.name} is under way ({ledger.run.step}), held by {ledger.holder or 'nobody'}"
    if ledger.pending is not None:
        yield f"{ledger.pending.name} is queued ({ledger.pending.phase})"
    if pause := ledger.paused(now):
        yield f"paused by {pause.by} since {moment(pause.since.timestamp())}: {pause.why}"
    if ledger.breaker is not None:
        yield f"the breaker is open since {moment(ledger.breaker.since.timestamp())}: {ledger.breaker.why}"
    if ledger.last_end is not None:
        yield f"the last run that deleted something ended at {moment(ledger.last_end.timestamp())}"
    if ledger.wanted is not None:
        yield f"a refused request is tried again by itself until {moment(ledger.wanted.until.timestamp())}"
    if site.section.evidence is False:
        yield "evidence is switched off"


@dataclass(frozen=True, slots=True)
class _Forecast:
    """What would follow, from the claim to the end, by the rules of `remediator.runner`."""

    site: Site
    config: PlaybookConfig
    playbook: Playbook
    reading: Reading
    finding: Finding
    told: Diagnosis
    pods: tuple[PodTold, ...]
    strategy: Strategy

    def sentences(self) -> Iterator[str]:
        mode, steps = self.config.mode, self.playbook.steps
        if mode is Mode.OFF:
            return
        if mode is Mode.APPROVAL:
            expires = span(self.site.section.approval_expires)
            yield f"it awaits a person's approval for {expires} ({Phase.AWAITING_APPROVAL}), as the mode is approval"
        deadline = format_duration(steps.confirm.deadline)
        interval = format_duration(self.site.lookout.interval)
        yield f"it looks until two looks agree, {interval} apart, for at most {deadline} where the verdict is wait"
        ends = self._ends()
        if ends:
            yield ends
            return
        if self.told.restart is Restart.ASK and mode is not Mode.APPROVAL:
            expires = span(self.site.section.approval_expires)
            yield f"a person decides in every mode, as the verdict says ask: it awaits approval for {expires}"
        yield from self._deeds()

    def _ends(self) -> str:
        """Where it ends without touching anything."""
        told, backoff = self.told, format_duration(self.site.section.backoff)
        deadline = format_duration(self.playbook.steps.confirm.deadline)
        if self.finding.blind:
            return f"while nothing can be seen it ends after {deadline} as {Phase.WOULD_NOT_HELP}, and is tried again"
        if told.verdict is Verdict.HEALTHY:
            return f"it ends as {Phase.NOT_NEEDED}, as all is well; nothing begins for {backoff} then"
        if told.restart is Restart.WAIT:
            return f"if it is still so after {deadline}, it ends as {Phase.WOULD_NOT_HELP}, and is tried again"
        if told.restart is Restart.NO:
            return f"it ends as {Phase.WOULD_NOT_HELP}: {told.evidence[0]} Nothing begins for {backoff} then"
        last, now = self.reading.ledger.last_success, self.reading.instant.server
        if last is not None and last.verdict == told.verdict and now - last.at < HOLDS_FOR:
            when = moment(last.at.timestamp())
            return (
                f"it ends as {Phase.WOULD_NOT_HELP} and opens the breaker: a restart for {told.verdict} succeeded at "
                f"{when}, so restarting does not hold"
            )
        return "" if self.pods else f"it ends as {Phase.WOULD_NOT_HELP}: the verdict names no pod that is there"

    def _deeds(self) -> Iterator[str]:
        steps, section = self.playbook.steps, self.site.section
        names = ", ".join(pod.name for pod in self.pods)
        if section.evidence:
            lines = steps.evidence.log_lines
            yield f"it saves evidence of {names} (status, events, {lines} lines of each log); without it, it ends"
        if self.config.mode is Mode.DRY_RUN:
            yield f"it asks the API server whether it would delete {names}, and ends: nothing is deleted (dry-run)"
            return
        if self.strategy is Strategy.ONE_BY_ONE and len(self.pods) > 1:
            yield (
                f"it deletes {self.pods[0].name}, waits for its replacement and looks again; it goes on with "
                f"{', '.join(pod.name for pod in self.pods[1:])} only while the verdict still asks for it"
            )
        elif len(self.pods) > 1:
            yield f"it deletes {names}, in this order and on one look, or looks again where that has become too old"
        else:
            yield f"it deletes {names}, if one more look asks for it"
        longest = max(pod.grace for pod in self.pods) + steps.replace.start_budget
        yield (
            f"it waits for the replacements (at most {format_duration(longest)}) and for exactly one active BBS (at "
            f"most {format_duration(steps.active.deadline)}), then sees BBS answer for "
            f"{format_duration(steps.verify.dwell)}"
        )
        yield (
            f"it ends as {Phase.SUCCEEDED}, and nothing begins for {span(self.config.cooldown)}; where a "
            f"step passes its limit, it ends as {Phase.FAILED}, and nothing begins until somebody acknowledges"
        )
