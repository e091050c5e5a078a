"""The log of requests: what tests and people check a remediator's deeds against.

Entries stand in the order in which the requests took effect, and each is there before its client has the answer. A
stream (watch, followed log, exec) is noted when it begins. In memory the newest are kept, requests that change
something apart from the rest, so that many reads push out no deed; the file, where one is asked for, has all.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.api.objects import Json

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and its answer."""

    number: int
    received: float
    """Unix time at which it was read."""
    at: float
    """Unix time at which it had taken effect."""
    method: str
    path: str
    """With its query."""
    verb: str
    """RBAC's word; empty for discovery and health."""
    resource: str
    subresource: str
    namespace: str
    name: str
    dry_run: bool
    user_agent: str
    identity: str
    """The bearer token: who asked."""
    body: Json | list[Json] | None
    status: int
    """The HTTP status; for a lost answer, the one that was lost."""
    lost: bool
    """The connection was reset instead of an answer."""
    changes: bool
    """It changes something, or would."""
    version: str
    """resourceVersion of the answered object; empty where there is none."""


class Journal:
    """The newest entries. Thread-safe. `path` is a file to append all of them to; raises OSError."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._changes: deque[Entry] = deque(maxlen=_KEPT)
        self._others: deque[Entry] = deque(maxlen=_KEPT)
        self._count = 0
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8", buffering=1)

    def add(
        self,
        *,
        received: float,
        at: float,
        method: str,
        path: str,
        verb: str,
        resource: str,
        subresource: str,
        namespace: str,
        name: str,
        dry_run: bool,
        user_agent: str,
        identity: str,
        body: Json | list[Json] | None,
        status: int,
        lost: bool,
        changes: bool,
        version: str,
    ) -> None:
        """Write one down."""
        with self._lock:
            self._count += 1
            entry = Entry(
                self._count, received, at, method, path, verb, resource, subresource, namespace, name, dry_run,
                user_agent, identity, body, status, lost, changes, version,
            )  # fmt: skip
            (self._changes if changes else self._others).append(entry)
            if self._file is not None:
                self._file.write(json.dumps(asdict(entry)) + "\n")

    def entries(self, *, everything: bool = False, after: int = 0) -> list[Entry]:
        """Give what is kept, oldest first: the requests that change something, or everything."""
        with self._lock:
            found = [*self._changes, *(self._others if everything else ())]
        return sorted((entry for entry in found if entry.number > after), key=lambda entry: entry.number)

    def as_json(self, *, everything: bool = False, after: int = 0) -> list[Json]:
        """Give the entries for the control endpoint."""
        return [asdict(entry) for entry in self.entries(everything=everything, after=after)]

    def close(self) -> None:
        """Close the file. Later entries are kept in memory only."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
