"""The API against its own description: schemathesis asks what /openapi.json allows, and what it forbids.

Each answer is one that the description names, in the form that it gives; what it forbids is refused, what it allows is
taken; 503 comes only where the cluster's state cannot be read or written. The fake cluster knows no deletion at all, so
that an attempt at one would be a 500.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from foundation.durations import parse_duration
from remediator.openapi import document
from tests.support.remediator_web import House, bearer, house, unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from schemathesis import Case

    from foundation.kube.client import Json

    Asked = Case[Any]

OPERATIONS = sorted(
    (path, method.upper())
    for path, item in cast("dict[str, Json]", document()["paths"]).items()
    for method in item
    if method in ("get", "post")
)
QUICK = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def cases(at: House, path: str, method: str, mode: GenerationMode) -> st.SearchStrategy[Asked]:
    described = schemathesis.openapi.from_wsgi("/openapi.json", at.app)
    found: st.SearchStrategy[Asked] = described[path][method].as_strategy(generation_mode=mode)
    return found


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the application says about odd requests is looked at elsewhere."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_described(tmp_path: Path, path: str, method: str, mode: GenerationMode) -> None:
    at = house(tmp_path)
    name = at.awaiting()

    @QUICK
    @given(cases(at, path, method, mode), st.booleans())
    def ask(case: Asked, real: bool) -> None:
        if real and "{name}" in path:
            aim(at, case, name, as_it_stands=mode is GenerationMode.POSITIVE)
        answer = case.call(headers=bearer("all"))
        assert answer.status_code < 500, answer.text
        if answer.status_code != 422 or not impossible_time(case):
            case.validate_response(answer, headers=bearer("all"))

    ask()


def aim(at: House, case: Asked, name: str, *, as_it_stands: bool) -> None:
    """At a Remediation that is there, and as it stands; not where the version may be what is wrong with the request."""
    case.path_parameters["name"] = name
    if as_it_stands and isinstance(case.body, dict) and isinstance(case.body.get("resourceVersion"), str):
        case.body["resourceVersion"] = at.version(name) if case.body["resourceVersion"] else ""


def impossible_time(case: Asked) -> bool:
    """A duration of the right form that is nothing, or more than a year: beyond what a pattern can tell."""
    text = case.body.get("for") if isinstance(case.body, dict) else None
    try:
        return text is not None and not parse_duration(text)
    except ValueError:
        return True


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_unreadable_state_is_the_503_of_the_description(tmp_path: Path, path: str, method: str) -> None:
    at = house(tmp_path)
    for kube in at.kubes.values():
        kube.broken = unreachable()
    seen = set()

    @QUICK
    @given(cases(at, path, method, GenerationMode.POSITIVE))
    def ask(case: Asked) -> None:
        answer = case.call(headers=bearer("all"))
        seen.add(answer.status_code)
        if answer.status_code != 422 or not impossible_time(case):
            case.validate_response(
                answer, headers=bearer("all"), excluded_checks=[schemathesis.checks.not_a_server_error]
            )
        assert answer.status_code in (200, 404, 409, 422, 503)

    ask()
    assert seen <= {200, 404, 409, 422} or 503 in seen
