"""Cuts a stream of bytes into lines, whatever the sizes of the pieces it arrives in.

Memory is bounded: an endless line costs at most its cap. What lies beyond the cap is lost, and counted as one overlong
line. Carriage returns are left alone.
"""

from __future__ import annotations

MAX_LINE = 1 << 20
"""Bytes of a line that are kept, without its newline."""


class LineSplitter:
    """Holds the unfinished line between two pieces of one stream. Not for use by several threads at once."""

    __slots__ = ("_dropping", "_held", "_length", "_limit", "overlong")

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._held: list[bytes] = []
        self._length = 0
        self._dropping = False
        self.overlong = 0
        """How many lines were longer than the cap, and so lost their end."""

    def push(self, chunk: bytes) -> list[bytes]:
        """The lines that this piece completes, without their newlines; an overlong line comes once, cut at the cap."""
        lines: list[bytes] = []
        for number, piece in enumerate(chunk.split(b"\n")):
            if number:
                self._end_line(lines)
            self._extend(piece)
        return lines

    def push_whole(self, chunk: bytes) -> bytes:
        """The same lines as `push` gives, in one piece, each with its newline: for `LogAccount.feed_chunk`."""
        end = chunk.rfind(b"\n") + 1
        # Beyond these sizes a line could be over the cap: the careful way then.
        if not end or self._dropping or self._length + len(chunk) > self._limit:
            lines = self.push(chunk)
            return b"\n".join(lines) + b"\n" if lines else b""
        whole = b"".join((*self._held, memoryview(chunk)[:end])) if self._held else chunk[:end]
        self._held.clear()
        self._length = 0
        self._extend(chunk[end:])
        return whole

    def flush(self) -> bytes:
        """The unfinished rest (up to the cap), which is then forgotten; empty if there is none."""
        rest = b"".join(self._held)
        self._held.clear()
        self._length = 0
        self._dropping = False
        return rest

    def _extend(self, piece: bytes) -> None:
        if self._dropping or not piece:
            return
        room = self._limit - self._length
        if len(piece) > room:
            self.overlong += 1
            self._dropping = True
            piece = piece[:room]
        self._held.append(piece)
        self._length += len(piece)
        # A stream that trickles in byte by byte must not cost a list entry per byte.
        if len(self._held) > 256:
            self._held = [b"".join(self._held)]

    def _end_line(self, lines: list[bytes]) -> None:
        lines.append(b"".join(self._held))
        self._held.clear()
        self._length = 0
        self._dropping = False
