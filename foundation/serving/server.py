"""gunicorn as a library, tuned for our daemons: one worker process, many threads, and clients that cannot stall it.

The main process only watches: it holds the listening socket, forwards SIGHUP, starts a worker again that died. All work
is in the one worker, made after the fork, since two would count everything twice and a replaced one would forget its
counters.

gunicorn's threaded worker gives each new connection a thread at once and waits in it for the first byte, for the TLS
handshake and for the header without any limit, and it closes connections in the loop that accepts them. So here
(`_Worker`) a connection that says nothing costs no thread; one that sends its header or its body slowly, or does not
read its answer, is cut after some seconds, and much sooner while every thread is taken; nothing that waits for a client
runs in the accepting loop. Where too many connections are open, the longest silent one gives way. What this does not
give: protection against thousands of connections that all ask for something; that is a NetworkPolicy's work. The
classes below reach into gunicorn 27's methods, which is why that is pinned below 28.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import selectors
import signal
import socket
import sys
import threading
import time
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.sock import TCP6Socket, TCPSocket
from gunicorn.workers.gthread import TConn, ThreadWorker

from foundation.serving.address import ListenError, split_listen
from foundation.serving.web_config import BasicAuth

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    from foundation.serving.web_config import WebConfig

log = logging.getLogger(__name__)

THREADS = 32
CONNECTIONS = 512
"""Open at a time; a further one takes the place of the longest silent one, or waits where none is silent."""
FIRST_BYTE_SECONDS = 10.0
"""How long a new connection may say nothing."""
KEEPALIVE_SECONDS = 75
"""How long a connection may rest between two requests: longer than usual scrape intervals, so that they reuse it."""
READING_SECONDS = 5.0
"""For the TLS handshake and the request's header together."""
BODY_SECONDS = 20.0
"""For a request's whole body, from when it is first asked for."""
SENDING_SECONDS = 20.0
"""For a client to take its answer."""
PRESSED_SECONDS = 0.5
"""Each of these three while every thread is taken."""
FINISHING_SECONDS = 2
"""After SIGTERM, for requests that are under way."""
STOPPING_SECONDS = 4
"""After SIGTERM, for everything; then the worker is killed."""
_LINGER_SECONDS = 0.5
_ROOM = 32
_BACKLOG = 256
_EXIT_USAGE = 2
_EXIT_BOOT = 3  # gunicorn's Arbiter.WORKER_BOOT_ERROR: stop instead of starting it again for ever


class CannotStartError(Exception):
    """What `make` raises where it is not our fault; the message is for the operator, and no traceback is logged."""


class Running(Protocol):
    """What `make` gives: a daemon at work in this process."""

    @property
    def wsgi(self) -> WSGIApplication:
        """The pages."""
        ...

    def reload(self) -> str:
        """Read the configuration anew, as for SIGHUP; empty, or the problem. Called outside the main thread."""
        ...

    def stop(self) -> None:
        """End the background work; at most about two seconds are left to it."""
        ...


def bind(listen: str) -> socket.socket:
    """Open the listening socket for `:9717`, `127.0.0.1:0` or `[::]:9717`; an empty host is every address.

    Raises ListenError for what is not such an address, for a name that has no address, and for a taken port.
    """
    host, port = split_listen(listen)
    if host:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise ListenError(f"listen {listen!r}: {host} is no address here: {error.strerror}") from None
        return _open(found[0][0], host, port, listen)
    try:
        return _open(socket.AF_INET6, "::", port, listen)
    except ListenError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return _open(socket.AF_INET, "0.0.0.0", port, listen)  # a machine without IPv6
        raise


def _open(family: int, host: str, port: int, listen: str) -> socket.socket:
    try:
        opened = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"listen {listen!r}: {error.strerror}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        hint = "; is another one running?" if error.errno == errno.EADDRINUSE else ""
        raise ListenError(f"listen {listen!r}: {error.strerror}{hint}") from error
    return opened


