"""Users and clocks: requests to every Cloud Controller, pushes that fail while BBS is out of reach, and the log lines.

Not part of the foundation's state: it looks at the foundation and writes into its pods' logs.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.cclog import CloudController, sidecar
from simulator.layouts import CC_LOG, CLOCK_LOG

if TYPE_CHECKING:
    import random

    from simulator.cclog import Timed
    from simulator.pod import Pod
    from simulator.world import Foundation

_PUSHES_EVERY = 3
"""One request in so many is a push."""


@dataclass(slots=True)
class Traffic:
    """The requests to one foundation. `counted` and `pushed` are the truth that a log reader can be checked against."""

    foundation: Foundation
    random: random.Random
    enabled: bool = True
    counted: dict[str, int] = field(default_factory=dict)
    """Failed pushes per api pod, counted when their line is written."""
    pushed: dict[str, int] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _writers: dict[str, CloudController] = field(default_factory=dict)
    _number: int = 0
    _pending: list[tuple[float, int, str, Timed]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def step(self) -> None:
        """Send what is due and write what its requests have come to. Call with the foundation's lock free."""
        foundation = self.foundation
        with foundation.lock:
            now = foundation.clock.monotonic()
            for pod in [*foundation.of("api"), *foundation.of("clock")]:
                if not self.enabled or not pod.runs(now) or pod.terminating:
                    continue
                every = foundation.timing.heartbeat if pod.role == "clock" else foundation.timing.request
                if now >= self._due.setdefault(pod.uid, now + every * self.random.random()):
                    self._due[pod.uid] = now + every * self.random.uniform(0.7, 1.3)
                    self._request(pod, now)
            while self._pending and self._pending[0][0] <= now:
                _, _, uid, timed = heapq.heappop(self._pending)
                self._write(uid, timed)

    def push(self, pod: str) -> None:
        """Have a user push to one api pod now; raises KeyError where there is no such pod."""
        with self.foundation.lock:
            self._push(self.foundation.pods[pod], self.foundation.clock.monotonic())

    def _request(self, pod: Pod, now: float) -> None:
        if pod.role == "clock":
            failure = self.foundation.push_failure()
            writer = self._writer(pod)
            self._schedule(pod, now, writer.sync_done() if failure is None else writer.sync_failed(failure[0]))
            return
        self._number += 1
        if self._number % _PUSHES_EVERY == 0:
            self._push(pod, now)
        else:
            self._schedule(pod, now, self._writer(pod).ordinary_request())

    def _push(self, pod: Pod, now: float) -> None:
        failure = self.foundation.push_failure()
        self.pushed[pod.name] = self.pushed.get(pod.name, 0) + 1
        text, duration = failure or (None, 0.0)
        self._schedule(pod, now, self._writer(pod).push(text, duration))

    def _writer(self, pod: Pod) -> CloudController:
        if pod.uid not in self._writers:
            self._writers[pod.uid] = CloudController(
                v3=self.foundation.layout.kubecf, random=self.random, process=31 if pod.role == "api" else 9
            )
        return self._writers[pod.uid]

    def _schedule(self, pod: Pod, now: float, lines: list[Timed]) -> None:
        for timed in lines:
            heapq.heappush(self._pending, (now + timed.after, next(self._order), pod.uid, timed))

    def _write(self, uid: str, timed: Timed) -> None:
        pod = next((pod for pod in self.foundation.pods.values() if pod.uid == uid), None)
        if pod is None:
            return
        at = self.foundation.clock.time()
        line, path = timed.write(at), CC_LOG if pod.role == "api" else CLOCK_LOG
        pod.files[path].append(line)
        if "logs" in pod.logs:
            pod.logs["logs"].append(sidecar(line, path, at))
        if timed.counts:
            self.counted[pod.name] = self.counted.get(pod.name, 0) + 1
