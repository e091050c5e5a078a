"""What is told of each decision and deed: an audit line, a Kubernetes Event, a metric. Telling never stops a deed."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from foundation.kube.errors import KubeError
from foundation.kube.paths import events_path
from remediator.story import iso
from remediator.words import GROUP, KIND, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from prometheus_client import CollectorRegistry

    from foundation.kube.client import Json, KubeClient

audit_log = logging.getLogger("remediator.audit")
logger = logging.getLogger(__name__)


class Metrics:
    """The counters of one process. State that lives in the ledger is collected from it (`remediator.snapshot`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.notifications = Counter(
            "stager_remediator_notifications", "Notifications by the HTTP status answered.", ["status"],
            registry=registry,
        )  # fmt: skip
        self.alerts = Counter(
            "stager_remediator_alerts", "Alerts by what became of them.", ["outcome", "reason"], registry=registry
        )
        self.truncated = Counter(
            "stager_remediator_truncated_alerts", "Alerts that Alertmanager left out of a notification.",
            registry=registry,
        )  # fmt: skip
        self.remediations = Counter(
            "stager_remediations", "Ended Remediations.", ["foundation", "playbook", "outcome"], registry=registry
        )
        self.duration = Histogram(
            "stager_remediation_duration_seconds", "From accepted to verified.", ["foundation", "playbook"],
            buckets=(10, 30, 60, 120, 300, 600, 900, 1800), registry=registry,
        )  # fmt: skip
        self.steps = Histogram(
            "stager_remediation_step_duration_seconds", "Time in each step.", ["step"],
            buckets=(0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 900), registry=registry,
        )  # fmt: skip
        self.deleted = Counter(
            "stager_remediator_pods_deleted", "Pods deleted.", ["foundation", "role"], registry=registry
        )
        self.auth_failures = Counter(
            "stager_remediator_auth_failures", "Requests with no or wrong credentials, or without the scope.",
            registry=registry,
        )  # fmt: skip
        self.state_errors = Counter(
            "stager_remediator_state_errors", "Times that the state in the cluster could not be read or written.",
            registry=registry,
        )  # fmt: skip


class Trail:
    """One foundation's trail."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        foundation: str,
        metrics: Metrics,
        *,
        wall: Callable[[], float],
        pool: Executor,
    ) -> None:
        """`pool` carries Events away, so that a slow API server holds up no deed."""
        self._client = client
        self._namespace = namespace
        self._foundation = foundation
        self.metrics = metrics
        self._wall = wall
        self._pool = pool

    def audit(self, decision: str, message: str, **details: object) -> None:
        """One JSON line."""
        extra = {"foundation": self._foundation, "decision": decision, **details}
        audit_log.info(message, extra={key: value for key, value in extra.items() if value not in (None, "")})

    def event(self, about: Json, reason: str, message: str, *, warning: bool = False) -> None:
        """A Kubernetes Event on an object reference; an API server that does not take it is only logged."""
        now = iso(datetime.fromtimestamp(self._wall(), UTC))
        body: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about['name']}.{secrets.token_hex(8)}", "namespace": self._namespace},
            "involvedObject": {**about, "namespace": self._namespace},
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "stager-remediator"},
            "reportingComponent": GROUP + "/remediator",
            "reportingInstance": "stager-remediator",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._pool.submit(self._send, body)
        except RuntimeError:  # the process ends: what is under way is finished all the same
            logger.warning("an Event was not sent any more: %s", message, extra={"foundation": self._foundation})

    def _send(self, body: Json) -> None:
        try:
            self._client.create(events_path(self._namespace), body)
        except KubeError as error:
            logger.warning("an Event was not taken: %s", error, extra={"foundation": self._foundation})


def remediation_reference(name: str, uid: str | None) -> Json:
    """For Events about a Remediation."""
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": name, **({"uid": uid} if uid else {})}


def statefulset_reference(name: str, uid: str) -> Json:
    """For Events about a StatefulSet."""
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": uid}
