"""What is left at the edges of the probes: answers and files that change between two looks at them."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foundation.probes.attempt import Failure
from foundation.probes.credentials import Credentials
from foundation.probes.http import post
from foundation.probes.locket_read import fetch_lock, judge_answer
from foundation.probes.resolving import Address, Resolver
from foundation.probes.result import Cause, Target
from simulator.servers.locket import LocketMode
from tests.support.tls import ScriptedPeer

if TYPE_CHECKING:
    from simulator.servers.certificates import ClientFiles
    from simulator.servers.locket import LocketServer

NAME = "bbs.service.cf.internal"


def test_a_lock_is_read_by_a_host_name_too(locket: LocketServer, credentials: Credentials) -> None:
    locket.mode = LocketMode.ANSWERS
    reading = fetch_lock(Target("x", "localhost", locket.port, NAME), 20.0, credentials)
    assert reading.owner == "diego-api-0", reading.detail


def test_an_owner_that_is_no_text_for_a_line_is_made_one() -> None:
    assert judge_answer(b"\x0a\x07\x12\x05a\n\x1b[2").owner == "a [2"


def test_a_lookup_that_raises_what_it_should_not_is_no_address() -> None:
    def lookup(host: str, port: int) -> list[Address]:
        raise ValueError("embedded null byte")

    with pytest.raises(OSError, match="not a host name: embedded null byte"):
        Resolver(lookup)("a", 1, 5.0)


def test_a_lookup_without_a_thread_to_spare_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolve = Resolver(lambda host, port: [])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread for the name lookup"):
            resolve("a", 1, 5.0)
    assert resolve("a", 1, 5.0) == []


def test_a_file_that_vanishes_between_two_looks_gives_no_pem(
    files: ClientFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Credentials(files.ca, files.cert, files.key)
    assert credentials.pem() is not None

    def gone(self: Path) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert credentials.pem() is None


class TestAlerts:
    """A server that turned us away says why before it hangs up; the request may break before that is read."""

    def ask(self, connection: object) -> None:
        post(connection, "h", "/", lambda: 1.0, max_body=10, last=True)  # type: ignore[arg-type]  # made of what is used

    def test_the_alert_that_waits_is_the_answer(self) -> None:
        alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            self.ask(_Broken(alert))

    def test_without_one_the_break_is(self) -> None:
        for said in (ConnectionResetError(104, "reset"), b""):
            with pytest.raises(BrokenPipeError):
                self.ask(_Broken(said))


class _Broken:
    def __init__(self, said: Exception | bytes) -> None:
        self.said = said

    def settimeout(self, seconds: float) -> None:
        assert seconds == 1.0

    def sendall(self, data: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    def recv(self, size: int) -> bytes:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def test_headers_that_end_too_late_are_no_answer() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 16_380 + b"\r\n\r\n")
        over.wait(5)

    with ScriptedPeer(speak) as peer, socket.create_connection(("127.0.0.1", peer.port)) as connection:
        with pytest.raises(Failure, match="more than 16384 bytes of HTTP headers") as caught:
            post(connection, "h", "/", lambda: 5.0, max_body=10, last=True)
        assert caught.value.cause is Cause.BAD_ANSWER