def serve(
    listen: str,
    web_config: WebConfig | None,
    make: Callable[[], Running],
    name: str,
    *,
    stopping: int = STOPPING_SECONDS,
) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then end the process with SystemExit(0) within `stopping` seconds and one more.

    `make` is called in the worker process, after the fork and before the first request; it is called again in a new
    process if that one dies. The caller must not have started threads, nor do anything after this: the SystemExit
    passes in both processes. Ends with status 2 where `listen` cannot be had, 3 where `make` fails. `name` is what
    process lists show.
    """
    listener = _bind_or_exit(listen)
    host, port = listener.getsockname()[:2]
    scheme = "https" if web_config is not None and web_config.tls is not None else "http"
    shown = f"[{host}]" if ":" in host else host

    def announced() -> Running:
        """Said only once there is something to answer: whoever reads it may ask at once."""
        running = make()
        log.info("listening on %s://%s:%d", scheme, shown, port, extra={"address": host, "port": port})
        return running

    _Arbiter(_Application(web_config, announced, name, stopping), listener).run()
    raise SystemExit(0)


def _bind_or_exit(listen: str) -> socket.socket:
    try:
        return bind(listen)
    except ListenError as error:
        problem = str(error)
    log.error(problem)
    raise SystemExit(_EXIT_USAGE)


class _Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's messages through our handlers, and of them only what an operator can use."""

    def setup(self, cfg: object) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        debug = logging.getLogger().isEnabledFor(logging.DEBUG)
        self.loglevel = logging.DEBUG if debug else logging.WARNING
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = True


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(self, web_config: WebConfig | None, make: Callable[[], Running], name: str, stopping: int) -> None:
        self.web_config = web_config
        self.name = name
        self.stopping = stopping
        self.make = make
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, object] = {
            "workers": 1,
            "worker_class": _Worker,
            "threads": THREADS,
            "worker_connections": CONNECTIONS,
            "keepalive": KEEPALIVE_SECONDS,
            "timeout": 60,
            "graceful_timeout": self.stopping,
            "max_requests": 0,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "worker_tmp_dir": _scratch(),
            "control_socket_disable": True,
            "preload_app": False,
            "logger_class": _Log,
            "proc_name": self.name,
        }
        tls = self.web_config.tls if self.web_config is not None else None
        if tls is not None:
            # gunicorn turns TLS on by these; what is used is the context below, which follows the files.
            settings |= {"certfile": str(tls.cert_file), "keyfile": str(tls.key_file), "ssl_context": self._context}
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _context(self, _config: object, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        if self.web_config is None:
            raise RuntimeError("TLS was asked for without a web configuration")
        return self.web_config.context()

    def load(self) -> WSGIApplication:
        raise RuntimeError("the worker makes its application itself")


def _scratch() -> str | None:
    """Where the worker's heartbeat file lives: memory, so that a slow disk is not taken for a dead worker.

    None, gunicorn's word for the usual temporary directory, where there is no such memory. That directory is not looked
    for otherwise: in a container with a read-only file system there may be none.
    """
    memory = "/dev/shm"  # noqa: S108  gunicorn makes the file safely
    return memory if os.access(memory, os.W_OK) else None


class _Arbiter(Arbiter):  # type: ignore[misc]
    """The main process. Never replaces a living worker: the counters live in it."""

    def __init__(self, app: _Application, listener: socket.socket) -> None:
        super().__init__(app)
        kind = TCP6Socket if listener.family == socket.AF_INET6 else TCPSocket
        # Given an open socket it neither binds again, nor tries for five seconds, nor reads systemd's variables.
        self.LISTENERS = [kind(listener.getsockname(), self.cfg, self.log, fd=listener.detach())]

    def handle_hup(self) -> None:
        self.kill_workers(signal.SIGHUP)

    def handle_ttin(self) -> None:
        log.warning("SIGTTIN ignored: there is always one worker")

    def handle_ttou(self) -> None:
        log.warning("SIGTTOU ignored: there is always one worker")

    def handle_usr2(self) -> None:
        log.warning("SIGUSR2 ignored: start a new process instead")


class _Phase(Enum):
    READING = "reading"
    BODY = "sending its body"
    WORKING = "working"
    SENDING = "sending"


class _Connection(TConn):  # type: ignore[misc]
    """A connection that can be cut from another thread, and is closed once."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.phase = _Phase.READING
        self.since = 0.0
        self.closed = False

    def enter(self, phase: _Phase) -> None:
        self.since = time.monotonic()
        self.phase = phase

    def cut(self) -> None:
        """End whatever a thread waits for on it. On the plain socket, as TLS state belongs to that thread."""
        with contextlib.suppress(OSError):  # already gone, or just being wrapped: the next look finds it
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def finish(self) -> None:
        """Close, and let the client read its answer first even if it sent more than was read (RFC 9112, 9.6)."""
        if self.closed:
            return
        deadline = time.monotonic() + _LINGER_SECONDS
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self.sock.settimeout(left)
                if not socket.socket.recv(self.sock, 4096):
                    break
        except (OSError, ValueError):
            pass  # the client is gone, or the time is over
        self.close()

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002  gunicorn's signature
        if not self.closed:
            self.closed = True
            super().close()


class _Body:
    """A request's body: who sends it has a limited time for all of it, however many reads that takes."""

    def __init__(self, body: InputStream, connection: _Connection) -> None:
        self._body = body
        self._connection = connection
        self._began: float | None = None

    def read(self, size: int = -1, /) -> bytes:
        with self._waiting():
            return self._body.read(size)

    def readline(self, size: int = -1, /) -> bytes:
        with self._waiting():
            return self._body.readline(size)

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        with self._waiting():
            return self._body.readlines(hint)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        connection = self._connection
        connection.enter(_Phase.BODY)
        if self._began is None:
            self._began = connection.since
        connection.since = self._began
        try:
            yield
        finally:
            connection.enter(_Phase.WORKING)


_LIMITS = {_Phase.READING: READING_SECONDS, _Phase.BODY: BODY_SECONDS, _Phase.SENDING: SENDING_SECONDS}


class _Worker(ThreadWorker):  # type: ignore[misc]
    """The one worker. See the module's text for what it changes, and why."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.busy: dict[int, _Connection] = {}
        self.hups: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.running: Running | None = None

    # Signals

    def init_signals(self) -> None:
        # Blocked meanwhile: between the default action and ours a SIGHUP would end the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        super().init_signals()
        signal.signal(signal.SIGHUP, self.handle_hup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])

    def handle_hup(self, _signal: int, _frame: FrameType | None) -> None:
        self.hups.put(True)  # made for signal handlers: it takes no lock that this thread could hold

    def handle_quit(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGINT and SIGQUIT end in order too. gunicorn's own way takes a lock that this thread may hold already."""
        self.handle_exit(_signal, _frame)

    def _reload_on_hup(self, running: Running) -> None:
        while self.hups.get():
            with contextlib.suppress(queue.Empty):
                while self.hups.get_nowait():
                    pass  # one reading serves all that were sent before it
                return
            try:
                problem = running.reload()
            except Exception:
                log.exception("reloading failed, the old configuration stays")
                continue
            if problem:
                log.error("configuration not taken, the old one stays: %s", problem)

    # Life

    def load_wsgi(self) -> None:
        try:
            running = self.app.make()
        except CannotStartError as problem:
            log.error("it cannot start: %s", problem)  # noqa: TRY400 - the operator's to mend, not ours
            sys.exit(_EXIT_BOOT)
        except Exception:  # whatever it was, the process cannot serve
            log.exception("it cannot start")
            sys.exit(_EXIT_BOOT)
        self.running = running
        web_config: WebConfig | None = self.app.web_config
        pages = running.wsgi
        self.wsgi = self._phased(BasicAuth(pages, web_config.users) if web_config is not None else pages)
        threading.Thread(target=self._reload_on_hup, args=(running,), name="reload", daemon=True).start()

    def run(self) -> None:
        self.cfg.set("graceful_timeout", FINISHING_SECONDS)  # in this process only: leaves time for stop()
        try:
            super().run()
        finally:
            for connection in list(self.busy.values()):
                connection.cut()
            self.hups.put(False)
            if self.running is not None:
                self.running.stop()

    def _phased(self, app: WSGIApplication) -> WSGIApplication:
        def serve_one(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            connection = self.busy[threading.get_ident()]
            connection.enter(_Phase.WORKING)
            environ["wsgi.input"] = _Body(environ["wsgi.input"], connection)
            try:
                return app(environ, start_response)
            finally:
                connection.enter(_Phase.SENDING)

        return serve_one

    # Connections

    def accept(self, listener: socket.socket) -> None:
        """Take a connection and wait for its first byte in the loop, without a thread."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.warning("no connection can be accepted: %s", error.strerror)
                time.sleep(0.1)  # the loop would spin otherwise; connections end meanwhile
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + FIRST_BYTE_SECONDS
        self.nr_conns += 1
        self.pending_conns.append(connection)
        self.poller.register(client, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def _make_room(self) -> None:
        """Close the longest silent connections, so that they never keep a scrape waiting at the door.

        Never while events are dispatched: one of a closed connection could be among them.
        """
        while self.nr_conns > self.worker_connections - _ROOM and (
            resting := self.pending_conns or self.keepalived_conns
        ):
            connection: _Connection = resting.popleft()
            with contextlib.suppress(OSError, KeyError, ValueError):
                self.poller.unregister(connection.sock)
            self.nr_conns -= 1
            connection.close()

    def handle(self, conn: _Connection) -> object:
        conn.enter(_Phase.READING)
        conn.data_ready = True  # the loop has seen it
        self.busy[threading.get_ident()] = conn
        try:
            keep = super().handle(conn)
            if not keep:
                conn.finish()  # here, as the loop would wait for the client
            return keep
        finally:
            del self.busy[threading.get_ident()]

    def murder_pending(self) -> None:
        """Called once per turn of the loop: end what has been silent or slow for too long."""
        super().murder_pending()
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        now, pressed = time.monotonic(), self._pressed()
        for connection in list(self.busy.values()):
            phase = connection.phase
            if phase is _Phase.WORKING:
                continue
            if now - connection.since > (PRESSED_SECONDS if pressed else _LIMITS[phase]):
                log.debug("connection of %s cut: slow while %s", connection.client, phase.value)
                connection.cut()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, 0.1) if self._pressed() else timeout)

    def _pressed(self) -> bool:
        return len(self.busy) >= THREADS

    def _cap_keepalive(self, deadline: float) -> None:  # noqa: ARG002  gunicorn's signature
        """Called once when stopping: connections without a request have nothing to wait for."""
        for connection in self.pending_conns:
            connection.timeout = 0.0
        super().murder_pending()
        self.murder_keepalived(force=True)
