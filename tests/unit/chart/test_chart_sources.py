"""What the chart has from elsewhere in the house is what stands there: Helm reads nothing outside of a chart."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.layout import Layout, LogLayout, RoleLayout, RoleLayouts, ServiceLayout, layouts, override
from remediator.store import ledger_name

HOUSE = Path(__file__).parents[3]
CHART = HOUSE / "charts/stager-medic"
COPIES = {
    "rules.yml": "alerts/rules.yml",
    "dashboards/stager-availability.json": "grafana/dashboards/stager-availability.json",
    "dashboards/stager-remediation.json": "grafana/dashboards/stager-remediation.json",
}


@pytest.mark.parametrize(("copy", "source"), COPIES.items())
def test_a_copy_is_its_source(copy: str, source: str) -> None:
    same = (CHART / "files" / copy).read_bytes() == (HOUSE / source).read_bytes()
    assert same, f"copy it anew: cp {source} charts/stager-medic/files/{copy}"


def test_no_dashboard_is_forgotten() -> None:
    there = {f"dashboards/{file.name}" for file in (HOUSE / "grafana/dashboards").glob("*.json")}
    assert there == {copy for copy in COPIES if copy.startswith("dashboards/")}
    template = (CHART / "templates/monitoring/dashboards.yaml").read_text()
    assert all(f'"{Path(copy).stem}"' in template for copy in there)


def test_the_definition_has_one_original() -> None:
    assert (HOUSE / "simulator/api/remediations.yaml").resolve() == CHART / "files/crds/remediations.yaml"
    assert not (CHART / "crds").exists(), "Helm never upgrades what is in crds/"


def test_the_statefulsets_of_each_layout() -> None:
    """For the names in the remediator's Role."""
    listed: dict[str, list[str]] = yaml.safe_load((CHART / "files/layouts.yaml").read_text())
    known = {}
    for name in layouts():
        roles = override(name, {}).roles
        known[name] = {roles.bbs.statefulset} | ({roles.locket.statefulset} if roles.locket else set())
    assert {name: set(sets) for name, sets in listed.items()} == known


def test_every_layout_keeps_its_ledger_under_the_name_that_the_role_has() -> None:
    assert {ledger_name(override(name, {}).roles.bbs.statefulset) for name in layouts()} == {"stager-medic-diego-api"}
    assert "stager-medic-diego-api" in (CHART / "templates/_foundation.tpl").read_text()


def test_the_schema_knows_every_layout() -> None:
    schema: Any = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["definitions"]["baseName"]["enum"]) == set(layouts())
    assert set(schema["definitions"]["layoutName"]["enum"]) == {"auto", *layouts()}


def test_the_schema_knows_what_a_layout_may_override() -> None:
    schema: Any = json.loads((CHART / "values.schema.json").read_text())
    layout = schema["definitions"]["layout"]["properties"]
    assert set(layout) == {"base", *Layout.model_fields} - {"name"}
    for part, model in (("service", ServiceLayout), ("log", LogLayout), ("roles", RoleLayouts)):
        assert set(layout[part]["properties"]) == set(model.model_fields), part
    assert set(schema["definitions"]["role"]["properties"]) == set(RoleLayout.model_fields)


def test_the_chart_installs_this_release() -> None:
    version = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
