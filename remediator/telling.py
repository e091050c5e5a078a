"""How the story reaches people: the Remediation's status, and the end of a request. The ledger is written before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from foundation.kube.errors import Conflict, KubeError, NotFound
from remediator.story import final_status
from remediator.trail import remediation_reference
from remediator.words import Phase

if TYPE_CHECKING:
    from remediator.ledger import Ledger
    from remediator.site import Site

logger = logging.getLogger(__name__)


def copy_status(site: Site, name: str, status: dict[str, object], version: str | None = None) -> bool:
    """Write the story for people; it is repaired later where that fails now.

    `version`: only over that resourceVersion, as a repair must not overwrite what was written since.
    """
    try:
        site.remediations.write_status(name, status, version)
    except KubeError as error:
        if not isinstance(error, (NotFound, Conflict)):
            logger.warning("the status of %s could not be written: %s", name, error, extra={"foundation": site.name})
        return False
    return True


def tell_end(site: Site, ledger: Ledger) -> None:
    """The newest ended request, told to everybody."""
    closed = ledger.last
    if closed is None:
        return
    request, metrics = closed.request, site.trail.metrics
    copy_status(site, request.name, final_status(closed))
    metrics.remediations.labels(site.name, request.playbook, str(closed.phase)).inc()
    if closed.phase is Phase.SUCCEEDED:
        seconds = (closed.finished - request.at).total_seconds()
        metrics.duration.labels(site.name, request.playbook).observe(seconds)
    site.trail.audit("closed", f"{closed.phase}: {closed.message}", remediation=request.name, phase=str(closed.phase))
    warning = closed.phase in (Phase.FAILED, Phase.EXPIRED)
    site.trail.event(
        remediation_reference(request.name, request.uid), str(closed.phase), closed.message, warning=warning
    )
