"""What evidence consists of, as plain JSON: chosen field by field from what the API server and the probes said.

An allow-list: a field that is not named here is not stored, whatever a cluster puts into its pods. So environment,
volumes, arguments and annotations never are. Pure; tolerant of objects that lack what a schema calls required.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from remediator.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foundation.layout import Layout
    from foundation.observer import Look, PodLook
    from foundation.probes.result import Certificate, ProbeResult
    from remediator.ledger import Run

Json: TypeAlias = "dict[str, object]"

LONGEST_TEXT: Final = 2000
"""Characters of one text that is no log line."""
MOST_ITEMS: Final = 40
"""Containers or conditions of one pod."""

_STATE: Final = {
    "running": ("startedAt",),
    "waiting": ("reason", "message"),
    "terminated": ("exitCode", "signal", "reason", "message", "startedAt", "finishedAt"),
}


def iso(moment: float | None) -> str | None:
    """Unix time as Kubernetes writes it."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def mapping(value: object) -> Json:
    """The value, or an empty mapping where it is none."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Json]:
    """The mappings of a list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """The value, or an empty text where it is none."""
    return value if isinstance(value, str) else ""


def scrubbed(value: object) -> object:
    """The same with every text redacted and cut to `LONGEST_TEXT`; keys are ours and stay."""
    if isinstance(value, str):
        found = redact(value)
        return found if len(found) <= LONGEST_TEXT else f"{found[:LONGEST_TEXT]}… ({len(found)} characters)"
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    return value


def pod_excerpt(pod: Json, layout: Layout | None) -> Json:
    """A pod's status: who it is, where it runs, its conditions, and its containers with their states and images."""
    meta, spec, status = mapping(pod.get("metadata")), mapping(pod.get("spec")), mapping(pod.get("status"))
    labels, wanted = mapping(meta.get("labels")), _label_keys(layout)
    return {
        **_plain(meta, "name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"),
        **_plain(spec, "nodeName"),
        **_plain(status, "phase", "reason", "message", "startTime"),
        "labels": {key: value for key, value in labels.items() if key in wanted and isinstance(value, str)},
        "conditions": [
            _plain(item, "type", "status", "reason", "message", "lastTransitionTime")
            for item in mappings(status.get("conditions"))[:MOST_ITEMS]
        ],
        "containers": [_container(item) for item in mappings(status.get("containerStatuses"))[:MOST_ITEMS]],
        "initContainers": [_container(item) for item in mappings(status.get("initContainerStatuses"))[:MOST_ITEMS]],
    }


def container_names(pod: Json) -> list[str]:
    """The pod's containers, by its spec; by its status where the spec gives none."""
    listed = mappings(mapping(pod.get("spec")).get("containers"))
    listed = listed or mappings(mapping(pod.get("status")).get("containerStatuses"))
    return [name for item in listed if (name := text(item.get("name")))][:MOST_ITEMS]


def events_excerpt(events: Iterable[object], uid: str, most: int) -> list[Json]:
    """The newest events of the pod with this UID, oldest first."""
    found = []
    for event in mappings(list(events)):
        if text(mapping(event.get("involvedObject")).get("uid")) not in ("", uid):
            continue
        source = mapping(event.get("source"))
        kept = _plain(event, "type", "reason", "message", "count", "firstTimestamp", "lastTimestamp", "eventTime")
        component = text(source.get("component")) or text(event.get("reportingComponent"))
        found.append({**kept, **({"from": component} if component else {})})
    found.sort(key=_event_time)
    return found[-most:] if most > 0 else []


def verdict_excerpt(look: Look) -> Json:
    """The verdict with its reasons."""
    found = look.diagnosis
    names = set(found.pods_to_restart)
    return {
        "verdict": str(found.verdict),
        "restart": str(found.restart),
        "rule": found.rule,
        "evidence": list(found.evidence),
        "pods": [{"name": pod.seen.name, "uid": pod.seen.uid} for pod in look.pods if pod.seen.name in names],
    }


