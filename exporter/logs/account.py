"""Keeps count of what log lines say, for one foundation: each failed request once, in a bounded number of series.

Lines and bytes belong to the input that delivered them; errors and requests belong to the pod that the line names, else
to the input's pod. What the account cannot know: two requests of one pod that failed with the same error in the same
microsecond count once if both their lines were cut before the request id. A line of a pod that was forgotten brings the
pod's series back.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.logs.causes import CAUSES
from exporter.logs.recognise import SIBLINGS, recognise
from exporter.logs.scan import scan, scan_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import Counter, Gauge

    from exporter.logs.metrics import LogMetrics
    from exporter.logs.recognise import Reading
    from exporter.logs.scan import Found

OTHER: Final = "other"
"""The label of what is beyond a cap."""
UNKNOWN: Final = "unknown"
"""The label of lines whose pod nobody named."""
QUIET_FOR: Final = 3600.0
"""Seconds without a line after which a pod that is known from lines only makes room for another."""
STATUSES: Final = ("200", "201", "202", "204", "400", "401", "403", "404", "422", "500", "502", "503", "504")
"""Completed requests are counted under every status from 100 to 599; these have a series before their first."""

_POD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}\Z")


@dataclass(slots=True)
class _Stream:
    """The series of one input of one pod."""

    lines: Counter
    bytes: Counter
    reconnects: Counter
    last_line: Gauge
    last_sign: Gauge
    up: Gauge


@dataclass(slots=True)
class _Pod:
    """One pod's place among those that have their own label, and its series."""

    streams: dict[str, _Stream] = field(default_factory=dict)
    counters: dict[tuple[str, ...], Counter] = field(default_factory=dict)
    expected: bool = False
    """An input or the cluster named it, not a line alone."""
    heard: float = 0.0
    """When a line named it last."""


