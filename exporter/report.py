"""What `diagnose` prints: the verdict first, what to do, then why, so that one screen is enough at night."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from foundation.diagnosis import Diagnosis, Restart, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

MEANING: Mapping[Verdict, str] = {
    Verdict.HEALTHY: "Staging is possible: one BBS serves, and Cloud Controller can reach it.",
    Verdict.ELECTING: "No BBS is established yet. A normal fail-over takes 20 to 60 s.",
    Verdict.LOCKET_HUNG: "Locket is stuck, so no BBS can become active and every cf push fails with 503.",
    Verdict.LOCKED_OUT: "Every BBS runs, none becomes active, and every cf push fails with 503.",
    Verdict.STALE_LABEL: "A pod is marked active and does not serve; every cf push fails with 503.",
    Verdict.HUNG: "The active BBS hangs and nobody took over; every cf push fails with 503.",
    Verdict.ZOMBIE: "One BBS serves, but another one that hangs still gets part of the requests.",
    Verdict.SPLIT: "Two BBS believe that they are active.",
    Verdict.UNLABELLED_ACTIVE: "BBS serves, but without the active label the Service does not lead to it.",
    Verdict.NETWORK_PATH: "BBS serves, but the way to it is broken.",
    Verdict.API_DOWN: "Cloud Controller's own pods are not ready.",
    Verdict.CERTIFICATE: "A certificate is the fault.",
    Verdict.DATABASE_DOWN: "The database is down; BBS comes back by itself after it.",
    Verdict.DATABASE_ERROR: "BBS reaches its database and gets errors from it.",
    Verdict.CRASHING: "A BBS or Locket process ends again and again.",
    Verdict.PODS_STUCK: "A pod neither starts nor ends.",
    Verdict.MIGRATING: "BBS was elected and migrates its database.",
    Verdict.LOCKET_DOWN: "No Locket runs, so no BBS can become active.",
    Verdict.UNKNOWN: "What was seen does not allow a conclusion.",
}
"""One sentence for each verdict, on what it means to the users."""

ADVICE: Mapping[Restart, str] = {
    Restart.YES: "a restart helps",
    Restart.ASK: "a restart may help: a person decides",
    Restart.WAIT: "wait and look again",
    Restart.NO: "do not restart",
}


def as_json(diagnosis: Diagnosis, **more: object) -> str:
    """The diagnosis for programs."""
    document = {
        **more,
        "verdict": diagnosis.verdict,
        "restart": diagnosis.restart,
        "rule": diagnosis.rule,
        "pods_to_restart": list(diagnosis.pods_to_restart),
        "evidence": list(diagnosis.evidence),
    }
    return json.dumps(document, indent=1)


def as_text(diagnosis: Diagnosis, *, title: str, namespace: str | None, layout: str = "") -> str:
    """The diagnosis for a person."""
    verdict, restart = diagnosis.verdict, diagnosis.restart
    lines = [f"{title}: {verdict}, {ADVICE[restart]}", f"  {MEANING[verdict]}"]
    if layout:
        lines.append(f"  layout {layout}")
    lines += ["", "Why", f"  {diagnosis.evidence[0]}", "", "Seen"]
    lines += [f"  - {sentence}" for sentence in diagnosis.evidence[1:]]
    if diagnosis.pods_to_restart:
        names = " ".join(map(str, diagnosis.pods_to_restart))
        lines += ["", "By hand" if restart is Restart.YES else "By hand, once somebody has decided"]
        if namespace is None:
            lines.append(f"  delete the pods {names}")
        else:
            lines.append(f"  kubectl delete pod --namespace {namespace} {names}")
    return "\n".join(lines)