def observation_excerpt(look: Look, foundation: str) -> Json:
    """The look in the words of the rules, with what they said of it as `expect`: it can be replayed."""
    words = mapping(json.loads(look.observation.to_json()))
    expect = {
        "verdict": str(look.diagnosis.verdict),
        "restart": str(look.diagnosis.restart),
        "pods_to_restart": list(look.diagnosis.pods_to_restart),
    }
    return {**words, "scenario": f"{foundation}, seen at {iso(look.at)}", "expect": expect}


def look_excerpt(look: Look) -> Json:
    """What was looked at: pods, StatefulSets and every probe's result."""
    recognised = look.layout
    return {
        "at": iso(look.at),
        "verdictSince": iso(look.since),
        "layout": recognised.layout.name if recognised else None,
        "recognisedBy": recognised.by if recognised else None,
        "problems": dict(look.problems),
        "pods": [_pod_look(pod) for pod in look.pods],
        "statefulSets": [
            {"name": item.name, "uid": item.uid, "replicas": item.replicas, "rolling": item.rolling}
            | {"revision": item.revision}
            for item in look.statefulsets or ()
        ],
        "service": [probe_excerpt(result) for result in look.service],
        "database": None if look.database is None else probe_excerpt(look.database),
    }


def remediation_excerpt(run: Run) -> Json:
    """Which run this belongs to."""
    return {
        "name": run.name,
        "uid": run.uid,
        "foundation": run.foundation,
        "playbook": run.playbook,
        "alertname": run.trigger.alertname,
        "fingerprint": run.trigger.fingerprint,
    }


def probe_excerpt(result: ProbeResult) -> Json:
    """One probe's result."""
    target = result.target
    return {
        "target": target.name,
        "address": f"{target.host}:{target.port}",
        "serverName": target.server_name,
        "depth": str(result.depth),
        "started": iso(result.started),
        "ok": result.ok,
        "cause": None if result.cause is None else str(result.cause),
        "failedAt": None if result.failed is None else str(result.failed),
        "detail": result.detail,
        "seconds": {str(stage): round(seconds, 4) for stage, seconds in result.stages.items()},
        "databaseError": result.database_error,
        "certificate": None if result.certificate is None else _certificate(result.certificate),
    }


def _pod_look(pod: PodLook) -> Json:
    found: Json = {
        "name": pod.seen.name,
        "uid": pod.seen.uid,
        "role": pod.role,
        "node": pod.seen.node,
        "state": str(pod.state),
        "seen": pod.state_text,
    }
    if pod.active is not None:
        found["active"] = pod.active
    if pod.probe is not None:
        found["probe"] = probe_excerpt(pod.probe)
    if pod.locket is not None:
        found["locket"] = probe_excerpt(pod.locket)
    return found


def _certificate(certificate: Certificate) -> Json:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "notBefore": iso(certificate.not_before),
        "notAfter": iso(certificate.not_after),
        "names": list(certificate.names),
    }


def _container(status: Json) -> Json:
    found = _plain(status, "name", "image", "imageID", "restartCount", "ready", "started")
    for which in ("state", "lastState"):
        states = mapping(status.get(which))
        chosen = {kind: _plain(mapping(states[kind]), *keys) for kind, keys in _STATE.items() if kind in states}
        if chosen:
            found[which] = chosen
    return found


def _label_keys(layout: Layout | None) -> frozenset[str]:
    """The labels by which the layout knows its pods."""
    if layout is None:
        return frozenset()
    keys = {key for _, role in layout.roles.items() for labels in role.any_of for key in labels}
    return frozenset(keys | ({layout.active_label.key} if layout.active_label else set()))


def _plain(source: Json, *keys: str) -> Json:
    """These keys, where their values are plain: a mapping in the place of a text is not let through."""
    return {key: source[key] for key in keys if isinstance(source.get(key), str | int | float | bool)}


def _event_time(event: Json) -> str:
    return max(text(event.get(key)) for key in ("lastTimestamp", "eventTime", "firstTimestamp"))


def newest_lines(lines: Sequence[str], most: int) -> list[str]:
    """The last lines that together have at most `most` characters, line ends counted."""
    size, kept = 0, 0
    for line in reversed(lines):
        size += len(line) + 1
        if size > most:
            break
        kept += 1
    return list(lines[len(lines) - kept :])
