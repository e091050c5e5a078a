"""The shipped files as a run on loopback needs them: other addresses, shorter waits, and nothing else changed.

Pure: documents go in as YAML gives them, and new ones come out. Shortening divides every wait by one factor, as if all
of it were told faster: what waits (`for`, `group_wait`, …) and the windows that expressions look back over. Plain
numbers of seconds inside expressions (`> 600`) stay: those rules then fire later than their share, never earlier.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = dict[str, Any]

ALERTS: Final = Path(__file__).resolve().parents[2] / "alerts"
"""The files that ship."""
WAITS: Final = frozenset(
    {"for", "group_wait", "group_interval", "repeat_interval", "scrape_interval", "evaluation_interval", "interval"}
)
"""The settings that are waits."""
EXPRESSION: Final = "expr"
REMEDIATOR, PAGE, CHAT, DEAD_MAN = "stager-remediator", "page", "chat", "dead-man"
"""The receivers of alertmanager.yml."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION: Final = re.compile(r"(\d+)(ms|[smhdwy])")
_WINDOW: Final = re.compile(r"\[([0-9a-z]+)(?::([0-9a-z]*))?\]")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Targets:
    """What Prometheus scrapes and whom Alertmanager tells."""

    exporters: Sequence[str]
    """Each HOST:PORT."""
    remediators: Sequence[str]
    """Each HOST:PORT."""
    webhook: str
    """The remediator's, as an address."""
    token_file: Path
    """What Alertmanager shows there."""
    receivers: str
    """Where page, chat and dead-man are taken, as an address without a slash at its end."""
    labels: dict[str, str] = field(default_factory=dict)
    """Prometheus' external labels."""


def seconds(text: str) -> float:
    """Read a duration of Prometheus ("1h30m"); raises ValueError."""
    found = _DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"no duration: {text!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in found)


def duration(wanted: float) -> str:
    """Write seconds as Prometheus reads them, to the millisecond."""
    thousandths = round(wanted * 1000)
    return f"{thousandths}ms" if thousandths % 1000 else f"{thousandths // 1000}s"


def shortened(document: Any, factor: float, *, least_window: float = 0.0) -> Any:  # noqa: ANN401  as YAML gives it
    """Give a document whose waits and windows are `factor` times as short, and that is otherwise the same.

    `least_window`: seconds below which no window goes, as it must hold several scrapes. What waits at all waits at
    least a millisecond. Raises ValueError for a factor below 1 and for a wait that is no duration.
    """
    if factor < 1:
        raise ValueError(f"the factor must be at least 1, got {factor}")
    if isinstance(document, list):
        return [shortened(item, factor, least_window=least_window) for item in document]
    if not isinstance(document, dict):
        return document
    return {name: _shorter(name, value, factor, least_window) for name, value in document.items()}


def _shorter(name: str, value: object, factor: float, least: float) -> object:
    if name in WAITS and isinstance(value, str):
        return _divided(value, factor, 0.0)
    if name == EXPRESSION and isinstance(value, str):
        return _windows(value, factor, least)
    return shortened(value, factor, least_window=least)


def _divided(text: str, factor: float, least: float) -> str:
    before = seconds(text)
    if factor == 1 or not before:
        return text
    return duration(max(before / factor, min(least, before), 0.001))


def _windows(expr: str, factor: float, least: float) -> str:
    """Shorten what stands in square brackets outside of strings: a window, or a window and its step."""

    def divided(found: re.Match[str]) -> str:
        step = found[2]
        words = [_divided(found[1], factor, least)]
        if step is not None:
            words.append(_divided(step, factor, 0.0) if step else "")
        return f"[{':'.join(words)}]"

    pieces, end = [], 0
    for quoted in _STRINGS.finditer(expr):
        pieces += [_WINDOW.sub(divided, expr[end : quoted.start()]), quoted[0]]
        end = quoted.end()
    return "".join([*pieces, _WINDOW.sub(divided, expr[end:])])


def aimed(config: Json, targets: Targets, folder: Path) -> tuple[Json, dict[Path, str]]:
    """Give alertmanager.yml with the receivers' addresses and credentials of a run, and the files that it then names.

    The kinds of receivers stay what they are, with all their templates: a page is sent as to PagerDuty, a chat as to
    Slack. Raises KeyError where the file has another receiver than the four that this knows to aim.
    """
    found = copy.deepcopy(config)
    key, chat = folder / "pagerduty.key", folder / "slack.url"
    for receiver in found["receivers"]:
        for kind, settings in receiver.items():
            if kind != "name":
                (one,) = settings
                _AIM[receiver["name"], kind](one, targets, folder)
    return found, {key: "0123456789abcdef0123456789abcdef", chat: f"{targets.receivers}/{CHAT}"}


def _aim_remediator(settings: Json, targets: Targets, _folder: Path) -> None:
    settings["url"] = targets.webhook
    settings["http_config"]["authorization"]["credentials_file"] = str(targets.token_file)


def _aim_page(settings: Json, targets: Targets, folder: Path) -> None:
    settings["routing_key_file"] = str(folder / "pagerduty.key")
    settings["url"] = f"{targets.receivers}/{PAGE}"


def _aim_chat(settings: Json, _targets: Targets, folder: Path) -> None:
    settings["api_url_file"] = str(folder / "slack.url")


def _aim_dead_man(settings: Json, targets: Targets, _folder: Path) -> None:
    settings["url"] = f"{targets.receivers}/{DEAD_MAN}"


_AIM: Final = {
    (REMEDIATOR, "webhook_configs"): _aim_remediator,
    (PAGE, "pagerduty_configs"): _aim_page,
    (CHAT, "slack_configs"): _aim_chat,
    (DEAD_MAN, "webhook_configs"): _aim_dead_man,
}


def prometheus_config(targets: Targets, alertmanagers: Sequence[str], *, scrape: float, evaluate: float) -> Json:
    """Give prometheus.yml: rules.yml beside it, both daemons as jobs. `alertmanagers`: HOST:PORT of each.

    `scrape`, `evaluate`: seconds between two scrapes, and between two evaluations.
    """
    jobs = {"stager-exporter": targets.exporters, "stager-remediator": targets.remediators}
    return {
        "global": {
            "scrape_interval": duration(scrape),
            "scrape_timeout": duration(min(scrape, 10.0)),
            "evaluation_interval": duration(evaluate),
            **({"external_labels": dict(targets.labels)} if targets.labels else {}),
        },
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": list(places)}]} for name, places in jobs.items()
        ],
    }
