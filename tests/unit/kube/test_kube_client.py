from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from kubernetes.client import Configuration

from foundation.kube.client import KubeClient, load_configuration, pod_path, pods_path
from foundation.kube.errors import (
    ConfigurationProblem,
    Conflict,
    Forbidden,
    Gone,
    KubeError,
    NotUnderstood,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from tests.support.scripted_api import ScriptedApi, chunks, drip, page, pod, reply, reset, silence, status, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PODS, POD = pods_path("cf"), pod_path("cf", "diego-api-0")


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        yield server


class TestList:
    def test_reads_all_pages(self, api: ScriptedApi) -> None:
        api.on("GET", PODS, page([pod("a")], "7", "more"), page([pod("b")], "7"))
        with api.client() as client:
            items, version = client.list_all(PODS, {"labelSelector": "a=b,c in (d)"})
        assert [i["metadata"]["name"] for i in items] == ["a", "b"]  # type: ignore[index]
        assert version == "7"
        first, second = api.seen
        assert (first.one("limit"), first.one("continue"), first.one("labelSelector")) == ("500", None, "a=b,c in (d)")
        assert (second.one("continue"), second.one("labelSelector")) == ("more", "a=b,c in (d)")

    def test_an_expired_page_restarts_once(self, api: ScriptedApi) -> None:
        gone = status(410, "Expired", "the continue parameter is too old")
        api.on("GET", PODS, page([pod("old")], "7", "t"), gone, page([pod("new")], "9"))
        with api.client() as client:
            items, version = client.list_all(PODS)
        assert [i["metadata"]["name"] for i in items] == ["new"]  # type: ignore[index]
        assert version == "9"
        assert api.seen[2].one("continue") is None

    def test_an_expired_page_is_not_chased(self, api: ScriptedApi) -> None:
        api.on("GET", PODS, status(410, "Expired", "too old"))
        with api.client() as client, pytest.raises(Gone):
            client.list_all(PODS)
        assert len(api.seen) == 2

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>login</html>",
            b"[]",
            b"{}",
            b"",
            b"[" * 100_000,
            b'{"items": {}, "metadata": {"resourceVersion": "1"}}',
            b'{"items": [], "metadata": null}',
            b'{"items": [], "metadata": {}}',
            b'{"items": [7], "metadata": {"resourceVersion": "1"}}',
            b'{"items": [], "metadata": {"resourceVersion": "1", "continue": 3}}',
        ],
    )
    def test_what_is_no_list_is_said_so(self, api: ScriptedApi, body: bytes) -> None:
        api.on("GET", PODS, reply(body))
        with api.client() as client, pytest.raises(NotUnderstood, match=r"^cannot list pods in namespace cf: \S"):
            client.list_all(PODS)

    def test_null_items_are_none(self, api: ScriptedApi) -> None:
        api.on("GET", PODS, page(None))
        with api.client() as client:
            assert client.list_all(PODS) == ([], "100")

    def test_a_repeating_token_ends(self, api: ScriptedApi) -> None:
        api.on("GET", PODS, page([], "7", "again"))
        with api.client() as client, pytest.raises(NotUnderstood, match="circles"):
            client.list_all(PODS)
        assert len(api.seen) == 2


