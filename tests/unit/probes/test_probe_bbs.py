"""Every cause, every stage, against the simulated BBS and against peers that misbehave."""

from __future__ import annotations

import errno
import gc
import socket
import ssl
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from foundation.probes.attempt import Attempt, Failure, classify
from foundation.probes.bbs import probe
from foundation.probes.credentials import Credentials
from foundation.probes.resolving import Address, Resolver, literal, system_lookup
from foundation.probes.result import Cause, ProbeResult, Stage, Target, one_line
from simulator.servers.bbs import BBSMode, BBSServer
from simulator.servers.certificates import Authority
from tests.support.tls import ScriptedPeer, answering, dribbling, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.servers.certificates import ClientFiles, ServerTLS

NAME = "bbs.service.cf.internal"
LONG, SHORT = 20.0, 0.3
GENEROUS = 5.0
"""Seconds that a probe of SHORT may take on a busy machine; a peer that is not given up on takes 10 or more."""
PING_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x08\x01"


def at(port: int, name: str = NAME) -> Target:
    return Target("diego-api-0", "127.0.0.1", port, name)


def look(bbs: BBSServer, credentials: Credentials | None, depth: Stage = Stage.PING) -> ProbeResult:
    return probe(at(bbs.port), depth, LONG, credentials)


def hurried(port: int, credentials: Credentials | None, depth: Stage = Stage.PING) -> ProbeResult:
    began = time.monotonic()
    result = probe(at(port), depth, SHORT, credentials)
    assert time.monotonic() - began < GENEROUS
    assert result.seconds < GENEROUS
    return result


@pytest.mark.parametrize(
    ("mode", "depth", "cause", "failed"),
    [
        (BBSMode.SERVES, Stage.READ, None, None),
        (BBSMode.SERVES, Stage.PING, None, None),
        (BBSMode.SERVES, Stage.TLS, None, None),
        (BBSMode.SERVES, Stage.TCP, None, None),
        (BBSMode.HANGS, Stage.TCP, None, None),
        (BBSMode.CLOSED, Stage.PING, Cause.REFUSED, Stage.TCP),
        (BBSMode.MIGRATING, Stage.PING, Cause.NOT_SERVING, Stage.PING),
        (BBSMode.CERTIFICATE_EXPIRED, Stage.PING, Cause.TLS_EXPIRED, Stage.TLS),
        (BBSMode.REJECTS_CLIENT, Stage.PING, Cause.CLIENT_CERTIFICATE_REJECTED, Stage.PING),
        (BBSMode.DATABASE_ERROR, Stage.PING, None, None),
        (BBSMode.DATABASE_ERROR, Stage.READ, Cause.BAD_ANSWER, Stage.READ),
        (BBSMode.NOT_BBS, Stage.PING, Cause.BAD_ANSWER, Stage.TLS),
    ],
)
def test_each_state_of_a_bbs(
    bbs: BBSServer, credentials: Credentials, *, mode: BBSMode, depth: Stage, cause: Cause | None, failed: Stage | None
) -> None:
    bbs.mode = mode
    result = look(bbs, credentials, depth)
    assert (result.cause, result.failed, result.depth) == (cause, failed, depth), result.detail
    assert result.ok is (cause is None)
    assert bool(result.detail) is (cause is not None)
    assert result.accepted is (mode is not BBSMode.CLOSED)
    order = list(Stage)
    assert list(result.stages) == order[1 : order.index(failed or depth) + 1]
    assert all(seconds >= 0 for seconds in result.stages.values())
    assert result.database_error is (mode is BBSMode.DATABASE_ERROR and depth is Stage.READ)


def test_a_database_error_inside_a_200_is_quoted(bbs: BBSServer, credentials: Credentials) -> None:
    bbs.mode = BBSMode.DATABASE_ERROR
    result = look(bbs, credentials, Stage.READ)
    assert result.detail == "HTTP 200 with error 0 inside: the request failed for an unknown reason"


