"""One foundation kept under observation: a thread that looks once per interval, whatever the last look met.

The thread starts each look on a fixed beat, so that a slow look delays none but itself, and a scrape never waits for
it: readers get the newest finished Look. Each foundation has its own place in the beat, as a look is a burst of TLS
handshakes, and the bursts of many at the same moment would only wait for each other. A look that raises is a fault of
ours; it is logged, shown as a failed collector, and the next beat comes all the same. What it cannot do is end a look
that never returns: that look's values grow old, and `age` tells.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exporter.log_feed import make_sources
from exporter.logs.account import LogAccount
from exporter.web.history import ProbeHistory
from exporter.web.view import ProbeLine
from foundation.cluster import WatchedCluster
from foundation.diagnosis import Restart
from foundation.history import History
from foundation.observation import Witness
from foundation.observer import LIGHT_PROBE_INTERVAL, Observer, service_target_of
from foundation.probes.result import Cause, Stage
from foundation.tools import ProbeTools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from exporter.config import LogSourceConfig
    from exporter.logs.metrics import LogMetrics
    from exporter.logs.sources.base import SourceStatus
    from exporter.logs.sources.handover import Handover
    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.kube.client import KubeClient
    from foundation.layout import Layout
    from foundation.observer import Look
    from foundation.probes.resolving import Resolver
    from foundation.probes.result import Certificate, ProbeResult

logger = logging.getLogger(__name__)

FIRST_LIST = 3.0
"""Seconds that the first look waits for the pods."""


@dataclass(frozen=True, slots=True)
class CollectorState:
    """How one background collector fared in its last turn."""

    name: str
    success: bool
    seconds: float
    last_success: float | None
    problem: str = ""


class Monitor:
    """Watches one foundation from `start` to `stop`."""

    def __init__(
        self,
        config: FoundationConfig,
        timing: ProbeConfig,
        logs: tuple[LogSourceConfig, ...],
        *,
        client: KubeClient,
        executor: Executor,
        resolver: Resolver,
        log_metrics: LogMetrics,
        handover: Handover | None = None,
        place: float = 0.0,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """Starts nothing yet. Raises ValueError for a log source that cannot be listened for.

        `place` is when in each interval this foundation has its turn: 0 at its beginning, 0.5 at its middle.
        """
        self.settings = (config, timing, logs)
        self.config = config
        self.client = client
        self.name = config.name
        self.namespace = config.namespace
        self.stale_after = stale_after(config, timing)
        self._interval = timing.interval
        self._place = place
        self._after = 0.0
        self._monotonic = monotonic
        self._wall = wall
        self.cluster = WatchedCluster(client, config.namespace, monotonic=monotonic, wall=wall)
        self.tools = ProbeTools(config, timing, client=client, resolver=resolver, monotonic=monotonic, wall=wall)
        self._observer = Observer(
            config,
            timing,
            cluster=self.cluster,
            tools=self.tools,
            executor=executor,
            history=History(settle=config.settle, interval=timing.interval, begun=monotonic()),
            monotonic=monotonic,
            wall=wall,
        )
        self._account = LogAccount(log_metrics, config.name)
        self._logs = make_sources(
            logs,
            namespace=config.namespace,
            client=client,
            cluster=self.cluster,
            layout=self._layout,
            account=self._account,
            handover=handover,
        )
        self.probes = ProbeHistory(recent=30, failures=30)
        self._failures: Counter[tuple[str, Cause]] = Counter()
        self._states: dict[str, CollectorState] = {}
        self._newest: tuple[float, Look] | None = None
        self._asked: tuple[float, ProbeResult] | None = None
        self._version = 0
        self._own: Certificate | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"look-{self.name}", daemon=True)

    def start(self, after: float = 0.0) -> None:
        """Begin to watch, and to look in so many seconds."""
        self._after = after
        self.cluster.start()
        self._thread.start()
        self._logs.start()

    def stop(self) -> None:
        """End what runs; waits a few seconds at the most for each part that hangs, and leaves it then."""
        self._stop.set()
        self._logs.stop(timeout=1.0)
        self.cluster.stop()
        self._thread.join(timeout=2.0)
        self._account.close()

    def version(self) -> int:
        """A number that grows with each turn, once everything that this turn changes is in place."""
        return self._version

    def latest(self) -> Look | None:
        """The newest finished look, however old."""
        return self._newest[1] if self._newest else None

    def age(self) -> float | None:
        """Seconds since the newest look was finished; None: there is none. No step of the wall clock changes it."""
        return self._monotonic() - self._newest[0] if self._newest else None

    def stale(self) -> bool:
        """Whether the newest look is too old to be shown as the present."""
        age = self.age()
        return age is not None and age > self.stale_after

    def looked(self) -> bool:
        """Whether a first look was made, even one that failed."""
        return bool(self._states)

    def probe_service(self) -> ProbeResult | None:
        """Probe the Service now; None while the layout is not known.

        A probe that ends without a request writes a line into BBS's log, so its result stands for a while.
        """
        look = self.latest()
        if look is None or look.layout is None:
            return None
        now, light = self._monotonic(), self.config.bbs.depth in (Stage.TCP, Stage.TLS)
        asked = self._asked
        if light and asked is not None and now - asked[0] < LIGHT_PROBE_INTERVAL:
            return asked[1]
        result = self.tools.bbs(service_target_of(self.config, look.layout.layout))
        self._asked = (now, result)
        return result

    def log_statuses(self) -> Sequence[SourceStatus]:
        """The log sources' inputs as they are now."""
        return self._logs.statuses()

    def _layout(self) -> Layout | None:
        recognised = self._observer.layout
        return recognised.layout if recognised else None

    def failures(self) -> Mapping[tuple[str, Cause], int]:
        """Failed probes since the start, by target and cause; of pods that are still there. See `is_failure`."""
        with self._lock:
            return dict(self._failures)

    def collectors(self) -> Sequence[CollectorState]:
        """The states of this foundation's collectors."""
        with self._lock:
            return tuple(self._states.values())

    def client_certificate(self) -> Certificate | None:
        """Our own certificate, the one in use at the newest look."""
        return self._own

    def _run(self) -> None:
        # The first list takes a moment; a look before it would only say that nothing is known.
        self._stop.wait(self._after)
        limit = self._monotonic() + FIRST_LIST
        while self.cluster.age() is None and self._monotonic() < limit and not self._stop.wait(0.05):
            pass
        while not self._stop.is_set():
            due = next_turn(self._monotonic(), self._interval, self._place)
            self.turn()
            self._stop.wait(due - self._monotonic())

    def turn(self) -> None:
        """One look, with everything that depends on it."""
        began = self._monotonic()
        try:
            self._take(self._observer.look(), began)
        except Exception as error:  # a fault of ours must not end the watch; it is shown and logged
            problem = f"{type(error).__name__}: {error}"
            if self._note("look", began, problem=problem):
                logger.exception("a look failed", extra={"foundation": self.name})
        self._version += 1

    def _take(self, look: Look, began: float) -> None:
        before = self.latest()
        try:
            self._tell(before, look)
            self._note_all(look, began)
            if look.layout is not None:
                self._count(before, look)
        finally:
            # Last, so that who sees its verdict on the page finds the rest in the metrics.
            self._newest = (self._monotonic(), look)
            self._version += 1

    def _note_all(self, look: Look, began: float) -> None:
        self._note("look", began)
        self._note("pods", began, problem=look.problems.get("pods", ""))
        self._note("layout", began, problem=self._layout_problem(look))
        if look.layout is None:
            return
        missing = "" if look.statefulsets is not None else "the StatefulSets cannot be read"
        self._note("statefulsets", began, problem=look.problems.get("statefulsets", missing))
        self._own, problem = self.tools.credentials.certificate, self.tools.credentials.problem
        self._note("credentials", began, problem=str(problem) if problem else "")
        if self.config.exec:
            mute = look.observation.signals.probe_from_api_pod is Witness.UNKNOWN
            why = look.observation.seen.get("probe_from_api_pod", "it gave no answer")
            self._note("exec", began, problem=why if mute else "")

    def _layout_problem(self, look: Look) -> str:
        if look.layout is not None or "layout" in look.problems:
            return look.problems.get("layout", "")
        if "pods" in look.problems:
            return "it is told by the pods, and these are not known"
        return f"there are no pods in the namespace {self.namespace}, if there is such a namespace"

    def _count(self, before: Look | None, look: Look) -> None:
        known = () if before is None else before.probes()
        # The result of a paced probe stands for several looks, and is one probe all the same.
        fresh = [result for result in look.probes() if not any(result is old for old in known)]
        failed = [result for result in fresh if is_failure(result, look)]
        names = {pod.seen.name for pod in look.pods} | {"service"}
        with self._lock:
            for result in failed:
                if result.cause is not None:
                    self._failures[result.target.name, result.cause] += 1
            for key in [key for key in self._failures if key[0] not in names]:
                del self._failures[key]
        for line in shown([result for result in fresh if result.ok or result in failed]):
            self.probes.add(line)

    def _note(self, name: str, began: float, *, problem: str = "") -> bool:
        """Keep a collector's state; whether its problem is a new one, which is logged."""
        now = self._wall()
        with self._lock:
            last = self._states.get(name)
            success_at = now if not problem else last.last_success if last else None
            self._states[name] = CollectorState(name, not problem, self._monotonic() - began, success_at, problem)
        changed = problem != (last.problem if last else "")
        if problem and changed:
            logger.warning("%s: %s", name, problem, extra={"foundation": self.name})
        elif changed:
            logger.info("%s: well again", name, extra={"foundation": self.name})
        return bool(problem) and changed

    def _tell(self, before: Look | None, look: Look) -> None:
        found = look.diagnosis
        if before is not None and _key(before) == _key(look):
            return
        level = logging.INFO if found.restart is Restart.NO and found.verdict == "healthy" else logging.WARNING
        logger.log(
            level,
            "%s: %s",
            found.verdict,
            found.evidence[0],
            extra={"foundation": self.name, "verdict": found.verdict, "restart": found.restart},
        )


