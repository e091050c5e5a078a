from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from foundation.kube.client import pods_path
from foundation.kube.errors import Forbidden, Gone, NotUnderstood, Unreachable
from foundation.kube.watch import Watcher
from tests.support.scripted_api import (
    Clock,
    ScriptedApi,
    bookmark,
    chunks,
    event,
    events,
    page,
    pod,
    silence,
    status,
    status_object,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foundation.kube.client import Json, KubeClient

PODS = pods_path("cf")


def phase(thing: Json) -> str | None:
    said = thing.get("status", {})
    return said["phase"]  # type: ignore[index, no-any-return]


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        yield server


@pytest.fixture
def client(api: ScriptedApi) -> Iterator[KubeClient]:
    with api.client() as made:
        yield made


@contextmanager
def running(watcher: Watcher[str]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        watcher.kill()
        thread.join(5)
        assert not thread.is_alive()


class Paced:
    """A sleep that remembers, moves a clock, and stops the run after so many."""

    def __init__(self, rounds: int, clock: Clock) -> None:
        self.stop, self.rounds, self.clock = threading.Event(), rounds, clock

    def __call__(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if len(self.clock.slept) >= self.rounds:
            self.stop.set()


def paced(client: KubeClient, rounds: int, idle_timeout: float = 5.0) -> tuple[Watcher[str], Paced]:
    clock = Clock()
    pace = Paced(rounds, clock)
    rng = random.Random(1)
    return Watcher(client, PODS, phase, clock=clock, sleep=pace, rng=rng, idle_timeout=idle_timeout), pace


def up(name: str) -> dict[str, object]:
    return pod(name, status={"phase": "Running"})


def changed(kind: str, name: str, version: str, phase: str = "Running") -> dict[str, object]:
    return event(kind, name, version, status={"phase": phase})


class TestFollowing:
    def test_lists_then_follows(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([up("a"), up("b")], "10"))
        api.on(
            "GET",
            PODS,
            events(
                changed("MODIFIED", "a", "11", "Failed"),
                changed("DELETED", "b", "12"),
                changed("ADDED", "c", "13", "Pending"),
                then="hang",
            ),
            watch=True,
        )
        watcher = Watcher(client, PODS, phase, {"labelSelector": "x"})
        assert (watcher.synced, watcher.age()) == (False, None)
        with running(watcher):
            until(lambda: "cf/c" in watcher.items())
            assert dict(watcher.items()) == {"cf/a": "Failed", "cf/c": "Pending"}
            assert (watcher.synced, watcher.error, watcher.relists) == (True, None, 0)
            age = watcher.age()
            assert age is not None
            assert age < 10
        asked = api.seen[1]
        assert (asked.one("resourceVersion"), asked.one("allowWatchBookmarks")) == ("10", "true")
        assert asked.one("labelSelector") == "x"
        assert 240 <= int(asked.one("timeoutSeconds") or 0) <= 360

    def test_items_are_a_copy(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([up("a")], "10"))
        api.on("GET", PODS, chunks(then="hang"), watch=True)
        watcher = Watcher(client, PODS, phase)
        with running(watcher):
            until(lambda: watcher.synced)
            before = watcher.items()
            with pytest.raises(TypeError):
                before["x"] = "y"  # type: ignore[index]

    def test_resumes_from_the_newest_version_bookmarks_included(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([up("a")], "10"))
        api.on(
            "GET",
            PODS,
            events(changed("MODIFIED", "a", "11")),
            events(changed("MODIFIED", "a", "12"), bookmark("40")),
            events(changed("MODIFIED", "a", "41"), then="reset"),
            events(),
            watch=True,
        )
        watcher, pace = paced(client, 4)
        watcher.run(pace.stop)
        assert [s.one("resourceVersion") for s in api.seen[1:]] == ["10", "11", "40", "41"]
        assert (watcher.relists, watcher.reconnects) == (0, 3)

    def test_an_event_may_come_in_pieces(self, api: ScriptedApi, client: KubeClient) -> None:
        line = b'{"type":"ADDED","object":{"metadata":{"name":"\xc3\xa4"},"status":{"phase":"P"}}}\n'
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, chunks(line[:20], line[20:47], line[47:] + b"\n", then="hang"), watch=True)
        watcher = Watcher(client, PODS, phase)
        with running(watcher):
            until(lambda: dict(watcher.items()) == {"\u00e4": "P"})


class TestGone:
    def test_the_first_410_lists_at_once_the_next_back_off(self, api: ScriptedApi, client: KubeClient) -> None:
        error = {"type": "ERROR", "object": status_object(410, "Expired", "too old resource version")}
        api.on("GET", PODS, page([up("a")], "10"))
        api.on("GET", PODS, events(error), watch=True)
        watcher, pace = paced(client, 3)
        watcher.run(pace.stop)
        # list watch | list watch, wait | list watch, wait | list watch, wait
        assert len(api.seen) == 8
        assert len(pace.clock.slept) == 3
        assert isinstance(watcher.error, Gone)
        assert dict(watcher.items()) == {"cf/a": "Running"}

    def test_http_410_too(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([up("a")], "10"), page([up("b")], "20"))
        api.on("GET", PODS, status(410, "Gone", "too old"), events(changed("ADDED", "c", "21")), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert dict(watcher.items()) == {"cf/b": "Running", "cf/c": "Running"}
        assert watcher.relists == 1
        assert watcher.error is None

    def test_a_healthy_event_makes_the_next_410_a_first_one(self, api: ScriptedApi, client: KubeClient) -> None:
        error = {"type": "ERROR", "object": status_object(410, "Expired", "too old resource version")}
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, *[events(changed("ADDED", "a", "11"), error)] * 3, events(), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert watcher.relists == 3


class TestFailing:
    def test_for_ever_means_a_bounded_number_of_requests(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, status(403, "Forbidden", "cannot list pods"))
        watcher, pace = paced(client, 12)
        watcher.run(pace.stop)
        assert len(api.seen) == 12
        assert pace.clock.slept[0] >= 0.25
        assert all(15 <= s <= 30 for s in pace.clock.slept[7:])
        assert isinstance(watcher.error, Forbidden)
        assert not watcher.synced

    @pytest.mark.parametrize(
        "answer",
        [
            events(),
            events({"type": "ERROR", "object": status_object(500, "InternalError", "etcd")}),
            events({"type": "ERROR", "object": {}}),
            status(403, "Forbidden", "cannot watch pods"),
            status(504, "Timeout", "Too large resource version"),
            chunks(b"garbage\n"),
            chunks(b"[]\n"),
            chunks(b"x", then="reset"),
            chunks(then="cut"),
        ],
    )
    def test_a_watch_that_never_works_waits_ever_longer(
        self, api: ScriptedApi, client: KubeClient, answer: object
    ) -> None:
        api.on("GET", PODS, page([up("a")], "10"))
        api.on("GET", PODS, answer, watch=True)  # type: ignore[arg-type]
        watcher, pace = paced(client, 10)
        watcher.run(pace.stop)
        assert len(api.seen) <= 20
        assert sum(pace.clock.slept) > 60
        assert dict(watcher.items()) == {"cf/a": "Running"}

    def test_an_event_each_time_still_never_runs_hot(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, events(changed("ADDED", "a", "11")), watch=True)
        watcher, pace = paced(client, 10)
        watcher.run(pace.stop)
        assert len(api.seen) == 11
        assert min(pace.clock.slept) >= 0.25
        assert max(pace.clock.slept) <= 0.5

    def test_a_version_refused_without_410_is_listed_anew(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([], "900"), page([up("a")], "10"))
        refusal = status(504, "Timeout", "Too large resource version: 900, current: 10")
        api.on("GET", PODS, refusal, refusal, refusal, events(), watch=True)
        watcher, pace = paced(client, 4)
        watcher.run(pace.stop)
        assert dict(watcher.items()) == {"cf/a": "Running"}

    def test_heeds_retry_after(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, status(429, "TooManyRequests", "slow down", {"Retry-After": "20"}))
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert pace.clock.slept == [20]

    def test_recovers_and_forgets_the_error(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, status(503, "ServiceUnavailable", "starting"), page([up("a")], "10"))
        api.on("GET", PODS, chunks(then="hang"), watch=True)
        watcher = Watcher(client, PODS, phase, sleep=lambda _: None)
        with running(watcher):
            api.wait_for(3)
            until(lambda: watcher.synced and watcher.error is None)

    def test_age_grows_while_nothing_is_heard(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, status(503, "ServiceUnavailable", "no"), watch=True)
        watcher, pace = paced(client, 2)
        watcher.run(pace.stop)
        assert watcher.age() == pytest.approx(sum(pace.clock.slept))


class TestSilence:
    def test_after_the_headers_reconnects_from_where_it_was(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, events(changed("ADDED", "a", "11"), then="hang"), watch=True)
        watcher, pace = paced(client, 2, idle_timeout=0.1)
        watcher.run(pace.stop)
        assert [s.one("resourceVersion") for s in api.seen[1:]] == ["10", "11"]
        assert (watcher.error, watcher.relists) == (None, 0)

    def test_before_the_headers_is_an_error(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, silence, watch=True)
        watcher, pace = paced(client, 2, idle_timeout=0.1)
        watcher.run(pace.stop)
        assert isinstance(watcher.error, Unreachable)
        assert str(watcher.error).startswith("cannot watch pods in namespace cf: no answer from http://")

    @pytest.mark.parametrize("answer", [chunks(then="hang"), silence])
    def test_kill_frees_a_stuck_read(self, api: ScriptedApi, client: KubeClient, answer: object) -> None:
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, answer, watch=True)  # type: ignore[arg-type]
        watcher = Watcher(client, PODS, phase, sleep=lambda _: None, idle_timeout=50)
        with running(watcher):
            api.wait_for(2)
            watcher.kill()
            api.wait_for(3)  # without stop it connects anew


class TestMalformed:
    @pytest.mark.parametrize(
        "thing",
        [None, 7, {}, {"metadata": None}, {"metadata": {"name": 7}}, {"metadata": {"name": "x"}, "status": None}],
    )
    def test_objects_are_counted_and_skipped(self, api: ScriptedApi, client: KubeClient, thing: object) -> None:
        api.on("GET", PODS, page([thing, up("a")], "10"))
        bad = {"type": "ADDED", "object": thing}
        api.on("GET", PODS, events(bad, {"type": "NEWS", "object": up("n")}, changed("ADDED", "b", "12")), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert dict(watcher.items()) == {"cf/a": "Running", "cf/b": "Running"}
        assert watcher.malformed == 3
        assert watcher.error is None

    def test_what_can_no_longer_be_read_is_no_longer_shown(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([up("a")], "10"))
        api.on("GET", PODS, events(event("MODIFIED", "a", "11")), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert dict(watcher.items()) == {}
        assert watcher.malformed == 1

    def test_none_is_not_kept(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", PODS, page([pod("a", status={"phase": None}), up("b")], "10"))
        api.on("GET", PODS, events(event("MODIFIED", "b", "11", status={"phase": None})), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert dict(watcher.items()) == {}
        assert watcher.malformed == 0

    def test_an_endless_event_ends(self, api: ScriptedApi, client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("foundation.kube.watch._LONGEST_EVENT", 100)
        api.on("GET", PODS, page([], "10"))
        api.on("GET", PODS, chunks(b"x" * 200, then="hang"), watch=True)
        watcher, pace = paced(client, 1)
        watcher.run(pace.stop)
        assert isinstance(watcher.error, NotUnderstood)
