"""Shortening changes waits and windows alone, and aiming changes addresses and credentials alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from simulator.monitoring.files import (
    ALERTS,
    EXPRESSION,
    WAITS,
    Targets,
    aimed,
    duration,
    prometheus_config,
    seconds,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED: dict[str, Any] = {
    name: yaml.safe_load((ALERTS / name).read_text(encoding="utf-8")) for name in ("rules.yml", "alertmanager.yml")
}
TARGETS = Targets(
    exporters=("127.0.0.1:1",),
    remediators=("127.0.0.1:2",),
    webhook="http://127.0.0.1:2/api/v1/alertmanager",
    token_file=Path("/folder/token"),
    receivers="http://127.0.0.1:3",
)
each_file = pytest.mark.parametrize("name", SHIPPED)


def leaves(document: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], object]]:
    """Everything that is neither a mapping nor a list, with where it stands."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from leaves(value, (*path, number))
    else:
        yield path, document


@each_file
def test_nothing_but_waits_and_windows_is_changed(name: str) -> None:
    before, after = dict(leaves(SHIPPED[name])), dict(leaves(shortened(SHIPPED[name], 10)))
    assert list(before) == list(after), "the same places, in the same order"
    changed = {path for path in before if before[path] != after[path]}
    assert {path[-1] for path in changed} <= WAITS | {EXPRESSION}
    without = re.compile(r"\[[^\]]*\]")
    for path in changed:
        if path[-1] == EXPRESSION:
            assert without.sub("[]", str(before[path])) == without.sub("[]", str(after[path]))
        else:
            assert seconds(str(after[path])) == pytest.approx(seconds(str(before[path])) / 10)


@each_file
def test_every_wait_of_the_files_is_shortened(name: str) -> None:
    before, after = dict(leaves(SHIPPED[name])), dict(leaves(shortened(SHIPPED[name], 10)))
    waits = [path for path in before if path[-1] in WAITS and before[path] != "0s"]
    assert waits
    assert all(seconds(str(after[path])) < seconds(str(before[path])) for path in waits)
    windows = [path for path in before if path[-1] == EXPRESSION and "[" in str(before[path])]
    assert all(before[path] != after[path] for path in windows)


@each_file
def test_the_factor_one_changes_nothing(name: str) -> None:
    assert shortened(SHIPPED[name], 1) == SHIPPED[name]


def test_the_given_document_stays_as_it_was() -> None:
    document = {"groups": [{"rules": [{"alert": "A", "for": "1m", "expr": "rate(a[5m])"}]}]}
    shortened(document, 10)
    assert document == {"groups": [{"rules": [{"alert": "A", "for": "1m", "expr": "rate(a[5m])"}]}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(a[5m])", "rate(a[30s])"),
        ("max_over_time(a[1h30m:1m])", "max_over_time(a[540s:6s])"),
        ("max_over_time(a[1h:])", "max_over_time(a[360s:])"),
        ("rate(a[20s]) > 600", "rate(a[5s]) > 600"),
        ("rate(a[2s])", "rate(a[2s])"),
        ('a{b=~"[5m]|x\\"[1h]"} and rate(a[1h])', 'a{b=~"[5m]|x\\"[1h]"} and rate(a[360s])'),
        ("a offset 5m", "a offset 5m"),
    ],
)
def test_windows(before: str, after: str) -> None:
    assert shortened({"expr": before}, 10, least_window=5) == {"expr": after}


@pytest.mark.parametrize(
    ("before", "after"), [("30s", "3s"), ("5s", "500ms"), ("0s", "0s"), ("1ms", "1ms"), ("1h30m", "540s")]
)
def test_waits(before: str, after: str) -> None:
    assert shortened({"for": before}, 10) == {"for": after}


def test_what_is_no_wait_stays() -> None:
    document = {"resolve_timeout": "5m", "labels": {"window": "1h"}, "for": None, "summary": "for 5m [5m]"}
    assert shortened(document, 10) == document


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5m?", "1.5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        shortened({"for": text}, 2)


def test_a_factor_that_lengthens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        shortened({}, 0.5)


@pytest.mark.parametrize("value", [0.001, 0.5, 1.0, 90.0])
def test_durations_are_read_as_they_were_written(value: float) -> None:
    assert seconds(duration(value)) == pytest.approx(value)


def test_only_addresses_and_credentials_are_aimed() -> None:
    folder = Path("/folder")
    config, files = aimed(SHIPPED["alertmanager.yml"], TARGETS, folder)
    before, after = dict(leaves(SHIPPED["alertmanager.yml"])), dict(leaves(config))
    changed = {str(path[-1]): after[path] for path in after if before.get(path) != after[path]}
    assert changed == {
        "url": "http://127.0.0.1:3/dead-man",
        "credentials_file": "/folder/token",
        "routing_key_file": "/folder/pagerduty.key",
        "api_url_file": "/folder/slack.url",
    }
    assert set(after) - set(before) == {("receivers", 1, "pagerduty_configs", 0, "url")}
    assert set(before) <= set(after)
    assert config["receivers"][0]["webhook_configs"][0]["url"] == TARGETS.webhook
    assert config["receivers"][1]["pagerduty_configs"][0]["url"] == "http://127.0.0.1:3/page"
    assert files[folder / "slack.url"] == "http://127.0.0.1:3/chat"
    assert set(files) == {folder / "slack.url", folder / "pagerduty.key"}


def test_a_receiver_that_nobody_knows_to_aim_is_no_surprise() -> None:
    with pytest.raises(KeyError):
        aimed({"receivers": [{"name": "new", "email_configs": [{"to": "a@example.org"}]}]}, TARGETS, Path("/folder"))


def test_prometheus_scrapes_both_and_tells_every_alertmanager() -> None:
    config = prometheus_config(TARGETS, ["127.0.0.1:4", "127.0.0.1:5"], scrape=1.5, evaluate=30)
    assert config["global"] == {"scrape_interval": "1500ms", "scrape_timeout": "1500ms", "evaluation_interval": "30s"}
    (group,) = config["alerting"]["alertmanagers"]
    assert group["static_configs"] == [{"targets": ["127.0.0.1:4", "127.0.0.1:5"]}]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs == {"stager-exporter": ["127.0.0.1:1"], "stager-remediator": ["127.0.0.1:2"]}
