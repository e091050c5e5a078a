"""Kubernetes objects as raw JSON, and the two spellings of time in them.

Objects are plain dictionaries because that is what travels; a stored object is never changed in place, so readers may
hold on to it without a lock.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeAlias

# The shape of an object is its kind's business, and the API server's only as far as `metadata`.
Json: TypeAlias = dict[str, Any]


def rfc3339(seconds: float) -> str:
    """Give the time in whole seconds, as `metadata` carries it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_nano(nanoseconds: int) -> str:
    """Give the time with nine digits, as the kubelet writes it before a log line."""
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def parse_time(text: str) -> float:
    """Read an RFC 3339 time; raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def metadata(thing: Json) -> Json:
    """Give `metadata`, empty where there is none."""
    found = thing.get("metadata")
    return found if isinstance(found, dict) else {}


def labels(thing: Json) -> dict[str, str]:
    """Give the labels, empty where there are none."""
    return metadata(thing).get("labels") or {}


def encode(thing: Json) -> bytes:
    """Write an object the way an API server does: compact, in UTF-8."""
    return json.dumps(thing, separators=(",", ":"), ensure_ascii=False).encode()
