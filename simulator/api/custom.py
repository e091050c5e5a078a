"""Custom resources: what a CustomResourceDefinition makes the server serve, print, prune and refuse.

Of a schema it knows `type`, `properties`, `required`, `enum`, `items`, `additionalProperties`, `nullable`, `pattern`,
the bounds of numbers, strings, lists and objects, `default`, `x-kubernetes-int-or-string` and
`x-kubernetes-preserve-unknown-fields`; of the validation rules only `self == oldSelf` (a field that may not change) and
`has(self.x) == has(oldSelf.x)` (nor appear, nor vanish): others are not evaluated. One version per definition is
served: the one that is stored.
"""

from __future__ import annotations

import copy
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

import yaml

from simulator.api.errors import ApiError
from simulator.api.objects import metadata, rfc3339
from simulator.api.resources import CRDS, Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.api.objects import Json
    from simulator.api.store import Store

_OPEN: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_MISSING = object()


def _column(name: str, path: str, kind: str = "string", priority: int = 0) -> Json:
    return {"name": name, "jsonPath": path, "type": kind, **({"priority": priority} if priority else {})}


def _shipped() -> Json:
    text = resources.files("simulator.api").joinpath("remediations.yaml").read_text(encoding="utf-8")
    definition: Json = yaml.safe_load(text)
    return definition


REMEDIATION_DEFINITION: Final = _shipped()
"""Remediations as the chart installs them (the file is a link to the chart's own)."""


def served(store: Store) -> list[Resource]:
    """Give the resources that the definitions in the store add."""
    return [resource_of(thing) for thing in store.listing(CRDS)[0]]


def resource_of(definition: Json) -> Resource:
    """Give the resource that a definition makes."""
    spec, version = definition["spec"], _stored(definition)
    names = spec["names"]
    return Resource(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        tuple(names.get("shortNames") or ()),
        namespaced=spec.get("scope") != "Cluster",
        subresources=tuple(name for name in ("status",) if name in (version.get("subresources") or {})),
        custom=True,
    )


def columns(store: Store, resource: Resource) -> list[Json]:
    """Give the columns to print a custom resource's objects in."""
    version = _stored(store.get(CRDS, "", resource.qualified))
    return list(version.get("additionalPrinterColumns") or [_column("Age", ".metadata.creationTimestamp", "date")])


def install(store: Store, definition: Json) -> Json:
    """Store a definition and have it served; raises ApiError 409, 422."""
    return establish(store, store.create(CRDS, "", check_definition(definition)))


def check_definition(definition: Json) -> Json:
    """Give a definition as it came if it can be served; raises ApiError 422."""
    try:
        resource = resource_of(definition)
    except (KeyError, TypeError, AttributeError) as error:
        raise ApiError(422, f"CustomResourceDefinition is invalid: {error} is required") from error
    if metadata(definition).get("name") != resource.qualified:
        raise ApiError(
            422,
            f'CustomResourceDefinition.apiextensions.k8s.io "{metadata(definition).get("name")}" is invalid: '
            f'metadata.name: Invalid value: must be spec.names.plural+"."+spec.group ({resource.qualified})',
        )
    return definition


