"""Label and field selectors, as query parameters spell them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulator.api.errors import ApiError
from simulator.api.objects import labels, metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.api.objects import Json

    Match = Callable[[Json], bool]

# `a in (b, c)` holds commas that do not separate requirements.
_REQUIREMENT = re.compile(r"[^,()]+(?:\([^)]*\))?")
_SET = re.compile(r"^(?P<key>[^\s!=]+)\s+(?P<word>in|notin)\s*\((?P<values>[^)]*)\)$")
_FIELDS = ("metadata.name", "metadata.namespace", "status.phase", "spec.nodeName", "type", "reason")


def by_labels(text: str) -> Match:
    """Read a label selector; raises ApiError 400 where it cannot be read."""
    tests = [_label_test(part.strip()) for part in _REQUIREMENT.findall(text) if part.strip()]
    return lambda thing: all(test(labels(thing)) for test in tests)


def by_fields(text: str) -> Match:
    """Read a field selector; raises ApiError 400 for a field that no object here can be selected by."""
    tests: list[Match] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.match(r"^([\w.]+?)(!=|==?)(.*)$", part)
        if not found:
            raise ApiError(400, f"invalid field selector: {part}")
        key, operator, wanted = found.groups()
        if key not in _FIELDS and not key.startswith(("involvedObject.", "regarding.")):
            raise ApiError(400, f"field label not supported: {key}")
        tests.append(_field_test(key, operator, wanted))
    return lambda thing: all(test(thing) for test in tests)


def _field_test(key: str, operator: str, wanted: str) -> Match:
    def test(thing: Json) -> bool:
        value: object = thing
        for step in key.split("."):
            value = value.get(step, "") if isinstance(value, dict) else ""
        return (str(value) == wanted) == (operator != "!=")

    return test


def _label_test(part: str) -> Callable[[dict[str, str]], bool]:
    grouped = _SET.match(part)
    if grouped:
        key, values = grouped["key"], {value.strip() for value in grouped["values"].split(",")}
        if grouped["word"] == "in":
            return lambda found: found.get(key) in values
        return lambda found: found.get(key) not in values
    if part.startswith("!"):
        return lambda found: part[1:].strip() not in found
    compared = re.match(r"^([^!=\s]+)\s*(!=|==?)\s*([\w.-]*)$", part)
    if compared:
        key, operator, wanted = compared.groups()
        return lambda found: (found.get(key) == wanted) == (operator != "!=")
    if re.match(r"^[\w./-]+$", part):
        return lambda found: part in found
    raise ApiError(400, f"unable to parse requirement: {part!r} is not a label requirement")


def name_of(thing: Json) -> tuple[str, str]:
    """Give namespace and name, the order in which lists are sorted."""
    return str(metadata(thing).get("namespace", "")), str(metadata(thing).get("name", ""))
