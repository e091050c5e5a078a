"""The committed dashboards, rule by rule, in the spirit of Grafana's dashboard-linter."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from grafana.build import ALL
from grafana.panels import render
from tests.support.alert_rules import recorded_labels, records
from tests.support.dashboards import FOLDER, ROOT, UIDS, Query, closing, groupings, load, made_labels, panels, queries
from tests.support.dashboards import selectors as named
from tests.support.exported import exported
from tests.support.programs import program

if TYPE_CHECKING:
    from pathlib import Path

EXPORTED = exported()
OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "severity", "foundation"}}
UNITS = {"s", "short", "none", "cpm", "cps", "reqps", "percentunit"}
"""Grafana's ids; what it does not know it shows as text behind the number."""
UNUSED = {
    "diego_pods": "pods ready against those expected say more",
    "diego_pod_ready": "the same by role is enough; the exporter's page has each pod",
    "stager_log_bytes_total": "lines are what is counted from",
}
"""Exported, and on no panel on purpose."""
FIXED_WINDOWS = {"1h", "24h", "1d", "1m"}
"""The limits' own periods, the memory of certificates, and an annotation's step."""

ALL_QUERIES = [query for uid in UIDS for query in queries(uid)]
ALL_PANELS = [(uid, panel) for uid in UIDS for panel in panels(uid)]
each_query = pytest.mark.parametrize("query", ALL_QUERIES, ids=lambda query: f"{query.uid}-{query.place}")
each_panel = pytest.mark.parametrize(("uid", "panel"), ALL_PANELS, ids=[f"{u}-{p['title']}" for u, p in ALL_PANELS])
each_dashboard = pytest.mark.parametrize("uid", UIDS)


def labels_of(metric: str) -> frozenset[str] | set[str]:
    """Of an exported series, a recorded one, or one that Prometheus makes itself."""
    if ":" in metric:
        return recorded_labels(metric)
    return OF_PROMETHEUS.get(metric) or EXPORTED[metric].labels


def test_the_committed_files_are_what_the_builder_writes() -> None:
    assert {item.uid for item in ALL} == set(UIDS) == {path.stem for path in FOLDER.glob("*.json")}
    for item in ALL:
        committed = (FOLDER / f"{item.uid}.json").read_text(encoding="utf-8")
        assert render(item) == committed, "make dashboards"


@each_dashboard
def test_a_dashboard_can_be_loaded_beside_others(uid: str) -> None:
    found = load(uid)
    assert (found["uid"], found["id"], found["editable"]) == (uid, None, False)
    assert "__inputs" not in found
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in found["panels"]]
    assert len(titles) == len(set(titles))


@each_dashboard
def test_no_panel_lies_on_another(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in load(uid)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} on {taken[x, y]}"
                taken[x, y] = panel["title"]


@each_dashboard
def test_no_hole_between_panels(uid: str) -> None:
    for number, panel in enumerate(found := panels(uid)):
        same = [other for other in found if other["gridPos"]["y"] == panel["gridPos"]["y"]]
        assert len({other["gridPos"]["h"] for other in same}) == 1, panel["title"]
        assert sum(other["gridPos"]["w"] for other in same) == 24, (number, panel["title"])


