"""Watches and paged lists where history is forgotten for real."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from foundation.kube.errors import Gone, KubeError, Unreachable
from foundation.kube.paths import configmap_path, configmaps_path
from foundation.kube.watch import Watcher
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foundation.kube.client import KubeClient
    from tests.e2e.conftest import Server
    from tests.support.api_server import ApiServer

Json = dict[str, Any]


def put(client: KubeClient, namespace: str, name: str, value: str) -> None:
    body: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
    client.create(configmaps_path(namespace), body)


def change(client: KubeClient, namespace: str, name: str, value: str) -> None:
    client.patch(configmap_path(namespace, name), {"data": {"value": value}})


def value_of(thing: Json) -> str:
    return str(cast("Json", thing["data"])["value"])


class Held:
    """A wait between two attempts that lasts until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.reached = threading.Event()

    def __call__(self, seconds: float) -> None:
        self.reached.set()
        self.released.wait(30)


@contextmanager
def watching(client: KubeClient, namespace: str, sleep: Held | None = None) -> Iterator[Watcher[str]]:
    watcher = Watcher(client, configmaps_path(namespace), value_of, sleep=sleep)
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: watcher.synced, "the first list")
        yield watcher
    finally:
        stop.set()
        if sleep is not None:
            sleep.released.set()
        watcher.kill()
        thread.join(20)


@pytest.fixture
def own(server: Server) -> ApiServer:
    if server.own is None:
        pytest.skip("it ends and starts the API server, which is only done to one of our own (KUBEBUILDER_ASSETS)")
    return server.own


def test_changes_are_followed(admin: KubeClient, namespace: str) -> None:
    put(admin, namespace, "one", "1")
    with watching(admin, namespace) as watcher:
        assert watcher.items() == {f"{namespace}/one": "1"}
        put(admin, namespace, "two", "2")
        change(admin, namespace, "one", "changed")
        wanted = {f"{namespace}/one": "changed", f"{namespace}/two": "2"}
        eventually(lambda: dict(watcher.items()) == wanted, "both changes")
        admin.delete(configmap_path(namespace, "two"))
        eventually(lambda: dict(watcher.items()) == {f"{namespace}/one": "changed"}, "the deletion")
        age = watcher.age()
        assert watcher.relists == 0
        assert age is not None
        assert age < 30


def test_a_version_from_long_ago_leads_to_a_new_list(admin: KubeClient, namespace: str) -> None:
    put(admin, namespace, "one", "1")
    with watching(admin, namespace) as watcher:
        eventually(lambda: watcher._opened, "the watch after it")
        watcher._version = "1"
        watcher.kill()
        eventually(lambda: watcher.relists == 1, "a new list")
        put(admin, namespace, "two", "2")
        eventually(lambda: len(watcher.items()) == 2, "what came after it")
        assert watcher.relists == 1


def test_a_watch_survives_a_new_api_server_that_knows_no_history(
    own: ApiServer, admin: KubeClient, namespace: str
) -> None:
    put(admin, namespace, "one", "1")
    put(admin, namespace, "gone", "1")
    held = Held()
    with watching(admin, namespace, held) as watcher:
        own.stop_api()
        assert held.reached.wait(20), "the watch ends with its server"
        assert isinstance(watcher.error, Unreachable) or watcher.error is None
        own.start_api()
        for number in range(20):
            change(admin, namespace, "one", f"away-{number}")
        admin.delete(configmap_path(namespace, "gone"))
        own.compact()
        own.stop_api()
        own.start_api()
        assert watcher.items() == {f"{namespace}/one": "1", f"{namespace}/gone": "1"}
        held.released.set()
        eventually(lambda: dict(watcher.items()) == {f"{namespace}/one": "away-19"}, "what happened meanwhile")
        assert watcher.relists == 1
        change(admin, namespace, "one", "again")
        eventually(lambda: dict(watcher.items()) == {f"{namespace}/one": "again"}, "changes after it")


def test_a_paged_list_begins_anew_when_its_history_goes(
    own: ApiServer, admin: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(admin, namespace, f"m{number}", str(number))
    pages: list[str] = []
    real = type(admin)._json

    def counted(self: KubeClient, method: str, *given: Any, **more: Any) -> Any:
        answer = real(self, method, *given, **more)
        if method == "GET":
            pages.append("page")
            if len(pages) == 1:
                change(admin, namespace, "m0", "changed")
                own.stop_api()  # its cache holds the first page's time as well
                own.compact()
                own.start_api()
        return answer

    monkeypatch.setattr(type(admin), "_json", counted)
    items, _ = admin.list_all(configmaps_path(namespace), {"limit": 2})
    assert [value_of(cast("Json", one)) for one in items] == ["changed", "1", "2", "3", "4"]
    assert len(pages) >= 4


def test_a_server_that_is_away_is_said_so(own: ApiServer, admin: KubeClient, namespace: str) -> None:
    own.stop_api()
    try:
        with pytest.raises(Unreachable, match="Connection refused"):
            admin.get(configmap_path(namespace, "one"))
    finally:
        own.start_api()


def test_a_continue_token_of_another_time(admin: KubeClient, namespace: str) -> None:
    with pytest.raises(KubeError, match="continue") as caught:
        admin.list_all(configmaps_path(namespace), {"limit": 1, "continue": "made-up"})
    assert not isinstance(caught.value, Gone)
