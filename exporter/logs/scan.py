"""Finds the few lines of a chunk that can matter, without cutting the others out.

steno writes the message right after the time, so the first `"message":"` of a line and the letter behind it refuse
nearly every line, and cost two short searches. `Completed` lines are many: one pattern reads them where they stand, as
long as they look as they always do; whatever does not goes the long way, with the same result.

This relies on steno's order of keys (lib/steno/codec/json.rb): a message that comes after other texts is not looked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MARKERS: Final = (b"Request failed: ", b"stage.request", b"sync-failed", b"Completed ")
"""What the messages that are counted start with."""

_FIRST_LETTERS: Final = frozenset(marker[0] for marker in MARKERS)

# Accepts only what `unwrap` and `recognise` read in the same way (a property test compares them): kubectl's or the
# container runtime's time, SCF's syslog form, KubeCF's sidecar, then steno's JSON.
_SGR: Final = rb"(?:\x1b\[[0-9;]*m)*+"
_COMPLETED: Final = re.compile(
    rb"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z (?:std(?:out|err) F )?)?"
    rb"(?:<\d{1,3}>1 [0-9T:.Z+-]{1,64} ([A-Za-z0-9][A-Za-z0-9._-]{0,252}) [A-Za-z0-9._-]{1,128} - - - )?"
    rb"(?:" + _SGR + rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d, " + _SGR + rb"/[^,\x1b\n]{1,499}" + _SGR + rb", " + _SGR + rb")?"
    rb'\{"timestamp":(?:[1-9]\d*+(?:\.\d++)?|"[0-9T:.Z+-]*+"),"message":"Completed (\d{3}) vcap-request-id: '
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a chunk holds."""

    lines: int
    candidates: list[bytes]
    """Lines to be recognised, without newlines."""
    completed: dict[tuple[bytes | None, bytes], int]
    """Completed requests already read: pod (None: not named by the line) and status, and how many."""


def scan(chunk: bytes) -> Found:
    """Looks through whole lines; the last one may lack its newline."""
    lines = 0
    candidates: list[bytes] = []
    completed: dict[tuple[bytes | None, bytes], int] = {}
    find, match, letters = chunk.find, _COMPLETED.match, _FIRST_LETTERS
    start, length = 0, len(chunk)
    while start < length:
        end = find(b"\n", start)
        if end < 0:
            end = length
        lines += 1
        at = find(b'"message":"', start, end)
        if at < 0:
            # A line in Docker's JSON has its quotes escaped; other lines without the word cannot matter.
            if find(b"message", start, end) >= 0 and _may_matter(chunk[start:end]):
                candidates.append(chunk[start:end])
        elif at + 11 < end and chunk[at + 11] in letters:
            if found := match(chunk, start, end):
                key: tuple[bytes | None, bytes] = found.group(1, 2)
                completed[key] = completed.get(key, 0) + 1
            elif chunk.startswith(MARKERS, at + 11, end):
                candidates.append(chunk[start:end])
        start = end + 1
    return Found(lines, candidates, completed)


def _may_matter(line: bytes) -> bool:
    return any(marker in line for marker in MARKERS)