@pytest.mark.parametrize("mode", [BBSMode.SERVES, BBSMode.MIGRATING, BBSMode.REJECTS_CLIENT])
def test_without_a_client_certificate_it_goes_as_deep_as_tls_and_says_so(
    bbs: BBSServer, files: ClientFiles, mode: BBSMode
) -> None:
    bbs.mode = mode
    for credentials in (None, Credentials(), Credentials(files.ca)):
        result = look(bbs, credentials, Stage.READ)
        assert result.ok
        assert result.depth is Stage.TLS
        assert list(result.stages) == [Stage.TCP, Stage.TLS]
        assert result.detail == "looked no deeper than the TLS handshake: no client certificate is configured"
        assert result.certificate is not None
    assert look(bbs, None, Stage.TCP).detail == ""


def test_unreadable_credentials_are_named_and_the_probe_goes_on(
    bbs: BBSServer, files: ClientFiles, tmp_path: Path
) -> None:
    bbs.mode = BBSMode.SERVES
    result = look(bbs, Credentials(files.ca, tmp_path / "no.crt", files.key))
    assert result.ok
    assert result.depth is Stage.TLS
    assert f"{tmp_path / 'no.crt'}: No such file or directory" in result.detail


def test_tls_1_2_turns_a_client_without_certificate_away_in_the_handshake(
    authority: Authority, credentials: Credentials
) -> None:
    tls = authority.server([NAME])
    for context in (tls.context, tls.rejecting):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with ScriptedPeer(answering(PING_OK), tls.context) as peer:
        without = probe(at(peer.port), Stage.PING, LONG, None)
        assert (without.ok, without.depth) == (True, Stage.TLS), without.detail
        assert probe(at(peer.port), Stage.PING, LONG, credentials).ok
    with ScriptedPeer(silent, tls.rejecting) as peer:
        result = probe(at(peer.port), Stage.PING, LONG, credentials)
        assert (result.cause, result.failed) == (Cause.CLIENT_CERTIFICATE_REJECTED, Stage.TLS), result.detail


def test_a_peer_that_hangs_up_right_after_its_alert(credentials: Credentials, tls: ServerTLS) -> None:
    with ScriptedPeer(silent, tls.rejecting) as peer:
        for _ in range(20):
            result = probe(at(peer.port), Stage.PING, LONG, credentials)
            assert result.cause is Cause.CLIENT_CERTIFICATE_REJECTED, result.detail


PAST = datetime.now(UTC).replace(microsecond=0) - timedelta(days=40)
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)


@pytest.mark.parametrize(
    ("ends", "names", "foreign", "cause"),
    [
        (PAST, [NAME], False, Cause.TLS_EXPIRED),
        (LATER, [NAME], True, Cause.TLS_UNTRUSTED),
        (LATER, ["elsewhere.cf"], False, Cause.TLS_HOSTNAME),
        (LATER, [NAME], False, None),
    ],
)
def test_certificate_times_are_read_whatever_verification_says(
    authority: Authority,
    credentials: Credentials,
    *,
    ends: datetime,
    names: list[str],
    foreign: bool,
    cause: Cause | None,
) -> None:
    issuer = Authority.create() if foreign else authority
    bbs = BBSServer("127.0.0.1", 0, issuer.server(names, ends), BBSMode.SERVES)
    bbs.start()
    try:
        result = look(bbs, credentials, Stage.TLS)
    finally:
        bbs.stop()
    assert result.cause is cause, result.detail
    assert result.certificate is not None
    assert result.certificate.not_after == ends.timestamp()
    assert result.certificate.not_before == (ends - timedelta(days=730)).timestamp()
    assert result.certificate.names == tuple(names)
    assert f"CN={names[0]}" in result.certificate.subject


def test_a_name_that_is_an_address_of_the_certificate(bbs: BBSServer, credentials: Credentials) -> None:
    bbs.mode = BBSMode.SERVES
    assert probe(Target("service", "127.0.0.1", bbs.port), Stage.PING, LONG, credentials).ok


