"""Connections of the pool that keep a deadline over a whole answer and can be cut while they wait for its headers.

urllib3's read time limit starts anew with every byte, so that a server which dribbles could hold a thread for days; and
it hands out a response only after its headers came, until when nobody could end the wait.
"""

from __future__ import annotations

import http.client
import io
from functools import partial
from typing import TYPE_CHECKING, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable

    import urllib3


BUFFER = 256 << 10
"""Bytes; http.client's own 8 KiB made a log stream cost twice the reads. Only what is used of it takes memory."""


class Patience:
    """How long one request may be waited for: each silence, and in all. For the thread that makes the request."""

    def __init__(
        self, clock: Callable[[], float], silence: float, total: float, attach: Callable[[socket.socket], None] | None
    ) -> None:
        """Seconds; `attach` is told which socket the answer will come on, before anything is waited for."""
        self._clock, self._silence, self._total = clock, silence, total
        self._until: float | None = clock() + total
        self.attach = attach

    def without_end(self) -> None:
        """From now on only each silence is limited: the answer is a stream."""
        self._until = None

    @property
    def waited(self) -> float:
        """The limit that was reached, for words: the total where its time has come, else that of a silence."""
        return self._total if self._until is not None and self._clock() >= self._until else self._silence

    def left(self) -> float:
        """Seconds for the next read. Raises TimeoutError where there are none."""
        if self._until is None:
            return self._silence
        left = self._until - self._clock()
        if left <= 0:
            raise TimeoutError("timed out")
        return min(self._silence, left)


class _Raw(io.RawIOBase):
    """The bytes of a socket, each read within what is left."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock, self._patience = sock, patience
        self._raw = sock.makefile("rb", buffering=0)
        self._limit: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]  # Buffer is new in 3.12
        left = self._patience.left()
        if left != self._limit:  # each setting is a system call
            self._sock.settimeout(left)
            self._limit = left
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Source:
    """What http.client wants of a socket."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock, self._patience = sock, patience

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"  # noqa: S101  # what http.client asks for
        return io.BufferedReader(_Raw(self._sock, self._patience), BUFFER)


def _respond(
    patience: Patience, sock: socket.socket, debug: int = 0, *, method: str | None = None
) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(cast("socket.socket", _Source(sock, patience)), debug, method=method)


def be_patient(pool: urllib3.PoolManager, mine: threading.local) -> None:
    """Make the pool's answers keep to the Patience that stands in `mine.patience` when they are waited for."""

    def prepare(connection: HTTPConnection) -> None:
        patience: Patience = mine.patience
        connection.response_class = partial(_respond, patience)  # type: ignore[assignment]  # any callable will do
        if patience.attach is not None and connection.sock is not None:
            patience.attach(connection.sock)

    class Plain(HTTPConnection):
        def connect(self) -> None:
            prepare(self)  # a proxy's answer is waited for in here
            super().connect()

        def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
            prepare(self)
            return super().getresponse()

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            prepare(self)
            super().connect()

        def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
            prepare(self)
            return super().getresponse()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
