"""The body of a long answer: any framing, cut anywhere, gives the same bytes; damage is told after what came before."""

from __future__ import annotations

import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.kube.body import BURST, GATHER, LONGEST_LINE, PIECE, SMALL, Body, BrokenBodyError, Chunks
from tests.support.scripted_api import ScriptedApi, until

if TYPE_CHECKING:
    from collections.abc import Iterator

POD = "/api/v1/namespaces/cf/pods/api-0"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def chunked(data: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in data if piece)
    return framed + b"0\r\n" + trailer + b"\r\n"


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({min(cut, len(raw)) for cut in cuts}), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(st.binary(max_size=50), max_size=8),
    st.lists(st.integers(0, 500), max_size=8),
    st.sampled_from([b"", b";a=b", b" ", b' ; x="y"']),
    st.sampled_from([b"", b"Trailer: 1\r\n"]),
)
def test_any_cut_of_any_chunks_gives_the_same_bytes(
    data: list[bytes], cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    chunks = Chunks()
    raw = chunked(data, extension, trailer)
    got = b""
    for piece in pieces(raw, cuts):
        assert not chunks.ended or not piece
        # Longer than what counts of it, as the reader's buffer is.
        got += chunks.take(bytearray(piece + b"\n5\r\nwrong"), len(piece))
    assert (got, chunks.ended, chunks.problem) == (b"".join(data), True, "")


@pytest.mark.parametrize(
    ("raw", "taken", "problem"),
    [
        (b"zz\r\n", b"", "begins with b'zz'"),
        (b"\r\n", b"", "begins with b''"),
        (b"-5\r\n", b"", "begins with b'-5'"),
        (b"0x5\r\n", b"", "begins with"),
        (b"1_0\r\n", b"", "begins with"),
        (b"f" * 16 + b"\r\n", b"", "begins with"),
        (b"2\r\nabX\r\n", b"ab", "followed by b'X'"),
        (b"2\r\nab\r\nq\r\n", b"ab", "begins with b'q'"),
        (b"1" * (LONGEST_LINE + 1), b"", "longer than"),
        (b"0\r\nX: " + b"1" * LONGEST_LINE, b"", "longer than"),
    ],
)
def test_a_framing_that_is_none(raw: bytes, taken: bytes, problem: str) -> None:
    chunks = Chunks()
    assert chunks.take(bytearray(raw), len(raw)) == taken
    assert problem in chunks.problem
    assert chunks.take(bytearray(b"1\r\na\r\n"), 6) == b""
    assert not chunks.ended


@pytest.mark.parametrize("first", [0, 3, 10_000])
def test_a_body_of_known_length_is_no_longer(pair: tuple[socket.socket, socket.socket], first: int) -> None:
    data = b"0123456789" * 1000
    pair[1].sendall(data[first:] + b"another")
    body = Body(pair[0], data[:first], chunked=False, length=len(data), silence=5.0)
    assert b"".join(iter(body.read, b"")) == data
    assert body.read() == b""


def test_a_body_up_to_the_connections_end(pair: tuple[socket.socket, socket.socket]) -> None:
    body = Body(pair[0], b"a", chunked=False, length=None, silence=5.0)
    pair[1].sendall(b"b")
    pair[1].shutdown(socket.SHUT_WR)
    assert b"".join(iter(body.read, b"")) == b"ab"
    assert body.read() == b""


@pytest.mark.parametrize(("is_chunked", "sent"), [(True, b"5\r\nabc"), (True, b"3\r\nabc\r\n"), (False, b"abc")])
def test_an_end_in_the_middle_is_told_after_what_came(
    pair: tuple[socket.socket, socket.socket], is_chunked: bool, sent: bytes
) -> None:
    body = Body(pair[0], b"", chunked=is_chunked, length=None if is_chunked else 4, silence=5.0)
    pair[1].sendall(sent)
    pair[1].shutdown(socket.SHUT_WR)
    assert body.read() == b"abc"
    with pytest.raises(BrokenBodyError, match="ends in its middle"):
        body.read()


def test_silence_is_an_end_of_patience_and_no_end_of_the_body(pair: tuple[socket.socket, socket.socket]) -> None:
    body = Body(pair[0], b"", chunked=True, length=None, silence=0.01)
    pair[1].sendall(b"1\r\na\r")
    assert body.read() == b"a"
    with pytest.raises(TimeoutError):
        body.read()
    pair[1].sendall(b"\n1\r\nb\r\n0\r\n\r\n")
    assert body.read() == b"b"
    assert body.read() == b""


def test_what_has_come_is_handed_on_at_once_and_in_large_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    body = Body(pair[0], b"", chunked=True, length=None, silence=30.0)
    pair[1].sendall(b"1\r\na")
    assert body.read() == b"a"  # nothing else comes
    data = [b"x" * 1000] * 100  # less than a socket holds
    pair[1].sendall(b"\r\n" + chunked(data))
    got = list(iter(body.read, b""))
    assert b"".join(got) == b"".join(data)
    assert SMALL < max(map(len, got)) <= PIECE


def test_a_burst_is_given_a_moment_to_gather(pair: tuple[socket.socket, socket.socket]) -> None:
    """Only where a piece that was waited for follows closely on another."""
    now, slept, to_come = 100.0, list[float](), list[bytes]()

    class Fed(Body):
        """Gets the next piece only once it waits for it."""

        def _wait(self, what: int) -> None:
            pair[1].sendall(to_come.pop(0))
            super()._wait(what)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        pair[1].sendall(b"more")

    body = Fed(pair[0], b"", chunked=False, length=None, silence=5.0, clock=lambda: now, sleep=sleep)
    to_come += [b"first", b"and ", b"late"]
    assert (body.read(), slept) == (b"first", [])
    now += BURST / 2
    assert (body.read(), slept) == (b"and more", [GATHER])
    now += BURST * 2
    assert (body.read(), slept) == (b"late", [GATHER])


def test_a_reset_is_told_after_what_came_before_it() -> None:
    class Socket:
        def __init__(self) -> None:
            self.script: list[bytes | OSError] = [b"ab", ConnectionResetError(104, "reset")]

        def settimeout(self, _: float) -> None: ...

        def recv_into(self, view: memoryview) -> int:
            come = self.script.pop(0)
            if isinstance(come, OSError):
                raise come
            view[: len(come)] = come
            return len(come)

    body = Body(Socket(), b"", chunked=False, length=9, silence=5.0)  # type: ignore[arg-type]  # all that is used of it
    assert body.read() == b"ab"
    with pytest.raises(ConnectionResetError):
        body.read()


def test_an_encoding_that_nobody_asked_for_is_an_error() -> None:
    def answer(exchange: object) -> None:
        exchange.head(200, {"Content-Encoding": "gzip", "Content-Length": "2"})  # type: ignore[attr-defined]
        exchange.wfile.write(b"xx")  # type: ignore[attr-defined]

    with ScriptedApi() as api, api.client() as client:
        api.on("GET", POD, answer)
        with client.stream(POD) as stream, pytest.raises(Exception, match="comes as gzip, which was not asked for"):
            list(stream)


def test_an_answer_without_a_body_has_ended() -> None:
    with ScriptedApi() as api, api.client() as client:
        api.on("GET", POD, lambda exchange: exchange.head(204, {}))
        with client.stream(POD) as stream:
            assert list(stream) == []
            assert stream.ended == "eof"
        until(lambda: len(api.seen) == 1)
