"""Cuts a syslog TCP stream into messages, in both framings of RFC 6587, told apart message by message.

A message starts with `<`. Digits, a blank and then `<` are an octet count (section 3.4.1); anything else runs to the
next newline (3.4.2). Memory is bounded: a message longer than `LONGEST` is given once, cut, and the rest of it passed
over.
"""

from __future__ import annotations

import re

LONGEST = 1 << 20
"""Bytes of one message that are kept."""

_COUNT = re.compile(rb"([1-9]\d{0,8}) <")
_MAYBE_COUNT = re.compile(rb"[1-9]\d{0,8}(?: )?\Z")
_TRAILER = b"\r\n\0"


class Framer:
    """One connection's stream. Not for several threads at once."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._skip = 0
        """Bytes of a cut message with a count that are still to come."""
        self._skip_line = False
        self._scanned = 0
        self.cut = 0
        """How many messages were longer than `LONGEST`."""

    @property
    def held(self) -> int:
        """Bytes held of an unfinished message."""
        return len(self._buffer)

    def push(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete, without trailing CR, LF and NUL; empty ones are left out."""
        self._buffer += data
        messages: list[bytes] = []
        while self._buffer:
            if self._skip:
                passed = min(self._skip, len(self._buffer))
                del self._buffer[:passed]
                self._skip -= passed
                continue
            message = self._next()
            if message is None:
                break
            message = message.rstrip(_TRAILER)
            if message:
                messages.append(message)
        return messages

    def give_up(self) -> list[bytes]:
        """The unfinished message, cut here; what is still to come of it is passed over (memory is needed elsewhere)."""
        buffer = self._buffer
        count = _COUNT.match(buffer)
        if self._skip_line or not buffer:
            return []
        if count is not None:
            start = count.end() - 1
            message = bytes(buffer[start:])
            self._skip = int(count[1]) - len(message)
        else:
            message = bytes(buffer)
            self._skip_line = True
        buffer.clear()
        self._scanned = 0
        self.cut += 1
        return [message] if message.rstrip(_TRAILER) else []

    def flush(self) -> bytes:
        """At the end of the connection: what is there of an unfinished message, without its count."""
        rest = b"" if self._skip_line else bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        count = _COUNT.match(rest)
        if count is not None:
            rest = rest[count.end() - 1 :]
        elif _MAYBE_COUNT.match(rest):
            rest = b""
        return rest.rstrip(_TRAILER)

    def _next(self) -> bytes | None:
        """The next message; None if it is not whole yet; empty where there was nothing between two ends."""
        buffer = self._buffer
        if not self._skip_line:
            count = _COUNT.match(buffer)
            if count is not None:
                return self._counted(count.end() - 1, int(count[1]))
            if len(buffer) <= 11 and _MAYBE_COUNT.match(buffer):
                return None
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            if self._skip_line:
                buffer.clear()
                return None
            if len(buffer) <= self._longest:
                self._scanned = len(buffer)
                return None
            message = bytes(buffer[: self._longest])
            buffer.clear()
            self._scanned = 0
            self._skip_line = True
            self.cut += 1
            return message
        message = b"" if self._skip_line else bytes(buffer[: min(end, self._longest)])
        if len(message) < end and not self._skip_line:
            self.cut += 1
        del buffer[: end + 1]
        self._scanned = 0
        self._skip_line = False
        return message

    def _counted(self, start: int, length: int) -> bytes | None:
        buffer = self._buffer
        whole = start + length
        if length <= self._longest:
            if len(buffer) < whole:
                return None
            message = bytes(buffer[start:whole])
            del buffer[:whole]
            return message
        if len(buffer) < start + self._longest:
            return None
        message = bytes(buffer[start : start + self._longest])
        del buffer[: start + self._longest]
        self._skip = length - self._longest
        self.cut += 1
        return message
