"""What both dashboards share: the filter by foundation, their links, the marks of remediations, colours of words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana.panels import Annotation, Target, address, choice, datasource, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grafana.panels import Json, Panel

F: Final = 'foundation=~"$foundation"'
"""The filter that every selector of a metric with that label has."""
RUNBOOKS: Final = "https://github.com/stager-medic/stager-medic/blob/main/alerts/runbooks"

YES_NO: Final[Mapping[float, tuple[str, str]]] = {1: ("yes", "green"), 0: ("no", "red"), -1: ("not known", "purple")}
OK_FAILS: Final[Mapping[float, tuple[str, str]]] = {1: ("works", "green"), 0: ("fails", "red")}
VERDICTS: Final[Mapping[str, str]] = {
    ".": "red",
    "healthy$": "green",
    "(electing|migrating)$": "yellow",
    "unknown$": "purple",
}
"""The last that matches wins. Yellow passes by itself; what nobody can tell is not good."""
RESTARTS: Final[Mapping[str, str]] = {"yes$": "orange", "ask$": "purple", "wait$": "yellow", "no$": "blue"}
"""No colour says good or bad: `no` is right for a healthy foundation, and for a dead database."""

MARKS: Final = (
    Annotation(
        "Remediation under way", f"max by (foundation) (stager_remediation_running{{{F}}}) > 0",
        "Remediation under way", "{{foundation}}", "orange",
    ),
    Annotation(
        "Remediation ended",
        f"sum by (foundation, playbook, outcome) (increase(stager_remediations_total{{{F}}}[$__rate_interval])) > 0",
        "Remediation: {{outcome}}", "{{foundation}}: {{playbook}}", "blue",
    ),
)  # fmt: skip


def variables(metric: str) -> tuple[Json, ...]:
    """The variables of a dashboard whose foundations are those that `metric` names."""
    return (
        datasource(),
        choice("foundation", "Foundation", metric),
        address("exporter", "Exporter's page", "http://localhost:9717"),
        address("remediator", "Remediator's page", "http://localhost:9718"),
        address("runbooks", "Runbooks", RUNBOOKS),
    )


def firing(names: str, width: int, height: int = 4) -> Panel:
    """The alerts that fire, each with its runbook. `names`: a regular expression."""
    # `|` at the end: alerts about the exporter or remediator itself name no foundation.
    expr = (
        "max by (alertname, severity, foundation) "
        f'(ALERTS{{alertstate="firing",alertname=~"{names}",foundation=~"$foundation|"}})'
    )
    return table(
        "Alerts that fire",
        "As Prometheus has them, silenced or not. The name leads to the runbook's page. DiegoRestartWouldHelp pages "
        "nobody: it is what the remediator acts upon.",
        Target(expr, "{{alertname}}", instant=True, form="table"),
        hidden=("Time", "Value"), width=width, height=height, empty="none",
        links={"alertname": ("Runbook of ${__value.raw}", "${runbooks}/${__value.raw}.md")},
    )  # fmt: skip
