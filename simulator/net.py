"""Addresses of one foundation: a block of 127.x.y.0/24 that no other simulator process on this machine uses."""

from __future__ import annotations

import errno
import random
import socket

_RESERVED_HOST, _RESERVED_PORT = 254, 8889
_TRIES = 200
_FIRST_POD, _LAST_POD = 10, 249


class Block:
    """A reserved block. `close` gives it back.

    The reservation is a socket bound (not listening) on the block's last address: a second process that draws the same
    block fails to bind and draws again. It protects against simulators only; another program may still hold a port.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        draw = draw or random.Random()
        for _ in range(_TRIES):
            prefix = f"127.{draw.randint(16, 250)}.{draw.randint(0, 255)}"
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                held.bind((f"{prefix}.{_RESERVED_HOST}", _RESERVED_PORT))
            except OSError as error:
                held.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self._prefix, self._held, self._next = prefix, held, _FIRST_POD
            return
        raise OSError(errno.EADDRINUSE, f"no free block in 127.0.0.0/8 after {_TRIES} tries")

    @property
    def service(self) -> str:
        """The address that stands for the Service."""
        return f"{self._prefix}.1"

    @property
    def database(self) -> str:
        """The address of the SQL server."""
        return f"{self._prefix}.2"

    def pod(self) -> str:
        """Give the next pod address; after 240 pods the first ones come again."""
        address = f"{self._prefix}.{self._next}"
        self._next = _FIRST_POD if self._next == _LAST_POD else self._next + 1
        return address

    def close(self) -> None:
        """Give the block back."""
        self._held.close()
