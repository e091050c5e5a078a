from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from foundation.kube.errors import KubeError, NotFound, Unreachable
from foundation.kube.logs import LogStream
from tests.support.scripted_api import ScriptedApi, chunks, silence, status, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = "/api/v1/namespaces/cf/pods/api-0/log"


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        yield server


def test_since_time_is_sent_as_it_is(api: ScriptedApi) -> None:
    api.on("GET", LOG, chunks(b"one\ntw", b"o\n"))
    since = "2026-11-23T12:00:00.123456789Z"
    with api.client() as client, LogStream(client, "cf", "api-0", "logs", since) as log:
        assert b"".join(log) == b"one\ntwo\n"
        assert log.ended == "eof"
    asked = api.seen[0]
    assert {k: v[0] for k, v in asked.query.items()} == {
        "sinceTime": since,
        "container": "logs",
        "follow": "true",
        "timestamps": "true",
        "previous": "false",
    }


def test_other_options(api: ScriptedApi) -> None:
    api.on("GET", LOG, chunks())
    with (
        api.client() as client,
        LogStream(client, "cf", "api-0", None, previous=True, follow=False, tail_lines=5, limit_bytes=9) as log,
    ):
        assert list(log) == []
    asked = api.seen[0]
    assert [asked.one(k) for k in ("previous", "follow", "tailLines", "limitBytes", "container", "sinceTime")] == [
        *("true", "false", "5", "9"),
        *(None, None),
    ]


@pytest.mark.parametrize(("answer", "said"), [(chunks(b"one\n", then="hang"), [b"one\n"]), (silence, [])])
def test_a_stream_that_falls_silent_ends_as_idle(api: ScriptedApi, answer: object, said: list[bytes]) -> None:
    api.on("GET", LOG, answer)  # type: ignore[arg-type]
    with api.client() as client, LogStream(client, "cf", "api-0", "logs", idle_timeout=0.1) as log:
        assert list(log) == said
        assert log.ended == "idle"


def test_close_from_another_thread(api: ScriptedApi) -> None:
    api.on("GET", LOG, chunks(b"one\n", then="hang"))
    got: list[bytes] = []
    with api.client() as client, LogStream(client, "cf", "api-0", "logs") as log:
        reader = threading.Thread(target=lambda: got.extend(log))
        reader.start()
        until(lambda: got == [b"one\n"])
        log.close()
        reader.join(5)
        assert not reader.is_alive()
        assert log.ended == "closed"


def test_a_waiting_container_is_said_in_the_servers_words(api: ScriptedApi) -> None:
    message = 'container "logs" in pod "api-0" is waiting to start: ContainerCreating'
    api.on("GET", LOG, status(400, "BadRequest", message), status(404, "NotFound", 'pods "api-0" not found'))
    with api.client() as client:
        with LogStream(client, "cf", "api-0", "logs") as log, pytest.raises(KubeError) as caught:
            next(log)
        assert str(caught.value) == f"cannot get pods/log api-0 in namespace cf: 400 BadRequest: {message}"
        with LogStream(client, "cf", "api-0", "logs") as log, pytest.raises(NotFound):
            next(log)


def test_a_cut_inside_the_answer_is_an_error(api: ScriptedApi) -> None:
    api.on("GET", LOG, chunks(b"one\n", then="cut"))
    with api.client() as client, LogStream(client, "cf", "api-0", "logs") as log:
        assert next(log) == b"one\n"
        with pytest.raises(Unreachable):
            next(log)
