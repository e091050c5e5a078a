"""From a monitor's newest values to what the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.web.view import CollectorLine, FoundationView, PodLine, SourceLine
from foundation import interpret
from foundation.durations import format_duration
from foundation.observation import PodProbe, PodState

if TYPE_CHECKING:
    from exporter.monitor import Monitor
    from foundation.observer import PodLook

_BY = {"the configuration": "named in the configuration"}
_LABEL = {True: "yes", False: "no", None: ""}
_PASSIVE = {PodProbe.REFUSED: "passive", PodProbe.NO_ANSWER: "no answer", PodProbe.MIGRATING: "migrating (503)"}


def foundation_view(monitor: Monitor) -> FoundationView:
    """One foundation as the page shows it."""
    look, stale = monitor.latest(), monitor.stale()
    evidence = look.diagnosis.evidence if look else ("The first look has not finished yet.",)
    if stale:
        age = format_duration(monitor.age() or 0.0)
        evidence = (f"The newest look ended {age} ago, so nothing is known of the present. It had found:", *evidence)
    collectors = tuple(
        CollectorLine(state.name, state.success, state.last_success, state.problem) for state in monitor.collectors()
    )
    sources = tuple(
        SourceLine(
            name=status.name,
            kind=status.kind,
            pod=status.pod,
            up=status.up,
            deaf_seconds=status.deaf_seconds,
            reconnects=status.reconnects,
            problem=status.problem,
        )
        for status in monitor.log_statuses()
    )
    return FoundationView(
        name=monitor.name,
        namespace=monitor.namespace,
        layout=look.layout.layout.name if look and look.layout else "",
        layout_by=_BY.get(look.layout.by, look.layout.by) if look and look.layout else "",
        verdict=look.diagnosis.verdict if look and not stale else "unknown",
        restart=look.diagnosis.restart if look and not stale else "no",
        since=look.since if look and not stale else None,
        evidence=evidence,
        pods_to_restart=tuple(map(str, look.diagnosis.pods_to_restart)) if look and not stale else (),
        pods=tuple(_pod(pod) for pod in look.pods) if look else (),
        probes=monitor.probes.recent(),
        failures=monitor.probes.failures(),
        sources=sources,
        collectors=collectors,
        observed_at=look.at if look else None,
    )


def _pod(pod: PodLook) -> PodLine:
    word = interpret.pod_word(pod.probe) if pod.probe is not None else None
    waiting = next((item.waiting for item in pod.seen.containers if item.waiting), "")
    state = "Terminating" if pod.seen.deleted is not None else waiting or pod.seen.phase
    details = [interpret.probe_text(pod.probe)] if pod.probe is not None else []
    if pod.state is not PodState.READY:
        details.append(pod.state_text)
    trouble = ""
    if pod.locket is not None and not pod.locket.ok:
        trouble = "Locket hangs" if interpret.locket_hangs(pod.locket) else "Locket does not answer"
        details.append(f"Locket {interpret.probe_text(pod.locket)}")
    return PodLine(
        name=pod.seen.name,
        role=pod.role,
        state=state,
        ready=pod.seen.ready_containers,
        active_label=_LABEL[pod.active],
        probe_word="" if word is None else _PASSIVE.get(word, word.replace("_", " ")),
        detail="; ".join(details),
        trouble=trouble,
    )
