"""helm's own checks, and what a packaged chart must carry."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.cases import CASES, Case, case
from tests.support.foundation_values import PLATFORMS
from tests.support.helm import CHART, ROOT, helm, of_kind, render, the, values_arguments

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]


@pytest.mark.parametrize("one", [case("defaults"), *(case(name) for name in PLATFORMS), case("everything")], ids=str)
def test_lint_has_nothing_to_say(one: Case, tmp_path: Path) -> None:
    said = helm("lint", "--strict", str(CHART), *values_arguments(one.presets, one.values, tmp_path))
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_a_package_renders_as_the_folder_does(tmp_path: Path) -> None:
    helm("package", str(CHART), "--destination", str(tmp_path))
    (packed,) = tmp_path.glob("*.tgz")
    one = case("own-secrets")
    assert one.render(chart=packed) == one.render()
    with tarfile.open(packed) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "values.schema.json", "files/rules.yml", "files/crds/remediations.yaml"} <= names
    assert {f"presets/{name}.yaml" for name in PLATFORMS} <= names


def test_rendering_twice_differs_in_fresh_tokens_alone() -> None:
    first, second = render(fresh=True), render(fresh=True)
    tokens = the(first, "Secret", "credentials"), the(second, "Secret", "credentials")
    assert tokens[0]["data"]["alertmanager.token"] != tokens[1]["data"]["alertmanager.token"]
    assert tokens[0]["data"]["credentials.yml"] == tokens[1]["data"]["credentials.yml"]
    for one in tokens:
        one["data"] = {}
    assert first == second


@pytest.mark.parametrize("one", CASES, ids=str)
def test_every_object_has_a_name_of_its_own_and_the_common_labels(one: Case) -> None:
    manifests = one.render(namespace="elsewhere")
    names = [(m["apiVersion"], m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(set(names)) == len(names)
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "medic", manifest["metadata"]["name"]
        assert labels["app.kubernetes.io/name"] == "stager-medic"
        assert len(manifest["metadata"]["name"]) <= 63
        for key, value in one.values.get("commonLabels", {}).items():
            assert labels[key] == value
        scope = manifest["kind"] == "CustomResourceDefinition"
        assert ("namespace" in manifest["metadata"]) is not scope, "a namespace is said, or `kubectl apply` guesses"


def test_the_rules_are_those_of_the_one_source() -> None:
    source = yaml.safe_load((ROOT / "alerts" / "rules.yml").read_text(encoding="utf-8"))
    plain = render(values={"monitoring": {"alertmanagerConfig": {"namespaceLabel": False}}})
    assert the(plain, "PrometheusRule")["spec"]["groups"] == source["groups"]


def test_the_trigger_alone_carries_the_namespace_and_what_is_left_out_is_gone() -> None:
    source = yaml.safe_load((ROOT / "alerts" / "rules.yml").read_text(encoding="utf-8"))
    changed = the(render(values={"monitoring": {"prometheusRule": {"leaveOut": ["Watchdog"]}}}), "PrometheusRule")
    expected = []
    for group in source["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") == "DiegoRestartWouldHelp":
                rule["labels"]["namespace"] = "cf"
            if rule.get("alert") != "Watchdog":
                expected.append((group["name"], rule))
    assert [(group["name"], rule) for group in changed["spec"]["groups"] for rule in group["rules"]] == expected


def test_the_dashboards_are_those_of_the_one_source() -> None:
    found = {
        name: text
        for one in of_kind(render(), "ConfigMap")
        if "grafana_dashboard" in one["metadata"]["labels"]
        for name, text in one["data"].items()
    }
    sources = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    assert {name: yaml.safe_load(text) for name, text in found.items()} == sources
