"""alerts/rules.yml: promtool accepts and tries it, and it names nothing that is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support import alert_rules
from tests.support.alert_rules import ALERTS, TRIGGER, Alert, alerts, checks, groups, recorded_labels, records, tool
from tests.support.dashboards import UIDS, closing, groupings, made_labels, queries, selectors
from tests.support.exported import exported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXPORTED = exported()
CRITICAL = {
    "DiegoBBSUnreachable", "DiegoNoActiveBBS", "DiegoDatabaseDown", "StagerUnavailableErrors",
    "StagerRemediationFailed",
}  # fmt: skip
NAMES = CRITICAL | {
    TRIGGER, "DiegoMultipleActiveBBS", "DiegoActiveLabelStale", "DiegoUnlabelledActiveBBS", "DiegoCertificateExpiring",
    "StagerUnavailableBudgetBurn", "StagerExporterAbsent", "StagerExporterCollectorFailing", "StagerLogSourceDeaf",
    "StagerRemediationRefused", "StagerRemediationAwaitingApproval", "StagerRemediationStuck", "StagerRemediatorAbsent",
    "StagerRemediatorAuthFailures", "StagerRemediatorPausedTooLong", "Watchdog",
}  # fmt: skip
"""What others rely on."""
OF_PROMETHEUS = frozenset({"instance", "job"})
ALL = alerts()
EXPRESSIONS = {
    name: " ".join(expr.split()).replace("( ", "(").replace(" )", ")")
    for name, expr in (*records().items(), *((" ".join(alert.key), alert.expr) for alert in ALL))
}
each_alert = pytest.mark.parametrize("alert", ALL, ids=lambda alert: "-".join(alert.key))
each_expression = pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)


def labels_of(metric: str) -> frozenset[str]:
    """Of an exported series, or of a recorded one, whose name begins with them."""
    if ":" in metric:
        return recorded_labels(metric)
    assert metric in EXPORTED, f"{metric} is not exported"
    return EXPORTED[metric].labels


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in tool("promtool", "check", "rules", str(ALERTS / "rules.yml"))


@pytest.mark.timeout(300)  # seconds of computing, on a machine that may be busy
@pytest.mark.parametrize("path", alert_rules.test_files(), ids=lambda path: path.name)
def test_promtools_tests(path: Path) -> None:
    assert "SUCCESS" in tool("promtool", "test", "rules", str(path))


def test_the_names_that_others_rely_on() -> None:
    assert {alert.name for alert in ALL} == NAMES
    pages = {alert.name for alert in ALL if alert.labels["severity"] == "critical"}
    assert pages == CRITICAL | {"DiegoCertificateExpiring"}
    assert len({alert.key for alert in ALL}) == len(ALL)


def test_only_the_trigger_asks_for_a_remediation() -> None:
    (trigger,) = (alert for alert in ALL if "remediate" in alert.labels)
    assert (trigger.name, trigger.labels["remediate"]) == (TRIGGER, "restart-diego-api")
    assert trigger.labels["severity"] == "none"
    for check in checks():
        if check.alert == TRIGGER:
            assert all(labels["foundation"] for labels in check.firing)


@each_alert
def test_an_alert_says_what_people_need(alert: Alert) -> None:
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.labels["severity"] in {"critical", "warning", "info", "none"}
    summary, description = alert.annotations["summary"], alert.annotations["description"]
    assert len(summary) <= 70
    assert "{" not in summary
    assert not summary.endswith(".")
    assert description.endswith(".")
    assert len(description) > 100
    fired = [labels for check in checks() for labels in check.firing if fits(alert, labels)]
    for name in re.findall(r"\$labels\.(\w+)", description):
        assert all(name in labels for labels in fired), name
    # Who reads it must know of which foundation it speaks.
    assert ("foundation" in fired[0]) == ("$labels.foundation" in description)


def fits(alert: Alert, labels: Mapping[str, str]) -> bool:
    return labels["alertname"] == alert.name and alert.labels.items() <= labels.items()


@each_alert
def test_promtool_sees_each_rule_fire_and_not_fire(alert: Alert) -> None:
    about = [check for check in checks() if check.alert == alert.name]
    assert any(fits(alert, labels) for check in about for labels in check.firing)
    # Each group of samples that makes it fire shows it silent as well, before or after.
    if alert.name != "Watchdog":
        seen: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
        for check in about:
            seen[any(fits(alert, labels) for labels in check.firing)].add((check.file, check.group))
        assert seen[True] & seen[False]


@pytest.mark.parametrize(("file", "group"), groups(), ids=[f"{file}: {group['name']}" for file, group in groups()])
def test_promtools_samples_are_series_that_are_exported(file: str, group: dict[str, list[dict[str, str]]]) -> None:
    for item in group["input_series"]:
        ((metric, _),) = selectors(item["series"])
        labels = set(re.findall(r'(\w+)="', item["series"]))
        # Some leave out labels that no rule looks at.
        assert labels <= labels_of(metric) | OF_PROMETHEUS, item["series"]
        assert "instance" in labels, "what a scrape adds must not reach an alert"


@each_expression
def test_metrics_and_labels_exist(expr: str) -> None:
    for metric, matchers in selectors(expr):
        assert set(matchers) <= labels_of(metric), metric
    for kept, argument in groupings(expr):
        for metric, _ in selectors(argument):
            assert set(kept) <= labels_of(metric) | made_labels(argument), (kept, metric)


@each_expression
def test_words_of_closed_sets_are_spelled_right(expr: str) -> None:
    known = {name: set(values.split()) for name, values in {
        "verdict": "database_down database_error certificate", "restart": "yes ask", "role": "bbs", "target": "service",
        "outcome": "Failed refused", "reason": "backoff", "status": "400 413 415 422 401 403",
    }.items()}  # fmt: skip
    for _, matchers in selectors(expr):
        for name, value in matchers.items():
            assert set(value.split("|")) <= known[name]


@each_expression
def test_counters_and_only_counters_are_increases(expr: str) -> None:
    counted = [metric for metric, _ in selectors(expr) if metric in EXPORTED and EXPORTED[metric].kind == "counter"]
    assert sorted(counted) == sorted(re.findall(r"\b(?:rate|increase)\((\w+)", expr))
    assert "irate" not in expr


@each_expression
def test_replicas_are_put_together(expr: str) -> None:
    """No series of a single replica reaches an alert: each selector stands inside an aggregation or an absent()."""
    opened = re.finditer(r"\b(?:sum|min|max|group|absent)\s*(?:by\s*\([^)]*\)\s*)?\(", expr)
    inside = [(match.end() - 1, closing(expr, match.end() - 1)) for match in opened]
    for metric, _ in selectors(expr):
        if ":" not in metric:
            for match in re.finditer(rf"\b{metric}\b", expr):
                assert any(start < match.start() < end for start, end in inside), metric


def test_what_is_recorded_is_used() -> None:
    used = {metric for expr in EXPRESSIONS.values() for metric, _ in selectors(expr)}
    shown = {metric for uid in UIDS for query in queries(uid) for metric, _ in selectors(query.full())}
    assert not set(records()) - used - shown


def test_every_exported_metric_is_used_or_left_out_on_purpose() -> None:
    def family(name: str) -> str:
        histogram = name in EXPORTED and EXPORTED[name].kind == "histogram"
        return re.sub(r"_(bucket|sum|count)$", "", name) if histogram else name

    used = {metric for expr in EXPRESSIONS.values() for metric, _ in selectors(expr)}
    shown = {metric for uid in UIDS for query in queries(uid) for metric, _ in selectors(query.full())}
    unused = yaml.safe_load((ALERTS / "unused.yml").read_text(encoding="utf-8"))
    assert {family(name) for name in EXPORTED} - {family(name) for name in used | shown} == set(unused)
    assert all(unused.values())
