"""Certificates and peers for tests of probes: a peer here does what a script says, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Script = Callable[[socket.socket, threading.Event], None]


class ScriptedPeer:
    """A loopback server that runs a script on each connection, after the TLS handshake where a context is given.

    The script's second argument is set when the test ends: wait on it to be silent.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self.over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        # Wakes the accept, which closing alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        # A client that gives up in the middle is what most of these tests are about.
        with contextlib.suppress(OSError):
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                self._script(connection, self.over)
            finally:
                connection.close()


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Say nothing until the test is over."""
    over.wait(20)


def dribbling(data: bytes) -> Script:
    """Send some bytes one by one, then the last of them for ever."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        at = 0
        while not over.wait(0.01):
            connection.sendall(data[at : at + 1])
            at = min(at + 1, len(data) - 1)

    return script


def answering(*answers: bytes) -> Script:
    """Answer each request (an empty POST) with the next of these, then close; an empty one means silence."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        for answer in answers:
            received = b""
            while b"\r\n\r\n" not in received:
                part = connection.recv(4096)
                if not part:
                    return
                received += part
            if not answer:
                over.wait(20)
                return
            connection.sendall(answer)

    return script
