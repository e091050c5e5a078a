"""The Service's own address: a forwarder of TCP connections to the labelled, ready pods, in turn.

With no backend, or only ones that refuse, it refuses (or swallows, like Kubernetes up to 1.13). Where one of several
backends refuses, its turn is a reset instead: a forwarder has accepted before it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from enum import StrEnum
from typing import TYPE_CHECKING

from simulator.servers.loop import Connection, Server
from simulator.world import ServicePlan

if TYPE_CHECKING:
    from simulator.servers.loop import ServerLoop


class FrontMode(StrEnum):
    """What the address does."""

    REFUSES = "refuses"
    FORWARDS = "forwards"


class ServiceFront(Server[FrontMode]):
    """The address of one Service. `apply` gives it a new plan."""

    def __init__(self, address: str, port: int, *, loop: ServerLoop) -> None:
        super().__init__(address, port, FrontMode.REFUSES, FrontMode.REFUSES, loop)
        self._plan = ServicePlan()
        self._turn = 0
        self._swallow: list[socket.socket] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def apply(self, plan: ServicePlan) -> None:
        """Take a new plan; connections that are open stay so, unless the Service has no backend any more."""
        if plan == self._plan:
            return
        self._plan = plan
        self._release()
        self.mode = FrontMode.REFUSES if plan.refuses or plan.blackhole else FrontMode.FORWARDS
        if plan.blackhole:
            self._blackhole()

    def stop(self) -> None:
        """Close everything."""
        self._release()
        if self._loop is not None:
            self._loop.run(self._hang_up())
        super().stop()

    async def _hang_up(self) -> None:
        """Give up every connection to a pod that is still being made."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def next_backend(self) -> tuple[str, bool]:
        """Give the backend whose turn it is, and whether it refuses."""
        backends = self._plan.backends
        self._turn += 1
        return backends[self._turn % len(backends)] if backends else ("", True)

    def _connection(self, mode: FrontMode) -> Connection:  # noqa: ARG002 - it serves in one mode only
        return _Forward(self._connections, self)

    def _blackhole(self) -> None:
        """Let the kernel swallow every SYN: it does so for a listener whose queue is full."""
        if self._socket is None:
            return
        self._socket.listen(0)
        for _ in range(4):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            with contextlib.suppress(OSError):
                filler.connect((self.address, self.port))
            self._swallow.append(filler)

    def _release(self) -> None:
        if self._swallow and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        for filler in self._swallow:
            filler.close()
        self._swallow.clear()


class _Forward(Connection):
    """The client's half of a forwarded connection."""

    def __init__(self, connections: set[Connection], front: ServiceFront) -> None:
        super().__init__(connections, None)
        self._front = front
        self._early = bytearray()
        self._upstream: asyncio.Transport | None = None
        self._gone = False

    def ready(self) -> None:
        address, refused = self._front.next_backend()
        if refused:
            self.abort()
            return
        task = asyncio.get_running_loop().create_task(self._dial(address))
        self._front.tasks.add(task)
        task.add_done_callback(self._front.tasks.discard)

    async def _dial(self, address: str) -> None:
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: _Backward(self), address, self._front.port
            )
        except OSError:
            self.abort()
            return
        if self._gone:
            transport.abort()
            return
        self._upstream = transport
        if self._early:
            transport.write(bytes(self._early))

    def received(self, data: bytes) -> None:
        if self._upstream is None:
            self._early += data
        else:
            self._upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if self._upstream is not None:
            self._upstream.close()
        super().connection_lost(exc)


class _Backward(asyncio.Protocol):
    """The pod's half."""

    def __init__(self, client: _Forward) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._client.close()
        else:
            self._client.abort()
