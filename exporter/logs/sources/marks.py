"""Finding one's place in a file again by what was read last, not by an offset alone.

An offset says nothing after the file was cut (`copytruncate`) and has grown again, and an inode number may be used
again at once. The last bytes read do: log lines carry their time, so they hardly occur twice. Reading is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK_BYTES = 1024
"""How many of the last bytes are kept."""
MIN_PROOF = 40
"""Bytes that must agree: enough to hold the time with which each line of CC's begins."""


@dataclass(slots=True)
class Mark:
    """A place in a file: how many bytes lie before it, and the last of them."""

    offset: int = 0
    tail: bytes = b""

    def advance(self, data: bytes) -> None:
        """Move on over bytes that were read here."""
        self.offset += len(data)
        self.tail = data[-MARK_BYTES:] if len(data) >= MARK_BYTES else (self.tail + data)[-MARK_BYTES:]

    @property
    def checked_from(self) -> int:
        """The offset from which the file's bytes up to `offset` must be `tail`."""
        return self.offset - len(self.tail)

    def search(self, pieces: Iterable[bytes]) -> int:
        """The offset behind the last place in a file, read from its start, that ends as what was read here; else 0.

        A place nearer to the start than the tail is long counts where the whole file up to it ends the tail: the file
        was cut, and this much of it was read since.
        """
        if len(self.tail) < MIN_PROOF:
            return 0
        found, base, window = 0, 0, b""
        head = b""
        for piece in pieces:
            if len(head) < MARK_BYTES:
                head = (head + piece)[:MARK_BYTES]
            window += piece
            at = window.rfind(self.tail)
            if at >= 0:
                found = base + at + len(self.tail)
            cut = max(0, len(window) - len(self.tail) + 1)
            base += cut
            window = window[cut:]
        if found:
            return found
        for size in range(min(len(head), len(self.tail)), MIN_PROOF - 1, -1):
            if self.tail.endswith(head[:size]):
                return size
        return 0
