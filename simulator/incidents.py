"""What can go wrong: one incident per verdict and some more, each with its start, its cure and one sentence.

An incident that a restart cures lives in the pods, and is gone with the last of them; every other one lasts until it is
healed. Two incidents may be on at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.api.resources import STATEFULSETS
from simulator.servers.database import DatabaseMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.api.objects import Json
    from simulator.layouts import RoleSpec
    from simulator.pod import Pod
    from simulator.world import Foundation

    Deed = Callable[[Foundation], None]


class NotApplicableError(ValueError):
    """The incident does not exist, or cannot happen in this layout."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that can go wrong."""

    name: str
    verdict: str
    """The verdict that it leads to once things have settled."""
    about: str
    start: Deed
    heal: Deed
    cured_by_restart: bool = False
    heals_itself: bool = False


def _set(**values: object) -> Deed:
    """Give a deed that sets troubles."""

    def deed(foundation: Foundation) -> None:
        for name, value in values.items():
            setattr(foundation.troubles, name, value)

    return deed


def _cure(foundation: Foundation) -> None:
    for pod in foundation.pods.values():
        pod.cure()


def _relabel(foundation: Foundation) -> None:
    """Have every label written at the next step."""
    for pod in foundation.of("bbs"):
        pod.label_due = 0.0


def _lockets_hang(foundation: Foundation) -> None:
    for pod in foundation.of("bbs" if foundation.layout.locket_in_bbs else "locket"):
        pod.locket_wedged = True


def _stick(foundation: Foundation) -> None:
    for pod in foundation.of("bbs"):
        pod.bbs_stuck = True
    foundation.holder = ""


def _locked_out(foundation: Foundation) -> None:
    _stick(foundation)
    _relabel(foundation)


def _stale_label(foundation: Foundation) -> None:
    if not foundation.layout.active_key:
        raise NotApplicableError(f"stale_label: layout {foundation.layout.name} has no active label")
    active = foundation.active or next(iter(foundation.of("bbs")), None)
    if active is not None:
        active.label, active.label_stuck = foundation.layout.active_value, True
    _stick(foundation)


def _wedge(foundation: Foundation) -> None:
    active = foundation.active
    if active is None:
        raise NotApplicableError("no BBS is active, so none can be wedged")
    active.bbs_wedged = True


def _hung(foundation: Foundation) -> None:
    _wedge(foundation)
    for pod in foundation.of("bbs"):
        pod.bbs_stuck = not pod.bbs_wedged


def _unlabelled(foundation: Foundation) -> None:
    if not foundation.layout.active_key:
        raise NotApplicableError(f"unlabelled_active: layout {foundation.layout.name} has no active label")
    foundation.troubles.label_frozen = True
    for pod in foundation.of("bbs"):
        pod.label = foundation.layout.passive_value or None


def _no_node(foundation: Foundation) -> None:
    foundation.troubles.unschedulable = True
    for pod in foundation.of("bbs"):
        foundation.evict(pod)


def _nodes_back(foundation: Foundation) -> None:
    foundation.troubles.unschedulable = False
    now = foundation.clock.monotonic()
    for pod in foundation.of("bbs"):
        if pod.running_at == float("inf"):
            foundation.start_pod(pod, now)


def _hang_terminating(foundation: Foundation) -> None:
    foundation.troubles.hang_terminating = True
    for pod in foundation.of("bbs"):
        foundation.delete(pod)


def _elect(foundation: Foundation) -> None:
    foundation.holder = ""
    foundation.troubles.nobody_until = foundation.clock.monotonic() + 2 * foundation.timing.lock_ttl


def _roll(foundation: Foundation) -> None:
    def change(thing: Json) -> Json:
        about = thing["spec"]["template"]["metadata"].setdefault("annotations", {})
        about["kubectl.kubernetes.io/restartedAt"] = str(foundation.clock.time())
        return thing

    foundation.store.update(STATEFULSETS, foundation.namespace, foundation.layout.bbs.name, change)


def _scale(foundation: Foundation, spec: RoleSpec | None, replicas: int | None) -> None:
    if spec is None:
        raise NotApplicableError(f"layout {foundation.layout.name} has no Locket pods of its own")
    wanted = spec.replicas if replicas is None else replicas

    def change(thing: Json) -> Json:
        thing["spec"]["replicas"] = wanted
        return thing

    foundation.store.update(STATEFULSETS, foundation.namespace, spec.name, change)


def _nothing(_: Foundation) -> None:
    """It heals by itself."""


