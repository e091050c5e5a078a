"""What people do: approve, reject, acknowledge, pause, resume. `by` is always the authenticated name.

Each raises KubeError, LedgerUnreadable, Busy or LayoutUnknown where the state cannot be read or written, and `Refusal`
for what cannot be done, with the HTTP status that says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from foundation.kube.errors import Conflict, KubeError, NotFound
from remediator import ledger as ledgers
from remediator.ledger import Pause
from remediator.story import iso
from remediator.trail import remediation_reference
from remediator.words import Phase

if TYPE_CHECKING:
    from remediator.admission import Instant
    from remediator.ledger import Ledger
    from remediator.site import Site
    from remediator.store import Remediation

LONGEST_REASON = 1000


class Refusal(Exception):  # noqa: N818
    """It cannot be done; `status` is HTTP's: 404, 409 or 422."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def approve(site: Site, name: str, by: str, version: str) -> Remediation:
    """Approve what awaits it, as the person saw it: `version` is the resourceVersion that was shown.

    Refused once expired by the API server's clock, and once anything has changed since.
    """
    return _answer(site, name, by, version, "approved")


def reject(site: Site, name: str, by: str, version: str) -> Remediation:
    """The opposite, under the same conditions."""
    return _answer(site, name, by, version, "rejected")


def _answer(site: Site, name: str, by: str, version: str, state: str) -> Remediation:
    try:
        found = site.remediations.get(name)
    except NotFound:
        raise Refusal(404, f"there is no Remediation {name}") from None
    pending = site.ledger.read().ledger.pending
    told = site.client.answer_date()
    if found.foundation != site.name:
        raise Refusal(404, f"there is no Remediation {name} of {site.name}")
    if found.phase != Phase.AWAITING_APPROVAL or found.approval.get("state"):
        raise Refusal(409, f"{name} awaits no approval: it is {found.phase or 'not looked at yet'}")
    if pending is None or pending.name != name:
        raise Refusal(409, f"{name} is no longer waiting: look again")
    if found.version != version:
        raise Refusal(409, f"{name} has changed since it was shown: look again")
    if told is None:
        raise Refusal(409, "the API server's clock is not known, so neither is whether the approval comes in time")
    now = datetime.fromtimestamp(told, UTC)
    if str(found.status.get("expires", "")) <= iso(now):
        raise Refusal(409, f"{name} has expired: nobody approved in time")
    try:
        written = site.remediations.write_spec(
            name, {"approval": {"state": state, "by": by, "at": iso(now)}}, found.version
        )
    except Conflict:
        raise Refusal(409, f"{name} has changed since it was shown: look again") from None
    site.trail.audit(state, f"{state} by {by}", remediation=name, by=by)
    site.trail.event(remediation_reference(name, found.uid), state.capitalize(), f"by {by}")
    site.wake.set()
    return written


def acknowledge(site: Site, name: str, by: str, reason: str) -> None:
    """Close the breaker. `name` is the Remediation that opened it, or the foundation where it was no Remediation."""
    text = _reason(reason)

    tried: list[Ledger] = []  # an answer that was lost is no reason to say no

    def change(ledger: Ledger, _: Instant) -> Ledger:
        if ledger.breaker is None and tried:
            return ledger
        if ledger.breaker is None:
            raise Refusal(409, f"nothing waits to be acknowledged for {site.name}")
        if ledger.breaker.remediation not in ("", name) and name != site.name:
            raise Refusal(409, f"it is {ledger.breaker.remediation} that waits to be acknowledged")
        tried.append(ledger)
        return ledgers.acknowledge(ledger)

    reading = site.ledger.swap(change)
    at = iso(reading.instant.server)
    site.trail.audit("acknowledged", f"by {by}: {text}", remediation=name, by=by)
    site.wake.set()
    if name == site.name:
        return
    try:
        found = site.remediations.get(name)
        site.remediations.write_spec(name, {"acknowledged": {"by": by, "at": at, "reason": text}}, found.version)
        site.trail.event(remediation_reference(name, found.uid), "Acknowledged", f"by {by}: {text}")
    except KubeError as error:  # it may be deleted; what counts is the ledger
        site.trail.audit("acknowledged", f"not written to the Remediation: {error}", remediation=name)


def pause(site: Site, by: str, reason: str, seconds: float | None = None) -> Pause:
    """Stop: nothing begins, and a run under way deletes nothing more."""
    text = _reason(reason)
    if seconds is not None and not 0 < seconds <= 366 * 86400:
        raise Refusal(422, "the duration of a pause is more than nothing and at most a year")
    made: list[Pause] = []

    def change(ledger: Ledger, instant: Instant) -> Ledger:
        until = None if seconds is None else instant.server + timedelta(seconds=seconds)
        made[:] = [Pause(by=by, why=text, since=instant.server, until=until)]
        return ledger.changed(pause=made[0])

    site.ledger.swap(change)
    site.trail.audit("paused", f"by {by}: {text}", by=by)
    site.wake.set()
    return made[0]


def resume(site: Site, by: str) -> None:
    """End the pause."""
    tried: list[Ledger] = []

    def change(ledger: Ledger, instant: Instant) -> Ledger:
        if ledger.pause is None and tried:
            return ledger
        if ledger.paused(instant.server) is None:
            raise Refusal(409, f"{site.name} is not paused")
        tried.append(ledger)
        return ledger.changed(pause=None)

    site.ledger.swap(change)
    site.trail.audit("resumed", f"by {by}", by=by)
    site.wake.set()


def _reason(reason: str) -> str:
    text = " ".join(reason.split())
    if not text:
        raise Refusal(422, "a reason is needed: whoever looks next will want to know")
    if len(text) > LONGEST_REASON:
        raise Refusal(422, f"the reason is longer than {LONGEST_REASON} characters")
    return text