@each_dashboard
def test_data_source_and_foundation_are_chosen(uid: str) -> None:
    variables = {item["name"]: item for item in load(uid)["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    foundation = variables["foundation"]
    assert foundation["multi"]
    assert foundation["includeAll"]
    (metric, label) = re.fullmatch(r"label_values\((\w+), (\w+)\)", foundation["definition"]).groups()  # type: ignore[union-attr]
    assert label in EXPORTED[metric].labels
    assert foundation["datasource"]["uid"] == "${datasource}"


@each_dashboard
def test_variables_that_addresses_name_exist(uid: str) -> None:
    known = {item["name"] for item in load(uid)["templating"]["list"]} | {"__value.raw"}
    text = (FOLDER / f"{uid}.json").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{([^}]+)\}", text)) <= known
    plain = set(re.findall(r"\$([a-zA-Z_]\w*)", text))
    assert plain <= {"foundation", "__rate_interval", "__range", "__range_s", "__all"}


@each_dashboard
def test_they_lead_to_each_other_to_the_pages_and_the_runbooks(uid: str) -> None:
    urls = {link["url"]: link for link in load(uid)["links"]}
    (other,) = set(UIDS) - {uid}
    assert urls[f"/d/{other}"]["includeVars"]
    assert urls[f"/d/{other}"]["keepTime"]
    assert {"${exporter}", "${runbooks}"} <= set(urls)
    by_name = [
        item["value"][0]["url"]
        for panel in panels(uid)
        for override in panel["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "links"
    ]
    assert by_name == ["${runbooks}/${__value.raw}.md"]


def test_the_runbooks_lie_where_the_alerts_say() -> None:
    rules = ROOT / "alerts" / "rules.yml"
    found = re.findall(r"runbook_url: *[\"']?(\S+?)/(\w+)\.md", rules.read_text(encoding="utf-8"))
    assert found
    for uid in UIDS:
        (runbooks,) = (item["query"] for item in load(uid)["templating"]["list"] if item["name"] == "runbooks")
        assert {base for base, _ in found} == {runbooks}


@each_dashboard
def test_remediations_are_marked(uid: str) -> None:
    marks = load(uid)["annotations"]["list"]
    used = {name for mark in marks for name, _ in named(mark["expr"])}
    assert {"stager_remediation_running", "stager_remediations_total"} <= used
    assert all(mark["datasource"]["uid"] == "${datasource}" and mark["enable"] for mark in marks)


@each_panel
def test_a_panel_says_what_it_shows(uid: str, panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith((".", "R."))
    assert len(panel["description"]) <= 300
    assert defaults["unit"] in UNITS
    assert defaults["noValue"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]


@each_panel
def test_a_panels_targets_name_their_source_and_series(uid: str, panel: dict[str, Any]) -> None:
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({target["legendFormat"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert target["legendFormat"] not in ("", "__auto")
        assert target["format"] != "heatmap" or target["legendFormat"] == "{{le}}", "else the buckets are not in order"
        now = panel["type"] in ("stat", "bargauge", "table")
        assert (target["instant"], target["range"]) == (now, not now)


@each_panel
def test_thresholds_rise_from_the_lowest(uid: str, panel: dict[str, Any]) -> None:
    steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert steps[0] is None
    assert steps[1:] == sorted(set(steps[1:]))


@each_query
def test_a_legend_names_labels_that_the_result_has(query: Query) -> None:
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    grouped = {label for labels, _ in groupings(query.expr) for label in labels}
    recorded = {label for metric, _ in named(query.expr) if ":" in metric for label in labels_of(metric)}
    assert shown <= grouped | recorded
    assert "$" not in query.legend


@each_query
def test_metrics_and_labels_exist(query: Query) -> None:
    found = named(query.expr)
    assert found
    for metric, matchers in found:
        assert set(matchers) <= labels_of(metric), metric
    for kept, argument in groupings(query.expr):
        for metric, _ in named(argument):
            known = labels_of(metric) | made_labels(argument)
            assert set(kept) <= known, (kept, metric)


@each_query
def test_every_value_is_one_of_the_foundation_chosen(query: Query) -> None:
    for metric, matchers in named(query.expr):
        if "foundation" in labels_of(metric):
            assert matchers["foundation"].removesuffix("|") == "$foundation", metric
        assert not {"namespace", "job", "instance", "cluster"} & set(matchers)


@each_query
def test_replicas_are_put_together(query: Query) -> None:
    """No series of a single replica is shown: each selector stands inside an aggregation, or is recorded from one."""
    inside = [
        (match.end() - 1, closing(query.expr, match.end() - 1))
        for match in re.finditer(r"\b(?:sum|min|max|count)\s*(?:by\s*\([^)]*\)\s*)?\(", query.expr)
    ]
    for metric, _ in named(query.expr):
        for match in () if ":" in metric else re.finditer(rf"(?<![\w:]){metric}(?![\w:])", query.expr):
            assert any(start < match.start() < end for start, end in inside), metric


@each_query
def test_counters_and_only_counters_are_rates(query: Query) -> None:
    counted = {
        metric
        for metric, _ in named(query.expr)
        if metric in EXPORTED and EXPORTED[metric].kind in ("counter", "histogram")
    }
    rated = set(re.findall(r"\b(?:rate|increase)\((\w+)\{?[^\[]*\[", query.expr))
    assert counted == rated
    for metric in counted:
        bare = re.findall(rf"\b(?:rate|increase)\({metric}\b", query.expr)
        assert len(bare) == len(re.findall(rf"\b{metric}\b", query.expr)), f"{metric} without rate"
    assert "irate" not in query.expr


@each_query
def test_windows_follow_the_time_axis(query: Query) -> None:
    for function, window in re.findall(r"(\w+)\((?:[^()\[]|\([^()]*\))*\[([^\]:]+)", query.expr):
        if function == "rate":
            assert window == "$__rate_interval"
        elif window not in FIXED_WINDOWS:
            assert window in ("$__rate_interval", "$__range")
    if not query.instant:
        assert "$__range" not in query.expr, "over a time axis, a window as long as the axis shows nothing"


def test_every_exported_metric_is_shown_or_left_out_on_purpose() -> None:
    shown = {metric for query in ALL_QUERIES for metric, _ in named(query.expr)}
    shown |= {metric for name in shown & set(records()) for metric, _ in named(records()[name])}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) if item.kind == "histogram" else name
                for name, item in EXPORTED.items()}  # fmt: skip
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert families - used == set(UNUSED)


def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": query.full()} for number, query in enumerate(ALL_QUERIES)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    command = [program("promtool"), "check", "rules", "--lint=none", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALL_QUERIES)} rules found" in done.stdout