def next_turn(now: float, interval: float, place: float) -> float:
    """When a foundation's next turn is, for a turn that begins now: at its place, an interval from now at the most.

    So a turn that begins late (the one before took longer than an interval) is followed by one at its place again.
    """
    ahead = (place * interval - now) % interval
    # A thread may be woken a little too early, and floats are not exact: what is so near is this turn, not the next.
    return now + (ahead if ahead > interval / 100 else ahead + interval)


def stale_after(config: FoundationConfig, timing: ProbeConfig) -> float:
    """Seconds after which a look is too old: three intervals, or longer where a single look may take longer.

    A look waits for its probes, which run side by side, then for the database, then for the look from an api pod.
    """
    longest = timing.timeout
    if config.database is not None and config.database.kind != "none":
        longest += timing.timeout
    if config.exec:
        longest += timing.timeout + 5.0
    return max(3 * timing.interval, longest + timing.interval)


def is_failure(result: ProbeResult, look: Look) -> bool:
    """Whether a probe's result is a failure to an operator.

    A passive BBS does not listen, by design: while another one serves, its refusal says that all is well, unless it is
    marked active.
    """
    if result.ok:
        return False
    if result.cause is not Cause.REFUSED or result.target.name == "service":
        return True
    marked = any(pod.active for pod in look.pods if pod.seen.name == result.target.name)
    return marked or not any(other.ok for other in look.probes())


