"""One thread that serves any number of simulated servers, and the listening socket that they have in common.

A demo of fifty foundations has hundreds of ports; a thread for each would cost more than all they do. TLS is done by
hand over memory buffers, as asyncio drops the alert that tells a client why it was turned away. Nothing here limits
how many connections a client may open: these servers are for loopback.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
ModeT = TypeVar("ModeT", bound=StrEnum)


class ServerLoop:
    """An event loop in a thread of its own, shared by the servers that are given it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-servers", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the loop and join its thread. The servers on it should be stopped before."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine in the loop's thread and wait for its result. Must not be called from that thread."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a simulated server cannot be switched from the thread that serves it")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Connection(asyncio.Protocol):
    """One accepted connection: with a TLS context it hands on what was deciphered, without one the plain bytes."""

    def __init__(self, connections: set[Connection], context: ssl.SSLContext | None) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True) if context else None
        self._established = False
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; without TLS the connection is ready at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's declaration is wider than its practice
        self._transport = transport
        self._connections.add(self)
        if self._tls is None:
            self._established = True
            self.ready()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Decipher, shake hands, and pass on."""
        if self._tls is None:
            self.received(data)
        elif not self._refused:
            self._incoming.write(data)
            self._advance(self._tls)

    def _advance(self, tls: ssl.SSLObject) -> None:
        try:
            if not self._established:
                tls.do_handshake()
                self._established = True
                self.ready()
            while plain := tls.read(65536):
                self.received(plain)
            self.close()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            # The alert must reach the client, so only our half is closed; the rest is drained until it hangs up.
            self._refused = True
            self._flush()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write_eof()

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and (data := self._outgoing.read()):
            self._transport.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        if self._tls is not None:
            self._tls.write(data)
            self._flush()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close after what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def ready(self) -> None:
        """The connection stands, its TLS handshake (if any) done."""

    def received(self, data: bytes) -> None:
        """Bytes came, deciphered. Silence is the default: a process that hangs."""


class Server(ABC, Generic[ModeT]):
    """A listening address whose behaviour, its `mode`, can be changed while it runs.

    Between `start` and `stop` the port stays bound in every mode, also while nothing listens on it, so it is never
    lost to another process. A change of mode drops the connections that are open.
    """

    def __init__(self, address: str, port: int, mode: ModeT, closed: ModeT, loop: ServerLoop | None) -> None:
        self.address = address
        self.port = port
        """Port 0 is replaced by the one that the system chose, at `start`."""
        self._mode = mode
        self._closed = closed
        self._shared_loop = loop
        self._loop: ServerLoop | None = None
        self._socket: socket.socket | None = None
        self._listening = False
        self._arriving: set[asyncio.Task[object]] = set()
        self._connections: set[Connection] = set()

    @abstractmethod
    def _connection(self, mode: ModeT) -> Connection:
        """Make the protocol for one accepted connection."""

    @property
    def mode(self) -> ModeT:
        """What the server does with its clients."""
        return self._mode

    @mode.setter
    def mode(self, mode: ModeT) -> None:
        mode = type(self._closed)(mode)
        if self._loop is None:
            self._mode = mode
        elif mode is not self._mode:
            self._loop.run(self._switch(mode))

    def start(self) -> None:
        """Bind the address and serve. Raises OSError where it cannot be bound."""
        bound = _bind(self.address, self.port)
        if self.port == 0:
            # Only a port that was asked for by number stays bound when listening stops.
            with bound:
                bound = _bind(self.address, bound.getsockname()[1])
        self.port = bound.getsockname()[1]
        self._socket = bound
        if self._shared_loop is None:
            self._loop = ServerLoop()
            self._loop.start()
        else:
            self._loop = self._shared_loop
        self._loop.run(self._switch(self._mode))

    def stop(self) -> None:
        """Drop all connections, free the port, and end the thread if it is this server's own. Safe to repeat."""
        if self._loop is None:
            return
        self._loop.run(self._shut())
        if self._shared_loop is None:
            self._loop.stop()
        self._loop = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _switch(self, mode: ModeT) -> None:
        self._mode = mode
        await self._drop()
        if mode is self._closed:
            await self._shut()
        elif not self._listening and self._socket is not None:
            self._socket.setblocking(False)
            self._socket.listen(1024)
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)
            self._listening = True

    def _accept(self, listener: socket.socket) -> None:
        # Not left to asyncio's own server: closed with a connection just accepted, it forgets to close that one.
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        accepted.setblocking(False)
        arrival = loop.create_task(loop.connect_accepted_socket(lambda: self._connection(self._mode), accepted))
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)

    async def _shut(self) -> None:
        if self._listening and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._listening = False
            # On Linux this stops the listening and keeps the port: connecting is refused from here on.
            self._socket.shutdown(socket.SHUT_RDWR)
        await self._drop()

    async def _drop(self) -> None:
        await asyncio.gather(*self._arriving, return_exceptions=True)
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound
