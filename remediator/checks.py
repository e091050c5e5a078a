"""What `preflight` found, as data, as JSON and as a page for a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from remediator.timeline import wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundation.kube.client import Json


class Result(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It will work, but not as well as it could, or not all is known."""
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    about: str
    """A foundation, or what all of them share."""
    name: str
    result: Result
    text: str
    advice: str = ""


def as_json(found: Sequence[Check]) -> Json:
    """For programs."""
    return {
        "checks": [
            {
                "about": check.about,
                "check": check.name,
                "result": str(check.result),
                "text": check.text,
                "advice": check.advice or None,
            }
            for check in found
        ],
        "failed": sum(check.result is Result.FAIL for check in found),
        "warned": sum(check.result is Result.WARN for check in found),
    }


def as_text(found: Sequence[Check], width: int) -> str:
    """For a person, with a final line end: what to do stands below each finding."""
    lines: list[str] = []
    about = None
    for check in found:
        if check.about != about:
            lines += [*([""] if lines else []), check.about]
            about = check.about
        lines += wrapped(check.text, width, f"  {check.result:<4}  {check.name:<15} ")
        if check.advice:
            lines += wrapped(check.advice, width, f"  {'':<21} -> ")
    counts = {result: sum(check.result is result for check in found) for result in Result}
    return "\n".join([*lines, "", ", ".join(f"{count} {result}" for result, count in counts.items())]) + "\n"
