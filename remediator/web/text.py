"""How times read on the page. Pure functions; a time may be a Unix time, a datetime or what the API server wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

from foundation.durations import format_duration

When: TypeAlias = "float | datetime | str | None"


def unix(when: When) -> float | None:
    """Unix time; None where it is none."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            return None
    if isinstance(when, datetime):
        try:
            return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        except (OverflowError, ValueError):
            return None
    return when


def utc(when: When, now: float) -> str:
    """In UTC, the date only where it is not today's."""
    at = unix(when)
    if at is None:
        return "-"
    try:
        moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC).date()
    except (OverflowError, ValueError, OSError):
        return "-"
    return moment.strftime("%H:%M:%S UTC" if moment.date() == today else "%Y-%m-%d %H:%M:%S UTC")


def machine(when: When) -> str:
    """RFC 3339, for the `datetime` attribute."""
    at = unix(when)
    try:
        return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return ""


def ago(when: When, now: float) -> str:
    """How long ago, or in how long."""
    at = unix(when)
    if at is None:
        return ""
    if abs(at - now) < 1:
        return "now"
    return f"in {format_duration(at - now)}" if at > now else f"{format_duration(now - at)} ago"


def took(start: When, end: When) -> str:
    """How long something took; empty where either time is missing."""
    begun, over = unix(start), unix(end)
    return "" if begun is None or over is None else format_duration(over - begun)
