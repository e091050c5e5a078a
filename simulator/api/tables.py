"""Rows for people: what `kubectl get` asks the server to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.api.custom import at_path
from simulator.api.objects import metadata, parse_time
from simulator.api.resources import CONFIGMAPS, CRDS, ENDPOINTS, EVENTS, PODS, SERVICES, STATEFULSETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.api.objects import Json
    from simulator.api.resources import Resource

    Cell = str | int

# A name that begins with + is a column of the wide output.
_COLUMNS: dict[Resource, tuple[str, ...]] = {
    PODS: ("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node"),
    STATEFULSETS: ("Name", "Ready", "Age", "+Containers"),
    SERVICES: ("Name", "Type", "Cluster-IP", "Port(s)", "Age"),
    ENDPOINTS: ("Name", "Endpoints", "Age"),
    CONFIGMAPS: ("Name", "Data", "Age"),
    EVENTS: ("Last Seen", "Type", "Reason", "Object", "Message"),
    CRDS: ("Name", "Created At"),
}


def table(
    resource: Resource, things: Sequence[Json], version: str, now: float, *, more: str = "", custom: Sequence[Json] = ()
) -> Json:
    """Give a `Table` of objects, those of a custom resource in the printer columns `custom` of its definition."""
    columns = _COLUMNS.get(resource, ("Name", "Age"))
    cells: Callable[[Json, float], list[Cell]] = _CELLS.get(resource, _plain)
    if custom:
        names = ((column["name"], column.get("priority", 0)) for column in custom)
        columns = ("Name", *(f"+{name}" if priority else name for name, priority in names))
        cells = _custom(custom)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version, **({"continue": more} if more else {})},
        "columnDefinitions": [
            {
                "name": name.lstrip("+"),
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": name.lstrip("+"),
                "priority": 1 if name.startswith("+") else 0,
            }
            for name in columns
        ],
        "rows": [
            {
                "cells": cells(thing, now),
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata(thing),
                },
            }
            for thing in things
        ],
    }


def pod_status(pod: Json) -> str:
    """Give the word that `kubectl get pods` prints."""
    if metadata(pod).get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status", {})
    word = str(status.get("phase", "Unknown"))
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            word = str(waiting.get("reason", word))
    return word


def _age(text: str, now: float) -> str:
    seconds = max(0, int(now - parse_time(text))) if text else 0
    for size, unit, limit in ((86400, "d", 2), (3600, "h", 3), (60, "m", 2)):
        if seconds >= size * limit:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _born(thing: Json, now: float) -> str:
    return _age(str(metadata(thing).get("creationTimestamp", "")), now)


def _plain(thing: Json, now: float) -> list[Cell]:
    return [metadata(thing)["name"], _born(thing, now)]


def _pod(pod: Json, now: float) -> list[Cell]:
    status = pod.get("status", {})
    containers = status.get("containerStatuses", [])
    ready = sum(1 for container in containers if container.get("ready"))
    return [
        metadata(pod)["name"],
        f"{ready}/{len(pod.get('spec', {}).get('containers', []))}",
        pod_status(pod),
        sum(int(container.get("restartCount", 0)) for container in containers),
        _born(pod, now),
        status.get("podIP") or "<none>",
        pod.get("spec", {}).get("nodeName") or "<none>",
    ]


def _stateful_set(thing: Json, now: float) -> list[Cell]:
    ready = f"{thing.get('status', {}).get('readyReplicas', 0)}/{thing['spec'].get('replicas', 1)}"
    names = ",".join(container["name"] for container in thing["spec"]["template"]["spec"]["containers"])
    return [metadata(thing)["name"], ready, _born(thing, now), names]


def _service(thing: Json, now: float) -> list[Cell]:
    spec = thing.get("spec", {})
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports", []))
    return [
        metadata(thing)["name"],
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP", "None"),
        ports,
        _born(thing, now),
    ]


def _endpoints(thing: Json, now: float) -> list[Cell]:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in thing.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or []
    ]
    return [metadata(thing)["name"], ",".join(found) or "<none>", _born(thing, now)]


def _config_map(thing: Json, now: float) -> list[Cell]:
    return [
        metadata(thing)["name"],
        len(thing.get("data") or {}) + len(thing.get("binaryData") or {}),
        _born(thing, now),
    ]


def _event(thing: Json, now: float) -> list[Cell]:
    about = thing.get("involvedObject", {})
    seen = _age(str(thing.get("lastTimestamp") or metadata(thing).get("creationTimestamp", "")), now)
    where = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    return [seen, thing.get("type", ""), thing.get("reason", ""), where, thing.get("message", "")]


def _definition(thing: Json, _now: float) -> list[Cell]:
    return [metadata(thing)["name"], str(metadata(thing)["creationTimestamp"])]


def _custom(columns: Sequence[Json]) -> Callable[[Json, float], list[Cell]]:
    def cells(thing: Json, now: float) -> list[Cell]:
        found = ((column, at_path(thing, column["jsonPath"])) for column in columns)
        return [metadata(thing)["name"], *(_printed(column, value, now) for column, value in found)]

    return cells


def _printed(column: Json, value: object, now: float) -> Cell:
    if value is None:
        return ""
    if column.get("type") == "date":
        return _age(str(value), now)
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


_CELLS: dict[Resource, Callable[[Json, float], list[Cell]]] = {
    PODS: _pod,
    STATEFULSETS: _stateful_set,
    SERVICES: _service,
    ENDPOINTS: _endpoints,
    CONFIGMAPS: _config_map,
    EVENTS: _event,
    CRDS: _definition,
}
