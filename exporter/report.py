"""What `diagnose` prints: the verdict first, what to do, then why, so that one screen is enough at night.

Texts may hold words of a server or of a file that somebody sent: signs that would steer a terminal are not printed.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from foundation.diagnosis import Diagnosis, Restart, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foundation.config import FoundationConfig

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


def delete_command(config: FoundationConfig, pods: Sequence[object]) -> str:
    """The command that deletes these pods, with the same way to the cluster as the look itself took."""
    words = ["kubectl"]
    if config.kubeconfig is not None:
        words += ["--kubeconfig", str(config.kubeconfig)]
    if config.context is not None:
        words += ["--context", config.context]
    words += ["delete", "pod", "--namespace", config.namespace, *map(str, pods)]
    return shlex.join(words)


def as_text(diagnosis: Diagnosis, *, title: str, config: FoundationConfig | None = None, layout: str = "") -> str:
    """The diagnosis for a person; without `config` (a record) there is no command to copy."""
    verdict, restart = diagnosis.verdict, diagnosis.restart
    lines = [f"{title}: {verdict}, {ADVICE[restart]}", f"  {MEANING[verdict]}"]
    if layout:
        lines.append(f"  layout {layout}")
    lines += ["", "Why", f"  {diagnosis.evidence[0]}", "", "Seen"]
    lines += [f"  - {sentence}" for sentence in diagnosis.evidence[1:]]
    if diagnosis.pods_to_restart:
        names = " ".join(map(str, diagnosis.pods_to_restart))
        lines += ["", "By hand" if restart is Restart.YES else "By hand, once somebody has decided"]
        if config is None:
            lines.append(f"  delete the pods {names}")
        else:
            lines.append(f"  {delete_command(config, diagnosis.pods_to_restart)}")
    return "\n".join(map(printable, lines))


def printable(text: str) -> str:
    """The text without control signs, which a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
