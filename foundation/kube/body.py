"""The body of a long answer, read from its socket in large pieces.

http.client and urllib3 hand out what lies in one TLS record at a time and copy it three times, which costs as much as
everything else that is done with a log line. Here all that has come is taken at once; and where piece follows piece, a
few milliseconds are left for more to gather, as each piece wakes its reader up. Chunks' extensions and trailers are not
looked at; a body in another encoding is not decoded.
"""

from __future__ import annotations

import math
import re
import select
import time
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Final

from urllib3.exceptions import ProtocolError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

PIECE: Final = 192 << 10
"""Bytes of a piece at most: with half of it a log line cost 5 to 18 % more, and with twice as much about the same."""
SMALL: Final = 8 << 10
"""Bytes of the first pieces: most streams say little, and there are many of them."""
BURST: Final = 0.02
"""Seconds since the piece before within which a piece belongs to a burst."""
GATHER: Final = 0.004
"""Seconds that a burst is given to become a larger piece."""
LONGEST_LINE: Final = 1 << 16
"""Bytes of a line of the framing; http.client's limit."""

_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_USUAL_NEXT: Final = re.compile(rb"\r\n([1-9a-f][0-9a-f]{0,14})\r\n")
"""What Go's servers write between two chunks, in one piece."""


class BrokenBodyError(ProtocolError):
    """The body ended before its end, or its framing is none. The second argument says it in words."""

    def __init__(self, words: str) -> None:
        super().__init__("Connection broken", words)


class Chunks:
    """Takes the framing of a chunked body off, whatever pieces it comes in."""

    __slots__ = ("_left", "_line", "_state", "ended", "problem")

    def __init__(self) -> None:
        self._state = "size"
        self._left = 0
        self._line = b""
        self.ended = False
        """The last chunk and what follows it were read."""
        self.problem = ""
        """What is wrong with the framing; nothing more is taken then."""

    def take(self, piece: bytearray, size: int) -> bytes:
        """What the first `size` bytes of this piece hold of the body; they may be overwritten afterwards."""
        parts: list[memoryview] = []
        at = 0
        with memoryview(piece) as view:
            while at < size and not self.ended and not self.problem:
                if self._state == "data":
                    end = min(at + self._left, size)
                    parts.append(view[at:end])
                    self._left -= end - at
                    at = end
                    if not self._left:
                        if usual := _USUAL_NEXT.match(piece, at, size):
                            self._left = int(usual[1], 16)
                            at = usual.end()
                        else:
                            self._state = "end of data"
                    continue
                end = piece.find(b"\n", at, size)
                self._line += piece[at : size if end < 0 else end]
                if len(self._line) > LONGEST_LINE:
                    self.problem = f"a line between the chunks is longer than {LONGEST_LINE} bytes"
                if end < 0:
                    break
                line, self._line = self._line.removesuffix(b"\r"), b""
                self._read_line(line)
                at = end + 1
            taken = b"".join(parts)
            for part in parts:
                part.release()
        return taken

    def _read_line(self, line: bytes) -> None:
        if self._state == "size":
            found = _SIZE.fullmatch(line)
            if not found:
                self.problem = f"a chunk begins with {line[:20]!r} instead of its size"
                return
            self._left = int(found[1], 16)
            self._state = "data" if self._left else "trailer"
        elif self._state == "end of data":
            if line:
                self.problem = f"a chunk is followed by {line[:20]!r} instead of its end"
            self._state = "size"
        elif not line:
            self.ended = True


class Body:
    """Reads one answer's body to its end. For one thread; the socket may be shut down by any."""

    def __init__(
        self,
        sock: socket.socket,
        first: bytes,
        *,
        chunked: bool,
        length: int | None,
        silence: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`first`: what was read already; `length`: None if the body goes on to the connection's end.

        `silence`: seconds without a byte that are waited for. The socket does not block from now on.
        """
        self._sock = sock
        self._silence = silence
        self._chunks = Chunks() if chunked else None
        self._left = None if chunked else length
        self._first = first
        self._failure: OSError | None = None
        self._over = False
        self._clock = clock
        self._sleep = sleep
        self._came = -math.inf
        """When the piece before came that was waited for."""
        self._buffer = bytearray(SMALL)
        sock.settimeout(0.0)

    def read(self) -> bytes:
        """What has come, at least a byte; empty at the end.

        Raises TimeoutError after the longest silence, BrokenBodyError, and what the socket raises.
        """
        while not self._ended():
            size = self._fill()
            taken = self._unframed(size)
            if size == len(self._buffer) < PIECE:
                self._buffer = bytearray(min(4 * size, PIECE))
            if taken:
                return taken
            if self._failure is not None:
                raise self._failure
            self._check()
        return b""

    def _ended(self) -> bool:
        return self._left == 0 if self._chunks is None else self._chunks.ended

    def _check(self) -> None:
        """Whether there can be more."""
        if self._chunks is not None and self._chunks.problem:
            raise BrokenBodyError(self._chunks.problem)
        if self._over and not self._ended():
            if self._chunks is None and self._left is None:
                self._left = 0
            else:
                raise BrokenBodyError("the answer ends in its middle")

    def _unframed(self, size: int) -> bytes:
        if self._chunks is not None:
            return self._chunks.take(self._buffer, size)
        if self._left is not None:
            size = min(size, self._left)
            self._left -= size
        with memoryview(self._buffer) as view:
            return bytes(view[:size])

    def _fill(self) -> int:
        """Takes what has come, waiting for the first byte, and in a burst for a little more.

        Returns how much it was: 0 at the connection's end.
        """
        if self._first:
            size = min(len(self._first), len(self._buffer))
            self._buffer[:size] = self._first[:size]
            self._first = self._first[size:]
            return size
        size = 0
        with memoryview(self._buffer) as view:
            while size < len(view) and not self._over and self._failure is None:
                try:
                    got = self._sock.recv_into(view[size:])
                except (BlockingIOError, SSLWantReadError):
                    if size:
                        break
                    self._wait(select.POLLIN)
                    self._gather()
                except SSLWantWriteError:  # TLS has something to answer
                    self._wait(select.POLLOUT)
                except OSError as problem:
                    self._failure = problem  # told after what came before it
                else:
                    size += got
                    self._over = not got
        return size

    def _gather(self) -> None:
        now = self._clock()
        if now - self._came < BURST:
            self._sleep(GATHER)
        self._came = now

    def _wait(self, what: int) -> None:
        poll = select.poll()
        poll.register(self._sock.fileno(), what)
        if not poll.poll(math.ceil(self._silence * 1000)):
            raise TimeoutError("timed out")
