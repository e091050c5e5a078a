"""Finds the few lines that can matter, without reading the others.

steno writes the message right after the time, so the first `"message":"` of a line and what stands behind it refuse
nearly every line. In a piece of many lines one pattern, made for the look of the first of them, does that for all and
reads the many `Completed` lines too; each line that looks otherwise is looked at by itself, with the same result.

This relies on steno's order of keys (lib/steno/codec/json.rb): a message that comes after other texts is not looked
for. This is the only code that runs for every line, and is written for speed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKERS: Final = (b"Request failed: ", b"stage.request", b"sync-failed", b"Completed ")
"""What the messages that are counted start with."""

_LETTERS: Final = frozenset(marker[0] for marker in MARKERS)

# All patterns accept only what `unwrap` and `recognise` read in the same way (property tests compare them).
_STAMP: Final = rb'\{"timestamp":(?:[1-9][0-9]*+(?:\.[0-9]++)?|"[0-9T:.Z+-]*+"),'
_BARE: Final = _STAMP + rb'"message":"Completed (\d{3}) vcap-request-id: '
_KUBELET: Final = rb"dddd-dd-ddTdd:dd:dd(?:\.d{1,9}+)?Z ".replace(b"d", b"[0-9]")
_TIME: Final = rb"(?:" + _KUBELET + rb"(?:std(?:out|err) F )?)?"
_SYSLOG: Final = rb"(?:<\d{1,3}>1 [0-9T:.Z+-]{1,64} ([A-Za-z0-9][A-Za-z0-9._-]{0,252}) [A-Za-z0-9._-]{1,128} - - - )?"
_SGR: Final = rb"(?:\x1b\[[0-9;]*m)*+"
_SIDECAR: Final = rb"(?:S\d{4}/\d\d/\d\d \d\d:\d\d:\d\d, S/[^,\x1b\n]{1,499}S, S)?".replace(b"S", _SGR)
_BARE_COMPLETED: Final = re.compile(_BARE)
_COMPLETED: Final = re.compile(_TIME + _SYSLOG + _SIDECAR + _BARE)

# For a piece: each line with the newline before it. What is found of it is empty where it can't matter, the status of
# a completed request, else the whole line. The sidecar's path has no quote, so `"message":"` is the line's first.
_COLOURED: Final = rb"Sdddd/dd/dd dd:dd:dd, S/[A-Za-z0-9._/-]{1,499}+S, ".replace(b"d", b"[0-9]").replace(
    b"S", rb"\x1b\[[0-9;]*+m"
)
_REST: Final = (
    rb'"message":"(?:Completed (?=\d\d\d vcap-request-id: )|(?!' + b"|".join(map(re.escape, MARKERS)) + rb"))|)"
    rb"((?<=Completed )\d\d\d|(?<=\n)[^\n]{4,}|)"
)
_ALL_BARE: Final = re.compile(rb"\n(?:" + _STAMP + _REST)
_ALL_KUBELET: Final = re.compile(rb"\n(?:" + _KUBELET + _STAMP + _REST)
_ALL_COLOURED: Final = re.compile(rb"\n(?:" + _COLOURED + _STAMP + _REST)
_ALL_KUBELET_COLOURED: Final = re.compile(rb"\n(?:" + _KUBELET + _COLOURED + _STAMP + _REST)


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
    usual = _usual(chunk)
    if usual is None:
        return scan_lines(chunk[:-1].split(b"\n"))
    end = chunk.find(b"\n")
    each = usual.findall(chunk, end, len(chunk) - 1)
    others = [chunk[:end]]
    statuses: list[tuple[bytes, int]] = []
    for what, number in Counter(each).items():
        if len(what) > 3:
            others += [what] * number
        elif what:
            statuses.append((what, number))
    found = scan_lines(others)
    for status, number in statuses:
        found.completed[None, status] = found.completed.get((None, status), 0) + number
    return Found(1 + len(each), found.candidates, found.completed)


def scan_lines(lines: Sequence[bytes]) -> Found:
    """The same for lines that are cut already; newlines inside them are text."""
    candidates: list[bytes] = []
    completed: dict[tuple[bytes | None, bytes], int] = {}
    bare, letters = _BARE_COMPLETED.match, _LETTERS
    for line in lines:
        at = line.find(b'"message":"')
        if at < 0:
            # A line in Docker's JSON has its quotes escaped; other lines without the word cannot matter.
            if b"message" in line:
                candidates += _may_matter(line)
        elif at + 11 < len(line) and line[at + 11] in letters:
            if found := bare(line):
                key: tuple[bytes | None, bytes] = (None, found[1])
            elif not line.startswith(MARKERS, at + 11):
                continue
            elif found := _COMPLETED.match(line):
                key = (found[1], found[2])
            else:
                candidates.append(line)
                continue
            completed[key] = completed.get(key, 0) + 1
    return Found(len(lines), candidates, completed)


def _usual(chunk: bytes) -> re.Pattern[bytes] | None:
    """The pattern for lines that look like the first one; None if that is neither bare nor a kubelet's or sidecar's."""
    first = chunk[:1]
    if first == b"{":
        return _ALL_BARE
    if first == b"\x1b":
        return _ALL_COLOURED
    if not first.isdigit():
        return None
    return _ALL_KUBELET_COLOURED if chunk.find(b"\x1b[", 0, 40) >= 0 else _ALL_KUBELET


def _may_matter(line: bytes) -> list[bytes]:
    return [line] if any(marker in line for marker in MARKERS) else []
