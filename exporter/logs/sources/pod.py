"""Follows the log of one container in each pod of a role through the Kubernetes API.

Every line that the kubelet still has is given exactly once: over reconnects, the container's restart, rotation, a
stream that went silent (kubelets stop following after a rotation without closing the stream), and an API server that
was away.

Not guaranteed, as the API does not have it: lines of a run of the container that is neither the present nor the
previous one, lines that the kubelet rotated away while it could not be reached, and lines stamped before the start of
this source: after a stop and a start nothing old is counted, and what was logged in between is not either.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from exporter.logs.lines import LineSplitter
from exporter.logs.sources.base import PodSeen, Pulse
from exporter.logs.sources.position import Position
from foundation.kube.errors import KubeError

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.logs.sources.base import ByteStream, Pace, Sink
    from foundation.kube.backoff import Backoff

RECYCLE_AFTER = 300.0
"""Seconds after which a stream is opened anew even if lines come."""
UNSURE_FOR = 30.0
"""Seconds for which a look at the pod may be late in telling that the container was restarted: for so long after a
stream was opened, everything that it brings is remembered."""
CLOCKS_APART = 60
"""Seconds by which the clock of the node that a pod came back on may be behind the former node's."""
QUIET_AFTER_END = 1.0
"""Seconds between the orderly end of a stream and the next."""
GONE = frozenset({400, 404, 410})
"""Statuses with which the API says that there is no log of a previous run."""
SERVER_ERROR = 500
MOST_REFUSALS = 5
"""Answers with status 500 after which a previous log is given up: kubelets say so when its file is gone."""


class OpenLog(Protocol):
    """Makes one log stream."""

    def __call__(self, pod: str, container: str, since: datetime, *, previous: bool, follow: bool) -> ByteStream:
        """With timestamps, and ending by itself after 60 s without a byte."""


class PodLog:
    """One pod's container, over its restarts and over the pod's own return under the same name."""

    def __init__(
        self,
        *,
        pod: str,
        container: str,
        seen: PodSeen,
        was_there: bool,
        floor: int,
        open_log: OpenLog,
        sink: Sink,
        pace: Pace,
        backoff: Backoff,
    ) -> None:
        """`floor`: nanoseconds since 1970 on the server's clock; `was_there`: the pod is older than that."""
        self.pulse = Pulse(sink, pace, "pod", f"pod {pod}/{container}", pod)
        self._pod = pod
        self._container = container
        self._open = open_log
        self._pace = pace
        self._backoff = backoff
        self._position = Position(floor)
        self._seen: PodSeen | None = seen
        # A pod that came after the start may have been restarted before it was first seen.
        self._following = seen if was_there else PodSeen(seen.uid)
        self._opened_for = self._following
        self._refusals = 0
        self._rest = b""
        self._guard = threading.Lock()
        self._stream: ByteStream | None = None
        self._closed = False

    def see(self, seen: PodSeen | None) -> None:
        """The newest look; a stream of another run of the container is closed."""
        self._seen = seen
        if seen is not None and _other_run(self._opened_for, seen):
            self._break_off()

    def close(self) -> None:
        """End for good."""
        with self._guard:
            self._closed = True
        self._break_off()

    def run(self, stop: threading.Event) -> None:
        """Follow until stopped, then give the unfinished line that nothing can complete any more."""
        while not stop.is_set():
            self._pace.wait(stop, self._step(stop))
        rest, self._rest = self._rest, b""
        if rest and self._seen is None:
            self.pulse.feed_chunk(self._position.fresh(rest + b"\n"))
        self.pulse.down()

    def _step(self, stop: threading.Event) -> float:
        """Open one stream and read it to its end; how long to wait before the next, in seconds."""
        seen = self._seen
        if seen is None:
            # The name may soon be another pod's: nothing is opened until it is seen again.
            self.pulse.down()
            return QUIET_AFTER_END
        self._opened_for = seen
        try:
            if _other_run(self._following, seen) and not self._change_run(self._following, seen, stop):
                return self._backoff.next()
            return self._follow(stop)
        except (KubeError, OSError) as problem:
            self.pulse.down(f"{self.pulse.name}: {problem}")
            wait = problem.retry_after if isinstance(problem, KubeError) else None
            return self._backoff.next(wait)

    def _change_run(self, old: PodSeen, new: PodSeen, stop: threading.Event) -> bool:
        """Read what the former run of the container still had to say; whether that is done."""
        if old.uid == new.uid:
            try:
                if self._read(self._position.since(), stop, previous=True) != "eof":
                    return False
            except KubeError as problem:
                self._refusals += problem.status == SERVER_ERROR
                if problem.status not in GONE and self._refusals < MOST_REFUSALS:
                    raise
                self.pulse.problem = f"{self.pulse.name}: the last lines before the restart can't be read: {problem}"
            self._refusals = 0
            self._position.release()
        else:
            self._position.step_back(CLOCKS_APART)
        self._following = PodSeen(new.uid, new.container_id or old.container_id, new.restarts)
        return True

    def _follow(self, stop: threading.Event) -> float:
        now = self._pace.monotonic()
        self._confirm(now)
        since = self._position.since()
        self._position.hold(now)
        ended = self._read(since, stop, previous=False)
        return 0.0 if ended == "idle" else max(QUIET_AFTER_END, self._backoff.next())

    def _confirm(self, now: float) -> None:
        """Let go of the places at which streams were opened long ago, unless a look has told that a run was missed."""
        if self._seen is not None and not _other_run(self._following, self._seen):
            self._position.confirm(now - UNSURE_FOR)

    def _read(self, since: datetime, stop: threading.Event, *, previous: bool) -> str:
        stream = self._open(self._pod, self._container, since, previous=previous, follow=not previous)
        with stream:
            with self._guard:
                self._stream = stream
                closed = self._closed
            try:
                if closed:
                    return "closed"
                stream.open()
                if stream.ended in {"", "idle"}:
                    # A kubelet with nothing to tell may send no headers: that is no failure, and no sign of life.
                    self.pulse.opened(alive=not stream.ended)
                self._position.reopened()
                self._rest = b""
                return self._drain(stream, stop, previous=previous)
            finally:
                with self._guard:
                    self._stream = None

    def _drain(self, stream: ByteStream, stop: threading.Event, *, previous: bool) -> str:
        splitter = LineSplitter()
        opened = self._pace.monotonic()
        recycled = False
        try:
            for chunk in stream:
                fresh = self._position.fresh(splitter.push_whole(chunk))
                if fresh:
                    self.pulse.feed_chunk(fresh)
                    self._backoff.reset()
                self.pulse.alive()
                now = self._pace.monotonic()
                if not previous:
                    self._confirm(now)
                recycled = not previous and now - opened > RECYCLE_AFTER
                if stop.is_set() or recycled:
                    break
        finally:
            rest = splitter.flush()
            if not previous:
                # It comes again, whole, with the next stream; it is given as it is only if there is none.
                self._rest = rest
        if previous and rest and stream.ended == "eof":
            self.pulse.feed_chunk(self._position.fresh(rest + b"\n"))
        return "idle" if recycled else stream.ended

    def _break_off(self) -> None:
        with self._guard:
            stream = self._stream
        if stream is not None:
            stream.close()


def _other_run(following: PodSeen, seen: PodSeen) -> bool:
    """Whether `seen` is another run of the container, or another pod, than the one followed."""
    if seen.uid != following.uid or seen.restarts > following.restarts:
        return True
    return bool(seen.container_id and following.container_id and seen.container_id != following.container_id)
