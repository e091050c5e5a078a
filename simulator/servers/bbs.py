"""A simulated BBS: the HTTP/1.1 over mutual TLS that its callers see, in each of its states.

Answers are those of cloudfoundry/bbs (handlers/ping_handler.go, handlers/unavailable_handler.go, models/domain.proto):
ping never touches the database, an error of the database comes inside an HTTP 200.
Two calls are known; the rest is 404.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from simulator.servers.loop import Connection, Server
from simulator.servers.wire import number, text

if TYPE_CHECKING:
    import ssl

    from simulator.servers.certificates import ServerTLS
    from simulator.servers.loop import ServerLoop

PORT = 8889
MAX_HEAD = 65536


class BBSMode(StrEnum):
    """What the BBS does."""

    CLOSED = "closed"
    """Passive or gone: connecting is refused."""
    SERVES = "serves"
    HANGS = "hangs"
    """Wedged: its kernel accepts, nothing is ever said."""
    MIGRATING = "migrating"
    """Elected, its database not yet migrated: every call gets 503."""
    CERTIFICATE_EXPIRED = "certificate_expired"
    REJECTS_CLIENT = "rejects_client"
    DATABASE_ERROR = "database_error"
    """Ping is answered, a read carries an error."""
    NOT_BBS = "not_bbs"
    """Something else listens on the port, without TLS."""


class BBSServer(Server[BBSMode]):
    """One BBS on one address."""

    def __init__(
        self,
        address: str,
        port: int,
        tls: ServerTLS,
        mode: BBSMode = BBSMode.CLOSED,
        *,
        loop: ServerLoop | None = None,
        domains: tuple[str, ...] = ("cf-apps", "cf-tasks"),
    ) -> None:
        super().__init__(address, port, mode, BBSMode.CLOSED, loop)
        self.tls = tls
        self.domains = domains

    def _connection(self, mode: BBSMode) -> Connection:
        match mode:
            case BBSMode.CLOSED | BBSMode.HANGS:
                return Connection(self._connections, None)
            case BBSMode.NOT_BBS:
                return _Garbage(self._connections, None)
            case BBSMode.CERTIFICATE_EXPIRED:
                return self._speaker(self.tls.expired, mode)
            case BBSMode.REJECTS_CLIENT:
                return self._speaker(self.tls.rejecting, mode)
            case BBSMode.SERVES | BBSMode.MIGRATING | BBSMode.DATABASE_ERROR:
                return self._speaker(self.tls.context, mode)
            case _:
                assert_never(mode)

    def _speaker(self, context: ssl.SSLContext, mode: BBSMode) -> _Speaker:
        return _Speaker(self._connections, context, mode, self.domains)


class _Garbage(Connection):
    def received(self, _data: bytes) -> None:
        self.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\nConnection: close\r\n\r\nBad request\n")
        self.close()


class _Speaker(Connection):
    def __init__(
        self, connections: set[Connection], context: ssl.SSLContext, mode: BBSMode, domains: tuple[str, ...]
    ) -> None:
        super().__init__(connections, context)
        self._mode = mode
        self._domains = domains
        self._buffer = bytearray()

    def received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            length = headers.get("content-length", "0")
            size = int(length) if length.isdecimal() else 0
            if len(self._buffer) < end + 4 + size:
                return
            del self._buffer[: end + 4 + size]
            self._answer(lines[0])
            if headers.get("connection", "").lower() == "close":
                self.close()
                return
        if len(self._buffer) > MAX_HEAD:
            self.abort()

    def _answer(self, request: str) -> None:
        if self._mode is BBSMode.MIGRATING:
            self._send("503 Service Unavailable", b"")
        elif request.startswith("POST /v1/ping "):
            self._send("200 OK", number(1, 1))
        elif request.startswith("POST /v1/domains/list "):
            self._send("200 OK", self._listing())
        else:
            self._send("404 Not Found", b"")

    def _listing(self) -> bytes:
        if self._mode is BBSMode.DATABASE_ERROR:
            # models.ErrUnknownError, which every failure of the database but a few named ones becomes.
            return text(1, number(1, 0) + text(2, "the request failed for an unknown reason"))
        return b"".join(text(2, domain) for domain in self._domains)

    def _send(self, status: str, body: bytes) -> None:
        kind = "Content-Type: application/x-protobuf\r\n" if status.startswith("200") else ""
        self.write(f"HTTP/1.1 {status}\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
