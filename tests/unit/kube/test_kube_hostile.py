"""An API server, or something in its place, that answers with garbage, too much, too slowly or for ever."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, TypeVar

import pytest
from kubernetes.client import Configuration

from foundation.kube.backoff import Backoff
from foundation.kube.client import KubeClient
from foundation.kube.errors import (
    Forbidden,
    Gone,
    KubeError,
    NotUnderstood,
    Target,
    Unauthorized,
    Unreachable,
    from_answer,
    from_status,
)
from foundation.kube.exec import ExecStream, exit_status, run
from foundation.kube.paths import pods_path
from foundation.kube.watch import Watcher
from tests.support.scripted_api import ScriptedApi, bookmark, chunks, event, events, page, status, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foundation.kube.client import Json

T = TypeVar("T")
PODS = pods_path("cf")
LIST = Target("list", "pods", "cf")


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[KubeClient]:
    """Reads one request's headers, then does as told; gives a client of it with short limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                asked = b""
                while b"\r\n\r\n" not in asked and (part := connection.recv(4096)):
                    asked += part
                talk(connection)
            except OSError:
                return

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    conf = Configuration()
    conf.host = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with KubeClient(conf, connect_timeout=1.0, read_timeout=0.4, total_timeout=0.8) as client:
            yield client
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def dribble(start: bytes, drop: bytes = b"1") -> Callable[[socket.socket], None]:
    """A byte every 50 ms for ever, which no limit on a single silence ever meets."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return talk


def listen(connection: socket.socket) -> None:
    """Say nothing until the client has gone."""
    connection.recv(1)


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "status line": b"",
    "headers": OK + b"X: ",
    "body": OK + b"Content-Length: 99999\r\n\r\n",
    "chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n",
}


class TestSlowness:
    @pytest.mark.parametrize("stage", SLOW)
    def test_one_deadline_stands_over_the_whole_answer(self, stage: str) -> None:
        with raw_server(dribble(SLOW[stage])) as client:
            began = time.monotonic()
            with pytest.raises(Unreachable, match=r"^cannot get pods in namespace cf: no answer from .* within 0.8 s$"):
                client.get(PODS)
            assert time.monotonic() - began < 5.0

    def test_a_refusal_that_never_ends_is_the_refusal_all_the_same(self) -> None:
        refusal = dribble(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99999\r\n\r\n")
        said = pytest.raises(Forbidden, match=r"^cannot get pods in namespace cf: 403 Forbidden: 1111")
        with raw_server(refusal) as client, said:
            client.get(PODS)

    def test_silence_is_told_with_its_own_limit(self) -> None:
        with raw_server(listen) as client, pytest.raises(Unreachable, match=r"within 0\.4 s$"):
            client.get(PODS)

    def test_a_streams_headers_have_a_deadline_and_its_body_has_none(self) -> None:
        with raw_server(dribble(OK + b"X: ")) as client, client.stream(PODS, read_timeout=0.3) as stream:
            stream.open()
            assert (stream.ended, stream.opened) == ("idle", False)
        with raw_server(dribble(OK + b"\r\n")) as client, client.stream(PODS, read_timeout=0.3) as stream:
            began = time.monotonic()
            while time.monotonic() - began < 0.9:
                assert next(stream)
            assert stream.ended == ""

    def test_an_exec_that_is_upgraded_byte_by_byte_meets_the_deadline(self) -> None:
        with raw_server(dribble(b"HTTP/1.1 101 Switching\r\nX: ")) as client:
            stream = ExecStream(client, "cf", "api-0", "api", ["tail"])
            with stream, pytest.raises(Unreachable, match=r"no answer from .* within 0\.4 s"):
                stream.open()
            with pytest.raises(Unreachable, match=r"within 0\.7 s"):
                run(client, "cf", "api-0", "api", ["nc"], 0.7)


class TestGarbage:
    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\x16\x03\x01\x00\x00",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
            b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n<html>hello</html>  ",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
            b"HTTP/1.1 500 No\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        ],
    )
    def test_an_answer_that_is_none_is_an_error_on_one_line(self, answer: bytes) -> None:
        def ask(call: Callable[[KubeClient], object]) -> str:
            with raw_server(lambda connection: connection.sendall(answer)) as client:
                with pytest.raises(KubeError) as caught:
                    call(client)
                return str(caught.value)

        for said in (
            ask(lambda client: client.get(PODS)),
            ask(lambda client: client.list_all(PODS)),
            ask(lambda client: run(client, "cf", "api-0", "api", ["nc"], 2.0)),
        ):
            assert said.startswith("cannot ")
            assert said.isprintable()
            assert len(said) < 800

    @pytest.mark.parametrize("date", ["", "yesterday", "Mon, 23 Nov 2026 12:00:00 +99999999999999999999", "0"])
    def test_a_garbled_date_is_no_clock(self, date: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        with raw_server(lambda connection: connection.sendall(head)) as client:
            client.get(PODS)
            assert client.server_clock() is None

    def test_a_list_without_end_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("foundation.kube.client._MOST_PAGES", 5)
        with ScriptedApi() as api, api.client() as client:
            api.on("GET", PODS, *(page([], token=str(number)) for number in range(6)))
            with pytest.raises(NotUnderstood, match="the list does not end after 5 pages"):
                client.list_all(PODS)

    def test_a_token_that_expires_again_and_again_is_gone(self) -> None:
        gone = status(410, "Expired", "The provided continue parameter is too old")
        with ScriptedApi() as api, api.client() as client:
            api.on("GET", PODS, page([], token="a"), gone, page([], token="b"), gone, gone)
            with pytest.raises(Gone, match="continue parameter is too old"):
                client.list_all(PODS)
            assert len(api.seen) == 4

    @pytest.mark.parametrize(
        ("details", "wait"),
        [
            ({"retryAfterSeconds": 7}, 7.0),
            ({"retryAfterSeconds": 10**400}, None),
            ({"retryAfterSeconds": float("inf")}, None),
            ({"retryAfterSeconds": float("nan")}, None),
            ({"retryAfterSeconds": "7"}, None),
            (None, None),
        ],
    )
    def test_a_wait_that_is_none(self, details: object, wait: float | None) -> None:
        assert from_status(LIST, 429, {"details": details}).retry_after == wait
        assert from_answer(LIST, 429, {"Retry-After": "9" * 400}, b"").retry_after is None

    def test_what_a_server_says_stays_on_one_line(self) -> None:
        said = str(from_status(LIST, 403, {"reason": "a\nb" * 500, "message": "c\x1b[31m\nd"}))
        assert said.isprintable()
        assert len(said) < 300

    @pytest.mark.parametrize("code", ["9" * 5000, "9" * 10, "-1", "", "1.0", "٣"])
    def test_an_exit_code_that_is_none(self, code: str) -> None:
        cause = {"reason": "ExitCode", "message": code}
        answer = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [cause]}, "message": "no"}
        assert exit_status(json.dumps(answer).encode()) == (None, "no")


class TestCredentials:
    @pytest.mark.parametrize("token", ["secret\nX-Evil: 1", "secr\u20act", "secret\x00"])
    def test_a_damaged_token_is_an_error_that_does_not_repeat_it(self, token: str) -> None:
        with ScriptedApi() as api, api.client() as client:
            client.configuration.api_key["BearerToken"] = f"Bearer {token}"
            for call in (lambda: client.get(PODS), lambda: run(client, "cf", "a", "c", ["x"], 1.0)):
                with pytest.raises(Unauthorized, match="is the token's file damaged") as caught:
                    call()
                assert "secr" not in str(caught.value)
            assert api.seen == []

    def test_a_plugin_that_fails_in_its_own_way(self) -> None:
        def refresh(_: Configuration) -> None:
            raise TimeoutExpired("plugin", 5)

        with ScriptedApi() as api, api.client() as client:
            client.configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # None in the stub
            with pytest.raises(Unauthorized, match=r"cannot read the credentials: .*timed out after 5 seconds"):
                client.get(PODS)


QUICK = partial(Backoff, 0.01, 0.02)


@contextmanager
def running(watcher: Watcher[T]) -> Iterator[Watcher[T]]:
    """The watch in its thread, which must still be alive at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    try:
        yield watcher
        assert thread.is_alive()
    finally:
        stop.set()
        watcher.kill()
        thread.join()


