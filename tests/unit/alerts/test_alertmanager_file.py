"""alerts/alertmanager.yml: amtool accepts it, each alert reaches whom it must, and nothing inhibits the trigger.

The label sets are those that promtool's tests see firing, so what routing needs is there.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from remediator.alertmanager_route import faults, matches, ways
from tests.support.alert_rules import ALERTS, TRIGGER, alerts, firing, tool

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = ALERTS / "alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
FIRING = firing()
REMEDIATOR = "stager-remediator"
TRIGGER_LABELS = next(labels for labels in FIRING if labels["alertname"] == TRIGGER)
FIXED = {"alertname": TRIGGER, "severity": "none", "remediate": "restart-diego-api"}
"""What the trigger carries whatever the rest of its labels is."""
each_label_set = pytest.mark.parametrize("labels", FIRING, ids=[" ".join(labels.values()) for labels in FIRING])


def wanted(labels: Mapping[str, str]) -> list[str]:
    if labels["alertname"] == TRIGGER:
        return [REMEDIATOR, "nobody"]
    if labels["alertname"] == "Watchdog":
        return ["dead-man"]
    return ["page", "chat"] if labels["severity"] == "critical" else ["chat"]


def inhibited_by(target: Mapping[str, str], source: Mapping[str, str]) -> bool:
    """Alertmanager's rule: both match, and the `equal` labels agree, missing ones being empty."""
    return any(
        matches({"matchers": rule["source_matchers"]}, source)
        and matches({"matchers": rule["target_matchers"]}, target)
        and all(source.get(name, "") == target.get(name, "") for name in rule.get("equal", ()))
        for rule in CONFIG["inhibit_rules"]
    )


def test_amtool_accepts_it() -> None:
    assert "SUCCESS" in tool("amtool", "check-config", str(FILE))


def test_every_alert_is_among_the_label_sets() -> None:
    assert {labels["alertname"] for labels in FIRING} == {alert.name for alert in alerts()}


@each_label_set
def test_amtool_routes_an_alert_to_whom_it_concerns(labels: dict[str, str]) -> None:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    receivers = ",".join(wanted(labels))
    tool("amtool", "config", "routes", "test", f"--config.file={FILE}", f"--verify.receivers={receivers}", *pairs)


@each_label_set
def test_the_remediators_own_reading_of_the_file_is_amtools(labels: dict[str, str]) -> None:
    assert [way.receiver for way in ways(CONFIG, labels)] == wanted(labels)


@pytest.mark.parametrize("more", [{}, {"cluster": "one"}, {"foundation": "other", "severity": "critical"}], ids=str)
def test_the_trigger_reaches_the_remediator_whatever_labels_are_added(more: dict[str, str]) -> None:
    labels = {**TRIGGER_LABELS, **more}
    assert ways(CONFIG, labels)[0].receiver == REMEDIATOR
    assert not list(faults(CONFIG, labels, TRIGGER))


def test_nothing_but_the_trigger_reaches_the_remediator() -> None:
    reached = {labels["alertname"] for labels in FIRING if REMEDIATOR in [way.receiver for way in ways(CONFIG, labels)]}
    assert reached == {TRIGGER}


def test_the_remediators_route_and_receiver() -> None:
    route = CONFIG["route"]["routes"][0]
    assert route == {
        "receiver": REMEDIATOR,
        "matchers": ['remediate=~".+"'],
        "continue": True,
        "group_by": ["foundation"],
        "group_wait": "5s",
        "group_interval": "30s",
        "repeat_interval": "5m",
    }
    (receiver,) = (item for item in CONFIG["receivers"] if item["name"] == REMEDIATOR)
    (hook,) = receiver["webhook_configs"]
    assert (hook["max_alerts"], hook["send_resolved"]) == (0, True)
    assert hook["http_config"]["authorization"]["credentials_file"]


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["target_matchers"][-2])
def test_no_inhibition_can_ever_match_the_trigger(rule: dict[str, list[str]]) -> None:
    """Of the matchers that must all hold for a target, one looks at a label that every trigger has, and refuses it."""
    refusing = [
        matcher
        for matcher in rule["target_matchers"]
        if matcher.partition("=")[0].rstrip("~!") in FIXED and not matches({"matchers": [matcher]}, FIXED)
    ]
    assert 'remediate=""' in refusing
    assert len(refusing) > 1, "one typing error must not be enough"


def test_no_alert_that_fires_inhibits_the_trigger() -> None:
    assert not [source for source in FIRING if inhibited_by(TRIGGER_LABELS, source)]


def test_who_inhibits_whom() -> None:
    found = {
        (source["alertname"], target["alertname"], target["severity"])
        for source, target in product(FIRING, FIRING)
        if inhibited_by(target, source)
    }
    burn = "StagerUnavailableBudgetBurn"
    away = [
        (source, target, severity)
        for source in ("DiegoBBSUnreachable", "DiegoNoActiveBBS")
        for target, severity in ((burn, "warning"), (burn, "info"), ("DiegoActiveLabelStale", "warning"))
    ]
    assert found == {
        *away,
        ("StagerUnavailableErrors", burn, "warning"),
        ("StagerUnavailableErrors", burn, "info"),
        (burn, burn, "info"),
        ("DiegoCertificateExpiring", "DiegoCertificateExpiring", "warning"),
        *((("StagerRemediationFailed", "StagerRemediationRefused", "warning"),) if refused_by_the_breaker() else ()),
    }
    assert not any(severity in {"critical", "none"} for _, _, severity in found)


def refused_by_the_breaker() -> bool:
    return any(labels.get("reason") == "breaker" for labels in FIRING)


def test_an_inhibition_stays_within_the_foundation_and_the_certificate() -> None:
    source = {"alertname": "DiegoBBSUnreachable", "severity": "critical", "foundation": "prod"}
    target = {"alertname": "StagerUnavailableBudgetBurn", "severity": "warning", "foundation": "prod"}
    assert inhibited_by(target, source)
    assert not inhibited_by({**target, "foundation": "other"}, source)
    first = {"alertname": "DiegoCertificateExpiring", "severity": "critical", "foundation": "prod", "side": "server",
             "target": "diego-api-0"}  # fmt: skip
    assert inhibited_by({**first, "severity": "warning"}, first)
    assert not inhibited_by({**first, "severity": "warning", "target": "diego-api-1"}, first)
    failed = {"alertname": "StagerRemediationFailed", "severity": "critical", "foundation": "prod"}
    refused = {"alertname": "StagerRemediationRefused", "severity": "warning", "reason": "breaker"}
    assert inhibited_by(refused, failed)
    assert not inhibited_by({**refused, "reason": "cooldown"}, failed)
