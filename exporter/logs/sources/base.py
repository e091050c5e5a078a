"""What every log source has in common, so that the rest of the exporter need not know which kind it holds.

A source turns bytes from somewhere into whole lines and gives each line once to a `Sink`. It decides nothing about what
a line means. Threads, clocks and connections are passed in; nothing here reads the wall clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

MEBIBYTE = 1 << 20


class Sink(Protocol):
    """Where lines and the sources' own signs of life go. Called from several threads at once."""

    def feed(self, source: str, pod: str, lines: Sequence[bytes]) -> None:
        """Whole lines without their line ends; `pod` is empty where only the line itself can name it."""

    def feed_chunk(self, source: str, pod: str, chunk: bytes) -> None:
        """The same for many lines in one piece, each with its newline."""

    def know_pod(self, pod: str) -> None:
        """A pod is followed from now on: its series must exist."""

    def forget_pod(self, pod: str) -> None:
        """The pod is gone and its last line was given."""

    def reconnected(self, source: str, pod: str) -> None:
        """The input was opened once more."""

    def up(self, source: str, pod: str, up: bool) -> None:
        """Whether the input is open now."""

    def alive(self, source: str, pod: str) -> None:
        """Bytes came, or the other side showed in another way that it would have sent them."""


class Pace(Protocol):
    """A clock and a way to wait; tests use one that jumps."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait, at most until `stop` is set; whether it is set."""


class RealPace:
    """The machine's own monotonic clock."""

    def monotonic(self) -> float:
        """See `Pace`."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """See `Pace`."""
        return stop.wait(seconds)


class ByteStream(Protocol):
    """A stream from the Kubernetes API, as `foundation.kube` makes them; `close` may be called from another thread."""

    @property
    def ended(self) -> str:
        """`eof`, `idle` or `closed` once it has ended; empty before."""

    def open(self) -> None:
        """Connect; raises `KubeError`."""

    def close(self) -> None:
        """End the iteration soon."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class PodSeen:
    """What the newest look at the cluster says of one followed container."""

    uid: str
    container_id: str = ""
    restarts: int = 0
    created: int | None = None
    """The pod's creation in nanoseconds since 1970, on the cluster's clock; None if not known."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One row of the page: one input and how it is."""

    name: str
    kind: str
    pod: str
    up: bool
    deaf_seconds: float | None
    """Seconds since the last byte or proof of life; None before the first."""
    reconnects: int
    problem: str
    """What failed last, where, and what to do; empty while all is well."""


class Source(Protocol):
    """One configured input. `run` returns when `stop` is set (or a finite input ended) and may raise anything."""

    @property
    def name(self) -> str:
        """A short name for logs and the page, such as `pod api/logs`."""

    @property
    def kind(self) -> str:
        """`pod`, `exec`, `syslog` or `file`: the value of the label `source`."""

    @property
    def problem(self) -> str:
        """What failed last; empty while all is well."""

    def run(self, stop: threading.Event) -> None:
        """Work until stopped."""

    def failed(self, problem: str) -> None:
        """`run` raised; it is called again soon."""

    def close(self) -> None:
        """Break off whatever `run` waits for; callable from any thread, any number of times."""

    def deaf_for(self) -> float | None:
        """Seconds since the last byte or proof of life, the worst of its inputs; None before the first."""

    def statuses(self) -> list[SourceStatus]:
        """One row for each input that it follows now."""


class Pulse:
    """The state of one input as the page shows it, told to the sink at the same time.

    Written by the input's own thread, read by any: every field is one reference, so no lock is needed.
    """

    def __init__(self, sink: Sink, pace: Pace, kind: str, name: str, pod: str) -> None:
        self._sink = sink
        self._pace = pace
        self.kind = kind
        self.name = name
        self.pod = pod
        self.is_up = False
        self.reconnects = 0
        self.problem = ""
        self._opened = False
        self._last: float | None = None

    def opened(self, *, alive: bool = True) -> None:
        """The input is open: up, and one more reconnect if it was open before; `alive`: the other side has shown it."""
        if self._opened:
            self.reconnected()
        self._opened = True
        self.is_up = True
        self.problem = ""
        self._sink.up(self.kind, self.pod, True)
        if alive:
            self.alive()

    def reconnected(self) -> None:
        """Count a reconnect."""
        self.reconnects += 1
        self._sink.reconnected(self.kind, self.pod)

    def failed(self, problem: str) -> None:
        """Its thread broke off and begins anew: down, and a reconnect."""
        self._opened = False
        self.down(f"{self.name}: {problem}")
        self.reconnected()

    def down(self, problem: str = "") -> None:
        """The input is not open; `problem` says why, for an operator."""
        self.is_up = False
        if problem:
            self.problem = problem
        self._sink.up(self.kind, self.pod, False)

    def alive(self) -> None:
        """Bytes came, or another proof of life."""
        self._last = self._pace.monotonic()
        self._sink.alive(self.kind, self.pod)

    def feed(self, lines: Sequence[bytes]) -> None:
        """Give lines to the sink."""
        if lines:
            self._sink.feed(self.kind, self.pod, lines)

    def feed_chunk(self, chunk: bytes) -> None:
        """Give whole lines in one piece to the sink."""
        if chunk:
            self._sink.feed_chunk(self.kind, self.pod, chunk)

    def deaf_for(self) -> float | None:
        """Seconds since the last proof of life."""
        last = self._last
        return None if last is None else max(0.0, self._pace.monotonic() - last)

    def status(self) -> SourceStatus:
        """The row for the page."""
        return SourceStatus(
            name=self.name,
            kind=self.kind,
            pod=self.pod,
            up=self.is_up,
            deaf_seconds=self.deaf_for(),
            reconnects=self.reconnects,
            problem=self.problem,
        )


def worst(pulses: Sequence[Pulse]) -> float | None:
    """The longest deafness of several inputs; None where none was ever heard."""
    heard = [seconds for seconds in (pulse.deaf_for() for pulse in pulses) if seconds is not None]
    return max(heard, default=None)
