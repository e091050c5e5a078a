"""The log of requests that changed something, or tried to: what tests and people check a remediator's deeds against."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.api.objects import Json

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One mutating request and its answer."""

    number: int
    at: float
    """Unix time of the answer."""
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    dry_run: bool
    user_agent: str
    body: Json | list[Json] | None
    status: int
    """The HTTP status; for a lost answer, the one that was lost."""


class Journal:
    """The newest entries, in the order in which they were answered. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._count = 0

    def add(
        self,
        *,
        at: float,
        verb: str,
        resource: str,
        subresource: str,
        namespace: str,
        name: str,
        dry_run: bool,
        user_agent: str,
        body: Json | list[Json] | None,
        status: int,
    ) -> None:
        """Write one down."""
        with self._lock:
            self._count += 1
            self._entries.append(
                Entry(self._count, at, verb, resource, subresource, namespace, name, dry_run, user_agent, body, status)
            )

    def entries(self) -> list[Entry]:
        """Give what is kept, oldest first."""
        with self._lock:
            return list(self._entries)

    def as_json(self) -> list[Json]:
        """Give the entries for the control endpoint."""
        return [asdict(entry) for entry in self.entries()]
