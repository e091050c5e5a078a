"""What every route needs, and the few questions that several of them ask. No state of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from foundation.kube.errors import KubeError, NotFound, one_line
from foundation.kube.paths import configmap_path
from remediator.ledger import LedgerUnreadable, Superseded
from remediator.site import LayoutUnknown
from remediator.store import Busy
from remediator.web.view import State, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foundation.kube.client import Json
    from remediator.credentials import Credentials
    from remediator.executor import Executor
    from remediator.intake import Intake
    from remediator.site import Site
    from remediator.store import Remediation
    from remediator.trail import Metrics

STATE_ERRORS = (KubeError, LedgerUnreadable, Busy, LayoutUnknown, Superseded)
"""The state could not be read or written: 503, and nothing was concluded from it."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Problem(Exception):  # noqa: N818
    """An answer that is not the one hoped for. The message is one line for whoever asked."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(one_line(message))
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Parts:
    """Handed to each group of routes."""

    sites: Mapping[str, Site]
    intake: Intake
    credentials: Credentials
    executors: Mapping[str, Executor]
    metrics: Metrics
    ready: Callable[[], str]
    wall: Callable[[], float]
    read_evidence: Callable[[Json], Json]
    """Raises ValueError."""

    def site(self, foundation: str) -> Site:
        """A configured foundation. Raises Problem 404."""
        site = self.sites.get(foundation)
        if site is None:
            raise Problem(404, f"no foundation {foundation[:100]!r} is configured here")
        return site

    def find(self, name: str) -> tuple[Site, Remediation]:
        """A Remediation and the site that it belongs to. Raises Problem 404, and whatever keeps it from being read.

        A name made here begins with its foundation's; one made by hand is looked for everywhere.
        """
        if len(name) > 253 or not _NAME.fullmatch(name):
            raise Problem(404, f"there is no Remediation {name[:100]!r}")
        first = name.partition(".")[0]
        unread: KubeError | None = None
        for site in sorted(self.sites.values(), key=lambda site: site.name != first):
            try:
                found = site.remediations.get(name)
            except NotFound:
                continue
            except KubeError as error:
                unread = unread or error
                continue
            if found.foundation == site.name:
                return site, found
        if unread is not None:
            raise unread
        raise Problem(404, f"there is no Remediation {name[:100]!r}")

    def breaker_of(self, name: str) -> Site:
        """The site whose breaker `name` may close: a foundation, or a Remediation, which may be gone by now."""
        site = self.sites.get(name) or self.sites.get(name.partition(".")[0])
        if site is not None:
            return site
        for foundation, executor in self.executors.items():
            breaker = executor.latest.ledger.breaker if executor.latest else None
            if breaker is not None and breaker.remediation == name:
                return self.sites[foundation]
        return self.find(name)[0]

    def remediations(self, sites: Sequence[Site]) -> list[Remediation]:
        """All of these sites, the newest first. Raises KubeError where one cannot be read: a part is not a list."""
        found = [item for site in sites for item in site.remediations.list() if item.foundation == site.name]
        return newest_first(found)

    def state(self, site: Site) -> State:
        """What is in force: read now where the API server answered a moment ago, else the newest that is known."""
        executor = self.executors[site.name]
        reading, problem = executor.latest, executor.problem
        if not problem:
            try:
                reading = site.ledger.read()
            except STATE_ERRORS as error:
                problem = str(error)
                if not isinstance(error, LayoutUnknown):
                    self.metrics.state_errors.inc()
        return state_of(site, reading, problem)

    def evidence(self, site: Site, found: Remediation) -> Json | None:
        """The saved evidence, decoded; None where there is none (any more). Raises KubeError, Problem 503."""
        name = found.status.get("evidence")
        if not isinstance(name, str) or len(name) > 253 or not _NAME.fullmatch(name):
            return None
        try:
            saved = site.client.get(configmap_path(site.config.namespace, name))
        except NotFound:
            return None
        # The status is a copy that people can edit: it must not make us show any ConfigMap that it names.
        if not _owned_by(saved, found.uid):
            return None
        try:
            return self.read_evidence(saved)
        except ValueError as error:
            raise Problem(503, f"the evidence in ConfigMap {name} cannot be decoded: {error}", retry_after=60) from None


def newest_first(found: Sequence[Remediation]) -> list[Remediation]:
    """By the API server's clock, then by number."""
    return sorted(found, key=lambda item: (str(item.metadata.get("creationTimestamp", "")), item.number), reverse=True)


def _owned_by(saved: Json, uid: str) -> bool:
    metadata = saved.get("metadata")
    owners = cast("Json", metadata).get("ownerReferences") if isinstance(metadata, dict) else None
    return bool(uid) and isinstance(owners, list) and any(isinstance(o, dict) and o.get("uid") == uid for o in owners)
