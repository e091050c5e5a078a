"""A simulated Locket: `models.Locket/Fetch` over gRPC, in each of the states that its callers see.

Only the read of one lock is known (locket: models/locket.proto); a client that tries to take or release a lock gets
UNIMPLEMENTED, so that a monitor which did would be found out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from simulator.servers.loop import Connection, Server
from simulator.servers.wire import number, text

if TYPE_CHECKING:
    from simulator.servers.certificates import ServerTLS
    from simulator.servers.loop import ServerLoop

PORT = 8891
FETCH = "/models.Locket/Fetch"
NOT_FOUND, UNIMPLEMENTED = 5, 12


class LocketMode(StrEnum):
    """What the Locket does."""

    CLOSED = "closed"
    ANSWERS = "answers"
    HANGS = "hangs"
    """Its kernel accepts; the TLS hello is never answered."""
    READ_HANGS = "read_hangs"
    """TLS and HTTP/2 are fine; a read is never answered, as with a half-open connection to its database."""


class LocketServer(Server[LocketMode]):
    """One Locket on one address."""

    def __init__(
        self,
        address: str,
        port: int,
        tls: ServerTLS,
        mode: LocketMode = LocketMode.CLOSED,
        *,
        owner: str = "",
        loop: ServerLoop | None = None,
    ) -> None:
        super().__init__(address, port, mode, LocketMode.CLOSED, loop)
        self.tls = tls
        self.owner = owner
        """Who holds the lock `bbs`; empty: nobody. May be set at any time."""

    def _connection(self, mode: LocketMode) -> Connection:
        match mode:
            case LocketMode.CLOSED | LocketMode.HANGS:
                return Connection(self._connections, None)
            case LocketMode.ANSWERS | LocketMode.READ_HANGS:
                return _Speaker(self._connections, self, answers=mode is LocketMode.ANSWERS)
            case _:
                assert_never(mode)


class _Speaker(Connection):
    def __init__(self, connections: set[Connection], server: LocketServer, *, answers: bool) -> None:
        super().__init__(connections, server.tls.grpc or server.tls.context)
        self._server = server
        self._answers = answers
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._requests: dict[int, tuple[str, bytearray]] = {}

    def ready(self) -> None:
        self._h2.initiate_connection()
        self._send()

    def received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                match event:
                    case RequestReceived(stream_id=int(stream), headers=headers):
                        path = next((value for name, value in headers or () if name == b":path"), b"").decode("latin-1")
                        self._requests[stream] = (path, bytearray())
                    case DataReceived(stream_id=int(stream), data=bytes(part), flow_controlled_length=int(size)):
                        self._h2.acknowledge_received_data(size, stream)
                        if stream in self._requests:
                            self._requests[stream][1].extend(part)
                    case StreamEnded(stream_id=int(stream)):
                        path, body = self._requests.pop(stream, ("", bytearray()))
                        if self._answers:
                            self._answer(stream, path, bytes(body))
                    case StreamReset(stream_id=int(stream)):
                        self._requests.pop(stream, None)
                    case ConnectionTerminated():
                        self.close()
                        return
            self._send()
        except ProtocolError:
            self._send()
            self.close()

    def _send(self) -> None:
        if data := self._h2.data_to_send():
            self.write(data)

    def _answer(self, stream: int, path: str, body: bytes) -> None:
        if path != FETCH:
            self._refuse(stream, UNIMPLEMENTED, f"unknown method {path}")
        elif body[5:] != text(1, "bbs") or not self._server.owner:
            self._refuse(stream, NOT_FOUND, "resource-not-found")
        else:
            resource = text(1, "bbs") + text(2, self._server.owner) + text(4, "lock") + number(5, 1)
            message = text(1, resource)
            self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            self._h2.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
            self._h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def _refuse(self, stream: int, status: int, message: str) -> None:
        headers = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(status)),
            ("grpc-message", message),
        ]
        self._h2.send_headers(stream, headers, end_stream=True)
