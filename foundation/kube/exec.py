"""Commands in a container over the exec API's WebSocket, with the exit status as the server reports it.

The official client's stream is not used: it swaps a method of the shared ApiClient while it runs (a race that can
poison the client for good) and invents exit codes. Here a code is a number only if the server said so; a lost
connection, an empty or an unknown status gives None and the reason in words. A command may outlive its connection.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode, urlsplit

from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from foundation.kube.client import cut, keepalive
from foundation.kube.errors import KubeError, NotUnderstood, Target, Unreachable, from_answer, one_line
from foundation.kube.paths import pod_exec_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from foundation.kube.client import KubeClient

_VERB = "get"
"""What RBAC calls a WebSocket's upgrade, a GET (kubernetes-client/python#2084); newer servers want `create` as well."""
_STDOUT, _STDERR, _STATUS = 1, 2, 3
_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
_KEPT_STDERR = 64 << 10
_LONGEST_STATUS = 64 << 10


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command gave. `exit_code` None: not known, and `problem` says why."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    problem: str


def exit_status(status: bytes) -> tuple[int | None, str]:
    """Read channel 3's Status: the exit code, or None and why it is not known.

    Success is 0; `NonZeroExitCode` carries the code in its cause `ExitCode`; all else (the command was not found, the
    runtime failed, nothing came) is no exit of the command's.
    """
    if not status.strip():
        return None, "the connection ended before the command's exit status came"
    try:
        answer: object = json.loads(status)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return None, f"the exit status is not understood: {one_line(status[:200].decode('utf-8', 'replace'))}"
    if answer.get("status") == "Success":
        return 0, ""
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if answer.get("reason") == "NonZeroExitCode" and isinstance(causes, list):
        for cause in causes:
            if isinstance(cause, dict) and cause.get("reason") == "ExitCode":
                code = str(cause.get("message", ""))
                if code.isascii() and code.isdigit() and len(code) < 10:
                    return int(code), ""
    words = answer.get("message") or answer.get("reason") or "the server reported a failure without a reason"
    return None, one_line(str(words))


