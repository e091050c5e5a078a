"""Passes the open sockets of a listener that ends to the one that follows it on the same address.

A reload stops one set of sources and starts another. Plain syslog has no acknowledgements: what a sender has written to
a connection that is then closed is lost. So the listener that ends leaves its sockets here, and its successor goes on
reading them. What nobody takes within `KEPT_FOR` seconds is closed; until then the address is taken, and nobody reads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

KEPT_FOR = 5.0
"""Seconds for which sockets wait for a successor."""


class Estate(Protocol):
    """What is left: sockets, and what was read of unfinished messages."""

    def close(self) -> None:
        """Nobody wants it."""


class Handover:
    """One for all sources of a process. Any thread may call it."""

    def __init__(self, kept_for: float = KEPT_FOR) -> None:
        self._kept_for = kept_for
        self._lock = threading.Lock()
        self._left: dict[Hashable, tuple[Estate, threading.Timer]] = {}

    def leave(self, address: Hashable, estate: Estate) -> None:
        """Keep it for the next listener on this address."""
        timer = threading.Timer(self._kept_for, self._expire, (address, estate))
        timer.daemon = True
        with self._lock:
            former = self._left.pop(address, None)
            self._left[address] = (estate, timer)
        if former is not None:
            former[1].cancel()
            former[0].close()
        timer.start()

    def take(self, address: Hashable) -> Estate | None:
        """What was left at this address, if anything; it is the caller's now."""
        with self._lock:
            left = self._left.pop(address, None)
        if left is None:
            return None
        left[1].cancel()
        return left[0]

    def close(self) -> None:
        """Close what nobody has taken."""
        with self._lock:
            addresses = list(self._left)
        for address in addresses:
            estate = self.take(address)
            if estate is not None:
                estate.close()

    def _expire(self, address: Hashable, estate: Estate) -> None:
        with self._lock:
            left = self._left.get(address)
            if left is None or left[0] is not estate:
                return
            del self._left[address]
        estate.close()