def _key(look: Look) -> tuple[str, str]:
    return look.diagnosis.verdict, look.diagnosis.restart


def shown(results: Sequence[ProbeResult]) -> list[ProbeLine]:
    """Finished probes as the page shows them: one line for all connections that a look made to the same target."""
    by_target: dict[str, list[ProbeResult]] = {}
    for result in results:
        by_target.setdefault(result.target.name, []).append(result)
    return [_line(same) for same in by_target.values()]


def _line(same: Sequence[ProbeResult]) -> ProbeLine:
    """The first that failed stands for all, else the first."""
    failed = [result for result in same if not result.ok]
    line = probe_line((failed or same)[0])
    if len(same) == 1:
        return line
    counted = (
        f"{len(failed)} of {len(same)} connections failed" if failed else f"{len(same)} of {len(same)} connections"
    )
    return replace(line, detail=f"{counted}: {line.detail}" if line.detail else counted)


def probe_line(result: ProbeResult) -> ProbeLine:
    """One probe as the page shows it."""
    return ProbeLine(
        at=result.started,
        target=result.target.name,
        depth=result.depth,
        ok=result.ok,
        cause=result.cause or "",
        detail=result.detail,
        stages=tuple((stage, result.stages[stage]) for stage in Stage if stage in result.stages),
    )