def test_expiry_is_seen_without_a_ca(bbs: BBSServer) -> None:
    bbs.mode = BBSMode.CERTIFICATE_EXPIRED
    assert look(bbs, None).cause is Cause.TLS_EXPIRED


def test_the_second_handshake_shares_the_deadline(authority: Authority, credentials: Credentials) -> None:
    """The first shows an expired certificate; the second, which would read it, is never answered."""
    turns = count()
    expired = authority.server([NAME]).expired

    def once(connection: socket.socket, over: threading.Event) -> None:
        if next(turns) == 0:
            expired.wrap_socket(connection, server_side=True)
        over.wait(20)

    with ScriptedPeer(once) as peer:
        result = hurried(peer.port, credentials)
    assert (result.cause, result.failed, result.certificate) == (Cause.TLS_EXPIRED, Stage.TLS, None)


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full: a connection attempt to it gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for connection in waiting:
            connection.close()


def test_deadline_in_tcp(full_port: int, credentials: Credentials) -> None:
    result = hurried(full_port, credentials)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.TCP)
    assert result.detail == "no answer within 0.3 s"
    assert not result.accepted


def test_deadline_in_tls(bbs: BBSServer, credentials: Credentials) -> None:
    bbs.mode = BBSMode.HANGS
    result = hurried(bbs.port, credentials)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.TLS)
    assert result.detail == "no answer within 0.3 s"
    assert result.accepted


def test_deadline_in_tls_with_a_peer_that_dribbles(credentials: Credentials) -> None:
    # A handshake record of 16 kB, of which a byte comes now and then.
    with ScriptedPeer(dribbling(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03")) as peer:
        result = hurried(peer.port, credentials)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.TLS)


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: y", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nx"],
    ids=["none", "head", "body"],
)
def test_deadline_in_ping(tls: ServerTLS, credentials: Credentials, head: bytes) -> None:
    with ScriptedPeer(dribbling(head) if head else silent, tls.context) as peer:
        result = hurried(peer.port, credentials)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.PING)
    assert result.certificate is not None


def test_deadline_in_read(tls: ServerTLS, credentials: Credentials) -> None:
    with ScriptedPeer(answering(PING_OK, b""), tls.context) as peer:
        result = hurried(peer.port, credentials, Stage.READ)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.READ)