@contextmanager
def watching(api: ScriptedApi, transform: Callable[[Json], object] = lambda thing: thing) -> Iterator[Watcher[object]]:
    with api.client() as client, running(Watcher(client, PODS, transform, idle_timeout=5.0, backoff=QUICK())) as made:
        yield made


def names(watcher: Watcher[object], *wanted: str) -> None:
    """Wait until it holds just these."""
    until(lambda: set(watcher.items()) == {f"cf/{name}" for name in wanted})


class TestWatch:
    """The thread of a watch outlives whatever it is told, and says what was wrong."""

    @pytest.mark.parametrize(
        "bad",
        [
            b'{"type": "ADDED", "object": {"metada\n',
            b"\xff\xfe\n",
            b"null\n",
            b'["ADDED"]\n',
            b'{"type": ["ADDED"], "object": {}}\n',
            b'{"type": "ERROR", "object": null}\n',
            b'{"type": "ERROR", "object": {"code": ' + b"9" * 400 + b', "details": {"retryAfterSeconds": 1e999}}}\n',
            b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}\n',
            b"[" * 100_000 + b"\n",
            b'{"type": "ADDED", "object": {"metadata": {"name": "x", "n": ' + b"9" * 5000 + b"}}}\n",
        ],
    )
    def test_a_bad_event_costs_a_list_at_most(self, bad: bytes) -> None:
        with ScriptedApi() as api:
            api.on("GET", PODS, page([event("", "a", "1")["object"]]))
            api.on("GET", PODS, chunks(bad), events(event("ADDED", "b", "101"), then="hang"), watch=True)
            with watching(api) as watcher:
                names(watcher, "a", "b")

    def test_half_an_event_at_the_end_is_asked_for_again(self) -> None:
        whole = json.dumps(event("ADDED", "b", "101")).encode() + b"\n"
        with ScriptedApi() as api:
            api.on("GET", PODS, page([]))
            api.on("GET", PODS, chunks(whole[:40]), chunks(whole[:7], whole[7:], then="hang"), watch=True)
            with watching(api) as watcher:
                names(watcher, "b")
                assert watcher.relists == 0

    def test_bookmarks_alone_keep_it_young_and_move_it_on(self) -> None:
        with ScriptedApi() as api:
            api.on("GET", PODS, page([]))
            api.on(
                "GET", PODS, events(bookmark("200"), bookmark("300")), events(bookmark("301"), then="hang"), watch=True
            )
            with watching(api) as watcher:
                asked = api.wait_for(3)
                assert [seen.one("resourceVersion") for seen in asked] == [None, "100", "300"]
                assert (watcher.malformed, watcher.relists, watcher.error) == (0, 0, None)

    @pytest.mark.parametrize("fault", [OverflowError("x"), ZeroDivisionError(), RecursionError(), RuntimeError("odd")])
    def test_a_reader_that_raises_anything_loses_its_object_only(self, fault: Exception) -> None:
        def transform(thing: Json) -> object:
            if "bad" in str(thing["metadata"]):
                raise fault
            return thing

        with ScriptedApi() as api:
            api.on("GET", PODS, page([event("", "bad0", "1")["object"], event("", "a", "1")["object"]]))
            last = events(event("ADDED", "bad1", "101"), event("ADDED", "b", "102"), then="hang")
            api.on("GET", PODS, last, watch=True)
            with watching(api, transform) as watcher:
                names(watcher, "a", "b")
                assert watcher.malformed == 2

    def test_a_watch_that_dribbles_past_its_time_is_opened_anew(self) -> None:
        now = count(step=500)
        with ScriptedApi() as api, api.client() as client:
            api.on("GET", PODS, page([]))
            api.on("GET", PODS, chunks(b" ", then="hang"), watch=True)
            watcher = Watcher(client, PODS, lambda thing: thing, clock=lambda: float(next(now)), backoff=QUICK())
            with running(watcher):
                api.wait_for(3)
