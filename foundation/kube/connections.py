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

from foundation.kube.body import Body

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable

    import urllib3


BUFFER = 64 << 10
"""Bytes read at once of short answers and of headers; http.client itself takes 8 KiB."""


class Patience:
    """How long one request may be waited for: each silence, and in all. For the thread that makes the request."""

    def __init__(
        self, clock: Callable[[], float], silence: float, total: float, attach: Callable[[socket.socket], None] | None
    ) -> None:
        """Seconds; `attach` is told which socket the answer will come on, before anything is waited for."""
        self._clock, self._silence, self._total = clock, silence, total
        self._until: float | None = clock() + total
        self.attach = attach
        self._answer: _Response | None = None

    def body(self, silence: float) -> Body:
        """The body of the answer whose headers came, to be read directly: the response itself is only to be closed."""
        answer, self._answer = self._answer, None
        assert answer is not None  # noqa: S101  # a response was given out
        return answer.body(silence)

    def answered(self, answer: _Response) -> None:
        """Headers came."""
        if self.attach is not None:  # nobody else asks for the body
            self._answer = answer

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
        self.given_up = False
        """Others read the socket from now on."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]  # Buffer is new in 3.12
        if self.given_up:
            return 0
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

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"  # noqa: S101  # what http.client asks for
        return io.BufferedReader(self._raw, BUFFER)


class _Response(http.client.HTTPResponse):
    """An answer whose body can be read past http.client."""

    def __init__(self, patience: Patience, sock: socket.socket, debug: int = 0, *, method: str | None = None) -> None:
        self._patience, self._sock, self._raw = patience, sock, _Raw(sock, patience)
        super().__init__(cast("socket.socket", _Source(self._raw)), debug, method=method)

    def begin(self) -> None:
        super().begin()
        self._patience.answered(self)

    def body(self, silence: float) -> Body:
        """What follows the headers; `silence`: seconds that are waited for a byte."""
        if self.isclosed():  # there is none
            return Body(self._sock, b"", chunked=False, length=0, silence=silence)
        self._raw.given_up = True
        first = self.fp.read()  # what came with the headers
        return Body(self._sock, first, chunked=bool(self.chunked), length=self.length, silence=silence)


def be_patient(pool: urllib3.PoolManager, mine: threading.local) -> None:
    """Make the pool's answers keep to the Patience that stands in `mine.patience` when they are waited for."""

    def prepare(connection: HTTPConnection) -> None:
        patience: Patience = mine.patience
        connection.response_class = partial(_Response, patience)  # type: ignore[assignment]  # any callable will do
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
