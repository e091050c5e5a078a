"""The last probes of one foundation, failures kept longer (the idea is blackbox_exporter's).

In memory only: it begins empty with the process. Nothing here is a metric.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.web.view import ProbeLine


class ProbeHistory:
    """A ring of results. A failure that falls out of it goes to a second ring, so that the good do not wash it away.

    Threads may add and read at the same time.
    """

    def __init__(self, recent: int = 20, failures: int = 20) -> None:
        """`recent` and `failures` are the largest number of results in each ring.

        Raises ValueError for a ring that could hold nothing.
        """
        if recent < 1 or failures < 1:
            raise ValueError(f"a history needs room for at least one result: recent={recent}, failures={failures}")
        self._recent: deque[ProbeLine] = deque(maxlen=recent)
        self._failures: deque[ProbeLine] = deque(maxlen=failures)
        self._lock = threading.Lock()

    def add(self, line: ProbeLine) -> None:
        """Take one finished probe."""
        with self._lock:
            if len(self._recent) == self._recent.maxlen and not self._recent[0].ok:
                self._failures.append(self._recent[0])
            self._recent.append(line)

    def recent(self) -> tuple[ProbeLine, ...]:
        """Give the last results, newest first."""
        with self._lock:
            return tuple(reversed(self._recent))

    def failures(self) -> tuple[ProbeLine, ...]:
        """Give the failures that are no longer among the recent results, newest first."""
        with self._lock:
            return tuple(reversed(self._failures))
