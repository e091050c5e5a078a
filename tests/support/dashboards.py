"""The committed dashboards as their expressions, and just enough of PromQL's grammar to see what an expression names.

Not a parser: promtool is, where it is installed. What is read here are names, labels and brackets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "grafana" / "dashboards"
UIDS: Final = ("stager-availability", "stager-remediation")
FULL: Final[Mapping[str, str]] = {
    "$__rate_interval": "2m",
    "$__range_s": "3600",
    "$__range": "1h",
    "$foundation": ".*",
}

_WORDS: Final = frozenset({"and", "or", "unless", "bool", "by", "on", "without", "ignoring", "offset"})
_SELECTOR: Final = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?")
_MATCHER: Final = re.compile(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_BY: Final = re.compile(r"\bby\s*\(([^)]*)\)\s*\(")
_MADE: Final = re.compile(r'label_replace\(.*?,\s*"(\w+)",\s*"[^"]*",\s*"\w+",\s*"[^"]*"\)')


@dataclass(frozen=True, slots=True)
class Query:
    """One expression with where it stands."""

    uid: str
    place: str
    """The panel's title and the target's letter, or the annotation's name."""
    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False
    """Shown as rows with a column for each label, not by its legend."""

    def full(self, values: Mapping[str, str] = FULL) -> str:
        """The expression as Prometheus takes it. The longest names first: `$__range` begins `$__range_s`."""
        text = self.expr
        for name in sorted(values, key=len, reverse=True):
            text = text.replace(name, values[name])
        return text


def load(uid: str) -> dict[str, Any]:
    """The committed file."""
    found: dict[str, Any] = json.loads((FOLDER / f"{uid}.json").read_text(encoding="utf-8"))
    return found


def panels(uid: str) -> list[dict[str, Any]]:
    """All panels that are no row."""
    return [panel for panel in load(uid)["panels"] if panel["type"] != "row"]


def queries(uid: str) -> Iterator[Query]:
    """Every expression of panels and annotations."""
    for panel in panels(uid):
        for target in panel["targets"]:
            place = f"{panel['title']} {target['refId']}"
            rows = target.get("format") == "table"
            yield Query(uid, place, target["expr"], target["legendFormat"], target["instant"], rows)
    for mark in load(uid)["annotations"]["list"]:
        yield Query(uid, f"annotation {mark['name']}", mark["expr"])


def selectors(expr: str) -> list[tuple[str, dict[str, str]]]:
    """Metrics with their label matchers, in the order of the expression."""
    bare = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", " ", expr)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\$__\w+", " ", bare)
    found = []
    # Strings outside of braces are label_replace's.
    pieces = re.split(r'(\{[^}]*\})|"(?:[^"\\]|\\.)*"', bare)
    text = "".join(piece or " " for piece in pieces)
    for match in _SELECTOR.finditer(_blank_braces(text)):
        name, after = match[1], text[match.end(1) :].lstrip()
        if name in _WORDS or after.startswith("("):
            continue
        inside = after[: after.index("}") + 1] if after.startswith("{") else ""
        found.append((name, dict(_MATCHER.findall(inside))))
    return found


def _blank_braces(text: str) -> str:
    return re.sub(r"\{[^}]*\}", lambda found: " " * len(found[0]), text)


def groupings(expr: str) -> Iterator[tuple[list[str], str]]:
    """Each `by (labels) (argument)`, as labels and argument."""
    for match in _BY.finditer(expr):
        labels = [label.strip() for label in match[1].split(",")]
        yield labels, expr[match.end() : closing(expr, match.end() - 1)]


def made_labels(expr: str) -> set[str]:
    """Labels that label_replace makes."""
    return set(_MADE.findall(expr))


def closing(expr: str, start: int) -> int:
    """Where the bracket that opens at `start` closes; brackets in strings do not count."""
    depth, quoted = 0, False
    for place in range(start, len(expr)):
        letter = expr[place]
        if letter == '"' and expr[place - 1] != "\\":
            quoted = not quoted
        elif not quoted and letter in "([{":
            depth += 1
        elif not quoted and letter in ")]}":
            depth -= 1
            if depth == 0:
                return place
    raise AssertionError(f"no bracket closes the one at {start}: {expr}")
