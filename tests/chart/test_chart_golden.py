"""What is rendered, word for word, so that a change is seen in review, and what an upgrade from a release changes.

`UPDATE_GOLDEN=1 make test ARGS=tests/chart/test_chart_golden.py` writes golden/ anew; look at the difference. The files
of a release in released/ are written once, when it is released, and never again: they are what an upgrade starts from.
0.1.0 is the first, so until the next version they are what golden/ is, and the comparison shows that nothing differs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cases import CASES, Case
from tests.support.helm import CHART

Json = dict[str, Any]
HERE = Path(__file__).parent
GOLDEN = [case for case in CASES if case.golden]
COPIED = "(as its source has it)"
RELEASED = sorted(path for path in (HERE / "released").iterdir() if path.is_dir())


def told(manifests: list[Json]) -> str:
    """The manifests in order of kind and name, but for fresh secrets and for copies, which other tests compare."""
    for one in manifests:
        if one["kind"] == "Secret":
            one["data"] = dict.fromkeys([*one.get("data", ()), *one.pop("stringData", ())], "(secret)")
        if one["kind"] == "ConfigMap" and "grafana_dashboard" in one["metadata"]["labels"]:
            one["data"] = dict.fromkeys(one["data"], COPIED)
        if one["kind"] == "Deployment":
            # It changes with every comment of the template that it is taken of.
            one["spec"]["template"]["metadata"]["annotations"]["checksum/config"] = "(a digest)"
        if one["kind"] in ("PrometheusRule", "CustomResourceDefinition"):
            one["spec"] = COPIED
    ordered = sorted(manifests, key=lambda one: (one["kind"], one["metadata"]["name"]))
    return "".join(f"---\n{yaml.safe_dump(one, width=120)}" for one in ordered)


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_nothing_is_rendered_otherwise_than_was_looked_at(case: Case) -> None:
    file = HERE / "golden" / f"{case}.yaml"
    found = told(case.render())
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == found, "UPDATE_GOLDEN=1 writes it anew; look at the difference"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in (HERE / "golden").glob("*.yaml")} == {str(case) for case in GOLDEN}


def by_name(text: str) -> dict[tuple[str, str, str], Json]:
    found = [one for one in yaml.safe_load_all(text) if one]
    return {(one["apiVersion"].split("/")[0], one["kind"], one["metadata"]["name"]): one for one in found}


def test_the_version_under_work_is_a_release_or_newer() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    newest = max(tuple(map(int, path.name.split("."))) for path in RELEASED)
    assert tuple(map(int, version.partition("-")[0].split("."))) >= newest


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_an_upgrade_changes_nothing_that_cannot_be_changed(case: Case, released: Path) -> None:
    """The fields that an API server refuses to change, and the objects whose loss would lose data."""
    file = released / f"{case}.yaml"
    old, new = by_name(file.read_text(encoding="utf-8")), by_name(told(case.render()))
    for key, before in old.items():
        _, kind, name = key
        after = new.get(key)
        if kind in ("CustomResourceDefinition", "Secret", "ServiceAccount"):
            assert after is not None, f"{kind} {name} would be deleted by an upgrade"
        if after is None:
            continue
        if kind == "Deployment":
            assert after["spec"]["selector"] == before["spec"]["selector"], f"{name}: a selector is immutable"
        if kind == "RoleBinding":
            assert after["roleRef"] == before["roleRef"], f"{name}: roleRef is immutable"
        if kind == "Service" and before["spec"].get("clusterIP") == "None":
            assert after["spec"]["clusterIP"] == "None", f"{name}: clusterIP is immutable"
        if kind == "Secret":
            assert set(before["data"]) <= set(after["data"]), f"{name}: a token's key would be lost"
    configs = {key: one for key, one in new.items() if key[1] == "ConfigMap" and key in old}
    for key, after in configs.items():
        assert set(old[key]["data"]) <= set(after["data"]), f"{key[2]}: a file that running pods have mounted"