class TestErrors:
    def test_forbidden_names_what_is_missing(self, api: ScriptedApi) -> None:
        message = 'pods is forbidden: User "x" cannot list resource "pods"'
        api.on("GET", PODS, status(403, "Forbidden", message))
        with api.client() as client, pytest.raises(Forbidden) as caught:
            client.list_all(PODS)
        assert str(caught.value) == f"cannot list pods in namespace cf: 403 Forbidden: {message}"
        assert (caught.value.verb, caught.value.resource) == ("list", "pods")

    def test_throttling_says_how_long(self, api: ScriptedApi) -> None:
        api.on("GET", POD, status(429, "TooManyRequests", "slow down", {"Retry-After": "11"}))
        with api.client() as client, pytest.raises(TooManyRequests) as caught:
            client.get(POD)
        assert (caught.value.retry, caught.value.retry_after) == (True, 11)
        assert len(api.seen) == 1

    def test_a_redirect_is_not_followed(self, api: ScriptedApi) -> None:
        api.on("GET", POD, reply(b"", 302, {"Location": "/elsewhere"}))
        with api.client() as client, pytest.raises(KubeError, match="302 Found"):
            client.get(POD)
        assert len(api.seen) == 1

    def test_silence_ends(self, api: ScriptedApi) -> None:
        api.on("GET", POD, silence)
        with api.client(read_timeout=0.1) as client, pytest.raises(Unreachable) as caught:
            client.get(POD)
        assert str(caught.value) == (
            f"cannot get pods diego-api-0 in namespace cf: no answer from {api.url} within 0.1 s"
        )
        assert caught.value.retry
        assert caught.value.status is None

    def test_a_drip_ends(self, api: ScriptedApi) -> None:
        api.on("GET", POD, drip)
        with api.client(total_timeout=0.2) as client, pytest.raises(Unreachable, match=r"within 0\.2 s"):
            client.get(POD)

    def test_a_flood_ends(self, api: ScriptedApi) -> None:
        api.on("GET", POD, reply(b"x" * 5000))
        with api.client(max_answer=4000) as client, pytest.raises(NotUnderstood, match="longer than 4000 bytes"):
            client.get(POD)

    @pytest.mark.parametrize("then", ["cut", "reset"])
    def test_a_broken_answer_is_no_answer(self, api: ScriptedApi, then: str) -> None:
        api.on("GET", POD, chunks(b'{"metadata": {}}', then=then))
        with api.client() as client, pytest.raises(Unreachable, match="broke"):
            client.get(POD)

    def test_a_reset_is_unreachable(self, api: ScriptedApi) -> None:
        api.on("GET", POD, reset)
        with api.client() as client, pytest.raises(Unreachable, match=r"connection to http://\S+ broke: "):
            client.get(POD)

    def test_nobody_there(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound but not listening
            conf = Configuration()
            conf.host = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with KubeClient(conf) as client, pytest.raises(Unreachable, match=r"no connection to http://.*refused"):
                client.get(POD)


class TestWrites:
    def test_create_and_its_dry_run(self, api: ScriptedApi) -> None:
        api.on("POST", PODS, reply({"metadata": {"name": "x"}}, 201))
        with api.client() as client:
            assert client.create(PODS, {"kind": "Pod"}) == {"metadata": {"name": "x"}}
            client.create(PODS, {"kind": "Pod"}, dry_run=True)
        assert api.seen[0].json == {"kind": "Pod"}
        assert [s.one("dryRun") for s in api.seen] == [None, "All"]
        assert api.seen[0].headers["content-type"] == "application/json"

    def test_replace_meets_a_conflict(self, api: ScriptedApi) -> None:
        api.on("PUT", POD, status(409, "Conflict", "the object has been modified"))
        with api.client() as client, pytest.raises(Conflict) as caught:
            client.replace(POD, {"metadata": {"resourceVersion": "4"}})
        assert not caught.value.retry
        assert caught.value.verb == "update"

    @pytest.mark.parametrize("body", [{}, {"metadata": {}}, {"metadata": {"resourceVersion": ""}}, {"metadata": None}])
    def test_replace_never_overwrites_blindly(self, api: ScriptedApi, body: dict[str, object]) -> None:
        with api.client() as client, pytest.raises(ValueError, match=r"needs metadata\.resourceVersion"):
            client.replace(POD, body)
        assert api.seen == []

    def test_patch_names_its_kind(self, api: ScriptedApi) -> None:
        api.on("PATCH", POD, reply({}))
        with api.client() as client:
            client.patch(POD, {"metadata": {}})
            client.patch(POD, {"metadata": {}}, "strategic")
            client.patch(POD, [{"op": "remove", "path": "/x"}], "json")
        assert [s.headers["content-type"] for s in api.seen] == [
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/json-patch+json",
        ]
        assert api.seen[2].json == [{"op": "remove", "path": "/x"}]

    def test_delete_carries_its_preconditions(self, api: ScriptedApi) -> None:
        api.on("DELETE", POD, reply({"kind": "Status"}))
        with api.client() as client:
            client.delete(POD, uid="u-1", resource_version="4", grace=0, dry_run=True)
            client.delete(POD)
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        assert api.seen[0].json == {
            **options,
            "preconditions": {"uid": "u-1", "resourceVersion": "4"},
            "gracePeriodSeconds": 0,
            "dryRun": ["All"],
        }
        assert api.seen[1].json == options

    def test_delete_never_means_all(self, api: ScriptedApi) -> None:
        with api.client() as client:
            with pytest.raises(ValueError, match="no single object"):
                client.delete(PODS, uid="u-1")
            with pytest.raises(ValueError, match="empty precondition"):
                client.delete(POD, uid="")
        assert api.seen == []


class TestIdentity:
    def test_the_token_is_read_for_each_request(self, api: ScriptedApi) -> None:
        api.on("GET", POD, reply({}))
        with api.client() as client:
            client.get(POD)
            vars(client.configuration)["refresh_api_key_hook"] = lambda c: c.api_key.update(BearerToken="Bearer new\n")
            client.get(POD)
        assert [s.headers["authorization"] for s in api.seen] == ["Bearer sesame", "Bearer new"]

    def test_a_token_file_that_vanished_is_said(self, api: ScriptedApi) -> None:
        def vanished(conf: Configuration) -> None:
            raise FileNotFoundError(2, "No such file", "/token")

        with api.client() as client:
            vars(client.configuration)["refresh_api_key_hook"] = vanished
            with pytest.raises(Unauthorized, match=r"cannot read the credentials.*/token"):
                client.get(POD)
        assert api.seen == []

    def test_the_servers_clock(self, api: ScriptedApi) -> None:
        now = 5.0
        bad = reply({}, headers={"Date": "yesterday"})
        api.on("GET", POD, reply({}, headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}), bad)
        conf = Configuration()
        conf.host = api.url
        with KubeClient(conf, clock=lambda: now) as client:
            assert client.server_clock() is None
            client.get(POD)
            seen = client.server_clock()
            assert seen is not None
            assert seen[1] == 5.0

    def test_many_threads_may_share_it(self, api: ScriptedApi) -> None:
        api.on("GET", POD, reply({"a": 1}))
        got: list[object] = []
        with api.client() as client:
            threads = [threading.Thread(target=lambda: got.append(client.get(POD))) for _ in range(20)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        assert got == [{"a": 1}] * 20


KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "one",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}, {"name": "d", "cluster": {}}],
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u"}},
        {"name": "bare", "context": {"cluster": "d", "user": "u"}},
    ],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


