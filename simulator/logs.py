"""Log files of containers: lines with numbers and times, kept up to a limit, rotated, followed.

One class serves both views of a log: what the kubelet gives to `kubectl logs`, and a file under /var/vcap/sys/log that
`tail -F` reads inside the container.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_LINES = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One line, without its line feed."""

    number: int
    """Counts from 1 over the whole life of the file, rotations included."""
    at: int
    """Unix time in nanoseconds."""
    text: bytes


class LogFile:
    """A growing log. Thread-safe. `clock` gives Unix time in nanoseconds."""

    def __init__(self, clock: Callable[[], int], kept: int = KEPT_LINES) -> None:
        self._clock = clock
        self._lines: deque[Line] = deque(maxlen=kept)
        self._changed = threading.Condition()
        self._count = 0
        self._first = 1
        self._closed = False
        self._rotations = 0
        self._deaf = 0
        self._begun = 0
        """Bytes written before the present file began."""
        self._size = 0
        """Bytes ever written, newlines included."""

    def append(self, text: bytes | str) -> None:
        """Write one line."""
        with self._changed:
            self._count += 1
            encoded = text.encode() if isinstance(text, str) else text
            self._lines.append(Line(self._count, self._clock(), encoded))
            self._size += len(encoded) + 1
            self._changed.notify_all()

    def rotate(self, *, deaf: bool = False) -> None:
        """Begin a new file: who opens it now does not see the old lines, who follows reads them to their end.

        With `deaf` they do not: their streams stay open and silent, as on many kubelets (kubernetes #115701, #126564).
        """
        with self._changed:
            self._first = self._count + 1
            self._begun = self._size
            self._rotations += 1
            if deaf:
                self._deaf += 1
            self._changed.notify_all()

    def close(self) -> None:
        """The container ended: whoever follows reads the rest and ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Tell whether the container ended."""
        return self._closed

    @property
    def rotations(self) -> int:
        """Count the rotations."""
        return self._rotations

    @property
    def deafness(self) -> int:
        """Count the rotations that deafened their followers; a follower that saw another number reads nothing more."""
        return self._deaf

    def lines(self) -> list[Line]:
        """Give the lines of the present file, oldest first."""
        with self._changed:
            return [line for line in self._lines if line.number >= self._first]

    def contents(self) -> tuple[int, bytes, int]:
        """Give the present file: where what is still kept of it begins, that part, and its newest line."""
        with self._changed:
            kept = b"".join(line.text + b"\n" for line in self._lines if line.number >= self._first)
            return self._size - self._begun - len(kept), kept, self._count

    @property
    def newest(self) -> int:
        """Give the number of the last line ever written, 0 before the first."""
        with self._changed:
            return self._count

    def after(self, number: int, timeout: float) -> list[Line]:
        """Give the lines after a number, waiting up to `timeout` seconds for one."""
        with self._changed:
            if self._count <= number and not self._closed and timeout > 0:
                self._changed.wait(timeout)
            missing = min(len(self._lines), max(0, self._count - number))
            return list(islice(self._lines, len(self._lines) - missing, None))
