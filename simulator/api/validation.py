"""What a real API server refuses and a careless double would take: names, label values, sizes, immutable fields.

Only the rules that a program of this kind meets, in the server's own words as far as people read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulator.api.errors import ApiError
from simulator.api.objects import metadata
from simulator.api.resources import CONFIGMAPS, EVENTS, PODS, STATEFULSETS

if TYPE_CHECKING:
    from simulator.api.objects import Json
    from simulator.api.resources import Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_KEY = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_NAME_RULE = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
_MAX_NAME = 253
_MAX_VALUE = 63
_MAX_ANNOTATIONS = 256 * 1024
_MAX_DATA = 1024 * 1024
_FIXED = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
"""What may not change in a StatefulSet's specification."""


def check_new(resource: Resource, thing: Json) -> None:
    """Refuse an object that may not be created; raises ApiError 422."""
    about = metadata(thing)
    name, prefix = about.get("name") or "", about.get("generateName") or ""
    if name and not _is_name(name):
        raise _invalid(resource, name, f'metadata.name: Invalid value: "{name}": {_NAME_RULE}')
    # The server forgives a prefix nothing but one dash at its end.
    if not name and prefix and not _is_name(prefix[:-1] + "a" if prefix.endswith("-") else prefix):
        raise _invalid(resource, "", f'metadata.generateName: Invalid value: "{prefix}": {_NAME_RULE}')
    if about.get("resourceVersion"):
        raise ApiError(500, "resourceVersion should not be set on objects to be created")
    check(resource, thing)


def check_change(resource: Resource, old: Json, new: Json) -> None:
    """Refuse what may not change; raises ApiError 422."""
    name = metadata(old)["name"]
    if resource is PODS and _without_images(new) != _without_images(old):
        raise _invalid(resource, name, "spec: Forbidden: pod updates may not change fields other than "
                                       "`spec.containers[*].image`")  # fmt: skip
    if resource is STATEFULSETS:
        before, after = old.get("spec", {}), new.get("spec", {})
        if any(before.get(key) != after.get(key) for key in _FIXED):
            raise _invalid(resource, name, "spec: Forbidden: updates to statefulset spec for fields other than "
                                           "'replicas', 'template' and 'updateStrategy' are forbidden")  # fmt: skip
    if resource is CONFIGMAPS and old.get("immutable") and old.get("data") != new.get("data"):
        raise _invalid(resource, name, "data: Forbidden: field is immutable when `immutable` is set")
    check(resource, new)


def check(resource: Resource, thing: Json) -> None:
    """Refuse ill-formed content; raises ApiError 400 or 422."""
    about = metadata(thing)
    name = about.get("name", "")
    for kind in ("labels", "annotations"):
        for key, value in (about.get(kind) or {}).items():
            if not isinstance(value, str):
                raise ApiError(400, f"{resource.kind} in version {resource.version!r} cannot be handled: "
                                    f"metadata.{kind}.{key}: a string is expected, got {value!r}")  # fmt: skip
            if not _KEY.fullmatch(key):
                raise _invalid(resource, name, f'metadata.{kind}: Invalid value: "{key}": name part must consist of '
                                               "alphanumeric characters, '-', '_' or '.'")  # fmt: skip
            if kind == "labels" and (len(value) > _MAX_VALUE or not _VALUE.fullmatch(value)):
                raise _invalid(resource, name, f'metadata.labels: Invalid value: "{value}": a valid label must be an '
                                               "empty string or consist of at most 63 alphanumeric characters, '-', "
                                               "'_' or '.'")  # fmt: skip
    if sum(len(key) + len(value) for key, value in (about.get("annotations") or {}).items()) > _MAX_ANNOTATIONS:
        raise _invalid(resource, name, f"metadata.annotations: Too long: must have at most {_MAX_ANNOTATIONS} bytes")
    if resource is CONFIGMAPS:
        _check_data(resource, name, thing)
    if resource is STATEFULSETS:
        replicas = thing.get("spec", {}).get("replicas", 1)
        if not isinstance(replicas, int) or replicas < 0:
            raise _invalid(resource, name, f"spec.replicas: Invalid value: {replicas}: must be greater than or equal "
                                           "to 0")  # fmt: skip
    if resource is EVENTS and (thing.get("involvedObject") or {}).get("namespace", "") != about.get("namespace", ""):
        raise _invalid(resource, name, "involvedObject.namespace: Invalid value: does not match event.namespace")


def _check_data(resource: Resource, name: str, thing: Json) -> None:
    size = 0
    for kind in ("data", "binaryData"):
        for key, value in (thing.get(kind) or {}).items():
            if not isinstance(value, str):
                raise ApiError(400, f"ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot "
                                    f"unmarshal {type(value).__name__} into Go struct field ConfigMap.{kind} of type "
                                    "string")  # fmt: skip
            if not _DATA_KEY.fullmatch(key):
                raise _invalid(resource, name, f'{kind}[{key}]: Invalid value: "{key}": a valid config key must '
                                               "consist of alphanumeric characters, '-', '_' or '.'")  # fmt: skip
            size += len(value.encode()) * (3 if kind == "binaryData" else 4) // 4
    if size > _MAX_DATA:
        raise _invalid(resource, name, f"[]: Too long: must have at most {_MAX_DATA} bytes")


def _is_name(name: str) -> bool:
    return len(name) <= _MAX_NAME and bool(_SUBDOMAIN.fullmatch(name))


def _without_images(pod: Json) -> object:
    spec = pod.get("spec", {})
    containers = [{**container, "image": ""} for container in spec.get("containers", [])]
    return {**spec, "containers": containers}


def _invalid(resource: Resource, name: str, why: str) -> ApiError:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ApiError(422, f'{kind} "{name}" is invalid: {why}')
