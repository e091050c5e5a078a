"""Where a reader stands in a container's log, so that no line is given twice or left out at a reconnect.

The API server cuts `sinceTime` to whole seconds and includes that second, so every reconnect delivers lines again. A
line is therefore known by its whole text with the runtime's timestamp, and known lines are *counted*, not put in a set:
of three equal lines at the same nanosecond, three are given. Two output streams of one container may be written a
little out of order; everything from one second before the newest timestamp is asked for again and compared.

Lines are handled in pieces and keep their timestamps: the recogniser takes them off the few lines that can matter.

Not guaranteed: more than `MOST_KNOWN` lines within the compared seconds; and, where a node's clock was set back by more
than `SET_BACK`, the lines of the time that it then went through twice: if the stream was open they may be given twice
at the next reconnect, else those that the kubelet holds to be older than asked for are missing.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000
SET_BACK = 5 * SECOND
"""A live line stamped this much before the newest one shows a clock that was set back, or a stamp that was wrong."""
MOST_AHEAD = 1 << 16
"""Lines from before a clock was set back that are remembered."""
MOST_KNOWN = 1 << 20
"""Lines remembered at most: 8 MB."""
RAW_BYTES = 4 << 20
"""Remembered lines are kept as they are up to this many bytes, and as hashes beyond: at 1,000 lines a second (2 MB in
what is compared) all are forgotten unhashed."""

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def nanoseconds(stamp: bytes) -> int | None:
    """The RFC 3339 timestamp that a kubelet puts before a line, in nanoseconds since 1970; None if it is none."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    seconds = _seconds(whole + zone)
    return None if seconds is None else seconds * SECOND + int((fraction or b"").ljust(9, b"0"))


@lru_cache(maxsize=64)  # many lines share a second
def _seconds(stamp: bytes) -> int | None:
    try:
        moment = datetime.fromisoformat(stamp.decode("ascii"))
    except ValueError:
        return None
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


@dataclass(slots=True)
class _Known:
    second: int
    chunk: bytes
    hashes: array[int]

    def all(self) -> Iterator[int]:
        """The hashes of its lines."""
        return chain(self.hashes, map(hash, _lines(self.chunk)))


class Position:
    """One container's log, read up to somewhere. Not thread-safe: one reader owns it."""

    def __init__(self, floor: int) -> None:
        """Lines stamped before `floor` (nanoseconds since 1970) are old and never given."""
        self._floor = floor
        self._newest = floor
        self._believed = floor
        """The newest stamp that another piece followed: what came before one odd stamp from the future stays known."""
        self._known: deque[_Known] = deque()
        self._hashes = 0
        self._raw: deque[_Known] = deque()
        self._raw_bytes = 0
        self._ahead: deque[int] = deque(maxlen=MOST_AHEAD)
        self._expected: Counter[int] = Counter()
        self._careful_until: int | None = None
        self._anchor: int | None = None
        self._held: deque[tuple[float, int]] = deque()

    def since(self) -> datetime:
        """The `sinceTime` to ask for, in whole seconds; the held place's if there is one."""
        return datetime.fromtimestamp(self._second() if self._anchor is None else self._anchor, UTC)

    def step_back(self, seconds: int) -> None:
        """Ask again from `seconds` before this place: what comes next may be stamped by a clock that is behind."""
        second = self._second() if self._anchor is None else self._anchor
        self._anchor = None
        self._held.clear()
        self._newest = max((second - seconds) * SECOND, self._floor)

    def hold(self, now: float) -> None:
        """Keep the present place: it may turn out later that another container's log was opened than was thought.

        `now` is any clock that does not go back; the oldest place that is held counts.
        """
        self._held.append((now, self._second()))
        self._anchor = self._held[0][1]

    def confirm(self, before: float) -> None:
        """What was held before this time was rightly read: connections that break again and again hold nothing up."""
        if not self._held or self._held[0][0] >= before:
            return
        while self._held and self._held[0][0] < before:
            self._held.popleft()
        self._anchor = self._held[0][1] if self._held else None
        self._forget()

    def release(self) -> None:
        """Forget every held place."""
        self._held.clear()
        self._anchor = None
        self._forget()

    def reopened(self) -> None:
        """The next lines come from a new stream and may be known ones."""
        self._expected = Counter(self._ahead)
        for record in self._known:
            self._expected.update(record.all())
        newest = max((record.second for record in self._known), default=0) + 1
        self._careful_until = max(self._newest, newest * SECOND) + SECOND

    def fresh(self, chunk: bytes) -> bytes:
        """Of whole lines, each with its newline, those not given before; they count as given from now on."""
        if not chunk:
            return b""
        if self._careful_until is None:
            start = chunk.rfind(b"\n", 0, -1) + 1
            newest = nanoseconds(chunk[start : chunk.find(b" ", start, start + 40)])
            if newest is not None:
                if newest < self._newest - SET_BACK:
                    self._clock_was_set_back(newest)
                self._remember(chunk, newest)
                return chunk
        return self._unknown(chunk)

    def _unknown(self, chunk: bytes) -> bytes:
        unknown: list[bytes] = []
        newest = 0
        expected = self._expected
        for line in _lines(chunk):
            # None: not the container's line but the kubelet's own word, or no timestamps at all: counted as it is.
            moment = nanoseconds(line.partition(b" ")[0])
            if moment is not None and moment < self._floor:
                continue
            if expected:
                key = hash(line)
                if expected.get(key, 0):
                    expected[key] -= 1
                    continue
            newest = max(newest, moment or 0)
            unknown.append(line)
        taken = b"\n".join(unknown) + b"\n" if unknown else b""
        if taken:
            self._remember(taken, newest)
        if self._careful_until is not None and newest > self._careful_until:
            self._careful_until = None
            self._expected = Counter()
        return taken

    def _clock_was_set_back(self, now: int) -> None:
        """Go on from `now`: asking for what comes after the newest line would leave out all until then."""
        for record in self._known:
            self._ahead.extend(record.all())
        self._known.clear()
        self._raw.clear()
        self._hashes = self._raw_bytes = 0
        self._newest = self._believed = max(now, self._floor)

    def _second(self, newest: int | None = None) -> int:
        """From here on lines are asked for again; what is older can't come any more."""
        newest = self._newest if newest is None else newest
        return max(newest // SECOND - 1, self._floor // SECOND)

    def _remember(self, chunk: bytes, newest: int) -> None:
        self._believed, self._newest = self._newest, max(self._newest, newest)
        record = _Known(self._newest // SECOND, chunk, array("q"))
        self._known.append(record)
        self._raw.append(record)
        self._raw_bytes += len(chunk)
        self._forget()
        while self._raw_bytes > RAW_BYTES:
            oldest = self._raw.popleft()
            self._raw_bytes -= len(oldest.chunk)
            oldest.hashes.extend(map(hash, _lines(oldest.chunk)))
            oldest.chunk = b""
            self._hashes += len(oldest.hashes)

    def _forget(self) -> None:
        # A piece is filed under its last line's second; lines before that one may be stamped a second later.
        wanted = (self._second(self._believed) if self._anchor is None else self._anchor) - 1
        while self._known and (self._known[0].second < wanted or self._hashes > MOST_KNOWN):
            gone = self._known.popleft()
            self._hashes -= len(gone.hashes)
            if self._raw and self._raw[0] is gone:
                self._raw.popleft()
                self._raw_bytes -= len(gone.chunk)


def _lines(chunk: bytes) -> Iterator[bytes]:
    """The lines of a piece that ends with a newline; nothing of an empty one."""
    return iter(chunk[:-1].split(b"\n") if chunk else ())
