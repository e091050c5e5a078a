"""One thread for each pod of a role: started when the pod is seen, ended some time after it was last seen.

A pod's name is the unit, not its UID: a pod of a StatefulSet comes back under the same name, and the position read so
far must be shared, as the log may have been opened by name before the new UID was known.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from exporter.logs.sources.base import worst

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.logs.sources.base import Pace, PodSeen, Pulse, Sink, SourceStatus
    from foundation.kube.backoff import Backoff


class Follower(Protocol):
    """What reads one pod's input."""

    @property
    def pulse(self) -> Pulse:
        """How it is."""

    def see(self, seen: PodSeen | None) -> None:
        """The newest look at the pod; None while it is not there."""

    def run(self, stop: threading.Event) -> None:
        """Follow until stopped; gives what is left at the end."""

    def close(self) -> None:
        """Break off whatever `run` waits for."""


@dataclass(slots=True)
class _Running:
    follower: Follower
    stop: threading.Event
    thread: threading.Thread
    last_seen: float


class Restartable(Protocol):
    """What `keep_running` keeps running."""

    def failed(self, problem: str) -> None:
        """Its work raised; it is called again soon."""


def keep_running(
    work: Callable[[threading.Event], None],
    whose: Restartable,
    name: str,
    stop: threading.Event,
    *,
    pace: Pace,
    backoff: Backoff,
    log: logging.Logger,
) -> None:
    """Run `work` until it returns or `stop` is set; what it raises is logged, told to `whose` and waited after."""
    before = ""
    while not stop.is_set():
        try:
            work(stop)
        except OSError as problem:  # the world's fault: a line says it all, and once
            said = str(problem)
            log.log(logging.DEBUG if said == before else logging.WARNING, "log source %s: %s; tried again", name, said)
            whose.failed(said)
            before = said
        except Exception as problem:
            log.exception("log source %s failed and is started again", name)
            whose.failed(f"{type(problem).__name__}: {problem}")
        else:
            return
        pace.wait(stop, backoff.next())


class PodFollowers:
    """A `Source` made of one follower for each pod that `pods` names, looked at every second."""

    def __init__(
        self,
        *,
        kind: str,
        name: str,
        pods: Callable[[], Mapping[str, PodSeen]],
        make: Callable[[str, PodSeen, bool], Follower],
        sink: Sink,
        pace: Pace,
        backoff: Callable[[], Backoff],
        log: logging.Logger,
        look_every: float = 1.0,
        keep_for: float = 15.0,
    ) -> None:
        """`make(pod, seen, first_look)`: whether the pod was there at the first look.

        `keep_for` seconds a pod may be missing before its follower ends: one look that misses it loses nothing.
        """
        self.kind = kind
        self.name = name
        self._pods = pods
        self._make = make
        self._sink = sink
        self._pace = pace
        self._backoff = backoff
        self._log = log
        self._look_every = look_every
        self._keep_for = keep_for
        self._running: dict[str, _Running] = {}
        self._first_look = True
        self._problem = ""

    @property
    def problem(self) -> str:
        """The look at the pods that failed, else the first follower's problem."""
        return self._problem or next((r.follower.pulse.problem for r in self._all() if r.follower.pulse.problem), "")

    def deaf_for(self) -> float | None:
        """The worst of its pods."""
        return worst([running.follower.pulse for running in self._all()])

    def statuses(self) -> list[SourceStatus]:
        """One row for each pod, in the order of their names."""
        return [running.follower.pulse.status() for running in sorted(self._all(), key=lambda r: r.follower.pulse.pod)]

    def close(self) -> None:
        """Break off every follower's wait."""
        for running in self._all():
            running.stop.set()
            running.follower.close()

    def run(self, stop: threading.Event) -> None:
        """Look, start, tell, end; until stopped. Ends its threads within about two seconds."""
        try:
            while not stop.is_set():
                self.look()
                self._pace.wait(stop, self._look_every)
        finally:
            self.close()
            for name in list(self._running):
                self._running.pop(name).thread.join(2.0)

    def failed(self, problem: str) -> None:
        """See `Source`."""
        self._problem = f"{self.name}: {problem}"

    def look(self) -> None:
        """One look at the pods: start followers for new ones, tell the others, end those long gone."""
        try:
            pods = self._pods()
        except Exception as problem:  # noqa: BLE001 - what the pods are asked from is not known here; it is logged
            level = logging.DEBUG if self._problem else logging.INFO if self._first_look else logging.WARNING
            self._log.log(level, "log source %s can't see its pods: %s", self.name, problem)
            self._problem = f"{self.name}: can't see the pods: {problem}"
            return
        unfollowed = ""
        now = self._pace.monotonic()
        for name, seen in pods.items():
            running = self._running.get(name)
            if running is None:
                try:
                    self._running[name] = running = self._start(name, seen, now)
                except ValueError as problem:
                    unfollowed = f"{self.name}: can't follow {name}: {problem}"
                    continue
            running.last_seen = now
            running.follower.see(seen)
        for name, running in list(self._running.items()):
            if name in pods:
                continue
            running.follower.see(None)
            if now - running.last_seen >= self._keep_for:
                running.stop.set()
                running.follower.close()
                running.thread.join(1.0)
                if not running.thread.is_alive():
                    del self._running[name]
                    self._sink.forget_pod(name)
        if unfollowed and unfollowed != self._problem:
            self._log.warning("log source %s", unfollowed)
        self._problem = unfollowed
        self._first_look = False

    def _all(self) -> list[_Running]:
        return list(self._running.values())

    def _start(self, name: str, seen: PodSeen, now: float) -> _Running:
        self._sink.know_pod(name)
        follower = self._make(name, seen, self._first_look)
        ended = threading.Event()
        thread = threading.Thread(
            target=keep_running,
            args=(follower.run, follower.pulse, follower.pulse.name, ended),
            kwargs={"pace": self._pace, "backoff": self._backoff(), "log": self._log},
            name=f"log-{self.kind}-{name}",
            daemon=True,
        )
        thread.start()
        return _Running(follower, ended, thread, now)
