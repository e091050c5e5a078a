"""Name lookups that end in time.

getaddrinfo cannot be interrupted and may take a resolver's full patience (10 s and more). So it runs in a thread that
the caller stops waiting for; a second caller who asks for the same name meanwhile waits for the same thread. No more
than a few threads hang at once, however long DNS is away. Answers are not cached: a probe sees what its callers see.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Address(NamedTuple):
    """Where to connect, as a socket wants it."""

    family: socket.AddressFamily
    ip: str
    port: int


def literal(host: str, port: int) -> Address | None:
    """The address of a host that is an IP address already, else None."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return Address(socket.AF_INET if ip.version == 4 else socket.AF_INET6, host, port)


def system_lookup(host: str, port: int) -> list[Address]:
    """Ask the system's resolver. Raises socket.gaierror, or ValueError for a name that cannot be one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, str(where[0]), port) for family, _, _, _, where in found]


class _Lookup:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: OSError | None = None


class Resolver:
    """Looks names up within a time limit. Share one between probes; it is safe in any number of threads."""

    def __init__(self, lookup: Callable[[str, int], list[Address]] = system_lookup, *, max_hanging: int = 16) -> None:
        self._lookup = lookup
        self._max_hanging = max_hanging
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def __call__(self, host: str, port: int, timeout: float) -> list[Address]:
        """Addresses of a host, in the system's order.

        Raises TimeoutError after `timeout` seconds or where too many lookups hang already, OSError (mostly
        socket.gaierror) where the name has no address.
        """
        with self._lock:
            running = self._running.get((host, port))
            if running is None:
                if len(self._running) >= self._max_hanging:
                    raise TimeoutError(f"{len(self._running)} name lookups hang already")
                running = self._running[host, port] = _Lookup()
                thread = threading.Thread(target=self._run, args=(host, port, running), name=f"dns {host}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    del self._running[host, port]
                    raise OSError(f"no thread for the name lookup: {error}") from error
        if not running.done.wait(timeout):
            raise TimeoutError(f"no answer to the lookup of {host}")
        if running.error is not None:
            raise running.error
        return running.addresses

    def _run(self, host: str, port: int, running: _Lookup) -> None:
        try:
            running.addresses = self._lookup(host, port)
        except OSError as error:
            running.error = error
        except ValueError as error:  # UnicodeError among them
            running.error = socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}")
        finally:
            with self._lock:
                self._running.pop((host, port), None)
            running.done.set()
