"""Whether the CustomResourceDefinition that the API server serves keeps all that the remediator writes.

An API server drops in silence what a definition does not know, so an old one would lose parts of the story. What is
served is read from its OpenAPI description, which every account may read, since the definition itself stands outside of
all namespaces, where a Role gives no right. Kubernetes before 1.24 has no such description: there only `preflight`
looks, and only with an account that may read definitions. It tells nothing about values that a definition refuses, nor
about its CEL rules.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from foundation.kube.errors import Forbidden, KubeError, NotFound
from foundation.kube.paths import group_path
from remediator.words import GROUP, KIND, PLURAL, VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import Event

    from foundation.kube.client import KubeClient

logger = logging.getLogger(__name__)

FIELDS = (
    "spec.foundation", "spec.playbook", "spec.mode", "spec.trigger.alertname", "spec.trigger.fingerprint",
    "spec.trigger.startsAt", "spec.trigger.labels", "spec.approval.state", "spec.approval.by", "spec.approval.at",
    "spec.acknowledged.by", "spec.acknowledged.at", "spec.acknowledged.reason",
    "status.phase", "status.step", "status.steps.name", "status.steps.started", "status.steps.finished",
    "status.steps.result", "status.steps.detail", "status.pods.name", "status.pods.uid", "status.pods.deletedAt",
    "status.verdictBefore", "status.verdictAfter", "status.holder", "status.evidence", "status.message",
    "status.started", "status.finished", "status.expires", "status.strategy", "status.approvedBy",
)  # fmt: skip
"""What the remediator writes into a Remediation."""
APPLY = "apply the CustomResourceDefinition of this release"
AGAIN = 15.0
"""Seconds between two looks at a definition that is not good."""
_DESCRIPTION = f"/openapi/v3/apis/{GROUP}/{VERSION}"
_DEFINITION = group_path("apiextensions.k8s.io", "v1", None, "customresourcedefinitions", f"{PLURAL}.{GROUP}")


def lost_fields(client: KubeClient) -> Sequence[str]:
    """Those of FIELDS that what is served would drop; where nothing describes it, by the definition itself.

    Raises Forbidden where nobody tells, and KubeError where it could not be asked.
    """
    described = described_loss(client)
    return missing_fields(client.get(_DEFINITION)) if described is None else described


def described_loss(client: KubeClient) -> Sequence[str] | None:
    """The same by the description alone, for which no right is needed; None where there is none. Raises KubeError."""
    try:
        schema = _described(client.get(_DESCRIPTION))
    except (NotFound, Forbidden):
        return None
    return None if schema is None else _missing(schema)


def missing_fields(definition: Mapping[str, object]) -> Sequence[str]:
    """Those of FIELDS that a CustomResourceDefinition's schema of our version would drop."""
    versions = _map(definition.get("spec")).get("versions")
    for version in versions if isinstance(versions, list) else []:
        if isinstance(version, dict) and version.get("name") == VERSION:
            return _missing(_map(_map(version.get("schema")).get("openAPIV3Schema")))
    return FIELDS


def as_text(lost: Sequence[str]) -> str:
    """What is wrong, for people; at most six fields are named."""
    shown = ", ".join(lost[:6]) + (f" and {len(lost) - 6} more" if len(lost) > 6 else "")
    return f"{PLURAL}.{GROUP} has no fields {shown}: they would be lost"


class Watch:
    """Looks at what is served until it is good; a pod that is not ready until then holds up a rollout, and no more.

    Work that has begun goes on all the same: the ledger does not rest on the definition.
    """

    def __init__(self, clients: Mapping[str, KubeClient]) -> None:
        """`clients`: those of each foundation."""
        self._left = dict(clients)
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str:
        """Why a pod should not count as ready, one line; empty where nothing is known to be wrong."""
        return "; ".join(f"{name}: {text}" for name, text in self._problems.items())

    def run(self, stopping: Event) -> None:
        """Look, until all is good or `stopping` is set. To be run in a thread."""
        while self.look() and not stopping.wait(AGAIN):
            pass

    def look(self) -> bool:
        """Look once at those that were not good yet; whether any is left."""
        problems: dict[str, str] = {}
        for name, client in list(self._left.items()):
            try:
                lost = described_loss(client)
            except KubeError:
                # The executor tells of an API server that does not answer. What was seen before stands.
                if name in self._problems:
                    problems[name] = self._problems[name]
                continue
            if lost:
                problems[name] = f"{as_text(lost)}; {APPLY}"
                if problems[name] != self._problems.get(name):
                    logger.warning("%s", problems[name], extra={"foundation": name})
            else:
                del self._left[name]
        self._problems = problems
        return bool(self._left)


def _described(document: Mapping[str, object]) -> Mapping[str, object] | None:
    """The schema of a Remediation in an OpenAPI description; None where there is none, or none with fields."""
    for schema in _map(_map(document.get("components")).get("schemas")).values():
        found = _map(schema)
        kinds = found.get("x-kubernetes-group-version-kind")
        for kind in kinds if isinstance(kinds, list) else []:
            if _map(kind) == {"group": GROUP, "version": VERSION, "kind": KIND} and "properties" in found:
                return found
    return None


def _missing(schema: Mapping[str, object]) -> Sequence[str]:
    return [field for field in FIELDS if not _keeps(schema, field.split("."))]


def _keeps(schema: Mapping[str, object], path: Sequence[str]) -> bool:
    if schema.get("x-kubernetes-preserve-unknown-fields") is True or not path:
        return True
    if schema.get("type") == "array":
        return _keeps(_map(schema.get("items")), path)
    below = _map(schema.get("properties")).get(path[0])
    if isinstance(below, dict):
        return _keeps(below, path[1:])
    others = schema.get("additionalProperties")
    return others is True or (isinstance(others, dict) and _keeps(others, path[1:]))


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
