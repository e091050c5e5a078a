"""Rows, panels, targets and variables of a Grafana dashboard, as small typed values that become its JSON.

Why not Grafana's own SDK: two dashboards do not pay for a generated package of two megabytes. What is written suits
Grafana 10 and later (schema 39; newer ones migrate it on loading). Nothing here knows a metric, and nothing checks that
a panel makes sense: `tests/unit/grafana` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Json: TypeAlias = dict[str, object]
Steps: TypeAlias = "Sequence[tuple[float | None, str]]"
"""Thresholds: from which value on (None: from the lowest) which colour."""

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
PLAIN: Final[Steps] = ((None, "text"),)


@dataclass(frozen=True, slots=True)
class Target:
    """One query. `instant`: one value now, instead of one for each point of the time axis."""

    expr: str
    legend: str
    instant: bool = False
    form: str = "time_series"
    """time_series, table or heatmap; Grafana sorts a heatmap by a legend that is `{{le}}` and nothing else."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, `width` of 24 columns wide. `unit` is one of Grafana's ids."""

    kind: str
    title: str
    description: str
    unit: str
    targets: Sequence[Target]
    width: int = 12
    height: int = 8
    steps: Steps = PLAIN
    words: Mapping[float, tuple[str, str]] = field(default_factory=dict)
    """Value -> text and colour."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Regular expression over a series' name -> colour; the last that matches wins."""
    empty: str = "no data"
    """What is shown without any series."""
    limits: tuple[float | None, float | None] = (0, None)
    decimals: int | None = None
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Column -> title and address of a link on its values."""
    hidden: Sequence[str] = ()
    """Columns of a table that are not shown."""
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every time axis, where `expr` is not 0."""

    name: str
    expr: str
    title: str
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A whole one. `span`: how far back it looks at first. `pages`: title -> address, in its head."""

    uid: str
    title: str
    description: str
    span: str
    variables: Sequence[Json]
    annotations: Sequence[Annotation]
    pages: Mapping[str, str]
    rows: Sequence[Row]


def stat(
    title: str, description: str, expr: str, legend: str, *, unit: str = "short", width: int = 4, height: int = 4,
    name: bool = False, steps: Steps = PLAIN, words: Mapping[float, tuple[str, str]] | None = None,
    colours: Mapping[str, str] | None = None, empty: str = "not known", decimals: int | None = None,
) -> Panel:  # fmt: skip
    """One number for each series, now. `name`: what is shown is the series' name, not its value."""
    coloured = words or colours or len(steps) > 1
    return Panel(
        "stat", title, description, unit, (Target(expr, legend, instant=True),), width, height, steps, words or {},
        colours or {}, empty, decimals=decimals,
        options={
            "colorMode": "background" if coloured else "value", "graphMode": "none", "justifyMode": "center",
            "orientation": "auto", "textMode": "name" if name else "auto", "reduceOptions": _reduce(),
        },
    )  # fmt: skip


def lines(
    title: str, description: str, unit: str, *targets: Target, width: int = 12, height: int = 8, steps: Steps = PLAIN,
    empty: str = "no data", limits: tuple[float | None, float | None] = (0, None), stacked: bool = False,
    stepped: bool = False, decimals: int | None = None,
) -> Panel:  # fmt: skip
    """Values over time. `stepped`: they hold until the next one, as counts and states do."""
    custom: Json = {
        "drawStyle": "bars" if stacked else "line", "fillOpacity": 60 if stacked else 10, "lineWidth": 1,
        "lineInterpolation": "stepAfter" if stepped else "linear", "showPoints": "never", "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if len(steps) > 1 else "off"},
    }  # fmt: skip
    options: Json = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(
        "timeseries", title, description, unit, targets, width, height, steps, empty=empty, limits=limits,
        decimals=decimals, options=options, custom=custom,
    )  # fmt: skip


