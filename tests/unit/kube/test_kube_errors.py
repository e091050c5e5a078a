from __future__ import annotations

import json

import pytest

from foundation.kube.backoff import Backoff
from foundation.kube.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    ServerError,
    Target,
    TooManyRequests,
    Unauthorized,
    from_answer,
)
from foundation.kube.paths import core_path, group_path, pod_exec_path, pod_path, pods_path, statefulset_path


class TestTarget:
    @pytest.mark.parametrize(
        ("path", "said"),
        [
            (pods_path("cf"), "get pods in namespace cf"),
            (pod_path("cf", "diego-api-0"), "get pods diego-api-0 in namespace cf"),
            (pod_exec_path("cf", "api-0") + "?command=nc", "get pods/exec api-0 in namespace cf"),
            (statefulset_path("cf", "diego-api"), "get statefulsets diego-api in namespace cf"),
            (core_path(None, "namespaces", "cf"), "get namespaces cf"),
            (core_path(None, "pods"), "get pods"),
            (
                group_path("a.io", "v1", "cf", "remediations", "r", sub="status"),
                "get remediations/status r in namespace cf",
            ),
            ("/version", "get /version"),
            ("/", "get /"),
        ],
    )
    def test_is_read_from_the_path(self, path: str, said: str) -> None:
        assert str(Target.of("get", path)) == said

    @pytest.mark.parametrize("name", ["", ".", ".."])
    def test_no_name_makes_a_path_climb(self, name: str) -> None:
        with pytest.raises(ValueError, match="must not be"):
            pod_path("cf", name)
        with pytest.raises(ValueError, match="must not be"):
            pods_path(name)

    def test_odd_names_are_quoted(self) -> None:
        assert pod_path("cf", "a/b?c") == "/api/v1/namespaces/cf/pods/a%2Fb%3Fc"

    def test_a_subresource_needs_a_name(self) -> None:
        with pytest.raises(ValueError, match="needs an object's name"):
            core_path("cf", "pods", sub="log")


class TestFromAnswer:
    @pytest.mark.parametrize(
        ("status", "kind", "retry"),
        [
            (400, KubeError, False),
            (401, Unauthorized, False),
            (403, Forbidden, False),
            (404, NotFound, False),
            (409, Conflict, False),
            (410, Gone, False),
            (422, Invalid, False),
            (429, TooManyRequests, True),
            (500, ServerError, True),
            (503, ServerError, True),
            (599, ServerError, True),
            (302, KubeError, False),
        ],
    )
    def test_each_status_has_its_kind(self, status: int, kind: type[KubeError], retry: bool) -> None:
        e = from_answer(Target.of("get", pods_path("cf")), status, {}, b"")
        assert type(e) is kind
        assert (e.status, e.retry) == (status, retry)

    def test_is_one_line_with_the_servers_words(self) -> None:
        body = json.dumps({"reason": "Forbidden", "message": "pods is\nforbidden\x1b[31m"}).encode()
        e = from_answer(Target.of("watch", pods_path("cf")), 403, {}, body)
        assert str(e) == "cannot watch pods in namespace cf: 403 Forbidden: pods is forbidden [31m"
        assert (e.verb, e.resource, e.namespace, e.reason) == ("watch", "pods", "cf", "Forbidden")

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"message": 7, "reason": [], "details": 3}', b"\xff\xfe"])
    def test_survives_any_body(self, body: bytes) -> None:
        e = from_answer(Target.of("get", "/version"), 503, {}, body)
        assert str(e).startswith("cannot get /version: 503 Service Unavailable: ")

    def test_a_proxys_page_is_cut(self) -> None:
        e = from_answer(Target.of("get", "/version"), 502, {}, b"<html>" + b"x" * 10000)
        assert "<html>" in str(e)
        assert len(str(e)) < 600

    def test_waits_as_asked(self) -> None:
        target = Target.of("get", "/version")
        assert from_answer(target, 429, {"Retry-After": "7"}, b"").retry_after == 7
        assert from_answer(target, 429, {}, b'{"details": {"retryAfterSeconds": 3}}').retry_after == 3
        assert from_answer(target, 429, {"Retry-After": "Mon, 23 Nov 2026"}, b"").retry_after is None


class TestBackoff:
    def test_grows_to_its_cap_and_never_is_zero(self) -> None:
        delays = [b.next() for b in [Backoff(first=1, cap=8)] for _ in range(2000)]
        for delay, base in zip(delays, [1, 2, 4, 8, 8, 8], strict=False):
            assert base / 2 <= delay <= base
        assert max(delays) <= 8
        assert min(delays) >= 0.5

    def test_begins_anew(self) -> None:
        backoff = Backoff(first=1, cap=8)
        for _ in range(5):
            backoff.next()
        assert backoff.failures == 5
        backoff.reset()
        assert backoff.failures == 0
        assert backoff.next() <= 1

    def test_heeds_the_server_within_reason(self) -> None:
        assert Backoff(first=1, cap=8).next(at_least=5) == 5
        assert Backoff(first=1, cap=8).next(at_least=1e9) == 16

    @pytest.mark.parametrize(("first", "cap", "factor"), [(0, 1, 2), (2, 1, 2), (1, 2, 0.5)])
    def test_refuses_nonsense(self, first: float, cap: float, factor: float) -> None:
        with pytest.raises(ValueError, match="back-off needs"):
            Backoff(first, cap, factor)
