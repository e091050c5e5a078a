"""The exporter's server as a process of its own, with a made-up exporter behind it, and raw clients against it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


class Made:
    """What `make` gives in the worker: counts reloads, tells its process id, and may be slow to stop."""

    def __init__(self, stop_seconds: float) -> None:
        from exporter.web.app import create_app
        from tests.support.preview import FixedProvider, exporter_view, healthy

        registry = CollectorRegistry()
        self._reloads = Counter("made_reloads", "", registry=registry)
        Gauge("made_pid", "", registry=registry).set(os.getpid())
        # More than a socket's buffers take, so that a client that does not read holds up its answer.
        padding = Gauge("made_padding", "", ["text"], registry=registry)
        for number in range(40):
            padding.labels(f"{number:09}" + "x" * 100_000).set(1)
        self._pages: WSGIApplication = create_app(FixedProvider(exporter_view(healthy())), registry)
        self._stop_seconds = stop_seconds

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The exporter's pages, and one that reads a body, as the remediator's do."""
        if environ["PATH_INFO"] != "/body":
            return self._pages(environ, start_response)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{len(body)}".encode()]

    def reload(self) -> str:
        self._reloads.inc()
        return ""

    def stop(self) -> None:
        time.sleep(self._stop_seconds)
        sys.stderr.write('{"message": "stopped in order"}\n')
        sys.stderr.flush()


class ServerProcess:
    """A started server; its log is collected line by line."""

    def __init__(self, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.web_process", listen, *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"not_json": line})

    def port(self) -> int:
        def found() -> int | None:
            return next((int(str(line["port"])) for line in self.lines if "port" in line), None)

        return until(found, "the server tells its port")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def server(*arguments: str) -> Iterator[ServerProcess]:
    """A server that answers, ended at the end."""
    started = ServerProcess(*arguments)
    try:
        started.port()
        yield started
    finally:
        started.close()


def until(look: Callable[[], T | None], what: str, seconds: float = 15.0) -> T:
    """Wait until `look` gives something true; a refused or broken connection is a no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (OSError, http.client.HTTPException):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def get(
    port: int,
    path: str,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = 20.0,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        if tls is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=tls)
    )
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def value(port: int, name: str) -> float:
    """One unlabelled series of /metrics."""
    body = get(port, f"/metrics?name[]={name}")[1].decode()
    return next(float(line.split()[1]) for line in body.splitlines() if line.startswith(f"{name} "))


@contextmanager
def clients(port: int, count: int, say: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that say `say` and then nothing, held open."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            opened.append(client)
            if say:
                client.sendall(say)
        yield opened
    finally:
        for client in opened:
            client.close()


def _main(listen: str, web: str = "", stop_seconds: str = "0", fail: str = "") -> None:
    from foundation.serving import jsonlog
    from foundation.serving.server import serve
    from foundation.serving.web_config import WebConfig

    jsonlog.configure("info")

    def make() -> Made:
        if fail:
            raise RuntimeError(fail)
        return Made(float(stop_seconds))

    serve(listen, WebConfig(Path(web)) if web else None, make, "stager-exporter")


if __name__ == "__main__":
    _main(*sys.argv[1:])
