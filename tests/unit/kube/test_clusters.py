"""Where an Observer gets its pods from: watched, and listed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from kubernetes.client import Configuration

from foundation.cluster import FRESH, ListedCluster, WatchedCluster, server_time
from foundation.kube.client import KubeClient
from tests.support.scripted_api import ScriptedApi, bookmark, events, page, reply, silence, status, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PODS = "/api/v1/namespaces/cf/pods"
SETS = "/apis/apps/v1/namespaces/cf/statefulsets"
POD: dict[str, object] = {"metadata": {"name": "diego-api-0", "namespace": "cf", "uid": "u1"}}
SET: dict[str, object] = {"metadata": {"name": "diego-api", "namespace": "cf"}, "spec": {"replicas": 2}}
BROKEN: dict[str, object] = {"metadata": {"name": "half"}}
FORBIDDEN = status(403, "Forbidden", 'statefulsets.apps is forbidden: User "x" cannot list resource "statefulsets"')


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        server.on("GET", PODS, page([POD, BROKEN]))
        server.on("GET", SETS, page([SET, {"metadata": None}]))
        for path in (PODS, SETS):
            server.on("GET", path, events(bookmark("200"), then="hang"), watch=True)
        yield server


@pytest.fixture
def client(api: ScriptedApi) -> Iterator[KubeClient]:
    with api.client() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestListed:
    def make(self, client: KubeClient, clock: Clock) -> ListedCluster:
        return ListedCluster(client, "cf", monotonic=clock, wall=lambda: 5e8)

    def test_nothing_is_known_before_the_first_list(self, client: KubeClient, clock: Clock) -> None:
        cluster = self.make(client, clock)
        assert (cluster.pods(), cluster.statefulsets(), cluster.age()) == ((), None, None)
        assert cluster.problem() == "the pods were not listed yet"
        assert cluster.statefulsets_problem() == "the StatefulSets were not listed yet"
        assert cluster.server_time() == 5e8

    def test_one_list_of_each(self, client: KubeClient, clock: Clock) -> None:
        cluster = self.make(client, clock)
        cluster.refresh()
        assert [pod.name for pod in cluster.pods()] == ["diego-api-0"]
        assert [found.name for found in cluster.statefulsets() or ()] == ["diego-api"]
        assert (cluster.problem(), cluster.statefulsets_problem()) == ("", "")
        clock.now += 7.0
        assert cluster.age() == 7.0

    def test_a_list_is_as_old_as_its_request(self, api: ScriptedApi, client: KubeClient, clock: Clock) -> None:
        def slow(exchange: object) -> None:
            clock.now += 30.0
            page([POD])(exchange)  # type: ignore[arg-type]  # an Exchange, as the server gives it

        api.on("GET", PODS, slow)
        cluster = self.make(client, clock)
        cluster.refresh()
        assert cluster.age() == 30.0

    def test_what_fails_is_told_and_the_rest_is_kept(self, api: ScriptedApi, client: KubeClient, clock: Clock) -> None:
        cluster = self.make(client, clock)
        cluster.refresh()
        api.on("GET", PODS, status(403, "Forbidden", "no"))
        api.on("GET", SETS, FORBIDDEN)
        clock.now += 60.0
        cluster.refresh()
        assert cluster.problem() == "cannot list pods in namespace cf: 403 Forbidden: no"
        assert cluster.statefulsets_problem().startswith("cannot list statefulsets in namespace cf: 403 Forbidden: ")
        assert cluster.statefulsets() is None
        assert ([pod.name for pod in cluster.pods()], cluster.age()) == (["diego-api-0"], 60.0)

    @pytest.mark.parametrize("items", [[3], [None], "x"])
    def test_a_list_of_anything_else_is_no_list(
        self, api: ScriptedApi, client: KubeClient, clock: Clock, items: object
    ) -> None:
        api.on("GET", PODS, page(items))
        cluster = self.make(client, clock)
        cluster.refresh()
        assert cluster.problem().startswith("cannot list pods in namespace cf: ")
        assert cluster.age() is None

    def test_numbers_beyond_measure_do_not_raise(self, api: ScriptedApi, client: KubeClient, clock: Clock) -> None:
        statuses = [{"name": "c", "restartCount": 10**400}]
        api.on("GET", PODS, page([POD | {"status": {"containerStatuses": statuses}}]))
        api.on("GET", SETS, page([SET | {"spec": {"replicas": float("inf")}}]))
        cluster = self.make(client, clock)
        cluster.refresh()
        assert (cluster.problem(), cluster.statefulsets_problem()) == ("", "")
        assert cluster.pods()[0].unreadable == "restartCount of a container"
        assert [found.replicas for found in cluster.statefulsets() or ()] == [None]


class TestWatched:
    @pytest.fixture
    def cluster(self, client: KubeClient, clock: Clock) -> Iterator[WatchedCluster]:
        made = WatchedCluster(client, "cf", monotonic=clock, wall=lambda: 5e8)
        yield made
        made.stop()

    def test_it_may_be_stopped_before_it_was_started(self, cluster: WatchedCluster) -> None:
        cluster.stop()
        assert cluster.problem() == "the pods were not listed yet"
        assert cluster.statefulsets_problem() == "the StatefulSets were not listed yet"
        assert (cluster.pods(), cluster.statefulsets(), cluster.age()) == ((), None, None)

    def test_it_follows_both(self, cluster: WatchedCluster, clock: Clock) -> None:
        cluster.start()
        until(lambda: cluster.age() == 0.0 and cluster.statefulsets() is not None)
        assert [pod.name for pod in cluster.pods()] == ["diego-api-0"]
        assert [found.name for found in cluster.statefulsets() or ()] == ["diego-api"]
        until(lambda: cluster.problem() == "")

    def test_statefulsets_that_were_read_long_ago_are_not_known(self, cluster: WatchedCluster, clock: Clock) -> None:
        """A rollout that began since would not be in them, and `no rollout` speaks for a restart."""
        cluster.start()
        until(lambda: cluster.statefulsets() is not None)
        until(lambda: cluster._sets.reconnects == 0 and cluster._sets.error is None and cluster._sets._opened == 1)
        clock.now += FRESH
        assert cluster.statefulsets() is not None
        clock.now += 1.0
        assert cluster.statefulsets() is None
        assert cluster.statefulsets_problem() == "no word of the StatefulSets for 121 s"

    def test_why_they_cannot_be_read_names_verb_and_resource(self, api: ScriptedApi, cluster: WatchedCluster) -> None:
        api.on("GET", SETS, FORBIDDEN)
        cluster.start()
        until(lambda: "403" in cluster.statefulsets_problem())
        assert cluster.statefulsets_problem().startswith("cannot list statefulsets in namespace cf: 403 Forbidden: ")
        until(lambda: cluster.age() is not None and cluster.problem() == "")

    def test_a_watch_without_an_answer_ends_when_it_is_told_to(self, api: ScriptedApi, cluster: WatchedCluster) -> None:
        for path in (PODS, SETS):
            api.on("GET", path, silence, watch=True)
        cluster.start()
        api.wait_for(4)
        began = time.monotonic()
        cluster.stop()
        assert time.monotonic() - began < 2.0
        assert not any(thread.is_alive() for thread in cluster._threads)


def test_the_servers_clock_runs_on_between_its_answers(api: ScriptedApi, clock: Clock) -> None:
    conf = Configuration()
    conf.host = api.url
    with KubeClient(conf, clock=clock) as client:
        assert server_time(client, clock, lambda: 5e8) == 5e8
        api.on("GET", PODS, reply({}, headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}))
        client.get(PODS)
        clock.now += 9.0
        assert server_time(client, clock, lambda: 5e8) == 1795435200.0 + 9.0
