"""How the remediator sees a foundation: it watches all the time, and looks anew before it decides.

Watching all the time is what makes `settled` mean something: a process that looks only when called does not know
whether BBS served a moment ago. A look that decides (`fresh`) reads the pods from the API server itself, never from the
watch. Both feed one History, one at a time.
"""

from __future__ import annotations

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundation.cluster import ListedCluster, WatchedCluster
from foundation.history import History
from foundation.observation import Witness
from foundation.observer import Observer, service_target_of
from foundation.tools import ProbeTools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.kube.client import KubeClient
    from foundation.layout import Layout
    from foundation.observer import Cluster, Look
    from foundation.pods import PodSeen, StatefulSetSeen
    from foundation.probes.resolving import Resolver

logger = logging.getLogger(__name__)

_NUMBERS = re.compile(r"\d+")
"""Seconds that pass make no new problem."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A look of one's own, and when it began."""

    look: Look
    began: float
    """Boot time before the first request of it: what it rests on is at least as new."""

    @property
    def blind(self) -> str:
        """Why it shows nothing; empty where it does."""
        if self.look.layout is None or not self.look.observation.signals.observation_fresh:
            return "; ".join(self.look.problems.values()) or "the pods could not be read"
        return ""

    def pods(self, role: str | None = None) -> Sequence[PodSeen]:
        """The foundation's pods as read for this look."""
        return tuple(pod.seen for pod in self.look.pods if role in (None, pod.role))


class _Turned:
    """A Cluster that is the watch, or for one look the list."""

    def __init__(self, watched: WatchedCluster) -> None:
        self.now: Cluster = watched

    def pods(self) -> Sequence[PodSeen]:
        return self.now.pods()

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        return self.now.statefulsets()

    def statefulsets_problem(self) -> str:
        return self.now.statefulsets_problem()

    def age(self) -> float | None:
        return self.now.age()

    def server_time(self) -> float:
        return self.now.server_time()

    def problem(self) -> str:
        return self.now.problem()


class Lookout:
    """One foundation under observation from `start` to `stop`."""

    def __init__(
        self,
        config: FoundationConfig,
        timing: ProbeConfig,
        *,
        client: KubeClient,
        resolver: Resolver,
        boot: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.config = config
        self.interval = timing.interval
        self._boot = boot
        self._watched = WatchedCluster(client, config.namespace, monotonic=boot, wall=wall)
        self._listed = ListedCluster(client, config.namespace, monotonic=boot, wall=wall)
        self._cluster = _Turned(self._watched)
        self._tools = ProbeTools(config, timing, client=client, resolver=resolver, monotonic=boot, wall=wall)
        self._pool = ThreadPoolExecutor(16, thread_name_prefix=f"probe-{config.name}")
        self._observer = Observer(
            config,
            timing,
            cluster=self._cluster,
            tools=self._tools,
            executor=self._pool,
            history=History(settle=config.settle, interval=timing.interval, begun=boot()),
            monotonic=boot,
            wall=wall,
        )
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._newest: Sight | None = None
        self._told: dict[str, tuple[str, int]] = {}
        self._thread = threading.Thread(target=self._watch, name=f"lookout-{config.name}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._watched.start()
        self._thread.start()

    def stop(self) -> None:
        """End the watch, if it was begun; a look under way is left to its own time limits."""
        self._stop.set()
        if self._thread.ident is not None:
            self._watched.stop()
            self._thread.join(timeout=2.0)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def newest(self) -> Sight | None:
        """The newest look, for showing."""
        return self._newest

    @property
    def layout(self) -> Layout | None:
        """The layout, once the pods have told it."""
        recognised = self._observer.layout
        return recognised.layout if recognised else None

    def fresh(self) -> Sight:
        """Read the pods from the API server, probe everything, conclude. Never raises for what the foundation does."""
        with self._lock:
            began = self._boot()
            self._listed.refresh()
            self._cluster.now = self._listed
            try:
                self._newest = Sight(self._observer.look(), began)
            finally:
                self._cluster.now = self._watched
            return self._newest

    def listed(self) -> Sequence[PodSeen] | None:
        """The foundation's pods from the API server now, without a probe; None where they cannot be read."""
        layout = self.layout
        with self._lock:
            self._listed.refresh()
            if layout is None or self._listed.problem():
                return None
            return tuple(pod for pod in self._listed.pods() if layout.role_of(pod.labels))

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        """Those of the newest list."""
        return self._listed.statefulsets()

    def from_api_pod(self, sight: Sight) -> tuple[Witness, str]:
        """What BBS's Service looks like from inside an api pod, asked even while it serves."""
        layout = self.layout
        if not self.config.exec or layout is None:
            return Witness.WAIVED, "no look from an api pod: `exec` is false"
        ready = [pod for pod in sight.pods("api") if pod.ready and pod.deleted is None]
        if not ready:
            return Witness.UNKNOWN, "no api pod is ready"
        target = service_target_of(self.config, layout)
        place = (target.server_name or target.host, target.port)
        found = self._tools.from_api_pod(ready, layout, *place)
        # A failure from before the recovery must not be held against it.
        return found if found[0] is Witness.OK else self._tools.from_api_pod(ready, layout, *place, anew=True)

    def _tell(self, look: Look) -> None:
        """Log what cannot be read, once: a missing right would else only show as a verdict that waits.

        In two looks in a row, as a start and a watch that is opened anew are no problems.
        """
        lasting: dict[str, tuple[str, int]] = {}
        for name, problem in look.problems.items():
            text = _NUMBERS.sub("", problem)
            before, times = self._told.get(name, ("", 0))
            lasting[name] = (text, times + 1 if text == before else 1)
            if lasting[name][1] == 2:
                logger.warning("%s: %s", name, problem, extra={"foundation": self.config.name})
        self._told = lasting

    def _watch(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                began = self._boot()
                try:
                    self._newest = Sight(self._observer.look(), began)
                    self._tell(self._newest.look)
                except Exception:  # a fault of ours must not end the watch
                    logger.exception("a look failed", extra={"foundation": self.config.name})
            self._stop.wait(self.interval)
