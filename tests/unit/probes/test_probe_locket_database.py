"""Locket's port, its read, and the database's first answer; the simulated servers prove the ends of each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import pytest

from foundation.probes import locket_read
from foundation.probes.credentials import Credentials
from foundation.probes.database import DatabasePacer, DatabaseReading, probe_database
from foundation.probes.locket import hangs, probe_locket
from foundation.probes.locket_read import available, fetch_lock, judge_answer, request
from foundation.probes.result import Cause, ProbeResult, Stage, Target
from simulator.servers.bbs import BBSMode, BBSServer
from simulator.servers.database import DatabaseMode, DatabaseServer
from simulator.servers.locket import LocketMode, LocketServer
from simulator.servers.loop import ServerLoop
from tests.support.tls import ScriptedPeer, dribbling

if TYPE_CHECKING:
    import socket

    from simulator.servers.certificates import ClientFiles, ServerTLS

NAME = "bbs.service.cf.internal"
LONG, SHORT, GENEROUS = 20.0, 0.5, 8.0


def at(locket: LocketServer) -> Target:
    return Target("diego-api-0", "127.0.0.1", locket.port, NAME)


@pytest.mark.parametrize(
    ("mode", "timeout", "cause", "failed"),
    [
        (LocketMode.ANSWERS, LONG, None, None),
        (LocketMode.READ_HANGS, LONG, None, None),
        (LocketMode.CLOSED, LONG, Cause.REFUSED, Stage.TCP),
        (LocketMode.HANGS, SHORT, Cause.TIMEOUT, Stage.TLS),
    ],
)
def test_each_state_of_a_locket(
    locket: LocketServer,
    credentials: Credentials,
    *,
    mode: LocketMode,
    timeout: float,
    cause: Cause | None,
    failed: Stage | None,
) -> None:
    locket.mode = mode
    for who in (credentials, None):
        result = probe_locket(at(locket), timeout, who)
        assert (result.cause, result.failed, result.depth) == (cause, failed, Stage.TLS), result.detail
        assert hangs(result) is (mode is LocketMode.HANGS)
        assert (result.certificate is not None) is (cause is None)


def test_who_holds_the_lock(locket: LocketServer, credentials: Credentials) -> None:
    locket.mode = LocketMode.ANSWERS
    reading = fetch_lock(at(locket), LONG, credentials)
    assert (reading.owner, reading.answered, reading.timed_out) == ("diego-api-0", True, False), reading.detail
    locket.owner = ""
    reading = fetch_lock(at(locket), LONG, credentials)
    assert (reading.owner, reading.answered, reading.detail) == (None, True, "nobody holds the lock")


@pytest.mark.parametrize("mode", [LocketMode.HANGS, LocketMode.READ_HANGS])
def test_a_read_that_is_never_answered(locket: LocketServer, credentials: Credentials, mode: LocketMode) -> None:
    locket.mode = mode
    began = time.monotonic()
    reading = fetch_lock(at(locket), SHORT, credentials)
    assert time.monotonic() - began < GENEROUS
    assert (reading.owner, reading.answered, reading.timed_out) == (None, False, True)
    assert reading.detail == "no answer within 0.5 s"


def test_reads_that_cannot_be(locket: LocketServer, credentials: Credentials, files: ClientFiles) -> None:
    refused = fetch_lock(at(locket), LONG, credentials)
    assert (refused.answered, refused.timed_out, "UNAVAILABLE" in refused.detail) == (False, False, True)
    locket.mode = LocketMode.ANSWERS
    stranger = fetch_lock(Target("x", "127.0.0.1", locket.port, "elsewhere.cf"), LONG, credentials)
    assert not stranger.answered
    bare = fetch_lock(at(locket), LONG, Credentials(files.ca))
    assert (bare.answered, bare.detail) == (False, "not read: needs ca_file, cert_file and key_file")
    lost = fetch_lock(at(locket), LONG, Credentials(files.ca, files.cert, files.key.with_name("lost")))
    assert "lost: No such file" in lost.detail


def test_without_the_extra_everything_else_goes_on(
    locket: LocketServer, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available()
    monkeypatch.setattr(locket_read, "find_spec", lambda name: None)
    assert not available()
    reading = fetch_lock(at(locket), LONG, credentials)
    assert (reading.answered, "not installed" in reading.detail) == (False, True)


def test_bytes_of_a_fetch() -> None:
    assert request(b"bbs") == b"\x0a\x03bbs"
    with pytest.raises(ValueError, match="127 bytes"):
        request(b"k" * 128)
    assert judge_answer(b"\x0a\x07\x0a\x03bbs\x12\x00").owner is None
    assert judge_answer(b"").owner is None
    assert judge_answer(b"\x0a\x09garbage").detail.startswith("answered with what is no lock")
    assert judge_answer(b"\x0a\x03\x12\x01x").owner == "x"


Kind = Literal["postgresql", "mysql"]


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
@pytest.mark.parametrize(
    ("mode", "timeout", "cause", "failed"),
    [
        (DatabaseMode.ANSWERS, LONG, None, None),
        (DatabaseMode.CLOSED, LONG, Cause.REFUSED, Stage.TCP),
        (DatabaseMode.SILENT, SHORT, Cause.TIMEOUT, Stage.PING),
        (DatabaseMode.BLOCKED, LONG, Cause.BAD_ANSWER, Stage.PING),
    ],
)
def test_each_state_of_a_database(
    kind: Kind, mode: DatabaseMode, timeout: float, cause: Cause | None, failed: Stage | None
) -> None:
    server = DatabaseServer("127.0.0.1", 0, kind, mode)
    server.start()
    try:
        reading = probe_database(kind, "127.0.0.1", server.port, timeout)
    finally:
        server.stop()
    assert (reading.result.cause, reading.result.failed) == (cause, failed), reading.result.detail
    assert reading.answered is (cause is None)
    assert reading.stop is (kind == "mysql" and mode is DatabaseMode.BLOCKED)
    assert reading.result.seconds < GENEROUS


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload


@pytest.mark.parametrize(
    ("kind", "said", "cause", "words", "stop"),
    [
        ("mysql", packet(b"\xff\x10\x04Too many connections"), Cause.BAD_ANSWER, "1040: Too many", False),
        ("mysql", packet(b"\xff\x6a\x04#HY000Host 'x' is not allowed"), Cause.BAD_ANSWER, "1130: Host 'x'", True),
        ("mysql", packet(b"\x09old"), Cause.BAD_ANSWER, "protocol version 9", False),
        ("mysql", packet(b"\xff"), Cause.BAD_ANSWER, "not MySQL", False),
        ("mysql", b"HTTP/1.1 400 Bad Request\r\n", Cause.BAD_ANSWER, "not MySQL", False),
        ("mysql", b"\0\0\0\0", Cause.BAD_ANSWER, "0 bytes", False),
        ("mysql", b"\x05\0", Cause.RESET, "without a whole answer", False),
        ("mysql", b"", Cause.RESET, "without a whole answer", False),
        ("postgresql", b"S", None, "", False),
        ("postgresql", b"E\0\0\0\x05x", Cause.BAD_ANSWER, "an error", False),
        ("postgresql", b"E\xff\xff\xff\xff", Cause.BAD_ANSWER, "an error", False),
        ("postgresql", b"H", Cause.BAD_ANSWER, "not PostgreSQL", False),
        ("postgresql", b"", Cause.RESET, "without a whole answer", False),
    ],
)
def test_first_answers_of_databases(kind: Kind, said: bytes, cause: Cause | None, words: str, stop: bool) -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        if kind == "postgresql":
            connection.recv(8)
        connection.sendall(said)

    with ScriptedPeer(speak) as peer:
        reading = probe_database(kind, "127.0.0.1", peer.port, LONG)
    assert (reading.result.cause, reading.stop) == (cause, stop), reading.result.detail
    assert words in reading.result.detail


def test_a_database_that_dribbles_meets_the_deadline() -> None:
    with ScriptedPeer(dribbling(b"\x00\x0f\x00\x00\x0ax")) as peer:
        reading = probe_database("mysql", "127.0.0.1", peer.port, SHORT)
    assert reading.result.cause is Cause.TIMEOUT
    assert reading.result.seconds < GENEROUS


def reading_of(stop: bool, detail: str = "") -> DatabaseReading:
    target = Target("database", "db", 1)
    return DatabaseReading(ProbeResult(target, Stage.PING, 0.0, cause=Cause.BAD_ANSWER, detail=detail), stop=stop)


def test_the_pacer_spares_the_database() -> None:
    now = 0.0
    pacer = DatabasePacer(lambda: now)
    assert not pacer.permit(nothing_serves=False)
    assert pacer.permit(nothing_serves=True)
    now = 59.9
    assert not pacer.permit(nothing_serves=True)
    now = 60.0
    assert not pacer.permit(nothing_serves=False)
    assert pacer.permit(nothing_serves=True)
    pacer.note(reading_of(stop=False))
    now = 120.0
    assert pacer.permit(nothing_serves=True)
    pacer.note(reading_of(stop=True, detail="MySQL error 1129"))
    now = 1e9
    assert not pacer.permit(nothing_serves=True)
    assert pacer.stopped == "MySQL error 1129"


def test_servers_share_a_loop_and_leave_nothing(tls: ServerTLS, credentials: Credentials) -> None:
    before = set(threading.enumerate())
    loop = ServerLoop()
    loop.start()
    servers = [BBSServer("127.0.0.1", 0, tls, BBSMode.SERVES, loop=loop) for _ in range(20)]
    for server in servers:
        server.start()
    assert len(set(threading.enumerate()) - before) == 1
    port = servers[0].port
    for mode in (BBSMode.CLOSED, BBSMode.HANGS, BBSMode.CLOSED, BBSMode.SERVES):
        servers[0].mode = mode
        assert servers[0].port == port
        accepted = probe_locket(Target("x", "127.0.0.1", port, NAME), SHORT, credentials).accepted
        assert accepted is (mode is not BBSMode.CLOSED)
    for server in servers:
        server.stop()
        server.stop()
    loop.stop()
    assert set(threading.enumerate()) <= before
