"""The files of alerts/ as the tests need them: rules, the label sets that promtool's tests expect, and the tools."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.support.programs import program

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
ALERTS: Final = ROOT / "alerts"
TRIGGER: Final = "DiegoRestartWouldHelp"
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule; several may share a name."""

    name: str
    expr: str
    hold: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """What tells rules of one name apart."""
        return (self.name, *(self.labels[name] for name in ("severity", "window", "finding") if name in self.labels))


@dataclass(frozen=True, slots=True)
class Check:
    """What promtool is told to expect of one alert at one time."""

    file: str
    group: str
    alert: str
    firing: tuple[Mapping[str, str], ...]
    """The label sets that fire, with `alertname`; empty: none may."""


def _rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((ALERTS / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def alerts() -> list[Alert]:
    """Every alerting rule, in the order of the file."""
    return [
        Alert(rule["alert"], rule["expr"], rule.get("for", ""), rule["labels"], rule["annotations"])
        for rule in _rules()
        if "alert" in rule
    ]


def records() -> dict[str, str]:
    """The recording rules' expressions."""
    return {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}


def recorded_labels(metric: str) -> frozenset[str]:
    """The labels of a recorded series, with which its name begins."""
    assert metric in records(), f"{metric} is not recorded"
    return frozenset(metric.partition(":")[0].split("_"))


def test_files() -> list[Path]:
    """promtool's."""
    return sorted((ALERTS / "tests").glob("*.yml"))


def groups() -> list[tuple[str, dict[str, Any]]]:
    """promtool's groups with their files' names."""
    return [
        (path.name, group)
        for path in test_files()
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    ]


def checks() -> list[Check]:
    """Every expectation, of both kinds that promtool knows."""
    found = []
    for file, group in groups():
        for test in group.get("promql_expr_test", ()):
            alert = dict(_LABEL.findall(test["expr"])).get("alertname")
            if alert is None:  # it looks at what is recorded
                continue
            firing = tuple(_without_state(sample["labels"]) for sample in test["exp_samples"])
            found.append(Check(file, group["name"], alert, firing))
        for test in group.get("alert_rule_test", ()):
            name = test["alertname"]
            firing = tuple({"alertname": name, **item["exp_labels"]} for item in test["exp_alerts"])
            found.append(Check(file, group["name"], name, firing))
    return found


def _without_state(text: str) -> dict[str, str]:
    labels = dict(_LABEL.findall(text))
    del labels["alertstate"]
    return labels


def firing() -> list[dict[str, str]]:
    """Each label set that an alert of ours fires with, once; the foundation `prod` where it has one."""
    found = {tuple(sorted(labels.items())) for check in checks() for labels in check.firing}
    return [dict(item) for item in sorted(found)]


def tool(name: str, *arguments: str) -> str:
    """Run promtool or amtool; gives both its outputs. Fails where it is not content, and where it is missing."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=290, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
