"""Builds the log sources of one foundation from its configuration and keeps each running in a thread of its own.

No source can take another one or the process down: what it raises is logged, counted as a reconnect and tried again.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from exporter.logs.sources.base import PodSeen, RealPace
from exporter.logs.sources.exec import ExecTail
from exporter.logs.sources.file import FileTail
from exporter.logs.sources.follow import PodFollowers, keep_running
from exporter.logs.sources.pod import PodLog
from exporter.logs.sources.syslog import SyslogTCP, SyslogUDP
from foundation.kube.backoff import Backoff

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from exporter.logs.sources.base import Pace, Sink, Source, SourceStatus
    from exporter.logs.sources.exec import OpenExec
    from exporter.logs.sources.follow import Follower
    from exporter.logs.sources.handover import Handover
    from exporter.logs.sources.pod import OpenLog

LONGEST_WAIT = 10.0
"""Seconds between two tries at most."""


@dataclass(frozen=True, slots=True)
class LogSourceSpec:
    """One entry of `logs:` in the configuration, already validated there; what a kind does not need is empty."""

    source: Literal["pod", "exec", "syslog", "file"]
    role: str = ""
    container: str = ""
    path: str = ""
    listen: str = ""
    protocol: Literal["tcp", "udp"] = "tcp"


def _as_given(name: str) -> str:
    return name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sources need of the world."""

    pods: Callable[[str, str], Mapping[str, PodSeen]]
    """The pods of a role now, by name, each with what is known of that container. Raises while they are not known (the
    last look stays then): an empty answer means that there are none."""
    open_log: OpenLog
    open_exec: OpenExec
    now: Callable[[], int]
    """Nanoseconds since 1970 on the cluster's clock: lines stamped before the start are old. First asked when pods were
    seen, as the cluster's clock is not known before it has answered."""
    sink: Sink
    log: logging.Logger
    container_of: Callable[[str], str] = _as_given
    """The container that an entry means, given the one that it names (or not); asked when a pod was seen."""
    path_of: Callable[[str], str] = _as_given
    """The same for the path of an `exec` entry. Raises ValueError, in words for an operator, where there is none."""
    handover: Handover | None = None
    """Who takes over a port when another set of sources follows this one."""
    pace: Pace = field(default_factory=RealPace)
    rng: random.Random = field(default_factory=random.SystemRandom)
    stdin: int = 0


class LogSources:
    """The running sources of one foundation."""

    def __init__(self, specs: Sequence[LogSourceSpec], around: Surroundings) -> None:
        """Builds them; nothing runs and nothing is opened before `start`. Raises ValueError for a bad `listen`."""
        self._around = around
        self._stop = threading.Event()
        self.sources: list[Source] = []
        self._disposable: list[SyslogTCP | SyslogUDP] = []
        self._threads: list[threading.Thread] = []
        for spec in specs:
            self._add(spec)

    def start(self) -> None:
        """Start one daemon thread for each source."""
        for source in self.sources:
            thread = threading.Thread(
                target=keep_running,
                args=(source.run, source, source.name, self._stop),
                kwargs={"pace": self._around.pace, "backoff": self._backoff(), "log": self._around.log},
                name=f"log-source-{source.name}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 3.0) -> bool:
        """End every source within `timeout` seconds; whether all have ended."""
        self._stop.set()
        for source in self.sources:
            source.close()
        deadline = self._around.pace.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._around.pace.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            for source in self._disposable:
                source.dispose()
        return ended

    def statuses(self) -> list[SourceStatus]:
        """One row for each input followed now, in the order of the configuration."""
        return [row for source in self.sources for row in source.statuses()]

    def _backoff(self) -> Backoff:
        return Backoff(cap=LONGEST_WAIT, rng=self._around.rng)

    def _add(self, spec: LogSourceSpec) -> None:
        around = self._around
        if spec.source == "file":
            self.sources.append(FileTail(path=spec.path, sink=around.sink, pace=around.pace, stdin=around.stdin))
        elif spec.source == "syslog":
            kind = SyslogTCP if spec.protocol == "tcp" else SyslogUDP
            listener = kind(listen=spec.listen, sink=around.sink, pace=around.pace, handover=around.handover)
            self.sources.append(listener)
            self._disposable.append(listener)
        else:
            self.sources.append(self._followers(spec))

    def _followers(self, spec: LogSourceSpec) -> PodFollowers:
        around = self._around
        container = spec.container
        what = f"{spec.role}/{container}" if container else spec.role
        make = self._pod_log if spec.source == "pod" else self._exec_tail
        return PodFollowers(
            kind=spec.source,
            name=f"{spec.source} {what}{' ' + spec.path if spec.path else ''}",
            pods=lambda: around.pods(spec.role, container),
            make=make(spec),
            sink=around.sink,
            pace=around.pace,
            backoff=self._backoff,
            log=around.log,
        )

    def _pod_log(self, spec: LogSourceSpec) -> Callable[[str, PodSeen, bool], Follower]:
        around, start = self._around, cache(self._around.now)

        def make(pod: str, seen: PodSeen, first_look: bool) -> Follower:
            floor = start()
            return PodLog(
                pod=pod,
                container=around.container_of(spec.container),
                seen=seen,
                was_there=_was_there(seen, floor, first_look=first_look),
                floor=floor,
                open_log=around.open_log,
                sink=around.sink,
                pace=around.pace,
                backoff=self._backoff(),
            )

        return make

    def _exec_tail(self, spec: LogSourceSpec) -> Callable[[str, PodSeen, bool], Follower]:
        around, start = self._around, cache(self._around.now)

        def make(pod: str, seen: PodSeen, first_look: bool) -> Follower:
            return ExecTail(
                pod=pod,
                container=around.container_of(spec.container),
                path=around.path_of(spec.path),
                from_start=not _was_there(seen, start(), first_look=first_look),
                open_exec=around.open_exec,
                sink=around.sink,
                pace=around.pace,
                backoff=self._backoff(),
            )

        return make


def _was_there(seen: PodSeen, floor: int, *, first_look: bool) -> bool:
    """Whether the pod is older than the start; where its age is not known, the pods of the first look are."""
    return first_look if seen.created is None else seen.created < floor
