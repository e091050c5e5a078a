"""A small threaded HTTP server: it plays back scripted answers as a Kubernetes API server may give them, with faults.

Each route has a queue of answers; the last one is given for ever. It judges nothing: what was asked stands in `seen`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import Configuration

from foundation.kube.client import KubeClient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)

    def one(self, name: str) -> str | None:
        values = self.query.get(name)
        assert values is None or len(values) == 1
        return values[0] if values else None


class Exchange(BaseHTTPRequestHandler):
    """One connection; an answer writes on it as it likes."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k.lower(): v for k, v in self.headers.items()}
        seen = Seen(self.command, url.path, parse_qs(url.query, keep_blank_values=True), headers, body)
        answer = self.server.api.choose(seen)
        try:
            answer(self)
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def do_CONNECT(self) -> None:
        self._handle()

    def wait_until_stopped(self) -> None:
        """Say nothing more until the server is stopped or the client has gone."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while not self.server.api.stopping.is_set():
            try:
                if not self.connection.recv(65536):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def head(self, status: int, headers: dict[str, str]) -> None:
        if "Date" in headers:
            self.send_response_only(status)  # the other adds a Date of its own
        else:
            self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()


if TYPE_CHECKING:
    Answer = Callable[[Exchange], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    api: ScriptedApi

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the script."""


class ScriptedApi:
    """Use as a context manager; `on()` before the requests that need it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._lock = threading.Condition()
        self._routes: dict[tuple[str, str, bool], list[Answer]] = {}
        self._server = _Server(("127.0.0.1", 0), Exchange)
        self._server.api = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def on(self, method: str, path: str, *answers: Answer, watch: bool = False) -> None:
        with self._lock:
            self._routes[method, path, watch] = list(answers)

    def choose(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            self._lock.notify_all()
            answers = self._routes.get((seen.method, seen.path, seen.one("watch") == "true"))
            if not answers:
                return status(404, "NotFound", f"nothing is scripted for {seen.method} {seen.path}")
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def wait_for(self, count: int, within: float = 10.0) -> list[Seen]:
        """The requests so far, once there are `count`."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.seen) >= count, within), f"only {len(self.seen)} requests"
            return list(self.seen)

    def client(self, **settings: float) -> KubeClient:
        conf = Configuration()
        conf.host = self.url
        conf.api_key["BearerToken"] = "Bearer sesame"
        options: dict[str, float] = {"connect_timeout": 2.0, "read_timeout": 5.0, **settings}
        return KubeClient(conf, **options)  # type: ignore[arg-type]  # all of them are plain numbers

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Wait for a condition; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def reply(body: object, code: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """A whole answer; `body` as JSON, or as it is if bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(exchange: Exchange) -> None:
        exchange.head(code, {"Content-Type": "application/json", "Content-Length": str(len(raw)), **(headers or {})})
        exchange.wfile.write(raw)

    return answer


def status(code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """A refusal in Kubernetes' words."""
    return reply(status_object(code, reason, message), code, headers)


def status_object(code: int, reason: str, message: str) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def page(items: object, version: str = "100", token: str = "") -> Answer:
    """One page of a list."""
    return reply({"kind": "PodList", "metadata": {"resourceVersion": version, "continue": token}, "items": items})


def chunks(*parts: bytes, then: str = "end") -> Answer:
    """A chunked answer, then `end` it properly, `hang`, `reset` the connection, or `cut` it inside the answer."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        for part in parts:
            exchange.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            exchange.wfile.flush()
        if then == "end":
            exchange.wfile.write(b"0\r\n\r\n")
        elif then == "hang":
            exchange.wait_until_stopped()
        else:
            exchange.close_connection = True
            if then == "reset":
                exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def events(*parts: Mapping[str, object], then: str = "end") -> Answer:
    """A watch's events, one JSON line each."""
    return chunks(*(json.dumps(part).encode() + b"\n" for part in parts), then=then)


def event(kind: str, name: str, version: str, **more: object) -> dict[str, object]:
    metadata = {"name": name, "namespace": "cf", "resourceVersion": version}
    return {"type": kind, "object": {"metadata": metadata, **more}}


def bookmark(version: str) -> dict[str, object]:
    return {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": version}}}


def pod(name: str, **more: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "cf"}, **more}


def silence(exchange: Exchange) -> None:
    """Accept the request and never answer."""
    exchange.wait_until_stopped()


def reset(exchange: Exchange) -> None:
    """Break the connection instead of answering."""
    exchange.close_connection = True
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(exchange: Exchange) -> None:
    """An answer that never ends though it never pauses for long."""
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    while not exchange.server.api.stopping.wait(0.02):
        exchange.wfile.write(b"1\r\n \r\n")
        exchange.wfile.flush()


def frame(channel: int, data: bytes, opcode: int = 2) -> bytes:
    """One unmasked WebSocket frame of a server, its payload led by the channel's number."""
    return raw_frame(bytes([channel]) + data, opcode)


def raw_frame(payload: bytes, opcode: int) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def close_frame() -> bytes:
    return raw_frame(struct.pack("!H", 1000), 8)


def exec_status(code: int) -> bytes:
    """What channel 3 says for an exit code."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    said = status_object(500, "NonZeroExitCode", f"command terminated with non-zero exit code: exit code {code}")
    del said["code"]
    return json.dumps({**said, "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}).encode()


def websocket(frames: Iterable[bytes], then: str = "end", protocol: str = "v5.channel.k8s.io") -> Answer:
    """Accept the upgrade, send frames, then `end` (drop the connection), `hang`, or `drip` more output for ever."""
    ready = list(frames)

    def answer(exchange: Exchange) -> None:
        key = exchange.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        exchange.close_connection = True
        exchange.head(
            101,
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept,
                "Sec-WebSocket-Protocol": protocol,
            },
        )
        for one in ready:
            exchange.wfile.write(one)
            exchange.wfile.flush()
        while then == "drip" and not exchange.server.api.stopping.wait(0.02):
            exchange.wfile.write(frame(1, b"."))
            exchange.wfile.flush()
        if then == "end":
            exchange.connection.shutdown(socket.SHUT_WR)
        # To close with the client's pong unread would reset the connection and lose what was sent.
        exchange.wait_until_stopped()

    return answer


@dataclass
class Clock:
    """A clock that moves only when told, and a sleep that moves it and remembers."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
