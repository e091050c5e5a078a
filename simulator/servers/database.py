"""A simulated SQL database: as much of its first answer as can be had without credentials."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, assert_never

from simulator.servers.loop import Connection, Server

if TYPE_CHECKING:
    from simulator.servers.loop import ServerLoop

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""PostgreSQL, "SSLRequest" (its manual, 55.7): length 8, then the code 80877103."""


class DatabaseMode(StrEnum):
    """What the database does."""

    CLOSED = "closed"
    ANSWERS = "answers"
    SILENT = "silent"
    """Accepts and says nothing."""
    BLOCKED = "blocked"
    """MySQL: answers that this host is blocked. PostgreSQL: a fatal error instead of its one byte."""


class DatabaseServer(Server[DatabaseMode]):
    """One PostgreSQL or MySQL on one address."""

    def __init__(
        self,
        address: str,
        port: int,
        kind: Literal["postgresql", "mysql"] = "postgresql",
        mode: DatabaseMode = DatabaseMode.CLOSED,
        *,
        loop: ServerLoop | None = None,
    ) -> None:
        super().__init__(address, port, mode, DatabaseMode.CLOSED, loop)
        self.kind = kind

    def _connection(self, mode: DatabaseMode) -> Connection:
        match mode:
            case DatabaseMode.CLOSED | DatabaseMode.SILENT:
                return Connection(self._connections, None)
            case DatabaseMode.ANSWERS | DatabaseMode.BLOCKED:
                blocked = mode is DatabaseMode.BLOCKED
                if self.kind == "mysql":
                    return _MySQL(self._connections, blocked=blocked)
                return _PostgreSQL(self._connections, blocked=blocked)
            case _:
                assert_never(mode)


class _PostgreSQL(Connection):
    def __init__(self, connections: set[Connection], *, blocked: bool) -> None:
        super().__init__(connections, None)
        self._blocked = blocked
        self._buffer = b""

    def received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < len(SSL_REQUEST):
            return
        if self._blocked or not self._buffer.startswith(SSL_REQUEST):
            self.write(_fatal("SFATAL", "C53300", "Msorry, too many clients already"))
            self.close()
        else:
            self._buffer = self._buffer[len(SSL_REQUEST) :]
            self.write(b"N")


def _fatal(*fields: str) -> bytes:
    body = b"".join(field.encode() + b"\0" for field in fields) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


class _MySQL(Connection):
    def __init__(self, connections: set[Connection], *, blocked: bool) -> None:
        super().__init__(connections, None)
        self._blocked = blocked

    def ready(self) -> None:
        if self._blocked:
            message = b"Host '127.0.0.1' is blocked because of many connection errors; unblock with 'FLUSH HOSTS'"
            self.write(_packet(b"\xff" + (1129).to_bytes(2, "little") + message))
            self.close()
        else:
            # Protocol 10: version, thread, first 8 bytes of the challenge, capabilities, charset, status, the rest.
            greeting = b"\x0a5.7.44\0" + (7).to_bytes(4, "little") + b"challeng\0" + b"\xff\xf7\x21\x02\x00\xff\x81\x15"
            self.write(_packet(greeting + bytes(10) + b"challenge-12\0mysql_native_password\0"))


def _packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload
