"""The server's half of a WebSocket (RFC 6455), as far as exec needs it: binary messages, ping, close."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...


def accept_key(key: str) -> str:
    """Give the value of `Sec-WebSocket-Accept`."""
    # The RFC fixes SHA-1 here; it proves nothing but that the server speaks the protocol.
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


class WebSocket:
    """One upgraded connection. `send` may be called from several threads; `messages` from one."""

    def __init__(self, reader: _Stream, writer: _Stream) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()

    def send(self, payload: bytes) -> None:
        """Send one binary message; raises OSError or ValueError when the client is gone."""
        self._frame(_BINARY, payload)

    def close(self, code: int = 1000) -> None:
        """Send the closing frame, if the client is still there."""
        try:
            self._frame(_CLOSE, struct.pack("!H", code))
        except (OSError, ValueError):
            return

    def messages(self) -> Iterator[bytes]:
        """Give the client's messages until it closes or goes away; answers pings meanwhile."""
        whole = b""
        while True:
            try:
                final, opcode, payload = self._read()
            except (OSError, ValueError, EOFError):
                return
            if opcode == _CLOSE:
                return
            if opcode == _PING:
                try:
                    self._frame(_PONG, payload)
                except (OSError, ValueError):
                    return
            elif opcode != _PONG:
                whole += payload
                if final:
                    yield whole
                    whole = b""

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        with self._lock:
            self._writer.write(head + payload)
            self._writer.flush()

    def _read(self) -> tuple[bool, int, bytes]:
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        mask = self._exactly(4) if second & 0x80 else b""
        payload = self._exactly(size)
        if mask:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return bool(first & 0x80), first & 0x0F, payload

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError
        return data
