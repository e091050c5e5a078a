"""Finds the few lines that can matter, without reading the others.

steno writes the message right after the time, so the first `"message":"` of a line and the letter behind it refuse
nearly every line, and cost two short searches. `Completed` lines are many: a pattern made for the look of the piece's
first line reads them where they stand; whatever looks otherwise goes the long way, with the same result.

This relies on steno's order of keys (lib/steno/codec/json.rb): a message that comes after other texts is not looked
for. The loops are written for speed, and are the only code that runs for every line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MARKERS: Final = (b"Request failed: ", b"stage.request", b"sync-failed", b"Completed ")
"""What the messages that are counted start with."""

_LETTERS: Final = frozenset(marker[0] for marker in MARKERS)

# All patterns accept only what `unwrap` and `recognise` read in the same way (property tests compare them). The last
# one knows kubectl's or the runtime's time, SCF's syslog form, and KubeCF's sidecar, all in one; the others are quick.
_BARE: Final = rb'\{"timestamp":(?:[1-9]\d*(?:\.\d+)?|"[0-9T:.Z+-]*"),"message":"Completed (\d\d\d) vcap-request-id: '
_KUBELET: Final = rb"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z "
_TIME: Final = rb"(?:" + _KUBELET + rb"(?:std(?:out|err) F )?)?"
_SYSLOG: Final = rb"(?:<\d{1,3}>1 [0-9T:.Z+-]{1,64} ([A-Za-z0-9][A-Za-z0-9._-]{0,252}) [A-Za-z0-9._-]{1,128} - - - )?"
_SGR: Final = rb"(?:\x1b\[[0-9;]*m)*+"
_SIDECAR: Final = rb"(?:S\d{4}/\d\d/\d\d \d\d:\d\d:\d\d, S/[^,\x1b\n]{1,499}S, S)?".replace(b"S", _SGR)
_COLOURED: Final = rb"S\d\d\d\d/\d\d/\d\d \d\d:\d\d:\d\d, S/[^,\x1b\n]{1,499}S, ".replace(b"S", rb"\x1b\[[0-9;]*m")
_QUICK_BARE: Final = re.compile(_BARE)
_QUICK_KUBELET: Final = re.compile(_KUBELET + _BARE)
_QUICK_COLOURED: Final = re.compile(rb"(?:" + _KUBELET + rb")?" + _COLOURED + _BARE)
_COMPLETED: Final = re.compile(_TIME + _SYSLOG + _SIDECAR + _BARE)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    lines: int
    candidates: list[bytes]
    """Lines to be recognised, without newlines."""
    completed: dict[tuple[bytes | None, bytes], int]
    """Completed requests already read: pod (None: not named by the line) and status, and how many."""


def scan(chunk: bytes) -> Found:
    """Looks through whole lines in one piece; the last one may lack its newline."""
    if not chunk.endswith(b"\n"):
        chunk += b"\n"
    candidates: list[bytes] = []
    statuses: list[bytes] = []
    wrapped: list[tuple[bytes | None, bytes]] = []
    find, quick, letters = chunk.find, _quick(chunk), _LETTERS
    lines = start = 0
    while (end := find(b"\n", start)) >= 0:
        at = find(b'"message":"', start, end)
        if at < 0:
            # A line in Docker's JSON has its quotes escaped; other lines without the word cannot matter.
            if find(b"message", start, end) >= 0:
                candidates += _may_matter(chunk[start:end])
        elif chunk[at + 11] in letters:  # at worst the newline
            if found := quick(chunk, start):
                statuses.append(found[1])
            elif chunk.startswith(MARKERS, at + 11, end):
                _sort_out(chunk[start:end], wrapped, candidates)
        start = end + 1
        lines += 1
    return Found(lines, candidates, _totals(statuses, wrapped))


def scan_lines(lines: Sequence[bytes]) -> Found:
    """The same for lines that are cut already; newlines inside them are text."""
    candidates: list[bytes] = []
    statuses: list[bytes] = []
    wrapped: list[tuple[bytes | None, bytes]] = []
    quick, letters = _quick(lines[0] if lines else b""), _LETTERS
    for line in lines:
        at = line.find(b'"message":"')
        if at < 0:
            if b"message" in line:
                candidates += _may_matter(line)
        elif at + 11 < len(line) and line[at + 11] in letters:
            if found := quick(line):
                statuses.append(found[1])
            elif line.startswith(MARKERS, at + 11):
                _sort_out(line, wrapped, candidates)
    return Found(len(lines), candidates, _totals(statuses, wrapped))


def _quick(text: bytes) -> Callable[..., re.Match[bytes] | None]:
    """How to read a `Completed` line that looks like the first one; right for no other, and wrong for none."""
    if text.startswith(b"{"):
        return _QUICK_BARE.match
    return (_QUICK_COLOURED if text.find(b"\x1b[", 0, 40) >= 0 else _QUICK_KUBELET).match


def _may_matter(line: bytes) -> list[bytes]:
    return [line] if any(marker in line for marker in MARKERS) else []


def _sort_out(line: bytes, wrapped: list[tuple[bytes | None, bytes]], candidates: list[bytes]) -> None:
    if found := _COMPLETED.match(line):
        wrapped.append((found[1], found[2]))
    else:
        candidates.append(line)


def _totals(statuses: list[bytes], wrapped: list[tuple[bytes | None, bytes]]) -> dict[tuple[bytes | None, bytes], int]:
    totals: dict[tuple[bytes | None, bytes], int] = {(None, status): statuses.count(status) for status in set(statuses)}
    for key in wrapped:
        totals[key] = totals.get(key, 0) + 1
    return totals
