"""What the Remediation's spec and status say: a copy of the ledger's truth in the words of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remediator.ledger import Closed, Pending, Run
from remediator.words import Phase

if TYPE_CHECKING:
    from datetime import datetime

    from foundation.kube.client import Json
    from remediator.ledger import Request, StepRecord


def iso(when: datetime) -> str:
    """As Kubernetes writes times."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def spec_of(request: Request) -> Json:
    """The request. Immutable but for `approval` and `acknowledged`, which are people's."""
    trigger = request.trigger
    return {
        "foundation": request.foundation,
        "playbook": request.playbook,
        "mode": str(request.mode),
        "trigger": {
            "alertname": trigger.alertname,
            "fingerprint": trigger.fingerprint,
            "startsAt": trigger.starts_at,
            "labels": dict(trigger.labels),
        },
    }


def status_of(request: Request, holder: str = "") -> Json:
    """The status of what is queued or under way."""
    if isinstance(request, Run):
        return _run(request) | {"phase": str(Phase.RUNNING), "holder": holder, "message": _doing(request)}
    if isinstance(request, Pending):
        status: Json = {
            "phase": str(request.phase),
            "step": "",
            "steps": [_step(record) for record in request.resumed],
            "pods": [{"name": name} for name in request.pods],
            "verdictBefore": request.verdict,
            "holder": "",
            "message": request.why,
        }
        if request.expires is not None:
            status["expires"] = iso(request.expires)
        return status
    raise TypeError(type(request).__name__)


def final_status(closed: Closed) -> Json:
    """The status of what has ended."""
    request = closed.request
    status = _run(request) if isinstance(request, Run) else status_of(request)
    return status | {
        "phase": str(closed.phase),
        "step": "",
        "holder": "",
        "message": closed.message,
        "verdictAfter": closed.verdict_after,
        "finished": iso(closed.finished),
    }


def _run(run: Run) -> Json:
    deleted = {item.uid: iso(item.at) for item in run.deleted}
    status: Json = {
        "step": str(run.step),
        "started": iso(run.started),
        "steps": [_step(record) for record in run.steps],
        "pods": [
            {"name": pod.name, "uid": pod.uid} | ({"deletedAt": deleted[pod.uid]} if pod.uid in deleted else {})
            for pod in run.pods
        ],
        "verdictBefore": run.verdict_before,
        "verdictAfter": "",
        "strategy": str(run.strategy),
        "evidence": run.evidence,
    }
    if run.approved_by:
        status["approvedBy"] = run.approved_by
    return status


def _step(record: StepRecord) -> Json:
    step: Json = {"name": str(record.name), "started": iso(record.started)}
    if record.finished is not None:
        step |= {"finished": iso(record.finished), "result": record.result, "detail": record.detail}
    return step


_DOING = {
    "confirm": "looking twice before anything is touched",
    "evidence": "saving evidence",
    "record": "recording which pods may be deleted",
    "delete": "deleting",
    "replace": "waiting for the replacements",
    "active": "waiting for exactly one active BBS",
    "verify": "seeing that it stays well",
    "fence": "closing",
}


def _doing(run: Run) -> str:
    return f"no further deletion: {run.no_more}" if run.no_more else _DOING[run.step]
