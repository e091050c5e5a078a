"""Every manifest, over presets and switches, against what the oldest and newest Kubernetes release takes."""

from __future__ import annotations

import pytest

from tests.support.cases import CASES, Case
from tests.support.helm import NEWEST, OLDEST
from tests.support.manifests import RELEASES, faults


@pytest.mark.parametrize(("kube", "release"), [(OLDEST, RELEASES[0]), (NEWEST, RELEASES[1])], ids=("oldest", "newest"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_manifest_is_valid(case: Case, kube: str, release: str) -> None:
    manifests = case.render(kube=kube)
    assert manifests, "nothing was rendered"
    assert [problem for one in manifests for problem in faults(one, release)] == []


def test_what_is_wrong_is_found() -> None:
    good = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}
    assert faults(good, "1.19") == []
    (misspelt,) = faults({**good, "automountServiceAccountTokens": True}, "1.37")
    assert misspelt.startswith("ServiceAccount x: ")
    assert "automountServiceAccountTokens" in misspelt
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}}
    assert faults(budget, "1.19") == ["PodDisruptionBudget x: kubernetes-1.19 has no policy/v1/PodDisruptionBudget"]
    rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "x"}}
    assert "'spec'" in faults(rule, "1.19")[0] or '"spec"' in faults(rule, "1.19")[0]