def states(
    title: str, description: str, target: Target, *, words: Mapping[float, tuple[str, str]] | None = None,
    colours: Mapping[str, str] | None = None, width: int = 12, height: int = 8, empty: str = "no data",
) -> Panel:  # fmt: skip
    """One band for each series, coloured by its value (`words`) or by its name (`colours`)."""
    return Panel(
        "state-timeline", title, description, "none", (target,), width, height, words=words or {},
        colours=colours or {}, empty=empty, limits=(None, None), custom={"fillOpacity": 80, "lineWidth": 0},
        options={
            "alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto" if words else "never",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )  # fmt: skip


def bars(
    title: str, description: str, unit: str, target: Target, *, width: int = 12, height: int = 8,
    steps: Steps = PLAIN, empty: str = "no data", limits: tuple[float | None, float | None] = (0, None),
    decimals: int | None = None,
) -> Panel:  # fmt: skip
    """One bar for each series, now."""
    return Panel(
        "bargauge", title, description, unit, (target,), width, height, steps, empty=empty, limits=limits,
        decimals=decimals,
        options={
            "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "color",
            "reduceOptions": _reduce(),
        },
    )  # fmt: skip


def table(
    title: str, description: str, target: Target, *, hidden: Sequence[str], width: int = 12, height: int = 6,
    empty: str = "no data", links: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:  # fmt: skip
    """The series' labels, now."""
    return Panel(
        "table", title, description, "none", (target,), width, height, empty=empty, limits=(None, None),
        links=links or {}, hidden=hidden, options={"cellHeight": "sm", "showHeader": True},
    )  # fmt: skip


def datasource() -> Json:
    """The variable `datasource`: a Prometheus."""
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def choice(name: str, label: str, metric: str) -> Json:
    """Values of a label of the same name, several at once, all of them at first."""
    query = f"label_values({metric}, {name})"
    asked = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "hide": 0, "refresh": 2, "sort": 1,
        "definition": query, "query": asked, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def address(name: str, label: str, value: str) -> Json:
    """Where a page is. Not shown in the head; `var-NAME=` in the dashboard's address or the file itself changes it."""
    current = {"selected": True, "text": value, "value": value}
    return {"name": name, "label": label, "type": "textbox", "query": value, "current": current, "hide": 2}


def render(dashboard: Dashboard) -> str:
    """Give the file's text: the same for the same dashboard, with ids and places in the order of the panels."""
    whole: Json = {
        "uid": dashboard.uid, "title": dashboard.title, "description": dashboard.description, "id": None,
        "tags": ["cloud-foundry", "stager-medic"], "schemaVersion": 39, "version": 1, "editable": False,
        "graphTooltip": 1, "refresh": "30s", "timezone": "", "time": {"from": f"now-{dashboard.span}", "to": "now"},
        "templating": {"list": list(dashboard.variables)},
        "annotations": {"list": [_annotation(item) for item in dashboard.annotations]},
        "links": [_link(title, url) for title, url in dashboard.pages.items()],
        "panels": list(_placed(dashboard.rows)),
    }  # fmt: skip
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(rows: Iterable[Row]) -> Iterable[Json]:
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place: Json = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel) -> Json:
    low, high = panel.limits
    bounds: Json = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    mode = "palette-classic" if panel.kind == "timeseries" else "thresholds"
    defaults: Json = {
        "unit": panel.unit, "noValue": panel.empty, "color": {"mode": mode}, "custom": panel.custom, **bounds,
        "mappings": _mappings(panel.words),
        "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": colour} for at, colour in panel.steps]},
    }  # fmt: skip
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    made: Json = {
        "type": panel.kind, "title": panel.title, "description": panel.description, "datasource": DATASOURCE,
        "targets": [_target(number, target) for number, target in enumerate(panel.targets)],
        "fieldConfig": {"defaults": defaults, "overrides": list(_overrides(panel))}, "options": panel.options,
    }  # fmt: skip
    if panel.hidden:
        excluded = dict.fromkeys(panel.hidden, True)
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded}}]
    return made


def _target(number: int, target: Target) -> Json:
    return {
        "refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": target.expr, "format": target.form,
        "legendFormat": target.legend, "instant": target.instant, "range": not target.instant, "editorMode": "code",
    }  # fmt: skip


def _mappings(words: Mapping[float, tuple[str, str]]) -> list[Json]:
    if not words:
        return []
    shown = {
        f"{value:g}": {"text": text, "color": colour, "index": number}
        for number, (value, (text, colour)) in enumerate(words.items())
    }
    return [{"type": "value", "options": shown}]


def _overrides(panel: Panel) -> Iterable[Json]:
    for pattern, colour in panel.colours.items():
        fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
        yield {"matcher": {"id": "byRegexp", "options": f"/{pattern}/"}, "properties": [fixed]}
    for column, (title, url) in panel.links.items():
        link = {"id": "links", "value": [{"title": title, "url": url, "targetBlank": True}]}
        yield {"matcher": {"id": "byName", "options": column}, "properties": [link]}


def _annotation(item: Annotation) -> Json:
    return {
        "name": item.name, "enable": True, "hide": False, "iconColor": item.colour, "datasource": DATASOURCE,
        "expr": item.expr, "step": "30s", "titleFormat": item.title, "textFormat": item.text, "useValueForTime": False,
    }  # fmt: skip


def _link(title: str, url: str) -> Json:
    inside = url.startswith("/d/")
    return {
        "type": "link", "title": title, "url": url, "icon": "dashboard" if inside else "external link", "tags": [],
        "tooltip": "", "asDropdown": False, "includeVars": inside, "keepTime": inside, "targetBlank": not inside,
    }  # fmt: skip


def _reduce() -> Json:
    return {"calcs": ["lastNotNull"], "fields": "", "values": False}
