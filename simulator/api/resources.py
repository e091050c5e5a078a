"""The resources that are served, and the discovery documents which say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.api.objects import Json

_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one group and version."""

    group: str
    version: str
    plural: str
    kind: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    custom: bool = False
    """A custom resource: no strategic merge patch, and `status` changes through its subresource only."""

    @property
    def api_version(self) -> str:
        """Give `v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Give the name that messages use: `pods`, `statefulsets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """Give the lower-case kind."""
        return self.kind.lower()


PODS = Resource("", "v1", "pods", "Pod", ("po",), subresources=("status", "log", "exec", "eviction"))
SERVICES = Resource("", "v1", "services", "Service", ("svc",), subresources=("status",))
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", ("ep",))
EVENTS = Resource("", "v1", "events", "Event", ("ev",))
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap", ("cm",))
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", ("ns",), namespaced=False)
NEW_EVENTS = Resource("events.k8s.io", "v1", "events", "Event", ("ev",))
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet", ("sts",), subresources=("status", "scale"))
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", ("crd", "crds"),
    namespaced=False, subresources=("status",),
)  # fmt: skip
REMEDIATIONS = Resource(
    "stager-medic.dev", "v1alpha1", "remediations", "Remediation", ("rem",), subresources=("status",), custom=True
)
"""Served where its CustomResourceDefinition exists, as any other custom resource."""

RESOURCES = (
    PODS,
    SERVICES,
    ENDPOINTS,
    EVENTS,
    CONFIGMAPS,
    NAMESPACES,
    NEW_EVENTS,
    STATEFULSETS,
    CRDS,
)
"""What is always served."""

_REVIEWS = ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")

VERSION: Json = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4+simulated",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2025-04-22T16:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def find(group: str, version: str, plural: str, served: Sequence[Resource] = RESOURCES) -> Resource | None:
    """Give the resource served at that place."""
    for resource in served:
        if (resource.group, resource.version, resource.plural) == (group, version, plural):
            return resource
    return None


OPENAPI_V2 = b"\x0a\x032.0"
"""An OpenAPI document that describes nothing, as protobuf: with it, kubectl checks nothing before it sends."""


def discovery(path: str, served: Sequence[Resource] = RESOURCES) -> Json | None:
    """Answer a discovery path, or give None where the path is not one that is served."""
    parts = [part for part in path.split("/") if part]
    if parts == ["version"]:
        return VERSION
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*pair) for pair in _groups(served)]}
    if parts == ["api", "v1"]:
        return _resource_list("", "v1", served)
    if parts[:1] == ["apis"] and len(parts) in (2, 3):
        for group, version in _groups(served):
            if parts[1:] == [group]:
                return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, version)}
            if parts[1:] == [group, version]:
                return _resource_list(group, version, served)
    if parts == ["openapi", "v3"]:
        return {"paths": {}}
    if parts == ["openapi", "v2"]:
        return {"swagger": "2.0", "info": {"title": "simulated", "version": "v1.32.4"}, "paths": {}}
    return None


def _groups(resources: Sequence[Resource]) -> Iterable[tuple[str, str]]:
    named = {(resource.group, resource.version) for resource in resources if resource.group}
    return sorted({*named, (_REVIEWS[0], _REVIEWS[1])})


def _group(group: str, version: str) -> Json:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resource_list(group: str, version: str, resources: Sequence[Resource]) -> Json:
    entries: list[Json] = []
    for resource in resources:
        if (resource.group, resource.version) != (group, version):
            continue
        entries.append(
            {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(_ALL_VERBS),
                "shortNames": list(resource.short_names),
            }
        )
        entries.extend(
            {
                "name": f"{resource.plural}/{sub}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["create", "get"] if sub in ("exec", "log", "eviction") else ["get", "patch", "update"],
            }
            for sub in resource.subresources
        )
    if (group, version) == _REVIEWS[:2]:
        entries.append(
            {"name": _REVIEWS[2], "singularName": "", "namespaced": False, "kind": _REVIEWS[3], "verbs": ["create"]}
        )
    served = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": served, "resources": entries}