def establish(store: Store, definition: Json) -> Json:
    """Note on a definition that it is served."""
    condition = {"status": "True", "lastTransitionTime": rfc3339(store.now())}
    status = {
        "acceptedNames": definition["spec"]["names"],
        "storedVersions": [_stored(definition)["name"]],
        "conditions": [
            {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found", **condition},
            {
                "type": "Established",
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
                **condition,
            },
        ],
    }
    name = metadata(definition)["name"]
    return store.update(CRDS, "", name, lambda thing: {**thing, "status": status}, subresource="status")


def conform(store: Store, resource: Resource, thing: Json, old: Json | None) -> Json:
    """Give an object with defaults and without the fields that its definition does not know; raises ApiError 422.

    A real server drops such fields too, silently unless the request asks for strict validation.
    """
    version = _stored(store.get(CRDS, "", resource.qualified))
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or _OPEN
    faults: list[str] = []
    kept: Json = {key: value for key, value in thing.items() if key in ("apiVersion", "kind", "metadata")}
    body = {key: value for key, value in thing.items() if key not in kept}
    before: object = _MISSING if old is None else {key: value for key, value in old.items() if key not in kept}
    required = [name for name in schema.get("required") or [] if name not in ("apiVersion", "kind", "metadata")]
    pruned = _conform({**schema, "required": required}, copy.deepcopy(body), before, "", faults)
    if faults:
        name = metadata(thing).get("name") or metadata(thing).get("generateName", "")
        some = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
        raise ApiError(422, f'{resource.kind}.{resource.group} "{name}" is invalid: {some}')
    return {**kept, **pruned} if isinstance(pruned, dict) else kept


def at_path(thing: Json, path: str) -> object:
    """Give what a printer column's path (`.spec.trigger.alertname`) leads to; None where there is nothing."""
    found: object = thing
    for key in re.findall(r"[^.\[\]'\"]+", path):
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def _stored(definition: Json) -> Json:
    versions: Sequence[Json] = definition["spec"]["versions"]
    return next((version for version in versions if version.get("storage")), versions[0])


def _conform(schema: Json, value: object, old: object, path: str, faults: list[str]) -> object:
    if value is None and schema.get("nullable"):
        return None
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        wanted = "string" if isinstance(value, str) else "integer"
    if wanted and not _is(wanted, value):
        found = "null" if value is None else type(value).__name__
        faults.append(f'{path or "."}: Invalid value: "{found}": {path or "."} in body must be of type {wanted}')
        return value
    _check_bounds(schema, value, path, faults)
    if old is not _MISSING:
        faults.extend(_broken_rules(schema, value, old, path))
    if isinstance(value, dict):
        return _conform_object(schema, value, old if isinstance(old, dict) else _MISSING, path, faults)
    if isinstance(value, list) and "items" in schema:
        return [
            _conform(schema["items"], entry, _MISSING, f"{path}[{number}]", faults)
            for number, entry in enumerate(value)
        ]
    return value


def _broken_rules(schema: Json, value: object, old: object, path: str) -> list[str]:
    """Evaluate the rules that compare a value with what it was; those of other forms are taken to hold."""
    faults = []
    for rule in schema.get("x-kubernetes-validations") or []:
        text = rule.get("rule", "")
        presence = re.fullmatch(r"has\(self\.(\w+)\) == has\(oldSelf\.(\w+)\)", text)
        if presence and isinstance(value, dict) and isinstance(old, dict):
            holds = (presence[1] in value) == (presence[2] in old)
        else:
            holds = text.replace(" ", "") != "self==oldSelf" or old == value
        if not holds:
            faults.append(f"{path}: Invalid value: {rule.get('message') or f'failed rule: {text}'}")
    return faults


def _conform_object(schema: Json, value: Json, old: object, path: str, faults: list[str]) -> Json:
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for name, below in properties.items():
        if name not in value and "default" in below:
            value[name] = copy.deepcopy(below["default"])
    faults.extend(
        f"{path}.{name}".lstrip(".") + ": Required value" for name in schema.get("required") or [] if name not in value
    )
    kept: Json = {}
    for name, entry in value.items():
        below = properties.get(name, others)
        before = old.get(name, _MISSING) if isinstance(old, dict) else _MISSING
        if isinstance(below, dict):
            kept[name] = _conform(below, entry, before, f"{path}.{name}".lstrip("."), faults)
        elif below is True or schema.get("x-kubernetes-preserve-unknown-fields"):
            kept[name] = entry
    return kept


def _check_bounds(schema: Json, value: object, path: str, faults: list[str]) -> None:
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(f'"{word}"' for word in schema["enum"])
        faults.append(f'{path}: Unsupported value: "{value}": supported values: {known}')
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        faults.append(f"{path}: Invalid value: \"{value}\": {path} in body should match '{schema['pattern']}'")
    size: tuple[tuple[str, float], ...] = ()
    if isinstance(value, str):
        size = (("Length", len(value)),)
    elif isinstance(value, list):
        size = (("Items", len(value)),)
    elif isinstance(value, dict):
        size = (("Properties", len(value)),)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        size = (("imum", value),)
    for word, number in size:
        if f"min{word}" in schema and number < schema[f"min{word}"]:
            faults.append(f"{path}: Invalid value: {path} in body should be at least {schema[f'min{word}']}")
        if f"max{word}" in schema and number > schema[f"max{word}"]:
            faults.append(f"{path}: Too long: {path} in body should be at most {schema[f'max{word}']}")


def _is(wanted: str, value: object) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    kinds: dict[str, type | tuple[type, ...]] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    }  # fmt: skip
    return wanted in kinds and isinstance(value, kinds[wanted])
