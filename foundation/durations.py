"""Durations as operators write them: `30s`, `1m30s`, `24h`. Never a bare number, whose unit has to be guessed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
LONGEST = 366 * 86400.0
"""Seconds. What is longer is a slip, and much longer no clock or socket takes."""


def parse_duration(text: object) -> float:
    """Seconds. Raises ValueError with what is expected instead."""
    if not isinstance(text, str) or len(text) > 40 or not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        given = repr(text)[:40] if isinstance(text, str | int | float | None) else f"a {type(text).__name__}"
        raise ValueError(f"expected a duration with its unit, such as 30s or 1m30s, not {given}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST:
        raise ValueError(f"expected a duration of at most {LONGEST / 86400:.0f}d, not {text}")
    return seconds


def format_duration(seconds: float) -> str:
    """For people: the largest two units, `45s`, `3m20s`, `2h05m`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    if whole < 86400:
        hours, rest = divmod(whole, 3600)
        return f"{hours}h{rest // 60:02d}m"
    days, rest = divmod(whole, 86400)
    return f"{days}d{rest // 3600:02d}h"


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""A setting in seconds, written as a duration."""
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""The same, more than zero."""
