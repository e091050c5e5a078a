"""The one POST: what it makes of every kind of answer, in whatever pieces it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.probes.attempt import Failure
from foundation.probes.http import MAX_HEAD, Answer, post
from foundation.probes.result import Cause

if TYPE_CHECKING:
    import socket

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Pieces:
    """As much of a socket as `post` uses: what it would receive is known beforehand."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.sent = b""
        self.timeouts: list[float] = []

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


def ask(*pieces: bytes, max_body: int = 1024) -> Answer:
    peer = Pieces(list(pieces))
    return post(cast("socket.socket", peer), "bbs", "/v1/ping", lambda: 1.0, max_body=max_body, last=True)


def fail(*pieces: bytes, max_body: int = 1024) -> Failure:
    with pytest.raises(Failure) as caught:
        ask(*pieces, max_body=max_body)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x08\x01", Answer(200, "OK", b"\x08\x01")),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n\x08\x01more", Answer(200, "OK", b"\x08\x01")),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Answer(503, "Service Unavailable", b"")),
        (b"HTTP/1.0 200\r\n\r\nto the end", Answer(200, "", b"to the end")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", Answer(200, "OK", b"x")),
        (
            CHUNKED + b"1;ext=1\r\n\x08\r\n1\r\n\x01\r\n0\r\nTrailer: x\r\n\r\n",
            Answer(200, "OK", b"\x08\x01"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, "No Content", b"")),
    ],
)
def test_answers_whole_and_byte_by_byte(raw: bytes, expected: Answer) -> None:
    assert ask(raw) == expected
    assert ask(*(raw[at : at + 1] for at in range(len(raw)))) == expected


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=12))
def test_any_bytes_give_an_answer_or_a_failure(pieces: list[bytes]) -> None:
    for start in ([], [CHUNKED]):
        try:
            ask(*start, *pieces)
        except Failure as failure:
            found = failure.cause
        else:
            continue
        assert found in {Cause.BAD_ANSWER, Cause.RESET}


@pytest.mark.parametrize(
    ("raw", "cause", "words"),
    [
        (b"", Cause.RESET, "without an answer"),
        (b"\0\x01binary", Cause.BAD_ANSWER, "not HTTP"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", Cause.BAD_ANSWER, "SSH-2.0"),
        (b"HTTP/2 200 OK\r\n\r\n", Cause.BAD_ANSWER, "not HTTP/1.1"),
        (b"HTTP/1.1 2xx OK\r\n\r\n", Cause.BAD_ANSWER, "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Cause.BAD_ANSWER, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", Cause.BAD_ANSWER, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", Cause.RESET, "3 of 5 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", Cause.BAD_ANSWER, "5000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, Cause.BAD_ANSWER, "more than 1024"),
        (CHUNKED + b"zz\r\n", Cause.BAD_ANSWER, "chunk size"),
        (CHUNKED + b"-5\r\nabcde\r\n", Cause.BAD_ANSWER, "chunk size"),
        (CHUNKED + b"ffff\r\n", Cause.BAD_ANSWER, "more than 1024"),
        (CHUNKED + b"5\r\nab", Cause.RESET, "inside the body"),
        (CHUNKED + b"5", Cause.RESET, "inside the body"),
        (CHUNKED + b"0" * 20000, Cause.BAD_ANSWER, "endless line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n", Cause.BAD_ANSWER, f"more than {MAX_HEAD}"),
    ],
)
def test_what_is_no_answer(raw: bytes, cause: Cause, words: str) -> None:
    failure = fail(raw)
    assert (failure.cause, words in failure.detail) == (cause, True), failure.detail


def test_endless_interim_answers_and_trailers_end() -> None:
    assert fail(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000).cause is Cause.BAD_ANSWER
    endless = CHUNKED + b"0\r\n" + b"A: b\r\n" * 20000
    assert fail(endless).cause is Cause.BAD_ANSWER


def test_what_is_sent() -> None:
    peer = Pieces([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    post(cast("socket.socket", peer), "bbs.cf", "/v1/ping", lambda: 0.25, max_body=1, last=True)
    assert peer.sent == (
        b"POST /v1/ping HTTP/1.1\r\nHost: bbs.cf\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert set(peer.timeouts) == {0.25}
