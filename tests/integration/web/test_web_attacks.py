"""Rough clients on the real server: floods, bombs, odd paths and methods. The next scrape is answered all the same."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.web_process import ServerProcess, clients, get, server, until, value

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def started() -> Iterator[ServerProcess]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with server() as running:
        until(lambda: get(running.port(), "/livez")[0] == 200, "the server answers")
        yield running


def ask(port: int, data: bytes, limit: float = 10) -> bytes:
    """What the server says to these bytes, until it closes or falls silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=limit) as client:
        try:
            client.sendall(data)
            while piece := client.recv(65536):
                answer += piece
        except OSError:
            pass
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def healthy(started: ServerProcess) -> bool:
    """Whether nothing went wrong on the server's side."""
    return not [line for line in started.lines if line.get("level") in ("error", "critical") or "not_json" in line]


def test_a_thousand_silent_connections_do_not_keep_a_scrape_waiting(started: ServerProcess) -> None:
    port = started.port()
    with clients(port, 1000):
        for _ in range(3):
            began = time.monotonic()
            assert get(port, "/livez")[0] == 200
            assert time.monotonic() - began < 3
    assert healthy(started)


def test_more_slow_bodies_than_threads_do_not_stop_it(started: ServerProcess) -> None:
    port = started.port()
    with clients(port, 100, b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{") as slow:
        for _ in range(3):
            began = time.monotonic()
            assert get(port, "/livez")[0] == 200
            assert time.monotonic() - began < 5  # 32 threads, half a second for each slow one
            for client in slow:
                with contextlib.suppress(OSError):
                    client.sendall(b" ")
    whole = b"POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    assert b"\r\n5000\r\n" in ask(port, whole)
    assert healthy(started)


def test_a_thousand_resting_connections_do_not_either(started: ServerProcess) -> None:
    port = started.port()
    with clients(port, 700, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"):
        began = time.monotonic()
        assert get(port, "/livez")[0] == 200
        assert time.monotonic() - began < 5
    assert healthy(started)


@pytest.mark.parametrize(
    ("bomb", "answers"),
    [
        (b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n", {0, 400, 431}),
        (b"GET /livez HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", {0, 400, 431}),
        (b"GET /" + b"y" * 1_000_000 + b" HTTP/1.1\r\n\r\n", {0, 400, 414}),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", {0, 400}),
        (b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n", {0, 400, 505}),
        (b"\x00\xff\x16\x03\x01" * 100 + b"\r\n\r\n", {0, 400}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {0, 400, 405, 505}),
    ],
)
def test_what_is_no_request_is_refused(started: ServerProcess, bomb: bytes, answers: set[int]) -> None:
    port = started.port()
    answer = ask(port, bomb)
    assert status(answer) in answers, answer[:200]
    assert b"Traceback" not in answer
    assert get(port, "/livez")[0] == 200
    assert healthy(started)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/\\..\\app.py",
        "/static/style.css%00.py",
        "/foundations/..%2f..%2fetc%2fpasswd",
        "/../../etc/passwd",
        "//evil.example/%2e%2e",
    ],
)
def test_no_path_leads_out(started: ServerProcess, path: str) -> None:
    answer = ask(
        started.port(), f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"), limit=5
    )
    assert status(answer) in (400, 404, 308), answer[:300]
    assert b"root:" not in answer
    assert b"import" not in answer
    assert b"evil.example" not in answer.lower().split(b"location:")[-1] or status(answer) != 308


def method(port: int, name: str, path: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(name, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_methods(started: ServerProcess) -> None:
    port = started.port()
    for path in ("/", "/metrics?name[]=made_pid", "/livez", "/readyz", "/view.json"):
        code, body, headers = method(port, "HEAD", path)
        assert (code, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0
        code, body, headers = method(port, "OPTIONS", path)
        assert (code, body) == (200, b"")
        assert {word.strip() for word in headers["Allow"].split(",")} == {"GET", "HEAD", "OPTIONS"}
        for refused in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
            code, _, headers = method(port, refused, path)
            assert (code, "GET" in headers["Allow"]) == (405, True)
    for refused in ("GET", "HEAD", "OPTIONS", "DELETE"):
        assert method(port, refused, "/-/reload")[0] == 405
    assert value(port, "made_reloads_total") == 0


def test_openmetrics_and_gzip_together(started: ServerProcess) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    code, body = get(started.port(), "/metrics?name[]=made_pid", headers=headers)
    assert code == 200
    assert gzip.decompress(body).endswith(b"# EOF\n")


def test_a_storm_of_sighup_ends_in_few_reloads_and_the_same_worker() -> None:
    with server() as running:
        port = running.port()
        until(lambda: get(port, "/livez")[0] == 200, "the server answers")
        worker = value(port, "made_pid")
        for _ in range(500):
            running.process.send_signal(signal.SIGHUP)
        until(lambda: value(port, "made_reloads_total") >= 1, "a reload")
        assert get(port, "/livez")[0] == 200
        assert value(port, "made_pid") == worker
        assert value(port, "made_reloads_total") <= 500
        assert running.process.poll() is None
