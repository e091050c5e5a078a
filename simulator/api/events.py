"""Events under two addresses: `events.k8s.io/v1` shows the objects of the core group under newer names.

A real server stores one object for both; what is written through either is read through either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.api.errors import ApiError
from simulator.api.objects import metadata
from simulator.api.resources import NEW_EVENTS

if TYPE_CHECKING:
    from simulator.api.objects import Json

_NAMES = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
)
"""Field by field: the core group's name, the newer one."""
_REQUIRED = ("eventTime", "reportingController", "reportingInstance", "action", "reason")
_MAX_NOTE = 1024


def to_core(event: Json) -> Json:
    """Give an event of `events.k8s.io` in the core group's names."""
    return _renamed(event, {new: old for old, new in _NAMES}, "v1")


def from_core(event: Json) -> Json:
    """Give an event of the core group in the names of `events.k8s.io`."""
    return _renamed(event, dict(_NAMES), NEW_EVENTS.api_version)


def check_new_event(event: Json) -> None:
    """Refuse an event that `events.k8s.io` would not create; raises ApiError 422."""
    missing = [name for name in _REQUIRED if not event.get(name)]
    why = ""
    if missing:
        why = f"{missing[0]}: Required value"
    elif event.get("type") not in ("Normal", "Warning"):
        why = f'type: Invalid value: "{event.get("type")}": has invalid value'
    elif len(str(event.get("note", "")).encode()) > _MAX_NOTE:
        why = "note: Invalid value: can have at most 1024 characters"
    if why:
        raise ApiError(422, f'Event.events.k8s.io "{metadata(event).get("name", "")}" is invalid: {why}')


def _renamed(event: Json, names: dict[str, str], version: str) -> Json:
    return {**{names.get(key, key): value for key, value in event.items()}, "apiVersion": version, "kind": "Event"}
