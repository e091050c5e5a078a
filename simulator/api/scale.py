"""The `scale` subresource of a StatefulSet: `kubectl scale`, and reading how many pods there should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.api.errors import ApiError
from simulator.api.objects import metadata

if TYPE_CHECKING:
    from simulator.api.objects import Json

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def to_scale(thing: Json) -> Json:
    """Give the `Scale` of a StatefulSet."""
    spec, about = thing["spec"], metadata(thing)
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: about[key] for key in _KEPT if key in about},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": thing.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }


def from_scale(thing: Json, scale: Json) -> Json:
    """Give a StatefulSet with the replicas of a `Scale`, whose resourceVersion, if any, has to be the stored one."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise ApiError(400, f"Scale: spec.replicas: a number is expected, got {replicas!r}")
    about = dict(metadata(thing))
    if metadata(scale).get("resourceVersion"):
        about["resourceVersion"] = metadata(scale)["resourceVersion"]
    return {**thing, "metadata": about, "spec": {**thing["spec"], "replicas": replicas}}
