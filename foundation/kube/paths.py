"""API paths, built in one place so that an empty or odd name can never turn an object's path into its collection's."""

from __future__ import annotations

from urllib.parse import quote


def _piece(what: str, value: str) -> str:
    if not value or value in {".", ".."}:
        raise ValueError(f"{what} must not be {value!r} in a Kubernetes path")
    return quote(value, safe="")


def _join(root: str, namespace: str | None, resource: str, name: str | None, sub: str | None) -> str:
    parts = [root]
    if namespace is not None:
        parts += ["namespaces", _piece("namespace", namespace)]
    parts.append(_piece("resource", resource))
    if name is not None:
        parts.append(_piece("name", name))
    if sub is not None:
        if name is None:
            raise ValueError(f"subresource {sub!r} needs an object's name")
        parts.append(_piece("subresource", sub))
    return "/".join(parts)


def core_path(namespace: str | None, resource: str, name: str | None = None, *, sub: str | None = None) -> str:
    """The path of something in the core group, v1. `namespace` None: cluster-scoped, or over all namespaces."""
    return _join("/api/v1", namespace, resource, name, sub)


def group_path(
    group: str, version: str, namespace: str | None, resource: str, name: str | None = None, *, sub: str | None = None
) -> str:
    """The path of something in a named group, custom resources included; `sub` for example `status`."""
    return _join(f"/apis/{_piece('group', group)}/{_piece('version', version)}", namespace, resource, name, sub)


def namespace_path(namespace: str) -> str:
    """The namespace itself."""
    return core_path(None, "namespaces", namespace)


def pods_path(namespace: str) -> str:
    """All pods of a namespace."""
    return core_path(namespace, "pods")


def pod_path(namespace: str, name: str) -> str:
    """One pod."""
    return core_path(namespace, "pods", name)


def pod_log_path(namespace: str, name: str) -> str:
    """One pod's log."""
    return core_path(namespace, "pods", name, sub="log")


def pod_exec_path(namespace: str, name: str) -> str:
    """Where a command is run in one pod."""
    return core_path(namespace, "pods", name, sub="exec")


def eviction_path(namespace: str, name: str) -> str:
    """Where an Eviction of one pod is created."""
    return core_path(namespace, "pods", name, sub="eviction")


def services_path(namespace: str) -> str:
    """All Services of a namespace."""
    return core_path(namespace, "services")


def service_path(namespace: str, name: str) -> str:
    """One Service."""
    return core_path(namespace, "services", name)


def endpoints_path(namespace: str, name: str) -> str:
    """The Endpoints of one Service."""
    return core_path(namespace, "endpoints", name)


def endpointslices_path(namespace: str) -> str:
    """All EndpointSlices of a namespace."""
    return group_path("discovery.k8s.io", "v1", namespace, "endpointslices")


def configmaps_path(namespace: str) -> str:
    """All ConfigMaps of a namespace."""
    return core_path(namespace, "configmaps")


def configmap_path(namespace: str, name: str) -> str:
    """One ConfigMap."""
    return core_path(namespace, "configmaps", name)


def events_path(namespace: str) -> str:
    """The Events of a namespace, in the core group."""
    return core_path(namespace, "events")


def statefulsets_path(namespace: str) -> str:
    """All StatefulSets of a namespace."""
    return group_path("apps", "v1", namespace, "statefulsets")


def statefulset_path(namespace: str, name: str) -> str:
    """One StatefulSet."""
    return group_path("apps", "v1", namespace, "statefulsets", name)
