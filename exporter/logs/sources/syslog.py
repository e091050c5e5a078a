"""Listens for syslog over TCP and UDP: SCF's and CFEE's rsyslog can be pointed at it (`SCF_LOG_HOST`).

One thread serves every connection and never waits for one of them. Which pod a line is from stands in the line; the
account finds it. A connection that breaks inside a message gives what there is of it, once: it is kept back for a while
first, as rsyslog sends a message again whole when its connection broke.

Not guaranteed, as plain syslog has no acknowledgements: messages that were in the network when a connection broke, and
datagrams that the kernel had no room for. Senders are not authenticated; limit who can reach the port. At its end a
listener leaves its sockets to the one that follows it (`handover`), or reads what has arrived before it closes them.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.logs.sources.base import Pulse
from exporter.logs.sources.framing import Framer

if TYPE_CHECKING:
    import threading

    from exporter.logs.sources.base import Pace, Sink, SourceStatus
    from exporter.logs.sources.handover import Handover

MOST_CONNECTIONS = 512
MOST_HELD = 32 << 20
"""Bytes of unfinished messages held over all connections."""
MOST_PARTS = 64
PART_BYTES = 64 * 1024
RESENT_WITHIN = 45.0
"""Seconds for which a part is kept back; rsyslog tries a broken connection again after 30 s."""
EVICT_AFTER = 5.0
"""Seconds of silence after which a connection may be closed in favour of a new one."""
READ_BYTES = 64 * 1024
DATAGRAMS_AT_ONCE = 256
UDP_BUFFER = 4 << 20
LAST_ROUNDS = 64
"""Times that each connection is read at the end, as long as bytes are there."""
DEAF_FOR = 1.0
"""Seconds without accepting after that has failed, as it does while there are no descriptors left."""


def split_listen(listen: str) -> tuple[str, int]:
    """`0.0.0.0:5514`, `[::]:5514` or `:5514` as host and port. Raises ValueError, in words for an operator."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or not port.isascii() or int(port) > 65535:
        raise ValueError(f"listen address {listen!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Connection:
    """One sender."""

    __slots__ = ("framer", "heard", "peer", "socket")

    def __init__(self, accepted: socket.socket, peer: str, now: float) -> None:
        self.socket = accepted
        self.peer = peer
        self.framer = Framer()
        self.heard = now


@dataclass(slots=True)
class _Left:
    """What a listener leaves; see `handover`."""

    bound: socket.socket
    connections: list[_Connection] = field(default_factory=list)
    parts: list[tuple[float, bytes]] = field(default_factory=list)

    def close(self) -> None:
        """Nobody listens here any more."""
        self.bound.close()
        for connection in self.connections:
            connection.socket.close()


class _Listener:
    """What both protocols share: one bound socket, one selector, one way to wake it."""

    kind = "syslog"

    def __init__(self, *, listen: str, protocol: str, sink: Sink, pace: Pace, handover: Handover | None) -> None:
        self.name = f"syslog {protocol} {listen}"
        self._listen = split_listen(listen)
        self._place = (protocol, *self._listen)
        # Port 0 is another one each time.
        self._handover = handover if self._listen[1] else None
        self.pulse = Pulse(sink, pace, "syslog", self.name, "")
        self._pace = pace
        self._socket: socket.socket | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    @property
    def problem(self) -> str:
        """What failed last."""
        return self.pulse.problem

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port that it listens on, once bound."""
        if self._socket is None:
            return None
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def failed(self, problem: str) -> None:
        """See `Source`."""
        self.pulse.failed(problem)

    def deaf_for(self) -> float | None:
        """Seconds since the last byte, or since it began to listen."""
        return self.pulse.deaf_for()

    def statuses(self) -> list[SourceStatus]:
        """One row."""
        return [self.pulse.status()]

    def close(self) -> None:
        """Wake the thread, which then sees that it is stopped."""
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")

    def dispose(self) -> None:
        """Give every socket back, after `run` has returned."""
        self._unbind()
        self._wake_read.close()
        self._wake_write.close()

    def _bind(self, kind: socket.SocketKind) -> socket.socket:
        """Raises OSError, naming the address."""
        host, port = self._listen
        family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
        if family is socket.AF_INET6 and not socket.has_ipv6:
            family, host = socket.AF_INET, host or "0.0.0.0"
        bound = socket.socket(family, kind)
        try:
            bound.setblocking(False)
            if kind is socket.SOCK_STREAM:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6 and host in {"", "::"}:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind((host, port))
        except OSError as problem:
            bound.close()
            raise OSError(problem.errno, f"can't listen on {host}:{port}: {problem.strerror}") from problem
        self._socket = bound
        return bound

    def _unbind(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _inherit(self) -> _Left | None:
        """The sockets of the listener that was here before; the bound one is in use from here on."""
        left = self._handover.take(self._place) if self._handover is not None else None
        if not isinstance(left, _Left):
            return None
        self._socket = left.bound
        return left

    def _leave(self, left: _Left) -> bool:
        """Leave the sockets to the next listener; False where there will be none."""
        if self._handover is None:
            return False
        self._socket = None
        self._handover.leave(self._place, left)
        return True

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(64):
                pass


class SyslogUDP(_Listener):
    """One message for each datagram, in whatever order they come."""

    def __init__(self, *, listen: str, sink: Sink, pace: Pace, handover: Handover | None = None) -> None:
        super().__init__(listen=listen, protocol="udp", sink=sink, pace=pace, handover=handover)

    def bind(self) -> None:
        """Take the port; `run` does it if it was not done. Raises OSError."""
        if self._socket is not None or self._inherit() is not None:
            return
        bound = self._bind(socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)

    def run(self, stop: threading.Event) -> None:
        """Listen until stopped. Raises OSError where it cannot."""
        try:
            self.bind()
            if self._socket is not None:
                self._serve(self._socket, stop)
        finally:
            self._unbind()
            self.pulse.down()

    def _serve(self, bound: socket.socket, stop: threading.Event) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(bound, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            self.pulse.opened()
            while not stop.is_set():
                selector.select(1.0)
                self._drain_wake()
                self._receive(bound)
        if not self._leave(_Left(bound)):
            for _ in range(LAST_ROUNDS):
                if not self._receive(bound):
                    break

    def _receive(self, bound: socket.socket) -> bool:
        """Read a number of datagrams; whether there may be more."""
        messages: list[bytes] = []
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                datagram = bound.recv(65536)
            except BlockingIOError:
                break
            message = datagram.rstrip(b"\r\n\0")
            if message:
                messages.append(message)
        if messages:
            self.pulse.alive()
            self.pulse.feed(messages)
        return bool(messages)


class SyslogTCP(_Listener):
    """Both framings on one port; see `framing`."""

    def __init__(
        self,
        *,
        listen: str,
        sink: Sink,
        pace: Pace,
        handover: Handover | None = None,
        most_connections: int = MOST_CONNECTIONS,
        most_held: int = MOST_HELD,
    ) -> None:
        super().__init__(listen=listen, protocol="tcp", sink=sink, pace=pace, handover=handover)
        self._most_connections = most_connections
        self._most_held = most_held
        self._held = 0
        # In the order of who was heard longest ago.
        self._connections: OrderedDict[int, _Connection] = OrderedDict()
        self._parts: list[tuple[float, bytes]] = []
        self._deaf_until: float | None = None

    def bind(self) -> None:
        """Take the port; `run` does it if it was not done. Raises OSError."""
        if self._socket is not None:
            return
        left = self._inherit()
        if left is None:
            self._bind(socket.SOCK_STREAM).listen(128)
            return
        self._parts = left.parts
        self._held = sum(connection.framer.held for connection in left.connections)
        self._connections = OrderedDict((id(connection), connection) for connection in left.connections)

    def run(self, stop: threading.Event) -> None:
        """Listen until stopped, then give the parts kept back. Raises OSError where it cannot listen."""
        try:
            self.bind()
            if self._socket is not None:
                self._serve(self._socket, stop)
        finally:
            for connection in list(self._connections.values()):
                self._end(connection)
            self._give_parts(everything=True)
            self._unbind()
            self.pulse.down()

    @property
    def connections(self) -> int:
        """How many senders are connected."""
        return len(self._connections)

    def _serve(self, bound: socket.socket, stop: threading.Event) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(bound, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            for connection in self._connections.values():
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            self.pulse.opened()
            while not stop.is_set():
                self._turn(bound, selector, 1.0)
                self._give_parts(everything=False)
                self._listen_again(bound, selector)
            if self._leave(_Left(bound, list(self._connections.values()), self._parts)):
                self._connections, self._parts, self._held = OrderedDict(), [], 0
                return
            for _ in range(LAST_ROUNDS):
                if not self._turn(bound, selector, 0.0):
                    break

    def _turn(self, bound: socket.socket, selector: selectors.BaseSelector, timeout: float) -> bool:
        """Read once from whoever has something; whether anybody had."""
        some = False
        for key, _ in selector.select(timeout):
            if isinstance(key.data, _Connection):
                some = True
                if not self._receive(key.data):
                    selector.unregister(key.data.socket)
                    self._end(key.data)
            elif key.fileobj is bound:
                some = True
                self._accept(bound, selector)
            else:
                self._drain_wake()
        return some

    def _accept(self, bound: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            accepted, peer = bound.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the sender has gone again
        except OSError as problem:
            # There are no descriptors left; the socket stays ready, so it is let alone for a while.
            self.pulse.problem = f"{self.name}: can't accept a connection: {problem}"
            self._deaf_until = self._pace.monotonic() + DEAF_FOR
            selector.unregister(bound)
            return
        now = self._pace.monotonic()
        if len(self._connections) >= self._most_connections:
            silent = next(iter(self._connections.values()))
            if now - silent.heard < EVICT_AFTER:
                self.pulse.problem = (
                    f"{self.name}: {self._most_connections} senders are connected; {peer[0]} was refused"
                )
                accepted.close()
                return
            selector.unregister(silent.socket)
            self._end(silent)
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = _Connection(accepted, str(peer[0]), now)
        self._connections[id(connection)] = connection
        selector.register(accepted, selectors.EVENT_READ, connection)
        self.pulse.alive()

    def _listen_again(self, bound: socket.socket, selector: selectors.BaseSelector) -> None:
        if self._deaf_until is not None and self._pace.monotonic() >= self._deaf_until:
            self._deaf_until = None
            selector.register(bound, selectors.EVENT_READ)

    def _receive(self, connection: _Connection) -> bool:
        """Read once, so that nobody keeps the others waiting; whether the connection goes on."""
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        connection.heard = self._pace.monotonic()
        self._connections.move_to_end(id(connection))
        self.pulse.alive()
        framer = connection.framer
        self._held -= framer.held
        messages = framer.push(data)
        if self._held + framer.held > self._most_held:
            messages += framer.give_up()
        self._held += framer.held
        self._give(messages)
        return True

    def _give(self, messages: list[bytes]) -> None:
        if self._parts and messages:
            # A part that now came whole is not given itself. A message makes up for one part only.
            for message in messages:
                for number, (_, part) in enumerate(self._parts):
                    if message.startswith(part):
                        del self._parts[number]
                        break
        self.pulse.feed(messages)

    def _end(self, connection: _Connection) -> None:
        self._connections.pop(id(connection), None)
        self._held -= connection.framer.held
        part = connection.framer.flush()
        connection.socket.close()
        if not part:
            return
        if len(part) > PART_BYTES or len(self._parts) >= MOST_PARTS:
            self.pulse.feed([part])
        else:
            self._parts.append((self._pace.monotonic(), part))

    def _give_parts(self, *, everything: bool) -> None:
        """Give the parts that nobody has sent again in time."""
        if not self._parts:
            return
        oldest = self._pace.monotonic() - RESENT_WITHIN
        due = [part for since, part in self._parts if everything or since <= oldest]
        if due:
            self._parts = [(since, part) for since, part in self._parts if not everything and since > oldest]
            self.pulse.feed(due)