def afflict(foundation: Foundation, pod: Pod, troubles: Json) -> None:
    """Break or mend one pod: what an incident does to all of them.

    `bbs`: "stuck" (in its first Lock call for ever), "wedged" (accepts, answers nothing, ignores TERM), "exit" (ends,
    and is started again), "well". `locket`: "wedged", "well". `label`: "frozen" (not refreshed any more), "true",
    "false" (frozen at that), "well". Raises NotApplicableError, and then has changed nothing.
    """
    known = {
        "bbs": ("stuck", "wedged", "exit", "well"),
        "locket": ("wedged", "well"),
        "label": ("frozen", "true", "false", "well"),
    }
    layout = foundation.layout
    for part, state in troubles.items():
        if state not in known.get(part, ()):
            raise NotApplicableError(f"{part}: {state!r} is none of {', '.join(known.get(part, ())) or 'the parts'}")
        there = {"bbs": pod.role == "bbs", "label": pod.role == "bbs" and bool(layout.active_key)}
        there["locket"] = pod.role == ("bbs" if layout.locket_in_bbs else "locket")
        if not there[part]:
            raise NotApplicableError(f"{pod.name} of layout {layout.name} has no {part}")
    if bbs := troubles.get("bbs"):
        pod.bbs_stuck, pod.bbs_wedged = bbs == "stuck", bbs == "wedged"
        if bbs in ("stuck", "exit") and pod.uid == foundation.holder:
            foundation.holder = ""
        if bbs == "exit":
            foundation.restart_bbs(pod)
    if locket := troubles.get("locket"):
        pod.locket_wedged = locket == "wedged"
    if label := troubles.get("label"):
        pod.label_stuck = label != "well"
        if label in ("true", "false"):
            pod.label = layout.active_value if label == "true" else layout.passive_value or None


INCIDENTS: tuple[Incident, ...] = (
    Incident(
        "locket_hung", "locket_hung", "every Locket accepts and answers nothing; no BBS keeps the lock",
        _lockets_hang, _cure, cured_by_restart=True,
    ),
    Incident(
        "locked_out", "locked_out", "every BBS sits in its first Lock call for ever",
        _locked_out, _cure, cured_by_restart=True,
    ),
    Incident(
        "stale_label", "stale_label", "as locked_out, and the last active pod keeps its label",
        _stale_label, _cure, cured_by_restart=True,
    ),
    Incident(
        "hung", "hung", "the active BBS accepts and answers nothing; no other takes over",
        _hung, _cure, cured_by_restart=True,
    ),
    Incident(
        "zombie", "zombie", "the active BBS is wedged, another takes over, both are labelled",
        _wedge, _cure, cured_by_restart=True,
    ),
    Incident("split", "split", "two BBS serve at once", _set(split=True), _set(split=False)),
    Incident(
        "unlabelled_active", "unlabelled_active", "a BBS serves, and what writes its label is dead",
        _unlabelled, _set(label_frozen=False),
    ),
    Incident(
        "network_path", "network_path", "a BBS serves; the Service's address refuses",
        _set(service_cut=True), _set(service_cut=False),
    ),
    Incident("api_down", "api_down", "no Cloud Controller is ready", _set(api_down=True), _set(api_down=False)),
    Incident(
        "certificate", "certificate", "BBS's certificate has expired; the next BBS to start would not",
        _set(certificate_expired=True), _set(certificate_expired=False),
    ),
    Incident(
        "client_rejected", "certificate", "BBS turns away our client certificate",
        _set(rejects_client=True), _set(rejects_client=False),
    ),
    Incident(
        "database_down", "database_down", "the SQL database refuses connections",
        _set(database=DatabaseMode.CLOSED), _set(database=DatabaseMode.ANSWERS),
    ),
    Incident(
        "database_silent", "database_down", "the SQL database accepts and answers nothing",
        _set(database=DatabaseMode.SILENT), _set(database=DatabaseMode.ANSWERS),
    ),
    Incident(
        "database_cut", "database_down", "the SQL database answers us, not the pods",
        _set(database_cut=True), _set(database_cut=False),
    ),
    Incident(
        "database_error", "database_error", "BBS answers every read with an error of its database",
        _set(database_error=True), _set(database_error=False),
    ),
    Incident("crashing", "crashing", "BBS dies at every start", _set(crash=True), _set(crash=False)),
    Incident("pods_stuck", "pods_stuck", "no node takes the BBS pods", _no_node, _nodes_back),
    Incident(
        "terminating", "pods_stuck", "the BBS pods were deleted and hang in Terminating",
        _hang_terminating, _set(hang_terminating=False),
    ),
    Incident(
        "electing", "electing", "the lock was lost; nobody gets it for two of its lifetimes",
        _elect, _set(nobody_until=0.0), heals_itself=True,
    ),
    Incident("rollout", "electing", "the BBS StatefulSet is rolled out anew", _roll, _nothing, heals_itself=True),
    Incident(
        "migrating", "migrating", "the active BBS migrates its database and answers 503",
        _set(migrating=True), _set(migrating=False),
    ),
    Incident(
        "locket_down", "locket_down", "the Locket StatefulSet was scaled to nothing (layouts with one)",
        lambda foundation: _scale(foundation, foundation.layout.locket, 0),
        lambda foundation: _scale(foundation, foundation.layout.locket, None),
    ),
    Incident(
        "unknown", "unknown", "the BBS StatefulSet was scaled to nothing",
        lambda foundation: _scale(foundation, foundation.layout.bbs, 0),
        lambda foundation: _scale(foundation, foundation.layout.bbs, None),
    ),
    Incident("not_bbs", "unknown", "something else answers on 8889", _set(not_bbs=True), _set(not_bbs=False)),
)  # fmt: skip

NAMES = tuple(incident.name for incident in INCIDENTS)


def incident_named(name: str) -> Incident:
    """Give an incident; raises NotApplicableError for a name that is not one of NAMES."""
    for incident in INCIDENTS:
        if incident.name == name:
            return incident
    raise NotApplicableError(f"unknown incident {name!r}; known: {', '.join(NAMES)}")
