"""Where an Observer gets its pods from: a watch kept by two threads, or one fresh list."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from foundation.kube.errors import KubeError
from foundation.kube.paths import pods_path, statefulsets_path
from foundation.kube.watch import Watcher
from foundation.pods import PodSeen, StatefulSetSeen, read_pod, read_statefulset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundation.kube.client import KubeClient


FRESH = 120.0
"""Seconds after which a silent watch no longer counts as current: bookmarks come about once a minute."""


def server_time(client: KubeClient, monotonic: Callable[[], float], wall: Callable[[], float]) -> float:
    """The API server's clock in Unix time, from its newest answer; the local one where there was none yet."""
    heard = client.server_clock()
    if heard is None:
        return wall()
    told, at = heard
    return told + (monotonic() - at)


class WatchedCluster:
    """A namespace's pods and StatefulSets, kept current by watches. Start it before use, stop it after."""

    def __init__(
        self, client: KubeClient, namespace: str, *, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._wall = wall
        self._pods = Watcher(client, pods_path(namespace), read_pod, clock=monotonic)
        self._sets = Watcher(client, statefulsets_path(namespace), read_statefulset, clock=monotonic)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=watcher.run, args=(self._stop,), name=f"watch-{what}-{namespace}", daemon=True)
            for what, watcher in (("pods", self._pods), ("statefulsets", self._sets))
        ]

    def start(self) -> None:
        """Begin to watch, in two threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both watches, also one that is stuck in a read."""
        self._stop.set()
        self._pods.kill()
        self._sets.kill()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2.0)

    def pods(self) -> Sequence[PodSeen]:
        """The pods as last told."""
        return tuple(self._pods.items().values())

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        """The StatefulSets as last told; None until they were read once, and where that is too long ago."""
        return None if self.statefulsets_problem() else tuple(self._sets.items().values())

    def statefulsets_problem(self) -> str:
        """Why there are no current StatefulSets."""
        age = self._sets.age()
        if self._sets.synced and age is not None and age <= FRESH:
            return ""
        if self._sets.error is not None:
            return str(self._sets.error)
        return "the StatefulSets were not listed yet" if age is None else f"no word of the StatefulSets for {age:.0f} s"

    def age(self) -> float | None:
        """Seconds since the API server last proved alive on the watch of the pods."""
        return self._pods.age()

    def server_time(self) -> float:
        """The API server's clock, Unix time."""
        return server_time(self._client, self._monotonic, self._wall)

    def problem(self) -> str:
        """Why the pods are not current."""
        if self._pods.error is not None:
            return str(self._pods.error)
        return "" if self._pods.synced else "the pods were not listed yet"


class ListedCluster:
    """The same from one list, read anew by `refresh`: for a command that looks and ends."""

    def __init__(
        self, client: KubeClient, namespace: str, *, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._monotonic = monotonic
        self._wall = wall
        self._pods: tuple[PodSeen, ...] = ()
        self._sets: tuple[StatefulSetSeen, ...] | None = None
        self._read: float | None = None
        self._problem = "the pods were not listed yet"
        self._sets_problem = "the StatefulSets were not listed yet"

    def refresh(self) -> None:
        """Read both lists. What fails is told by `problem` and `statefulsets`, not raised."""
        try:
            began = self._monotonic()
            items, _ = self._client.list_all(pods_path(self._namespace))
            self._pods = tuple(pod for item in items if (pod := read_pod(item)) is not None)
            self._read, self._problem = began, ""
        except KubeError as error:
            self._problem = str(error)
        try:
            items, _ = self._client.list_all(statefulsets_path(self._namespace))
            self._sets = tuple(found for item in items if (found := read_statefulset(item)) is not None)
            self._sets_problem = ""
        except KubeError as error:
            self._sets, self._sets_problem = None, str(error)

    def pods(self) -> Sequence[PodSeen]:
        """The pods of the last list."""
        return self._pods

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        """The StatefulSets of the last list, None where it failed."""
        return self._sets

    def statefulsets_problem(self) -> str:
        """Why there are none."""
        return self._sets_problem

    def age(self) -> float | None:
        """Seconds since the last list was asked for."""
        return None if self._read is None else self._monotonic() - self._read

    def server_time(self) -> float:
        """The API server's clock, Unix time."""
        return server_time(self._client, self._monotonic, self._wall)

    def problem(self) -> str:
        """Why there is no list."""
        return self._problem