class TestConfiguration:
    def test_a_kubeconfig(self, tmp_path: Path) -> None:
        file = tmp_path / "config"
        file.write_text(json.dumps(KUBECONFIG))
        with KubeClient(load_configuration(str(file), None, {})) as client:
            assert client.host == "http://127.0.0.1:1"
        assert load_configuration(None, None, {"KUBECONFIG": str(file)}).host == "http://127.0.0.1:1"
        with KubeClient.connect(str(file)) as client:
            assert client.host == "http://127.0.0.1:1"

    def test_the_pods_account_comes_first(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("abc\n")
        (tmp_path / "ca.crt").write_text("ca")
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.9", "KUBERNETES_SERVICE_PORT": "443", "KUBECONFIG": "/none"}
        conf = load_configuration(None, None, environ, tmp_path)
        assert conf.host == "https://127.0.0.9:443"

    def test_neither(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationProblem) as caught:
            load_configuration(None, None, {"KUBECONFIG": str(tmp_path / "no")}, tmp_path)
        assert str(caught.value) == (
            f"no way to Kubernetes is configured: kubeconfig {tmp_path}/no does not exist, "
            "and this is not a pod with a service account token"
        )

    @pytest.mark.parametrize(
        ("text", "context", "said"),
        [
            ("", None, "cannot use kubeconfig"),
            ("a: [", None, "is not YAML"),
            ("[]", None, "cannot use kubeconfig"),
            ("a: b", None, "cannot use kubeconfig"),
            (json.dumps(KUBECONFIG), "two", "cannot use kubeconfig .*two"),
            (json.dumps(KUBECONFIG), "bare", "names no API server"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path: Path, text: str, context: str | None, said: str) -> None:
        file = tmp_path / "config"
        file.write_text(text)
        with pytest.raises(ConfigurationProblem, match=said) as caught:
            load_configuration(str(file), context, {})
        assert "\n" not in str(caught.value)


class TestStream:
    def test_ends_with_the_answer(self, api: ScriptedApi) -> None:
        api.on("GET", POD, chunks(b"ab", b"cd"))
        with api.client() as client, client.stream(POD) as stream:
            assert b"".join(stream) == b"abcd"
            assert stream.ended == "eof"
            assert list(stream) == []

    @pytest.mark.parametrize("answer", [chunks(b"ab", then="hang"), silence])
    def test_is_idle_before_or_after_the_headers(self, api: ScriptedApi, answer: object) -> None:
        api.on("GET", POD, answer)  # type: ignore[arg-type]
        with api.client() as client, client.stream(POD, read_timeout=0.1) as stream:
            list(stream)
            assert stream.ended == "idle"
            assert stream.opened is (answer is not silence)

    @pytest.mark.parametrize("answer", [chunks(b"ab", then="hang"), silence])
    def test_close_from_another_thread_unblocks(self, api: ScriptedApi, answer: object) -> None:
        api.on("GET", POD, answer)  # type: ignore[arg-type]
        with api.client() as client:
            stream = client.stream(POD, read_timeout=50)
            reader = threading.Thread(target=lambda: list(stream))
            reader.start()
            api.wait_for(1)
            if answer is not silence:
                until(lambda: stream.opened)
            stream.close()
            reader.join(5)
            assert not reader.is_alive()
            assert stream.ended == "closed"

    def test_closed_before_it_began(self, api: ScriptedApi) -> None:
        with api.client() as client, client.stream(POD) as stream:
            stream.close()
            assert list(stream) == []
        assert stream.ended == "closed"
        assert api.seen == []

    @pytest.mark.parametrize("then", ["cut", "reset"])
    def test_breaking_is_an_error(self, api: ScriptedApi, then: str) -> None:
        api.on("GET", POD, chunks(b"ab", then=then))
        with api.client() as client, client.stream(POD) as stream, pytest.raises(Unreachable):
            list(stream)

    def test_a_refusal_is_typed(self, api: ScriptedApi) -> None:
        api.on("GET", POD, status(403, "Forbidden", "no"))
        with (
            api.client() as client,
            client.stream(POD, verb="watch") as stream,
            pytest.raises(Forbidden, match="watch"),
        ):
            next(stream)