class _Channels:
    """The WebSocket of one command: frames of (channel, bytes) from the server."""

    def __init__(self, client: KubeClient, target: Target, path: str, command: Sequence[str], container: str) -> None:
        if not command or isinstance(command, str):
            raise ValueError("a command is a non-empty sequence of words")
        pairs = [("container", container)] if container else []
        pairs += [("stdin", "false"), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]
        self._path = f"{path}?{urlencode(pairs + [('command', word) for word in command])}"
        self._client, self._target = client, target
        self._socket = WebSocket(enable_multithread=True, skip_utf8_validation=True)
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._late = False
        self.status = b""
        """What channel 3 said so far."""

    def open(self, timeout: float) -> None:
        """Connect and upgrade, each silence at most `timeout` seconds. Raises KubeError."""
        client, url = self._client, urlsplit(self._client.host)
        secure = url.scheme == "https"
        headers = [f"{k}: {v}" for k, v in client.credentials(self._target).items()]
        try:
            sock = self._connect(timeout, secure=secure)
            with self._lock:
                self._sock = sock
                if self.closing.is_set() or self._late:
                    cut(sock)
            sock.settimeout(timeout)
            self._socket.connect(  # type: ignore[no-untyped-call]
                f"{'wss' if secure else 'ws'}://{url.netloc}{url.path.rstrip('/')}{self._path}",
                socket=sock,
                header=headers,
                subprotocols=_PROTOCOLS,
                suppress_origin=True,
                redirect_limit=0,
                timeout=timeout,
            )
        except WebSocketBadStatusException as e:
            self.drop()
            body = e.resp_body if isinstance(e.resp_body, bytes) else b""
            raise from_answer(self._target, e.status_code, e.resp_headers or {}, body) from e
        except (WebSocketTimeoutException, TimeoutError) as e:
            self.drop()
            raise client.unreachable(self._target, TimeoutError(), timeout) from e
        except (WebSocketException, OSError, ValueError) as e:
            self.drop()
            late = self.closing.is_set() or self._late  # then it was our own time limit that cut the connection
            raise client.unreachable(self._target, TimeoutError() if late else e, timeout) from e

    def _connect(self, timeout: float, *, secure: bool) -> socket.socket:
        """A connection to the API server, through the pool's HTTP proxy if it has one, with TLS as the pool does it.

        Made here and not by the WebSocket library, which would take proxies from the environment against NO_PROXY and
        verify certificates by its own rules.
        """
        url, proxy = urlsplit(self._client.host), self._client.http_proxy()
        host, port = url.hostname or "", url.port or (443 if secure else 80)
        first = (proxy.host or "", proxy.port or 80) if proxy else (host, port)
        sock = socket.create_connection(first, min(timeout, self._client.connect_timeout))
        try:
            for option in keepalive():
                sock.setsockopt(*option)
            if proxy:
                _through_proxy(sock, host, port, self._client.configuration.proxy_headers)
            if secure:
                name = self._client.configuration.tls_server_name or host
                return self._client.tls_context().wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return sock

    def read(self, silence: float) -> tuple[int, bytes] | None:
        """The next output as (channel, bytes); None when the server is done, which it is once the status is whole.

        Raises TimeoutError after `silence` seconds without a byte, Unreachable when the connection breaks.
        """
        self._socket.settimeout(silence)
        while not self._whole():
            try:
                kind, frame = self._socket.recv_data_frame(control_frame=True)
            except WebSocketTimeoutException:
                raise TimeoutError from None
            except (WebSocketException, OSError, ValueError, AttributeError) as e:
                # AttributeError: the library's socket is None once another thread has closed it.
                if self.closing.is_set():
                    return None
                raise self._client.unreachable(self._target, e, silence) from e
            if kind == ABNF.OPCODE_CLOSE:
                return None
            data = bytes(frame.data)
            if kind not in {ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT} or len(data) < 2:
                continue  # a ping, or the empty frame with which each channel begins
            if data[0] == _STATUS:
                self.status += data[1:]
                if len(self.status) > _LONGEST_STATUS:
                    raise NotUnderstood("the exit status does not end", target=self._target)
            elif data[0] in {_STDOUT, _STDERR}:
                return data[0], data[1:]
        return None

    def _whole(self) -> bool:
        if not self.status:
            return False
        try:
            return isinstance(json.loads(self.status), dict)
        except (ValueError, RecursionError):
            return False

    def close(self) -> None:
        """From any thread: whatever waits on the connection returns at once."""
        with self._lock:
            self.closing.set()
            if self._sock is not None:
                cut(self._sock)

    def interrupt(self) -> None:
        """The same for what took too long to open: the error will say so."""
        with self._lock:
            self._late = True
            if self._sock is not None:
                cut(self._sock)

    def drop(self) -> None:
        """Give the connection back, in the thread that used it."""
        with self._lock:
            sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _through_proxy(sock: socket.socket, host: str, port: int, headers: dict[str, str] | None) -> None:
    """Ask an HTTP proxy for a tunnel on a connected socket."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < 16384:
        more = sock.recv(1)  # not a byte beyond the header: what follows belongs to TLS
        if not more:
            break
        answer += more
    if answer.split(b" ")[1:2] != [b"200"]:
        raise OSError(f"the proxy refused the tunnel: {answer.splitlines()[:1]}")


class ExecStream:
    """A long running command (`tail -F`): iterate chunks of its standard output; `close()` from any thread.

    Opens at `open()` or the first iteration. Raises KubeError when it cannot be opened or the connection breaks.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        idle_timeout: float = 60.0,
    ) -> None:
        """`idle_timeout`: seconds without a byte after which it ends as `idle`."""
        path = pod_exec_path(namespace, pod)
        self._channels = _Channels(client, Target.of(_VERB, path), path, command, container)
        self._open_timeout, self._idle_timeout = client.read_timeout, idle_timeout
        self._opened = False
        self.ended: Literal["", "eof", "idle", "closed"] = ""
        self.stderr = b""
        """The last 64 KiB of standard error."""
        self.exit_code: int | None = None
        self.problem = ""
        """After the end: why there is no exit code."""

    def open(self) -> None:
        """Start the command. Does nothing the second time."""
        if self._opened:
            return
        self._opened = True
        # A timer over the whole of it: the library's time limit starts anew with every byte of the headers.
        late = threading.Timer(self._open_timeout, self._channels.interrupt)
        late.daemon = True
        late.start()
        try:
            self._channels.open(self._open_timeout)
        except Unreachable:
            if not self._channels.closing.is_set():
                raise
            self._end("closed")
        finally:
            late.cancel()
            late.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self.open()
        while not self.ended:
            try:
                piece = self._channels.read(self._idle_timeout)
            except TimeoutError:
                self._end("idle")
                break
            if piece is None:
                self._end("closed" if self._channels.closing.is_set() else "eof")
            elif piece[0] == _STDOUT:
                return piece[1]
            else:
                self.stderr = (self.stderr + piece[1])[-_KEPT_STDERR:]
        raise StopIteration

    def close(self) -> None:
        """End the stream; a read blocked in another thread returns at once."""
        self._channels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        self._channels.drop()
        if not self.ended:
            self._end("closed")

    def _end(self, how: Literal["eof", "idle", "closed"]) -> None:
        self.ended = how
        if how == "eof" or self._channels.status:
            self.exit_code, self.problem = exit_status(self._channels.status)
        else:
            self.problem = f"no output for {self._idle_timeout:g} s" if how == "idle" else "closed by us"
        self._channels.drop()


def run(  # noqa: PLR0917  # where, what, how long: read in that order
    client: KubeClient,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    timeout: float,
    max_output: int = 1 << 20,
) -> ExecResult:
    """Run a command to its end within `timeout` seconds in all, keeping at most `max_output` bytes of its output.

    Raises KubeError when it could not be started (Forbidden: the server's words name the verb that lacks on pods/exec);
    once it runs, every failure is a result without exit code, as part of the output may be worth having.
    """
    path = pod_exec_path(namespace, pod)
    channels = _Channels(client, Target.of(_VERB, path), path, command, container)
    # One timer over everything: socket time limits start anew with every byte.
    late = threading.Timer(timeout, channels.close)
    late.daemon = True
    out: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
    late.start()
    try:
        channels.open(timeout)
        problem = _collect(channels, out, timeout, max_output)
    finally:
        late.cancel()
        late.join()
        expired = channels.closing.is_set()
        channels.close()
        channels.drop()
    code, why = exit_status(channels.status)
    if expired and code is None:
        problem = f"no end within {timeout:g} s"
    return ExecResult(bytes(out[_STDOUT]), bytes(out[_STDERR]), None if problem else code, problem or why)


def _collect(channels: _Channels, out: dict[int, bytearray], timeout: float, max_output: int) -> str:
    """Read output to the end; returns what prevented that, or nothing."""
    room = max_output
    try:
        while (piece := channels.read(timeout)) is not None:
            channel, data = piece
            out[channel] += data[:room]
            room -= len(data)
            if room < 0:
                return f"the command wrote more than {max_output} bytes"
    except TimeoutError:
        return f"no end within {timeout:g} s"
    except KubeError as e:
        return e.message
    return ""