def test_deadline_in_dns_and_no_pile_of_threads(credentials: Credentials) -> None:
    answer, calls = threading.Event(), count()

    def stuck(host: str, port: int) -> list[Address]:
        next(calls)
        answer.wait(20)
        return [Address(socket.AF_INET, "127.0.0.1", port)]

    resolver = Resolver(stuck, max_hanging=2)
    try:
        for _ in range(5):
            began = time.monotonic()
            result = probe(Target("service", "bbs.cf", 8889), Stage.PING, 0.05, credentials, resolve=resolver)
            assert time.monotonic() - began < GENEROUS
            assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.DNS)
            assert "bbs.cf" in result.detail
        assert next(calls) == 1
        with pytest.raises(TimeoutError, match="no answer to the lookup of other"):
            resolver("other", 1, 0.01)
        with pytest.raises(TimeoutError, match="2 name lookups hang already"):
            resolver("third", 1, 0.01)
    finally:
        answer.set()
    deadline = time.monotonic() + GENEROUS
    while any(thread.name.startswith("dns ") for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert [address.ip for address in resolver("bbs.cf", 1, GENEROUS)] == ["127.0.0.1"]


def test_a_clock_that_has_run_out_ends_the_probe_before_the_next_stage(
    bbs: BBSServer, credentials: Credentials
) -> None:
    """Each look at the clock costs a second: with 3 s there is time for tcp, and none for what follows."""
    bbs.mode = BBSMode.SERVES
    ticks = count()
    result = probe(at(bbs.port), Stage.PING, 3.5, credentials, lambda: float(next(ticks)), now=lambda: 1000.0)
    assert (result.cause, result.failed) == (Cause.TIMEOUT, Stage.TLS)
    assert result.detail == "no answer within 3.5 s"
    assert result.stages == {Stage.TCP: 2.0, Stage.TLS: 2.0}
    assert result.started == 1000.0


def test_dns_failures() -> None:
    def unknown(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    result = probe(Target("service", "bbs.cf", 8889), Stage.PING, LONG, None, resolve=Resolver(unknown))
    assert (result.cause, result.failed, result.detail) == (Cause.DNS, Stage.DNS, "bbs.cf: Name or service not known")
    none = probe(Target("service", "bbs.cf", 8889), Stage.DNS, LONG, None, resolve=Resolver(lambda host, port: []))
    assert (none.cause, none.detail) == (Cause.DNS, "bbs.cf: no address")
    bad = probe(Target("service", "a" * 80 + ".cf", 8889), Stage.PING, LONG, None, resolve=Resolver(system_lookup))
    assert (bad.cause, bad.failed) == (Cause.DNS, Stage.DNS)


def test_a_name_is_resolved_and_the_next_address_tried_after_a_refusal(
    bbs: BBSServer, credentials: Credentials
) -> None:
    bbs.mode = BBSMode.SERVES
    addresses = [Address(socket.AF_INET, "127.0.0.2", bbs.port), Address(socket.AF_INET, "127.0.0.1", bbs.port)]
    target = Target("service", "bbs.cf", bbs.port, NAME)
    result = probe(target, Stage.PING, LONG, credentials, resolve=Resolver(lambda host, port: addresses))
    assert result.ok, result.detail
    assert list(result.stages) == [Stage.DNS, Stage.TCP, Stage.TLS, Stage.PING]
    only = probe(target, Stage.DNS, LONG, credentials, resolve=Resolver(lambda host, port: addresses))
    assert (only.ok, list(only.stages)) == (True, [Stage.DNS])


def test_addresses_need_no_lookup() -> None:
    assert literal("10.0.0.1", 1) == Address(socket.AF_INET, "10.0.0.1", 1)
    assert literal("fd00::1", 1) == Address(socket.AF_INET6, "fd00::1", 1)
    assert literal("bbs.cf", 1) is None
    assert system_lookup("127.0.0.1", 80) == [Address(socket.AF_INET, "127.0.0.1", 80)]


@pytest.mark.parametrize(
    ("answer", "cause", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Cause.BAD_ANSWER, "not 'available'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x08\x00", Cause.BAD_ANSWER, "not 'available'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Cause.BAD_ANSWER, "without a ping's answer"),
        (b"HTTP/1.1 404 Not\x1b[31m Found\r\nContent-Length: 0\r\n\r\n", Cause.BAD_ANSWER, "HTTP 404 Not [31m Found"),
        (b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", Cause.BAD_ANSWER, "HTTP 500"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20), Cause.BAD_ANSWER, "bytes of HTTP headers"),
        (b"garbage\r\n\r\n", Cause.BAD_ANSWER, "not HTTP/1.1"),
    ],
)
def test_answers_that_bbs_would_not_give(
    tls: ServerTLS, credentials: Credentials, answer: bytes, cause: Cause, words: str
) -> None:
    with ScriptedPeer(answering(answer), tls.context) as peer:
        result = probe(at(peer.port), Stage.PING, LONG, credentials)
    assert (result.cause, result.failed) == (cause, Stage.PING)
    assert words in result.detail
    assert result.detail.isprintable()
    assert not result.database_error


def test_a_listing_that_is_none(tls: ServerTLS, credentials: Credentials) -> None:
    bad = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x0a\x7fx"
    with ScriptedPeer(answering(PING_OK, bad), tls.context) as peer:
        result = probe(at(peer.port), Stage.READ, LONG, credentials)
    assert (result.cause, result.failed, result.database_error) == (Cause.BAD_ANSWER, Stage.READ, False)


def test_resets(tls: ServerTLS, credentials: Credentials) -> None:
    def leave(connection: socket.socket, over: threading.Event) -> None:
        pass

    for context, stage in ((None, Stage.TLS), (tls.context, Stage.PING)):
        with ScriptedPeer(leave, context) as peer:
            result = probe(at(peer.port), Stage.PING, LONG, credentials)
        assert (result.cause, result.failed) == (Cause.RESET, stage), result.detail


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), Cause.TIMEOUT),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), Cause.RESET),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), Cause.RESET),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), Cause.RESET),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Cause.OTHER),
        (ssl.SSLEOFError(8, "EOF occurred"), Cause.RESET),
        (ssl.SSLError(1, "Closed before TLS handshake with data in recv buffer."), Cause.RESET),
        (ssl.SSLError(1, "ssl/tls alert bad certificate"), Cause.CLIENT_CERTIFICATE_REJECTED),
        (ssl.SSLError(1, "tlsv1 alert protocol version"), Cause.OTHER),
        (ssl.SSLError(1, "unsupported protocol"), Cause.OTHER),
        (ValueError("server_hostname cannot be an empty string"), Cause.OTHER),
    ],
)
def test_classes_of_errors(error: OSError | ValueError, cause: Cause) -> None:
    failure = classify(error)
    assert failure.cause is cause
    assert failure.detail