class LogAccount:
    """Counts lines into `metrics` under the label `foundation`. Every method may be called from any thread.

    `max_pods` and `max_errors` bound the values of the labels `pod` and `error`; the rest goes to `other`. `remembered`
    is the number of recent failed requests that a second delivery is checked against. Anybody who can send a line can
    name pods, so pods that the cluster or an input names come first: they take the place of one that only lines named.
    """

    def __init__(
        self,
        metrics: LogMetrics,
        foundation: str,
        max_pods: int = 20,
        max_errors: int = 30,
        *,
        remembered: int = 4096,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._foundation = foundation
        self._max_pods = max_pods
        self._max_errors = max(max_errors, len(SIBLINGS))
        self._clock = clock
        self._lock = threading.Lock()
        self._pods: dict[str, _Pod] = {}
        self._other = _Pod()
        self._errors: set[str] = set(SIBLINGS)
        self._seen = _Memory(remembered)

    # --- lines --------------------

    def feed(self, source: str, pod: str, lines: Sequence[bytes]) -> None:
        """Counts lines given without their newlines; each counts one byte more, for its newline."""
        if not lines:
            return
        self._enter(source, pod, sum(map(len, lines)) + len(lines), scan_lines(lines))

    def feed_chunk(self, source: str, pod: str, chunk: bytes) -> None:
        """Counts whole lines given in one piece, each with its newline: the fast way."""
        if not chunk:
            return
        self._enter(source, pod, len(chunk), scan(chunk))

    def _enter(self, source: str, pod: str, size: int, found: Found) -> None:
        readings = [reading for line in found.candidates if (reading := recognise(line))]
        with self._lock:
            stream = self._stream(source, pod)
            stream.lines.inc(found.lines)
            stream.bytes.inc(size)
            stream.last_line.set(self._clock())
            for (named, status), number in found.completed.items():
                self._completed(named.decode("ascii") if named else pod, int(status), number)
            for reading in readings:
                self._count(reading.pod or pod, reading)

    def _count(self, pod: str, reading: Reading) -> None:
        if reading.kind == "cc_request_completed" and reading.http_status is not None:
            self._completed(pod, reading.http_status, 1)
        elif reading.kind == "cc_stage_request":
            self._counter(pod, "stage").inc()
        elif reading.kind == "cc_sync_failed":
            self._counter(pod, "sync").inc()
        # A line that was cut before the error's name is not counted: it may come again, whole.
        elif reading.kind == "cc_request_failed" and reading.error and self._seen.is_new(pod, reading):
            error = reading.error
            if error not in self._errors:
                if len(self._errors) < self._max_errors:
                    self._errors.add(error)
                else:
                    error = OTHER
            cause = reading.cause or OTHER
            self._counter(pod, "errors", error, cause).inc()
            if reading.count:
                self._counter(pod, "stager", cause).inc()

    def _completed(self, pod: str, status: int, number: int) -> None:
        self._counter(pod, "completed", str(status) if 100 <= status <= 599 else OTHER).inc(number)

    # --- pods and inputs --------------------

    def know_pod(self, pod: str) -> None:
        """Gives a pod its series, at 0, before its first event; without effect if it has them, or beyond the cap."""
        if pod:
            with self._lock:
                self._counters(*self._place(pod, expected=True))

    def forget_pod(self, pod: str) -> None:
        """Removes every series of a pod that is gone, and makes room for another."""
        with self._lock:
            self._remove(pod)

    def close(self) -> None:
        """Removes every series of the foundation: it is not watched any more."""
        with self._lock:
            for pod in list(self._pods):
                self._remove(pod)
            self._pods[OTHER] = self._other
            self._remove(OTHER)
            self._other = _Pod()

    def pods(self) -> frozenset[str]:
        """The pods that have counters of their own now."""
        with self._lock:
            return frozenset(name for name, place in self._pods.items() if place.counters)

    def up(self, source: str, pod: str, up: bool) -> None:
        """Whether an input is open now; also gives the input its series."""
        with self._lock:
            self._stream(source, pod).up.set(up)

    def reconnected(self, source: str, pod: str) -> None:
        """An input was opened once more."""
        with self._lock:
            self._stream(source, pod).reconnects.inc()

    def alive(self, source: str, pod: str) -> None:
        """An input showed that it would have delivered lines, had there been any."""
        with self._lock:
            self._stream(source, pod).last_sign.set(self._clock())

    # --- series; the lock is held --------------------

    def _place(self, pod: str, *, expected: bool = False) -> tuple[str, _Pod]:
        """The label under which a pod is counted, and its series."""
        place = self._pods.get(pod)
        if place is None:
            if pod == OTHER or (len(self._pods) >= self._max_pods and not self._make_room(for_expected=expected)):
                return OTHER, self._other
            place = self._pods[pod] = _Pod()
        place.expected = place.expected or expected
        return pod, place

    def _make_room(self, *, for_expected: bool) -> bool:
        """Gives up the pod that lines alone named and that was silent longest; whether there was one."""
        from_lines = [(place.heard, name) for name, place in self._pods.items() if not place.expected]
        if not from_lines:
            return False
        heard, name = min(from_lines)
        if not for_expected and self._clock() - heard < QUIET_FOR:
            return False
        self._remove(name)
        return True

    def _remove(self, pod: str) -> None:
        place = self._pods.pop(pod, None)
        if place is None:
            return
        for what, *labels in place.counters:
            self._metric(what).remove(self._foundation, pod, *labels)
        for source in place.streams:
            for metric in self._stream_metrics():
                metric.remove(self._foundation, source, pod)

    def _counters(self, label: str, place: _Pod) -> None:
        if not place.counters:
            for what, *labels in _INITIAL:
                self._create(place, label, what, *labels)

    def _counter(self, pod: str, what: str, *labels: str) -> Counter:
        label, place = self._place(self._name(pod))
        self._counters(label, place)
        place.heard = self._clock()
        return place.counters.get((what, *labels)) or self._create(place, label, what, *labels)

    def _name(self, pod: str) -> str:
        # Names come from lines that anybody might have sent: only what can be a pod or a host is taken.
        if pod and pod not in self._pods and not _POD_NAME.match(pod):
            return OTHER
        return pod or UNKNOWN

    def _create(self, place: _Pod, label: str, what: str, *labels: str) -> Counter:
        counter = self._metric(what).labels(self._foundation, label, *labels)
        place.counters[(what, *labels)] = counter
        return counter

    def _metric(self, what: str) -> Counter:
        metrics = self._metrics
        return {
            "errors": metrics.errors,
            "stager": metrics.stager_unavailable,
            "stage": metrics.stage_requests,
            "completed": metrics.completed,
            "sync": metrics.sync_failures,
        }[what]

    def _stream(self, source: str, pod: str) -> _Stream:
        label, place = self._place(pod, expected=True)
        stream = place.streams.get(source)
        if stream is None:
            labels = (self._foundation, source, label)
            metrics = self._metrics
            stream = place.streams[source] = _Stream(
                lines=metrics.lines.labels(*labels),
                bytes=metrics.bytes.labels(*labels),
                reconnects=metrics.reconnects.labels(*labels),
                last_line=metrics.last_line.labels(*labels),
                last_sign=metrics.last_sign.labels(*labels),
                up=metrics.source_up.labels(*labels),
            )
        return stream

    def _stream_metrics(self) -> tuple[Counter | Gauge, ...]:
        metrics = self._metrics
        return (
            metrics.lines,
            metrics.bytes,
            metrics.reconnects,
            metrics.last_line,
            metrics.last_sign,
            metrics.source_up,
        )


_INITIAL: Final[tuple[tuple[str, ...], ...]] = (
    ("stage",),
    ("sync",),
    *(("stager", cause) for cause in CAUSES),
    *(("errors", error, cause) for error in SIBLINGS for cause in CAUSES),
    *(("completed", status) for status in STATUSES),
)


class _Memory:
    """The failed requests counted last, so that a line that is delivered twice, even cut once, counts once.

    Only hashes are kept: ids and times come from lines, and may be as long as lines.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[int, bool] = OrderedDict()

    def is_new(self, pod: str, reading: Reading) -> bool:
        """Whether this failure was not counted yet; it is remembered then."""
        if reading.timestamp is None and reading.request_id is None:
            return True  # nothing to know it again by
        moment = hash((pod, reading.error, reading.timestamp))
        if reading.request_id is None:
            # Cut before its id: the same pod, error and time (to the microsecond) are the same request.
            if moment in self._seen:
                return False
            self._remember(moment, nameless=True)
            return True
        full = hash((moment, reading.request_id))
        if full in self._seen:
            return False
        nameless = self._seen.get(moment, False)
        self._remember(moment, nameless=False)
        self._remember(full, nameless=False)
        return not nameless

    def _remember(self, key: int, *, nameless: bool) -> None:
        self._seen[key] = nameless
        self._seen.move_to_end(key)
        # Two entries for one failure: its time, and its id.
        while len(self._seen) > 2 * self._size:
            self._seen.popitem(last=False)
