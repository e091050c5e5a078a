"""Paths of the API: where each helper points, and that no odd name turns one object into its collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foundation.kube import paths
from foundation.kube.errors import Target

if TYPE_CHECKING:
    from collections.abc import Callable

CF = "/api/v1/namespaces/cf"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (paths.namespace_path("cf"), CF),
        (paths.pods_path("cf"), f"{CF}/pods"),
        (paths.pod_path("cf", "a-0"), f"{CF}/pods/a-0"),
        (paths.pod_log_path("cf", "a-0"), f"{CF}/pods/a-0/log"),
        (paths.pod_exec_path("cf", "a-0"), f"{CF}/pods/a-0/exec"),
        (paths.eviction_path("cf", "a-0"), f"{CF}/pods/a-0/eviction"),
        (paths.services_path("cf"), f"{CF}/services"),
        (paths.service_path("cf", "s"), f"{CF}/services/s"),
        (paths.endpoints_path("cf", "s"), f"{CF}/endpoints/s"),
        (paths.endpointslices_path("cf"), "/apis/discovery.k8s.io/v1/namespaces/cf/endpointslices"),
        (paths.configmaps_path("cf"), f"{CF}/configmaps"),
        (paths.configmap_path("cf", "c"), f"{CF}/configmaps/c"),
        (paths.events_path("cf"), f"{CF}/events"),
        (paths.statefulsets_path("cf"), "/apis/apps/v1/namespaces/cf/statefulsets"),
        (paths.statefulset_path("cf", "s"), "/apis/apps/v1/namespaces/cf/statefulsets/s"),
        (paths.core_path(None, "pods"), "/api/v1/pods"),
    ],
)
def test_where_each_points(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_a_name_that_would_point_elsewhere_is_refused(odd: str) -> None:
    makers: list[Callable[[], str]] = [
        lambda: paths.pod_path("cf", odd),
        lambda: paths.pod_path(odd, "a"),
        lambda: paths.namespace_path(odd),
        lambda: paths.core_path("cf", odd),
        lambda: paths.group_path(odd, "v1", "cf", "x"),
        lambda: paths.core_path("cf", "pods", "a", sub=odd),
        lambda: paths.core_path("cf", "pods", sub="log"),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"must not be|needs an object's name"):
            make()


@pytest.mark.parametrize("name", ["a/b", "a?b", "a#b", "../x", "a%2fb", "a b", "ä"])
def test_any_other_name_stays_one_piece(name: str) -> None:
    path = paths.pod_path("cf", name)
    assert path.count("/") == 6
    assert Target.of("delete", path) == Target("delete", "pods", "cf", name)
