"""The probe of the SQL database that BBS and Locket stand on: its port and its first answer, without credentials.

The first answer tells a database that accepts and is silent from one that works. PostgreSQL is sent an SSLRequest and
says one byte; MySQL and MariaDB greet by themselves. That the database answers us does not show that it answers
Locket, nor that a query would succeed.

MySQL counts each greeting that is broken off against `max_connect_errors` and then blocks the host, which behind a
proxy is Locket's host too. So nobody should probe more often than a `DatabasePacer` allows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foundation.probes.attempt import Attempt, Failure
from foundation.probes.result import Cause, ProbeResult, Stage, Target

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from foundation.probes.resolving import Address

Kind = Literal["postgresql", "mysql"]

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""PostgreSQL's manual, 'Message Formats', SSLRequest: length 8, code 80877103."""
MAX_PACKET = 4096
HARMLESS = frozenset({1040, 1053})
"""MySQL errors that say nothing against our asking again: too many connections, shutdown in progress."""


@dataclass(frozen=True, slots=True)
class DatabaseReading:
    """One finished probe of a database."""

    result: ProbeResult
    """Its depth is `ping`, which stands for the first answer here."""
    stop: bool = False
    """MySQL turned us away: asking on could do harm, or already did."""

    @property
    def answered(self) -> bool:
        """Whether the database said what a working one says first."""
        return self.result.ok


def probe_database(
    kind: Kind,
    host: str,
    port: int,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    *,
    now: Callable[[], float] = time.time,
    resolve: Callable[[str, int, float], list[Address]] | None = None,
) -> DatabaseReading:
    """Probe a database once, within `timeout` seconds. Raises nothing for what the network or the database does."""
    attempt = Attempt(Target("database", host, port), timeout, clock, now, resolve)
    try:
        connection = attempt.connect()
        with attempt.entering(Stage.PING):
            if kind == "postgresql":
                _ask_postgresql(connection, attempt)
            else:
                _hear_mysql(connection, attempt)
    except _TurnedAwayError as found:
        return DatabaseReading(attempt.result(Stage.PING, found), stop=True)
    except Failure as found:
        return DatabaseReading(attempt.result(Stage.PING, found))
    finally:
        attempt.close()
    return DatabaseReading(attempt.result(Stage.PING))


class _TurnedAwayError(Failure):
    pass


def _ask_postgresql(connection: socket.socket, attempt: Attempt) -> None:
    connection.settimeout(attempt.left())
    connection.sendall(SSL_REQUEST)
    first = _read(connection, attempt, 1)
    if first in {b"S", b"N"}:
        return
    if first != b"E":
        raise Failure(Cause.BAD_ANSWER, f"not PostgreSQL: it began with {first!r}")
    size = int.from_bytes(_read(connection, attempt, 4), "big") - 4
    said = _read(connection, attempt, size).split(b"\0") if 0 < size <= MAX_PACKET else []
    # 'Error and Notice Message Fields': M is the message for people. Before version 3 there was but the text.
    message = next((part[1:] for part in said if part.startswith(b"M")), b"an error")
    raise Failure(Cause.BAD_ANSWER, f"PostgreSQL: {message.decode(errors='replace')}")


def _hear_mysql(connection: socket.socket, attempt: Attempt) -> None:
    size = int.from_bytes(_read(connection, attempt, 4)[:3], "little")
    if not 0 < size <= MAX_PACKET:
        raise Failure(Cause.BAD_ANSWER, f"not MySQL: a first packet of {size} bytes")
    packet = _read(connection, attempt, size)
    if packet[0] == 10:
        return
    if packet[0] != 0xFF or size < 3:
        raise Failure(Cause.BAD_ANSWER, f"not MySQL: protocol version {packet[0]}")
    code = int.from_bytes(packet[1:3], "little")
    message = packet[9:] if packet[3:4] == b"#" else packet[3:]
    words = f"MySQL error {code}: {message.decode(errors='replace')}"
    raise (Failure if code in HARMLESS else _TurnedAwayError)(Cause.BAD_ANSWER, words)


def _read(connection: socket.socket, attempt: Attempt, size: int) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(attempt.left())
        part = connection.recv(size - len(data))
        if not part:
            raise Failure(Cause.RESET, "the connection was closed without a whole answer")
        data += part
    return data


class DatabasePacer:
    """When to probe a database: only while nothing serves, at most once an interval, never again once told to stop.

    Pure, but for the clock that it is given; for one thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, interval: float = 60.0) -> None:
        self._clock = clock
        self._interval = interval
        self._last: float | None = None
        self._stopped = ""

    @property
    def stopped(self) -> str:
        """Why no probe is ever allowed again, in the database's words; empty while one may be."""
        return self._stopped

    def permit(self, *, nothing_serves: bool) -> bool:
        """Whether to probe now. A yes is spent at once: the next comes an interval later at the earliest."""
        if not nothing_serves or self._stopped:
            return False
        now = self._clock()
        if self._last is not None and now - self._last < self._interval:
            return False
        self._last = now
        return True

    def note(self, reading: DatabaseReading) -> None:
        """Take notice of a probe's outcome."""
        if reading.stop:
            self._stopped = reading.result.detail or "turned away"