def test_a_handshake_failure_counts_against_the_client_only_if_it_showed_nothing() -> None:
    alert = ssl.SSLError(1, "sslv3 alert handshake failure")
    assert classify(alert, presents=False).cause is Cause.CLIENT_CERTIFICATE_REJECTED
    assert classify(alert, presents=True).cause is Cause.OTHER


def test_an_impossible_server_name_is_a_finding(bbs: BBSServer, credentials: Credentials) -> None:
    bbs.mode = BBSMode.SERVES
    result = probe(at(bbs.port, ".bad"), Stage.PING, LONG, credentials)
    assert (result.cause, result.failed) == (Cause.OTHER, Stage.TLS)


def test_words_of_peers_are_made_safe() -> None:
    assert one_line("a\n\x1b[1mb\tc" + "x" * 5000).startswith("a [1mb c")
    assert len(one_line("x" * 5000)) == 300


def test_no_socket_is_left(bbs: BBSServer, credentials: Credentials) -> None:
    bbs.mode = BBSMode.SERVES
    attempt = Attempt(at(bbs.port), LONG)
    attempt.connect()
    attempt.close()
    attempt.close()
    with pytest.raises(Failure):
        Attempt(at(bbs.port), 0).connect()


def test_no_socket_is_left_where_connections_are_reset_at_once(credentials: Credentials) -> None:
    """The reset comes before, while or after TLS is wrapped around: a socket left behind would warn, so fail here."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rounds = 200

        def reset_all() -> None:
            for _ in range(rounds):
                accepted, _address = listening.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

        resetting = threading.Thread(target=reset_all)
        resetting.start()
        port = listening.getsockname()[1]
        found = {probe(at(port), Stage.PING, LONG, credentials).cause for _ in range(rounds)}
        resetting.join()
    gc.collect()
    assert found == {Cause.RESET}


@pytest.mark.parametrize("mode", [BBSMode.CLOSED, BBSMode.CERTIFICATE_EXPIRED, BBSMode.REJECTS_CLIENT, BBSMode.NOT_BBS])
def test_a_failed_probe_leaves_no_rubbish(bbs: BBSServer, credentials: Credentials, mode: BBSMode) -> None:
    """Exceptions that refer to themselves would keep sockets open until the garbage is collected."""
    bbs.mode = mode
    look(bbs, credentials)
    gc.collect()
    gc.disable()
    try:
        before = {id(thing) for thing in gc.get_objects() if isinstance(thing, Failure)}
        for _ in range(5):
            assert not look(bbs, credentials).ok
        left = [thing for thing in gc.get_objects() if isinstance(thing, Failure) and id(thing) not in before]
        assert left == []
    finally:
        gc.enable()
